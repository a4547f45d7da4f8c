//! An open connection, and the file that it is open on.
//!
//! A file that is deleted or replaced while it is open lives on, unseen, until the last connection to it is closed. What
//! is committed to it then is lost to everybody. So each transaction ends with a look at what lies at the path: another
//! file there fails the transaction, and the next one opens that file. The log is looked at in the same way: who puts a
//! backup in place may remove the log and write over the file.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rusqlite::Connection;

use super::{
    address::Address,
    checkpoint::Checkpoints,
    failure::{Failure, Step},
    inserts::Kept,
    room::Room,
    store,
};
pub(super) use crate::read_only_file::log_of;

/// How often another file may appear at the path while it is being opened.
const OPENINGS: usize = 100;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Look,
}

/// When a transaction begins to hold up other writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locks {
    /// From its begin on: what it has read cannot be outdated when it writes.
    AtOnce,
    /// From its first change on, which fails as busy if something was committed since its first look.
    WithFirstChange,
}

impl Locks {
    /// Begins a transaction.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::AtOnce => "BEGIN IMMEDIATE",
            Self::WithFirstChange => "BEGIN",
        }
    }
}

impl Purpose {
    /// How a transaction begins, if it is not said otherwise.
    pub(super) fn locks(self) -> Locks {
        match self {
            Self::Write => Locks::AtOnce,
            Self::Look => Locks::WithFirstChange,
        }
    }

    fn open(self, address: &Address) -> Step<Connection> {
        match self {
            Self::Write => store::open_writer(address),
            Self::Look => store::open_reader(address),
        }
    }
}

/// How often the file at the path was found to be another one, by anybody in this engine.
#[derive(Debug, Default)]
pub(super) struct Replacements {
    count: AtomicU64,
    /// The file that sessions are open on since the last one; `None` until the first is.
    file: Mutex<Option<FileId>>,
}

