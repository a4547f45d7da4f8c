//! What can go wrong between the application's database and the streams.

use std::{io, path::PathBuf};

use super::Dialect;
use crate::engine::EngineError;

/// What went wrong with an outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The URL's scheme names no database that is known.
    #[error("could not open the outbox: '{0}' is no database; use postgres://, mysql:// or sqlite://")]
    UnknownDatabase(String),
    /// The database could not be reached.
    #[error("could not connect to the outbox's database ({0:?}): {1}")]
    Connect(Dialect, #[source] sqlx::Error),
    /// The database refused a statement.
    #[error("the outbox's database refused to {0}: {1}")]
    Database(&'static str, #[source] sqlx::Error),
    /// The file that keeps relays of one SQLite database apart could not be locked.
    #[error("could not lock '{0}', which keeps relays of one database apart: {1}")]
    Lock(PathBuf, #[source] io::Error),
    /// The connection that held this relay's locks broke.
    #[error("the connection that holds this relay's locks broke")]
    LocksLost,
    /// The streams could not be reached.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such row.
    #[error(
        "there is no event '{0}' in the outbox, or it is not blocked: `streamer outbox status` lists those that are"
    )]
    NotBlocked(String),
}

impl OutboxError {
    pub(super) fn connect(dialect: Dialect, error: sqlx::Error) -> Self {
        Self::Connect(dialect, error)
    }

    pub(super) fn of(attempted: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |error| Self::Database(attempted, error)
    }
}
