//! Opens the file: who may use it, and how it is kept.

use std::{
    io::ErrorKind,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    address::Address,
    checkpoint,
    failure::{Failure, Step},
    layout, read_only,
};
use crate::{
    engine::EngineErrorKind,
    sqlite_file::{self, Obstacle},
};

/// How soon a file that another process is busy with is tried again.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(1);

/// The connection that writes. Makes the file and its tables where they are missing.
pub(super) fn open_writer(address: &Address) -> Step<Connection> {
    let mut connection = connect(address, OpenFlags::SQLITE_OPEN_CREATE)?;
    if let Some(path) = &address.path {
        if connection.is_readonly(rusqlite::MAIN_DB)? {
            return Err(Failure::refused(
                EngineErrorKind::Permission,
                format!("{} is read-only: give this user the right to write it", path.display()),
            ));
        }
        // Before anything is changed: the file may not be for this program.
        patiently(address, || layout::inspect(&connection, path))?;
        // Two processes that create one file get in each other's way here, and SQLite itself does not wait then.
        patiently(address, || Ok(connection.pragma_update(None, "journal_mode", "wal")?))?;
        connection.pragma_update(None, "journal_size_limit", checkpoint::LARGEST_AT_REST)?;
    }
    // With `normal` a commit is safe from the death of the process, with `full` also from that of the machine.
    connection.pragma_update(None, "synchronous", if address.full_sync { "full" } else { "normal" })?;
    let path = address.path.as_deref().unwrap_or(Path::new("memory:"));
    patiently(address, || layout::prepare(&mut connection, path))?;
    Ok(connection)
}

/// A connection that only looks.
pub(super) fn open_reader(address: &Address) -> Step<Connection> {
    if let (true, Some(path)) = (address.read_only, &address.path) {
        let connection = read_only::connect(path)?;
        let reason = match patiently(address, || layout::inspect(&connection, path))? {
            layout::Found::Current => return Ok(connection),
            layout::Found::Nothing => "has no streams yet",
            layout::Found::Layout1 => {
                "was written by an older version of Streamer: open it once with a command that may write, such as `emit`"
            }
        };
        return Err(Failure::unreachable(format!("{} {reason}", path.display())));
    }
    let connection = connect(address, OpenFlags::empty())?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Closes a connection of this process, one at a time: of two that close at once, each would leave it to the other to
/// remove the log.
pub(super) fn close(connection: Connection) {
    static CLOSING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
    drop(connection);
}

/// Closes a connection to a file that is not the one at its path any more: nothing is copied into what is there.
pub(super) fn abandon(connection: Connection) {
    if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        tracing::debug!("a connection to a file that was replaced is closed as any other: {error}");
    }
    close(connection);
}

fn connect(address: &Address, more: OpenFlags) -> Step<Connection> {
    let connection = match &address.path {
        None => Connection::open_in_memory()?,
        Some(path) => {
            // Not `SQLITE_OPEN_URI`, which would give some file names a meaning.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
            Connection::open_with_flags(path, flags).map_err(|error| cannot_open(path, error))?
        }
    };
    // The thread that owns the connection waits by itself: in shorter steps than SQLite does, and once for all callers.
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

pub(super) fn cannot_open(path: &Path, error: rusqlite::Error) -> Failure {
    let Some(Obstacle { kind, reason }) = sqlite_file::obstacle(path) else {
        return Failure::from(error);
    };
    match kind {
        ErrorKind::IsADirectory => Failure::refused(EngineErrorKind::InvalidInput, reason),
        ErrorKind::PermissionDenied => Failure::not_allowed(reason),
        _ => Failure::unreachable(reason),
    }
}

/// Repeats a step until no other process is in its way, as long as the address allows.
pub(super) fn patiently<T>(address: &Address, mut step: impl FnMut() -> Step<T>) -> Step<T> {
    let started = Instant::now();
    loop {
        match step() {
            Err(failure) if failure.is_busy() && started.elapsed() < address.busy_timeout => thread::sleep(TRY_AGAIN),
            done => return done,
        }
    }
}
