//! Opens a SQLite file that this user may not write.
//!
//! SQLite keeps two files beside one in WAL mode, and cannot read it without them. While another process has the file
//! open, or has left it without closing it, they are there and are read with it. Where there is no log, no process has the
//! file open: it is read as a file that nobody changes (`immutable`), and nothing is made beside it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Where SQLite keeps the log of a file.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    PathBuf::from(log)
}

/// A connection that reads the file as it is now, with its log.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match (log_of(path).exists(), path.to_str()) {
        (false, Some(text)) => {
            let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let uri = format!("file:{escaped}?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        }
        _ => Connection::open_with_flags(path, flags)?,
    };
    // The log is opened with the first statement, not before.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// What to say when the log cannot be read without the right to write the directory; `None` for other failures.
pub(crate) fn explain(path: &Path, error: &rusqlite::Error) -> Option<String> {
    let log = log_of(path);
    let needs_the_directory = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    ) && log.exists();
    needs_the_directory.then(|| {
        format!(
            "{} has changes in its log ({}), which this user cannot read without the right to write the directory: give it \
             that right, or copy the file with all that lies beside it elsewhere",
            path.display(),
            log.display()
        )
    })
}
