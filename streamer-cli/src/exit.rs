//! How a command ends: exit codes, and the one line that says what went wrong.

use std::{error::Error as StdError, fmt, io, process::ExitCode};

use streamer::{
    ListenError,
    archive::{ArchiveError, ArchiveErrorKind, TransferError},
    engine::{EngineError, EngineErrorKind},
};

/// The exit codes, as `--help` and `docs/cli.md` document them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Archive = 4,
    Aborted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What ended a command, in words for the person who ran it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Nothing is said when it is `None`: the reader of our output went away, or it was said already.
    pub(crate) text: Option<String>,
}

pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            text: Some(text.into()),
        }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            text: Some(text.into()),
        }
    }

    pub(crate) fn aborted() -> Self {
        Self {
            exit: Exit::Aborted,
            text: Some("interrupted".to_owned()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or_default())
    }
}

/// The exit code of an engine's error.
pub(crate) fn exit_of(kind: EngineErrorKind) -> Exit {
    match kind {
        // A server that refuses to talk (NOAUTH, WRONGPASS, LOADING, too many clients) cannot be used either.
        EngineErrorKind::Connection
        | EngineErrorKind::Unavailable
        | EngineErrorKind::Moved
        | EngineErrorKind::Permission => Exit::Unreachable,
        EngineErrorKind::InvalidInput => Exit::Usage,
        _ => Exit::Failed,
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self {
            exit: archive_behind(&error).unwrap_or_else(|| exit_of(error.kind())),
            text: Some(error.to_string()),
        }
    }
}

#[cfg(feature = "outbox")]
impl From<streamer::outbox::OutboxError> for Failure {
    fn from(error: streamer::outbox::OutboxError) -> Self {
        use streamer::outbox::OutboxError;

        let exit = match &error {
            OutboxError::Engine(error) => exit_of(error.kind()),
            OutboxError::UnknownDatabase(..) | OutboxError::NotBuiltIn(_) => Exit::Usage,
            error if error.is_unreachable() => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self {
            exit,
            text: Some(error.to_string()),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        Self {
            exit: exit_of_archive(&error),
            text: Some(error.to_string()),
        }
    }
}

fn exit_of_archive(error: &ArchiveError) -> Exit {
    match error.kind() {
        ArchiveErrorKind::InvalidInput => Exit::Usage,
        _ => Exit::Archive,
    }
}

/// The exit code of an archive's error that caused this one, if one did. To a listening a failing archive is a store
/// that fails; whoever reads the exit code must know which of both it was.
fn archive_behind(error: &(dyn StdError + 'static)) -> Option<Exit> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(archive) = error.downcast_ref() {
            return Some(exit_of_archive(archive));
        }
        cause = error.source();
    }
    None
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Engine(error) => error.into(),
            TransferError::Archive(error) => error.into(),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let exit = archive_behind(&error).unwrap_or_else(|| match (&error, error.engine_kind()) {
            (_, Some(kind)) => exit_of(kind),
            (ListenError::InvalidOption(_) | ListenError::Mistake(_), None) => Exit::Usage,
            _ => Exit::Failed,
        });
        Self {
            exit,
            text: Some(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    /// For writing to stdout. A pipe that was closed by its reader (`… | head`) is a quiet end, not an error.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                exit: Exit::Done,
                text: None,
            };
        }
        Self::failed(format!("could not write the output: {error}"))
    }
}
