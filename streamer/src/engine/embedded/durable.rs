//! Appends whose commit is flushed to the device although the store's others are not.
//!
//! With `synchronous=normal` SQLite flushes its log only when it is copied into the database. What was committed is in the log
//! or, flushed, in the database: so it is enough to flush the log. The database file itself must not be opened here: the
//! system drops all of a process's locks on a file when it closes any handle of it, and SQLite holds one.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::EmbeddedEngine;
use crate::engine::{
    Append, Durability, DurableAppend, Engine, EngineError, EngineErrorKind, EngineResult, Record,
    durability::not_durable,
};

pub(super) async fn append(
    engine: &EmbeddedEngine,
    append: Append,
    record: Option<Record>,
    durability: Durability,
) -> EngineResult<DurableAppend> {
    durability.check(&append.stream)?;
    let stream = append.stream.clone();
    let unsupported = |reason: &str| {
        let attempted = format!("append to stream '{stream}'");
        EngineError::new(EngineErrorKind::Unsupported, attempted, reason)
    };
    if durability.replicas > 0 {
        return Err(unsupported("an embedded store has no replicas; ask for a flush only"));
    }
    let path = engine.0.write.path().map(Path::to_owned);
    if durability.flushed && path.is_none() {
        return Err(unsupported(
            "a store in memory is on no device; use a file (sqlite://…)",
        ));
    }
    let id = match record {
        Some(record) => engine.append_recorded(append, record).await?.id,
        None => Engine::append(engine, append).await?,
    };
    let reached = match path.filter(|_| durability.flushed) {
        None => Ok(()),
        Some(path) => {
            let flushed = tokio::task::spawn_blocking(move || flush_log(&path)).await;
            let flushed = flushed.unwrap_or_else(|_| Err(io::Error::other("the flush was cut off")));
            flushed.map_err(|error| not_durable(&stream, id, format!("its log cannot be flushed: {error}")))
        }
    };
    Ok(DurableAppend { id, reached })
}

/// Flushes the log of a database, and the folder in which it is.
fn flush_log(database: &Path) -> io::Result<()> {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    match File::open(PathBuf::from(log)) {
        Ok(log) => log.sync_all()?,
        // Copied into the database and removed: then it was flushed there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    #[cfg(unix)]
    if let Some(folder) = database.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
