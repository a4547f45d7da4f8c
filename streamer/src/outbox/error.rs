//! What can go wrong between the application's database and the streams.

use std::{io, path::PathBuf, time::Duration};

use super::Dialect;
use crate::{
    engine::EngineError,
    shown_url::{encoding_hint, shown_url},
    sql_error::in_words,
};

/// What went wrong with an outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The URL's scheme names no database that is known, or it cannot be read. What it holds is the URL without secrets.
    #[error("could not open the outbox: '{0}' is no URL of a database; use postgres://, mysql:// or sqlite://FILE{1}")]
    UnknownDatabase(String, &'static str),
    /// The program was built without the client of this database.
    #[error("could not open the outbox: this program was built without {0}; build it with the cargo feature `{feature}`", feature = .0.feature())]
    NotBuiltIn(Dialect),
    /// The database could not be reached. The text is the URL without secrets.
    #[error("could not connect to the outbox's database {0}: {reason}", reason = in_words(.1))]
    Connect(String, #[source] sqlx::Error),
    /// The SQLite file could not be opened, or is none. The texts are the URL without secrets, and why and what to do.
    #[error("could not open the outbox's database {0}: {1}")]
    File(String, String, #[source] sqlx::Error),
    /// The tables are missing.
    #[error(
        "the outbox's database has no table to {0}: {reason}; `streamer outbox migrate` creates the tables, `--print` shows them",
        reason = in_words(.1)
    )]
    NoTables(&'static str, #[source] sqlx::Error),
    /// The database, which could be reached before, is away.
    #[error("could not reach the outbox's database to {0}: {reason}", reason = in_words(.1))]
    Unreachable(&'static str, #[source] sqlx::Error),
    /// The database did not answer in time.
    #[error("the outbox's database did not answer within {1:?}, asked to {0}")]
    Silent(&'static str, Duration),
    /// Others kept the database locked for longer than a statement waits.
    #[error("the outbox's database is busy: it could not {0} in time: {reason}", reason = in_words(.1))]
    Busy(&'static str, #[source] sqlx::Error),
    /// The database refused a statement.
    #[error("the outbox's database refused to {0}: {reason}{hint}", reason = in_words(.1), hint = hint(.1))]
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
    pub(super) fn unknown(url: &str) -> Self {
        Self::UnknownDatabase(shown_url(url), encoding_hint(url))
    }

    pub(super) fn of(attempted: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |error| {
            if is_missing_table(&error) {
                Self::NoTables(attempted, error)
            } else if is_away(&error) {
                Self::Unreachable(attempted, error)
            } else if is_busy(&error) {
                Self::Busy(attempted, error)
            } else {
                Self::Database(attempted, error)
            }
        }
    }

    /// Whether the database cannot be reached or is busy, rather than refusing: the same may succeed later.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Connect(..)
                | Self::File(..)
                | Self::LocksLost
                | Self::Unreachable(..)
                | Self::Silent(..)
                | Self::Busy(..)
        )
    }
}

/// Whether nobody answered, or somebody who is about to end or has just begun.
fn is_away(error: &sqlx::Error) -> bool {
    use sqlx::Error;
    match error {
        // `Protocol`: a connection that is cut while it is made.
        Error::Io(_) | Error::PoolTimedOut | Error::Tls(_) | Error::WorkerCrashed | Error::Protocol(_) => true,
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // PostgreSQL: ended by an administrator, crashed, starting, too many clients. Both: class 08, a broken connection;
            // MariaDB sends it when it ends.
            ["57P01", "57P02", "57P03", "53300"].contains(&&*code) || code.len() == 5 && code.starts_with("08")
        }
        _ => false,
    }
}

/// SQLite: another connection holds the lock (5, with its extended codes 261, 517 and 773), or one of this process (6, 262).
/// PostgreSQL: a lock was not available, a deadlock, a serialization failure. MySQL: the last two, and a lock's time-out, which
/// has only the general code.
fn is_busy(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    let code = error.code().unwrap_or_default();
    ["5", "261", "517", "773", "6", "262", "55P03", "40P01", "40001"].contains(&&*code)
        || error.message().starts_with("Lock wait timeout exceeded")
}

/// PostgreSQL's and MySQL's codes; SQLite has none of its own for it.
fn is_missing_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    let code = error.code();
    ["42P01", "42S02", "1146"].contains(&code.as_deref().unwrap_or_default())
        || error.message().starts_with("no such table")
}

/// What to do where the server does not say it.
fn hint(error: &sqlx::Error) -> &'static str {
    let sqlx::Error::Database(error) = error else {
        return "";
    };
    match error.message() {
        message if message.ends_with("readonly database") => {
            "; this user must be able to write the file and its directory"
        }
        // PostgreSQL: "permission denied for table …"; MySQL: "INSERT command denied to user …", "Access denied for user …".
        message if message.contains(" denied ") => {
            "; docs/transactions.md says, under Permissions, what this user must be allowed"
        }
        _ => "",
    }
}
