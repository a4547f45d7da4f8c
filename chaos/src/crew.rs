//! The processes: started, killed, frozen, ended in order, and watched.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use streamer_test_servers::FailingDevice;

use crate::{
    child::{Assignment, GROUPS, Role, assign, tasks_file},
    clock,
};

/// How long a process may take to end in order: its grace period, and something on top for a loaded machine.
const END: Duration = Duration::from_secs(20);

/// How far apart the numbers of two producers begin.
const NUMBERS: u64 = 1_000_000;

/// One of the processes, through all its starts.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    role: Role,
    starts: u64,
    /// Its name in the ledger since its last start.
    pub(crate) who: String,
    child: Option<Child>,
    /// The offset of its wall clock in seconds, such as `-3600`.
    clock: Option<String>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Crew {
    url: String,
    folder: PathBuf,
    members: Vec<Member>,
    /// What the file of the store lies on, where that can fail.
    device: Option<FailingDevice>,
    started: u64,
    replicas: u32,
    /// The file that says how far off the clock of all processes is, where they share one.
    clock: Option<PathBuf>,
    /// What processes did that they should not.
    pub(crate) misbehaviour: Vec<String>,
}

impl Crew {
    pub(crate) fn new(url: String, folder: &Path, device: Option<FailingDevice>, replicas: u32) -> Self {
        Self {
            url,
            folder: folder.to_owned(),
            members: Vec::new(),
            device,
            started: 0,
            replicas,
            clock: None,
            misbehaviour: Vec::new(),
        }
    }

    pub(crate) fn device(&self) -> Option<&FailingDevice> {
        self.device.as_ref()
    }

    /// Gives all processes one clock that can be set; without libfaketime they keep the machine's.
    pub(crate) fn share_clock(&mut self) -> Result<()> {
        if faketime().is_some() {
            self.clock = Some(self.folder.join("clock"));
            self.set_shared_clock("+0")?;
        }
        Ok(())
    }

    /// Sets it, for all at once.
    pub(crate) fn set_shared_clock(&self, offset: &str) -> Result<()> {
        if let Some(file) = &self.clock {
            // Nobody reads half of it.
            let new = file.with_extension("new");
            std::fs::write(&new, format!("{offset}\n"))?;
            std::fs::rename(new, file)?;
        }
        Ok(())
    }

    /// Starts one of each kind, and several consumers. `archiver` is what the one that archives does.
    pub(crate) fn start_all(&mut self, archiver: Role) -> Result<()> {
        let consumer = |group: &str, name: Option<&str>, at_once, takes_ms| Role::Consumer {
            group: group.to_owned(),
            name: name.map(str::to_owned),
            at_once,
            takes_ms,
        };
        let [billing, search] = GROUPS;
        let roles = [
            ("consumer-1", consumer(billing, Some("named"), 0, 0)),
            ("consumer-2", consumer(billing, None, 4, 5)),
            ("consumer-3", consumer(billing, None, 2, 1)),
            ("consumer-4", consumer(search, None, 4, 0)),
            ("consumer-5", consumer(search, None, 8, 20)),
            ("producer-1", Role::Producer),
            ("producer-2", Role::Producer),
            ("retrier", Role::Retrier),
            ("archiver", archiver),
            #[cfg(feature = "relay")]
            ("application", Role::Application),
            #[cfg(feature = "relay")]
            ("relay", Role::Relay),
        ];
        for (name, role) in roles {
            self.members.push(Member {
                name: name.to_owned(),
                role,
                starts: 0,
                who: String::new(),
                child: None,
                clock: None,
            });
            self.start(self.members.len() - 1)?;
        }
        Ok(())
    }

