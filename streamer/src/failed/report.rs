//! What a retry tells while it runs, and at its end.

use std::fmt;

use super::{FailedMessage, InvalidFailedMessage};
use crate::entry::{EntryId, StreamName};

/// Something that happened in a retry. The text ([`Display`](fmt::Display)) is one line for an operator.
#[derive(Debug)]
#[non_exhaustive]
pub enum RetryReport<'a> {
    /// The listener handled the message; the failure has left the list.
    Retried(&'a FailedMessage),
    /// The listener failed again; the failure stays in the list.
    FailedAgain {
        /// The failure as it was listed before.
        failed: &'a FailedMessage,
        /// Why it failed this time.
        error: &'a str,
    },
    /// It could not be tried and stays in the list.
    Skipped {
        /// The failure.
        failed: &'a FailedMessage,
        /// Why.
        reason: &'a Skipped,
    },
    /// A member of the list that is no record; it stays.
    Unreadable(&'a InvalidFailedMessage),
    /// A message was deleted from its stream after its last failure was retried.
    Purged {
        /// The stream.
        stream: &'a StreamName,
        /// The message.
        id: EntryId,
    },
    /// A message went from its stream to the archive after its last failure was retried.
    Archived {
        /// The stream.
        stream: &'a StreamName,
        /// The message.
        id: EntryId,
    },
    /// A message could not be archived and stays on its stream.
    NotArchived {
        /// The stream.
        stream: &'a StreamName,
        /// The message.
        id: EntryId,
        /// Why.
        error: &'a str,
    },
    /// So many members of the list were looked at.
    Progress {
        /// So far.
        looked_at: u64,
        /// Of about so many.
        listed: u64,
    },
}

impl fmt::Display for RetryReport<'_> {
    // Where laravel-streamer has a line, it is this one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retried(failed) => write!(
                f,
                "Successfully retried [{}] on {} stream by [{}] listener",
                failed.id, failed.stream, failed.receiver
            ),
            Self::FailedAgain { failed, error } => write!(
                f,
                "Failed to retry [{}] on {} stream by [{}] listener. Error: {error}",
                failed.id, failed.stream, failed.receiver
            ),
            Self::Skipped { failed, reason } => write!(
                f,
                "Skipped [{}] on {} stream by [{}] listener: {reason}",
                failed.id, failed.stream, failed.receiver
            ),
            Self::Unreadable(error) => write!(f, "Skipped: {error}"),
            Self::Purged { stream, id } => write!(f, "Message [{id}] has been purged from the '{stream}' stream."),
            Self::Archived { stream, id } => write!(f, "Message [{id}] has been archived from the '{stream}' stream."),
            Self::NotArchived { stream, id, error } => {
                write!(
                    f,
                    "Message [{id}] from the '{stream}' stream could not be archived. Error: {error}"
                )
            }
            Self::Progress { looked_at, listed } => write!(f, "Looked at {looked_at} of {listed} failures."),
        }
    }
}

/// Why a failure was not tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Skipped {
    /// The event has no listener of that name here.
    #[error("this program has no such listener; retry it where the listener is, or forget the failure")]
    UnknownReceiver,
    /// Neither the stream nor the archive has the message.
    #[error("the message is no longer there; forget the failure, or restore the message")]
    MessageGone,
    /// What the record has for an ID is none.
    #[error("its ID is not an entry ID; forget the failure")]
    InvalidId,
    /// The store has something else where the message should be.
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
    /// Another retry is at work on the message.
    #[error("another retry is at work on this message")]
    Busy,
    /// It has left the list since this retry began.
    #[error("it was settled elsewhere and is not listed any more")]
    Settled,
    /// The archive could not be asked.
    #[error("the archive could not be searched: {0}")]
    Archive(String),
}

/// What a retry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetrySummary {
    /// How many failures were handled and left the list.
    pub retried: u64,
    /// How many failed again and stay.
    pub failed_again: u64,
    /// How many could not be tried, or read, and stay.
    pub skipped: u64,
    /// How many were skipped because another retry was at work on them, or had settled them.
    pub elsewhere: u64,
    /// How many messages were deleted from their streams.
    pub purged: u64,
    /// How many messages went to the archive.
    pub archived: u64,
}
