//! What can go wrong when events are emitted.

use std::{error::Error as StdError, fmt};

use crate::{
    engine::{EngineError, EngineErrorKind},
    entry::{EntryId, StreamName},
    message::php_json,
};

/// An emit that failed. The text names the event and its stream, which has the same name.
#[derive(Debug)]
pub struct EmitError {
    stream: StreamName,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Encode(php_json::EncodeError),
    Engine(EngineError),
    NotDurable(EntryId, EngineError),
}

/// Why an [`EmitError`] happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EmitErrorKind {
    /// The payload cannot be encoded as JSON. Nothing was sent.
    Encode,
    /// The store refused the event, or could not be reached. After a connection error nobody knows whether the event is
    /// written ([`EmitError::may_be_written`]).
    Engine(EngineErrorKind),
    /// The event is written, but it is not as durable as was requested ([`EmitOptions::replicas`](crate::EmitOptions::replicas),
    /// [`EmitOptions::flushed`](crate::EmitOptions::flushed)), or the store did not say so in time. [`EmitError::written_as`]
    /// names its entry.
    NotDurable,
}

impl EmitError {
    pub(crate) fn encode(stream: &StreamName, cause: php_json::EncodeError) -> Self {
        Self {
            stream: stream.clone(),
            cause: Cause::Encode(cause),
        }
    }

    pub(crate) fn engine(stream: &StreamName, cause: EngineError) -> Self {
        Self {
            stream: stream.clone(),
            cause: Cause::Engine(cause),
        }
    }

    pub(super) fn not_durable(stream: &StreamName, id: EntryId, cause: EngineError) -> Self {
        Self {
            stream: stream.clone(),
            cause: Cause::NotDurable(id, cause),
        }
    }

    /// The ID of the entry, if the event is written although the emit failed ([`EmitErrorKind::NotDurable`]). Listeners get
    /// it.
    #[must_use]
    pub fn written_as(&self) -> Option<EntryId> {
        match &self.cause {
            Cause::NotDurable(id, _) => Some(*id),
            _ => None,
        }
    }

    /// Why it happened.
    #[must_use]
    pub fn kind(&self) -> EmitErrorKind {
        match &self.cause {
            Cause::Encode(_) => EmitErrorKind::Encode,
            Cause::Engine(error) => EmitErrorKind::Engine(error.kind()),
            Cause::NotDurable(..) => EmitErrorKind::NotDurable,
        }
    }

    /// The stream of the event, which has the event's name.
    #[must_use]
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Whether the event may be written although the emit failed: the connection broke before the reply came.
    #[must_use]
    pub fn may_be_written(&self) -> bool {
        self.kind() == EmitErrorKind::Engine(EngineErrorKind::Connection)
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Cause::NotDurable(id, error) = &self.cause {
            return write!(
                f,
                "event '{0}' is written to stream '{0}' as {id}, but not yet as safe as was asked: {1}. Do not emit it again: \
                 listeners get it",
                self.stream,
                error.reason()
            );
        }
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
            Cause::Engine(error) | Cause::NotDurable(_, error) => f.write_str(error.reason()),
        }
    }
}

impl StdError for EmitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Cause::Encode(error) => Some(error),
            Cause::Engine(error) | Cause::NotDurable(_, error) => Some(error),
        }
    }
}

/// An [`emit_all`](crate::Streamer::emit_all) that failed. Positions count the events from 0.
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
