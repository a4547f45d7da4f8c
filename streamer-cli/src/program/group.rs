//! The process groups of children: a program may have started others, and none of them must outlive its use.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

/// How long a program gets to end after it was asked to, before it is killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The groups of all children that run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The leaders of those that run, and of those that were asked to end.
    leaders: BTreeSet<u32>,
    /// What waits for those that were asked to end, by leader.
    ending: BTreeMap<u32, JoinHandle<()>>,
}

impl Groups {
    /// Kills every group that is left. For an end at once, when nobody waits for tasks that own children.
    pub(crate) fn kill(&self) {
        let groups = std::mem::take(&mut self.lock().leaders);
        groups.into_iter().for_each(|leader| send(leader, Signal::Kill));
    }

    /// Waits until all that were asked to end have ended: at most as long as they get before they are killed, and a little.
    pub(crate) async fn ended(&self) {
        let ending = std::mem::take(&mut self.lock().ending);
        futures_util::future::join_all(ending.into_values()).await;
    }

    /// As the first process of a container, this program inherits what its programs leave behind. Nobody else reaps them,
    /// so this does, whenever a child of any kind has ended.
    pub(crate) fn reap_orphans(&self) {
        #[cfg(target_os = "linux")]
        if std::process::id() == 1 {
            let groups = self.clone();
            tokio::spawn(async move {
                use tokio::signal::unix::{SignalKind, signal};
                let Ok(mut ended) = signal(SignalKind::child()) else {
                    return;
                };
                while ended.recv().await.is_some() {
                    groups.reap();
                }
            });
        }
    }

    /// Reaps children that ended and are not ours to wait for.
    #[cfg(target_os = "linux")]
    fn reap(&self) {
        // Held, so that no child is started and not yet known.
        let state = self.lock();
        let Ok(processes) = std::fs::read_dir("/proc") else {
            return;
        };
        let pids = processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in pids.filter(|pid| !state.leaders.contains(pid) && is_dead_child(*pid)) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
            }
        }
    }

    /// Starts a program as the leader of a group.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Process> {
        #[cfg(unix)]
        command.process_group(0);
        let mut state = self.lock();
        let child = command.spawn()?;
        let leader = child.id();
        state.leaders.extend(leader);
        drop(state);
        Ok(Process {
            child: Some(child),
            leader,
            all: self.clone(),
        })
    }

    fn forget(&self, leader: u32) -> bool {
        self.lock().leaders.remove(&leader)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A zombie whose parent is this process.
#[cfg(target_os = "linux")]
fn is_dead_child(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name in parentheses may hold anything; state and parent follow it.
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.next() == Some("Z") && fields.next() == Some(std::process::id().to_string().as_str())
}

/// A child that leads a group. Dropping it asks the group to end, and kills it some seconds later, unless the child was
/// seen to end.
#[derive(Debug)]
pub(super) struct Process {
    child: Option<Child>,
    leader: Option<u32>,
    all: Groups,
}

impl Process {
    pub(super) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Waits for its end. What it left behind goes on.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else {
            return Err(io::Error::other("it was given up"));
        };
        let status = child.wait().await?;
        self.child = None;
        // Its number may belong to somebody else from now on.
        if let Some(leader) = self.leader.take() {
            self.all.forget(leader);
        }
        Ok(status)
    }

    /// Asks it to end, and kills it when it has not after some seconds.
    pub(super) async fn end(mut self) {
        if let (Some(child), Some(leader)) = (self.child.take(), self.leader.take()) {
            end(child, leader, self.all.clone()).await;
        }
    }
}

async fn end(mut child: Child, leader: u32, all: Groups) {
    send(leader, Signal::Terminate);
    if timeout(PATIENCE, child.wait()).await.is_err() {
        send(leader, Signal::Kill);
        let _ = child.wait().await;
    }
    // What the group has left goes as well.
    if all.forget(leader) {
        send(leader, Signal::Kill);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let (Some(child), Some(leader)) = (self.child.take(), self.leader.take()) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.all.forget(leader);
            send(leader, Signal::Kill);
            return;
        };
        let ending = runtime.spawn(end(child, leader, self.all.clone()));
        let mut state = self.all.lock();
        state.ending.retain(|_, ending| !ending.is_finished());
        state.ending.insert(leader, ending);
    }
}

#[derive(Clone, Copy)]
enum Signal {
    Terminate,
    Kill,
}

#[cfg(unix)]
fn send(leader: u32, signal: Signal) {
    use rustix::process;
    let signal = match signal {
        Signal::Terminate => process::Signal::TERM,
        Signal::Kill => process::Signal::KILL,
    };
    if let Some(leader) = i32::try_from(leader).ok().and_then(process::Pid::from_raw) {
        // It fails when the group is gone, which is what is wanted.
        let _ = process::kill_process_group(leader, signal);
    }
}

/// Elsewhere there are no groups; the children themselves are killed when they are dropped.
#[cfg(not(unix))]
fn send(_: u32, _: Signal) {}
