//! What can go wrong when events are emitted.

use std::{error::Error as StdError, fmt};

use crate::{
    engine::{EngineError, EngineErrorKind},
    entry::{EntryId, StreamName},
    message::php_json,
};

/// An event that was not emitted. The text names it, and its stream, which has the same name.
#[derive(Debug)]
pub struct EmitError {
    stream: StreamName,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Encode(php_json::EncodeError),
    Engine(EngineError),
}

/// Why an [`EmitError`] happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EmitErrorKind {
    /// The payload has no JSON text. Nothing was sent.
    Encode,
    /// The engine refused, or could not be reached.
    Engine(EngineErrorKind),
}

impl EmitError {
    pub(crate) fn encode(stream: &StreamName, cause: php_json::EncodeError) -> Self {
        Self {
            stream: stream.clone(),
            cause: Cause::Encode(cause),
        }
    }

    pub(super) fn engine(stream: &StreamName, cause: EngineError) -> Self {
        Self {
            stream: stream.clone(),
            cause: Cause::Engine(cause),
        }
    }

    /// Why it happened.
    #[must_use]
    pub fn kind(&self) -> EmitErrorKind {
        match &self.cause {
            Cause::Encode(_) => EmitErrorKind::Encode,
            Cause::Engine(error) => EmitErrorKind::Engine(error.kind()),
        }
    }

    /// The stream, and the event, that it was about.
    #[must_use]
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Whether the event may have been written all the same: the connection broke before the answer came.
    #[must_use]
    pub fn may_be_written(&self) -> bool {
        self.kind() == EmitErrorKind::Engine(EngineErrorKind::Connection)
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not emit event '{0}' to stream '{0}': ", self.stream)?;
        match &self.cause {
            Cause::Encode(error) => write!(f, "its payload cannot be written as JSON: {error}"),
            Cause::Engine(error) if self.may_be_written() => {
                write!(f, "{}; it may have been written all the same", error.reason())
            }
            Cause::Engine(error) if error.kind() == EngineErrorKind::WrongType => write!(
                f,
                "{} (the key '{}' is no stream: it may be the history of a resource, which is kept in 'EVENT-IDENTIFIER'; give \
                 the event another name)",
                error.reason(),
                self.stream
            ),
            Cause::Engine(error) => f.write_str(error.reason()),
        }
    }
}

impl StdError for EmitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Cause::Encode(error) => Some(error),
            Cause::Engine(error) => Some(error),
        }
    }
}

/// A batch that broke. Positions count the batch's events from 0.
#[derive(Debug)]
#[non_exhaustive]
pub struct EmitAllError {
    /// What was written, and under which IDs, in the batch's order.
    pub written: Vec<(usize, EntryId)>,
    /// What was not written, and why.
    pub failed: Vec<(usize, EmitError)>,
    /// What may have been written: the connection broke before the answer came.
    pub unknown: Vec<(usize, EmitError)>,
    /// The first event that was not attempted, as all that follow it. It may be past the batch's end.
    pub not_attempted: usize,
}

impl fmt::Display for EmitAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            written,
            failed,
            unknown,
            not_attempted,
        } = self;
        write!(
            f,
            "could not emit the whole batch: {} events were written, {} failed, {} may have been written, those from \
             position {not_attempted} on were not attempted",
            written.len(),
            failed.len(),
            unknown.len(),
        )?;
        let first = failed.iter().chain(unknown).min_by_key(|(position, _)| *position);
        first.map_or(Ok(()), |(position, error)| {
            write!(f, "; at position {position}: {error}")
        })
    }
}

impl StdError for EmitAllError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let first = self
            .failed
            .iter()
            .chain(&self.unknown)
            .min_by_key(|(position, _)| *position);
        first.map(|(_, error)| error as _)
    }
}
