//! What the file system tells of a store's files: on Linux by inotify. Elsewhere there are no notices, and the files are looked
//! at instead.
//!
//! A notice comes before its commit can be seen: SQLite writes the log, perhaps waits for the device, and then publishes the
//! commit in shared memory, of which nobody is told. Whoever gets a notice has to look more than once.

#[cfg(target_os = "linux")]
pub(super) use self::linux::{Bell, Notices};
#[cfg(not(target_os = "linux"))]
pub(super) use self::none::{Bell, Notices};

/// What a wait for notices came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there are no notices"))]
pub(super) enum Wait {
    Noticed,
    TimedOut,
    /// There will be no more notices.
    Ended,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        ffi::CStr,
        fs,
        mem::MaybeUninit,
        os::{fd::OwnedFd, unix::ffi::OsStrExt},
        path::Path,
        time::Duration,
    };

    use rustix::{
        event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
        fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
        io::{Errno, read, write},
    };

    use super::Wait;
    use crate::engine::embedded::session::log_of;

    /// Ends a wait for notices.
    pub(in crate::engine::embedded) struct Bell(Option<OwnedFd>);

    impl Bell {
        pub(in crate::engine::embedded) fn new() -> Self {
            Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok())
        }

        pub(in crate::engine::embedded) fn ring(&self) {
            if let Some(bell) = &self.0 {
                _ = write(bell, &1_u64.to_ne_bytes());
            }
        }
    }

    /// Notices of the directory that the files are in: a watch on the log itself would end with it, each time that the last
    /// connection is closed.
    pub(in crate::engine::embedded) struct Notices {
        queue: OwnedFd,
        database: Vec<u8>,
        log: Vec<u8>,
    }

    impl Notices {
        /// `None` where the system gives none.
        pub(in crate::engine::embedded) fn of(path: &Path) -> Option<Self> {
            // SQLite keeps the log beside the file that a symbolic link leads to.
            let path = fs::canonicalize(path).ok()?;
            let name = |path: &Path| path.file_name().map(|name| name.as_bytes().to_vec());
            let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let what = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_TO
                | WatchFlags::MOVED_FROM;
            inotify::add_watch(&queue, path.parent()?, what).ok()?;
            Some(Self {
                queue,
                database: name(&path)?,
                log: name(&log_of(&path))?,
            })
        }

        /// Waits for a notice of this store's files, or until the bell rings.
        pub(in crate::engine::embedded) fn wait(&self, timeout: Duration, bell: &Bell) -> Wait {
            let time = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            let mut awaited = vec![PollFd::new(&self.queue, PollFlags::IN)];
            awaited.extend(bell.0.as_ref().map(|bell| PollFd::new(bell, PollFlags::IN)));
            match poll(&mut awaited, Some(&time)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Wait::Ended,
            }
            if let Some(bell) = &bell.0 {
                _ = read(bell, &mut [0_u8; 8]);
            }
            self.read_all()
        }

        /// Reads what has been noticed by now.
        fn read_all(&self) -> Wait {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut notices = inotify::Reader::new(&self.queue, &mut buffer);
            let mut found = Wait::TimedOut;
            loop {
                match notices.next() {
                    Ok(notice) if notice.events().contains(ReadFlags::IGNORED) => return Wait::Ended,
                    // What is missing in a full queue may have been of these files.
                    Ok(notice) if notice.events().contains(ReadFlags::QUEUE_OVERFLOW) => found = Wait::Noticed,
                    Ok(notice) => {
                        let name = notice.file_name().map(CStr::to_bytes);
                        let is_log = name == Some(&self.log[..]);
                        // The database itself is written to when the log is copied into it, which changes nothing.
                        let is_replaced =
                            name == Some(&self.database[..]) && !notice.events().contains(ReadFlags::MODIFY);
                        if is_log || is_replaced {
                            found = Wait::Noticed;
                        }
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return found,
                    Err(_) => return Wait::Ended,
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::{path::Path, time::Duration};

    use super::Wait;

    /// Ends a wait for notices.
    pub(in crate::engine::embedded) struct Bell;

    impl Bell {
        pub(in crate::engine::embedded) fn new() -> Self {
            Self
        }

        pub(in crate::engine::embedded) fn ring(&self) {}
    }

    /// There are none.
    pub(in crate::engine::embedded) enum Notices {}

    impl Notices {
        pub(in crate::engine::embedded) fn of(_: &Path) -> Option<Self> {
            None
        }

        pub(in crate::engine::embedded) fn wait(&self, _: Duration, _: &Bell) -> Wait {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, time::Duration};

    use super::{Bell, Notices, Wait};

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_written_to_the_log_is_noticed_and_nothing_else_of_the_directory() {
        let directory = tempfile::TempDir::new().unwrap();
        let (file, log) = (directory.path().join("a.db"), directory.path().join("a.db-wal"));
        fs::write(&file, "").unwrap();
        let (notices, bell) = (Notices::of(&file).unwrap(), Bell::new());
        for _ in 0..3 {
            // Also after the log was removed, as by the last connection that is closed.
            fs::write(&log, "a commit").unwrap();
            assert_eq!(notices.wait(LONG, &bell), Wait::Noticed);
            fs::remove_file(&log).unwrap();
            assert_eq!(notices.wait(LONG, &bell), Wait::Noticed);
        }
        fs::write(&file, "a copy of the log").unwrap();
        fs::write(directory.path().join("another"), "").unwrap();
        assert_eq!(notices.wait(SHORT, &bell), Wait::TimedOut);
        fs::rename(directory.path().join("another"), &file).unwrap();
        assert_eq!(notices.wait(LONG, &bell), Wait::Noticed);
        bell.ring();
        assert_eq!(notices.wait(LONG, &bell), Wait::TimedOut);
        fs::remove_file(&file).unwrap();
        fs::remove_dir(directory.path()).unwrap();
        assert_eq!(notices.wait(LONG, &bell), Wait::Ended);
    }

    #[test]
    fn the_log_lies_beside_the_file_that_a_link_leads_to() {
        let directory = tempfile::TempDir::new().unwrap();
        let there = directory.path().join("there");
        fs::create_dir(&there).unwrap();
        fs::write(there.join("a.db"), "").unwrap();
        let link = directory.path().join("link.db");
        std::os::unix::fs::symlink(there.join("a.db"), &link).unwrap();
        let notices = Notices::of(&link).unwrap();
        fs::write(there.join("a.db-wal"), "a commit").unwrap();
        assert_eq!(notices.wait(LONG, &Bell::new()), Wait::Noticed);
    }
}