impl Replacements {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// A session was opened on a file, which may be another one than those of other sessions. Gives the count with it.
    fn opened(&self, file: FileId) -> u64 {
        let mut known = self.known();
        if known.is_some_and(|known| known != file) {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        *known = Some(file);
        self.count()
    }

    /// A session from the time after so many found the file replaced; several may notice the same.
    fn noticed(&self, count: u64) {
        let mut known = self.known();
        if self.count() == count {
            self.count.fetch_add(1, Ordering::AcqRel);
            *known = None;
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<FileId>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// Looks after the log; for the connection that writes to a file.
    pub(super) checkpoints: Option<Checkpoints>,
    /// How much may be appended; where that is limited.
    pub(super) room: Option<Room>,
    /// Empty between two transactions.
    pub(super) kept: Kept,
    files: Option<Files>,
    replacements: u64,
}

/// What a connection is open on.
struct Files {
    file: FileId,
    log_path: PathBuf,
    /// Known after the first transaction that opens it. It stays as long as anybody has the file open.
    log: Option<FileId>,
    /// How the file was before it was opened as one that nobody changes; see [`Content::of_unchanging`].
    content: Option<Content>,
}

impl Session {
    /// Opens the file for the first time.
    pub(super) fn open(address: &Address, purpose: Purpose, replacements: &Replacements) -> Step<Self> {
        match Self::open_once(address, purpose, replacements) {
            Err(failure) if failure.needs_another_look() => {
                Self::open_once(address, purpose, replacements).map_err(Failure::for_certain)
            }
            opened => opened,
        }
    }

    fn open_once(address: &Address, purpose: Purpose, replacements: &Replacements) -> Step<Self> {
        let (connection, files) = match &address.path {
            Some(path) if FileId::IS_KNOWN => {
                let log_path = log_of(path);
                let (connection, (file, log, content)) = open_file(address, path, &log_path, purpose)?;
                let files = Files {
                    file,
                    log_path,
                    log,
                    content,
                };
                (connection, Some(files))
            }
            _ => (purpose.open(address)?, None),
        };
        let writes = purpose == Purpose::Write;
        Ok(Self {
            checkpoints: (writes && address.path.is_some()).then(|| Checkpoints::of(&connection, address)),
            room: if writes { Room::of(&connection, address)? } else { None },
            kept: Kept::default(),
            connection,
            replacements: match &files {
                Some(files) => replacements.opened(files.file),
                None => replacements.count(),
            },
            files,
        })
    }

    /// Opens the file that is there now, and makes it where there is none.
    pub(super) fn open_again(address: &Address, purpose: Purpose, replacements: &Replacements) -> Step<Self> {
        if purpose == Purpose::Look && !address.read_only {
            // A connection that only looks makes neither the file nor its tables.
            store::close(store::open_writer(address)?);
        }
        Self::open_once(address, purpose, replacements)
    }

    /// Whether another session found the file replaced that this one is open on.
    pub(super) fn is_outdated(&self, replacements: &Replacements) -> bool {
        self.replacements != replacements.count()
    }

    /// An error if the file at the path is not the one that this connection is open on. To be called after each transaction.
    pub(super) fn check_file(&mut self, address: &Address, replacements: &Replacements) -> Step<()> {
        let (Some(path), Some(files)) = (&address.path, &mut self.files) else {
            return Ok(());
        };
        let log = FileId::at(&files.log_path);
        // A read-only file without a log is read as one that nobody changes. A log that appears ends that.
        if !address.read_only {
            files.log = files.log.or(log);
        }
        let is_unchanged = log == files.log && Content::of_unchanging(address, path, log) == files.content;
        match (FileId::at(path) == Some(files.file), is_unchanged) {
            (true, true) => return Ok(()),
            (true, false) if address.read_only => return Err(Failure::log_changed(path)),
            _ => {}
        }
        replacements.noticed(self.replacements);
        Err(Failure::replaced(path))
    }

    /// What was known of the file is not true any more, though it is the same file.
    pub(super) fn forget_file(&self, replacements: &Replacements) {
        replacements.noticed(self.replacements);
    }

    /// Closes the connection, and the one of the thread that copies the log.
    pub(super) fn close(self, replacements: &Replacements) {
        drop(self.checkpoints);
        if self.replacements == replacements.count() {
            store::close(self.connection);
        } else {
            store::abandon(self.connection);
        }
    }
}

/// A file, the log beside it where that matters at the opening, and what the file held before.
type Found = (FileId, Option<FileId>, Option<Content>);

/// Opens until the file at the path was the same before and after, so that it is known which one it is. A connection does
/// not tell which file it has open. Whether there is a log says how a file is opened that may only be read.
fn open_file(address: &Address, path: &Path, log_path: &Path, purpose: Purpose) -> Step<(Connection, Found)> {
    let look = || {
        let log = if address.read_only { FileId::at(log_path) } else { None };
        (FileId::at(path), log)
    };
    let mut before = look();
    for _ in 0..OPENINGS {
        let content = Content::of_unchanging(address, path, before.1);
        let connection = purpose.open(address)?;
        let after = look();
        match after {
            (Some(file), log) if before == after => return Ok((connection, (file, log, content))),
            _ => store::close(connection),
        }
        before = after;
    }
    Err(Failure::replaced(path))
}

/// How old a time must be for a later change to have another one: a file's time is coarse.
const SETTLED: Duration = Duration::from_millis(50);

/// What changes with the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    bytes: u64,
    modified: SystemTime,
    /// Whether no change after this look can have the same time. It differs from that of a look a moment later, so what was
    /// read is read once more.
    is_settled: bool,
}

impl Content {
    /// That of a file that may only be read and has no log. SQLite reads it as one that nobody changes and notices nothing, not
    /// even that a process has opened the file, written, and closed it with its log.
    pub(super) fn of_unchanging(address: &Address, path: &Path, log: Option<FileId>) -> Option<Self> {
        if !address.read_only || log.is_some() {
            return None;
        }
        let metadata = path.metadata().ok()?;
        let modified = metadata.modified().ok()?;
        Some(Self {
            bytes: metadata.len(),
            modified,
            is_settled: modified.elapsed().is_ok_and(|age| age >= SETTLED),
        })
    }
}

/// Which file lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Whether the system tells.
    pub(super) const IS_KNOWN: bool = cfg!(unix);

    /// `None` where there is none, or the system does not tell.
    #[cfg(unix)]
    pub(super) fn at(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;

        let metadata = path.metadata().ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    #[cfg(not(unix))]
    pub(super) fn at(_: &Path) -> Option<Self> {
        None
    }
}
