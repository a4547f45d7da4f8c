//! The process groups of children: a program may have started others, and none of them must outlive its use.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The groups of all children that run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<BTreeSet<u32>>>);

impl Groups {
    /// Kills every group that is left. For an end at once, when nobody waits for tasks that own children.
    pub(crate) fn kill(&self) {
        let groups = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        groups.into_iter().for_each(|leader| send(leader, Signal::Kill));
    }

    pub(super) fn add(&self, leader: Option<u32>) -> Group {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(leader);
        Group {
            leader,
            all: self.clone(),
        }
    }
}

/// The process group of one child. Dropping it kills what is left of it, unless the child was seen to end.
#[derive(Debug)]
pub(super) struct Group {
    leader: Option<u32>,
    all: Groups,
}

impl Group {
    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        if let Some(leader) = self.leader {
            send(leader, Signal::Terminate);
        }
    }

    /// The child has ended and was waited for: its number may belong to somebody else from now on.
    pub(super) fn ended(&mut self) {
        self.forget();
    }

    fn forget(&mut self) -> Option<u32> {
        let leader = self.leader.take()?;
        let there = self
            .all
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&leader);
        there.then_some(leader)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.forget() {
            send(leader, Signal::Kill);
        }
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