    /// The members of a kind: `consumer`, `producer`, …
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        let of_kind = members.filter(|(_, member)| member.name.split('-').next() == Some(kind));
        of_kind.map(|(index, _)| index).collect()
    }

    pub(crate) fn who(&self, index: usize) -> &str {
        &self.members[index].who
    }

    /// The names of those that run since their last start, and their processes.
    pub(crate) fn processes(&self) -> Vec<(&str, u32)> {
        let running = self
            .members
            .iter()
            .filter_map(|member| Some((&member.who, member.child.as_ref()?)));
        running.map(|(who, child)| (who.as_str(), child.id())).collect()
    }

    /// Starts a process that does not run.
    pub(crate) fn start(&mut self, index: usize) -> Result<()> {
        self.started += 1;
        let member = &mut self.members[index];
        member.starts += 1;
        member.who = format!("{}#{}", member.name, member.starts);
        let mut command = Command::new(std::env::current_exe()?);
        assign(
            &mut command,
            &Assignment {
                role: member.role.clone(),
                who: member.who.clone(),
                url: self.url.clone(),
                folder: self.folder.clone(),
                first_number: self.started * NUMBERS,
                replicas: self.replicas,
            },
        )?;
        let mut preload = Vec::new();
        if let Some(device) = &self.device {
            device.apply(&mut command);
            preload.push(device.library().to_owned());
        }
        if member.clock.is_some() || self.clock.is_some() {
            preload.push(faketime().context("libfaketime is not installed (Debian: apt-get install faketime)")?);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            command.env("DONT_FAKE_MONOTONIC", "1");
        }
        if let Some(offset) = &member.clock {
            command.env("FAKETIME", offset);
        }
        if let Some(file) = &self.clock {
            command
                .env("FAKETIME_TIMESTAMP_FILE", file)
                .env("FAKETIME_NO_CACHE", "1");
        }
        if !preload.is_empty() {
            let paths = preload.iter().map(|path| path.display().to_string());
            command.env("LD_PRELOAD", paths.collect::<Vec<_>>().join(":"));
        }
        let errors = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join(format!("{}.err", member.who)))?;
        command.stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
        member.child = Some(
            command
                .spawn()
                .with_context(|| format!("could not start {}", member.who))?,
        );
        Ok(())
    }

    /// Starts a process, with another clock from now on.
    pub(crate) fn set_clock(&mut self, index: usize, offset: Option<&str>) {
        self.members[index].clock = offset.map(str::to_owned);
    }

    /// Kills it without any warning.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.members[index].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it stand still, or go on.
    pub(crate) fn freeze(&self, index: usize, still: bool) {
        self.signal(index, if still { Signal::STOP } else { Signal::CONT });
    }

    fn signal(&self, index: usize, signal: Signal) {
        let child = self.members[index].child.as_ref();
        if let Some(pid) = child.and_then(|child| Pid::from_raw(child.id().cast_signed())) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end, and waits for that. What does not end in time, or ends with an error, is noted.
    pub(crate) fn end(&mut self, index: usize) {
        self.ask_to_end(index);
        self.wait_for_the_end(index);
    }

    /// Not before it listens to the signal, which would kill it until then: it may just have been started.
    fn ask_to_end(&self, index: usize) {
        let listens = self.folder.join(tasks_file(&self.members[index].who));
        let until = Instant::now() + END;
        while self.members[index].child.is_some() && !listens.exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(index, Signal::TERM);
    }

    fn wait_for_the_end(&mut self, index: usize) {
        let Some(mut child) = self.members[index].child.take() else {
            return;
        };
        let until = Instant::now() + END;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                _ => break None,
            }
        };
        let who = self.members[index].who.clone();
        match status {
            Some(status) if status.success() => {}
            Some(status) => {
                let said = self.said(&who);
                self.misbehaviour
                    .push(format!("{who} was asked to end, and ended with {status}: {said}"));
            }
            None => {
                let _ = child.kill();
                let _ = child.wait();
                self.misbehaviour
                    .push(format!("{who} was asked to end, and did not within {END:?}"));
            }
        }
    }

    /// Asks several to end, at once.
    pub(crate) fn end_all(&mut self, kinds: &[&str]) {
        let indexes = kinds.iter().flat_map(|kind| self.of_kind(kind)).collect::<Vec<_>>();
        for index in &indexes {
            self.ask_to_end(*index);
        }
        for index in indexes {
            // Not asked again: a second signal ends it at once.
            self.wait_for_the_end(index);
        }
    }

    /// Notes who ended although nobody asked, and starts it again.
    pub(crate) fn look_after(&mut self, begin: u64) -> Result<()> {
        for index in 0..self.members.len() {
            let Some(child) = &mut self.members[index].child else {
                continue;
            };
            if let Some(status) = child.try_wait()? {
                let who = self.members[index].who.clone();
                let (at, said) = (clock::seconds(begin, clock::now()), self.said(&who));
                self.misbehaviour
                    .push(format!("{who} ended by itself at {at:.1} s with {status}: {said}"));
                self.members[index].child = None;
                self.start(index)?;
            }
        }
        Ok(())
    }

    /// The end of what a process printed.
    fn said(&self, who: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(format!("{who}.err"))).unwrap_or_default();
        let lines = text.lines().rev().take(4).collect::<Vec<_>>();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for index in 0..self.members.len() {
            self.kill(index);
        }
    }
}

/// The library that gives a process another clock.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let paths = folders.map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
    paths.into_iter().find(|path| path.exists())
}
