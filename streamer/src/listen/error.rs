//! Why a listening could not begin or go on.

use crate::{
    engine::{EngineError, EngineErrorKind, SubscribeError},
    entry::StreamName,
};

/// A listening that could not begin, or that ended because it could not go on.
///
/// Nothing is lost by it: what was read and not settled is pending in the group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No event was named, and no listener is registered.
    #[error("nothing to listen to: name an event, or register a listener")]
    NoEvents,
    /// An event was named that has no listener.
    #[error("There are no local listeners associated with '{0}' event in configuration.")]
    NoListeners(StreamName),
    /// Listeners were registered in a way that cannot be meant ([`Listeners::mistakes`](crate::Listeners::mistakes)), or an
    /// event has a name that is reserved ([`StreamName::check`]).
    #[error("{0}")]
    Mistake(String),
    /// An option makes no sense, or not together with another.
    #[error("{0}")]
    InvalidOption(&'static str),
    /// The store failed, and keep-alive is off or the failure does not pass by itself.
    #[error("listening ended: {0}")]
    Engine(#[source] EngineError),
    /// A part of the listening panicked or ended too early: a stage, or an application's code that is no listener
    /// (`on_report`, `permanent_if`, a `Key`, an `ArchiveStorage`). Other consumers can claim at once what was not settled.
    #[error("listening ended: {stage} {text}")]
    Stage {
        /// Which part.
        stage: &'static str,
        /// What happened to it.
        text: String,
    },
    /// The store failed and stayed away for as many attempts as keep-alive allows.
    #[error("listening ended after {attempts} attempts: {error}")]
    GaveUp {
        /// How many attempts failed in a row.
        attempts: u32,
        /// The last failure.
        #[source]
        error: EngineError,
    },
    /// Another process uses the consumer's name, and [`OnNameInUse::Refuse`](super::OnNameInUse::Refuse) was asked for.
    #[error(
        "consumer '{consumer}' of group '{group}' is being used on stream '{stream}' by another process: give each \
         process a name of its own, or none"
    )]
    NameInUse {
        /// The stream on which that was seen.
        stream: StreamName,
        /// The group.
        group: String,
        /// The consumer.
        consumer: String,
    },
}

impl From<SubscribeError> for ListenError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Engine(error) => Self::Engine(error),
            SubscribeError::GaveUp { attempts, error } => Self::GaveUp { attempts, error },
            SubscribeError::NameInUse { stream, member } => Self::NameInUse {
                stream,
                group: member.group,
                consumer: member.consumer,
            },
        }
    }
}

impl ListenError {
    /// What kind of failure the store had, when it was the store.
    #[must_use]
    pub fn engine_kind(&self) -> Option<EngineErrorKind> {
        match self {
            Self::Engine(error) | Self::GaveUp { error, .. } => Some(error.kind()),
            _ => None,
        }
    }
}
