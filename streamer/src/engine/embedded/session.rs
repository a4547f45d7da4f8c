//! An open connection, and the file that it is open on.
//!
//! A file that is deleted or replaced while it is open lives on, unseen, until the last connection to it is closed. What
//! is committed to it then is lost to everybody. So each transaction ends with a look at what lies at the path: another
//! file there fails the transaction, and the next one opens that file.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use rusqlite::Connection;

use super::{
    address::Address,
    checkpoint::Checkpoints,
    failure::{Failure, Step},
    room::Room,
    store,
};

/// How often another file may appear at the path while it is being opened.
const OPENINGS: usize = 100;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Look,
}

impl Purpose {
    /// Begins a transaction.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Write => "BEGIN IMMEDIATE",
            Self::Look => "BEGIN",
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
pub(super) struct Replacements(AtomicU64);

impl Replacements {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Counts one that was noticed by a session from the time after `known`; several may notice the same.
    fn noticed(&self, known: u64) {
        _ = self
            .0
            .compare_exchange(known, known + 1, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// An open connection.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// Looks after the log; for the connection that writes to a file.
    pub(super) checkpoints: Option<Checkpoints>,
    /// How much may be appended; where that is limited.
    pub(super) room: Option<Room>,
    file: Option<FileId>,
    replacements: u64,
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
        let replacements = replacements.count();
        let (connection, file) = match &address.path {
            Some(path) => open_file(path, || purpose.open(address))?,
            None => (purpose.open(address)?, None),
        };
        let writes = purpose == Purpose::Write;
        Ok(Self {
            checkpoints: (writes && address.path.is_some()).then(|| Checkpoints::of(&connection, address)),
            room: if writes { Room::of(&connection, address)? } else { None },
            connection,
            file,
            replacements,
        })
    }

    /// Opens the file that is there now, and makes it where there is none.
    pub(super) fn open_again(address: &Address, purpose: Purpose, replacements: &Replacements) -> Step<Self> {
        if purpose == Purpose::Look {
            // A connection that only looks makes neither the file nor its tables.
            store::close(store::open_writer(address)?);
        }
        Self::open_once(address, purpose, replacements)
    }

    /// Whether another session found the file replaced that this one is open on.
    pub(super) fn is_outdated(&self, replacements: &Replacements) -> bool {
        self.replacements != replacements.count()
    }

    /// An error if the file at the path is not the one that this connection is open on.
    pub(super) fn check_file(&self, address: &Address, replacements: &Replacements) -> Step<()> {
        let Some(path) = &address.path else { return Ok(()) };
        if self.file == FileId::at(path) && (self.file.is_some() || !FileId::IS_KNOWN) {
            return Ok(());
        }
        replacements.noticed(self.replacements);
        Err(Failure::replaced(path))
    }

    pub(super) fn close(self) {
        // The thread that copies the log has a connection, too: both close.
        drop(self.checkpoints);
        store::close(self.connection);
    }
}

/// Opens until the file at the path was the same before and after, so that it is known which one it is. A connection does
/// not tell which file it has open.
fn open_file(path: &Path, open: impl Fn() -> Step<Connection>) -> Step<(Connection, Option<FileId>)> {
    let mut before = FileId::at(path);
    for _ in 0..OPENINGS {
        let connection = open()?;
        let after = FileId::at(path);
        if before == after && (after.is_some() || !FileId::IS_KNOWN) {
            return Ok((connection, after));
        }
        store::close(connection);
        before = after;
    }
    Err(Failure::replaced(path))
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
