//! What a listening tells while it runs, and at its end.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{ListenError, guarded::guarded, poison};
use crate::{
    engine::EngineError,
    entry::{EntryId, StreamName},
    message::ReceivedMessage,
};

/// Something that happened while listening. The text ([`Display`](fmt::Display)) is one line for an operator.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report<'a> {
    /// The groups exist, the first read is about to begin.
    Started {
        /// The streams listened to.
        streams: &'a [StreamName],
        /// The group and the consumer, when there is a group.
        group: Option<(&'a str, &'a str)>,
    },
    /// A listener handled a message.
    Processed {
        /// The message.
        message: &'a ReceivedMessage,
        /// The listener's name.
        listener: &'a str,
        /// How long it waited and took; `None` where no function is told, only the log ([`Timing`]).
        timing: Option<Timing>,
    },
    /// A listener failed, panicked or took too long.
    Failed {
        /// The message.
        message: &'a ReceivedMessage,
        /// The listener's name.
        listener: &'a str,
        /// Why.
        error: &'a str,
        /// How long it waited and took; `None` where no function is told, only the log ([`Timing`]).
        timing: Option<Timing>,
    },
    /// A listener failed, panicked or took too long, and will be tried again.
    RetryLater {
        /// The message.
        message: &'a ReceivedMessage,
        /// The listener's name.
        listener: &'a str,
        /// Why.
        error: &'a str,
        /// Which attempt failed, from 1 on.
        attempt: u64,
        /// In how long the next one comes, at the earliest.
        delay: Duration,
        /// How long it waited and took; `None` where no function is told, only the log ([`Timing`]).
        timing: Option<Timing>,
    },
    /// Pending messages are handled here now. A message that was claimed before its next attempt was due is told when that
    /// attempt comes, as one of this consumer.
    Recovered {
        /// The stream.
        stream: &'a StreamName,
        /// How many.
        count: usize,
        /// Whether they were pending with another consumer, which left them idle, and not with this one.
        claimed: bool,
    },
    /// Pending messages whose entries were deleted from the stream: nobody can handle them any more. They leave the
    /// pending entries list.
    Gone {
        /// The stream.
        stream: &'a StreamName,
        /// Their IDs.
        ids: &'a [EntryId],
    },
    /// The lease of messages was lost: another consumer claimed them while this process stood still. They may be
    /// handled twice.
    LeaseLost {
        /// The stream.
        stream: &'a StreamName,
        /// Their IDs.
        ids: &'a [EntryId],
        /// For how long this process ran none of its own tasks shortly before, where that is why: a listener blocked the
        /// runtime (blocking work belongs into `tokio::task::spawn_blocking`), or the process or its machine was halted.
        stood_still: Option<Duration>,
    },
    /// A message that was handled is in the archive and no longer on its stream.
    Archived {
        /// The stream.
        stream: &'a StreamName,
        /// Its ID.
        id: EntryId,
    },
    /// A message that was handled is no longer on its stream.
    Purged {
        /// The stream.
        stream: &'a StreamName,
        /// Its ID.
        id: EntryId,
    },
    /// Messages were pending with nobody although their leases were valid: somebody destroyed the group or deleted this
    /// consumer. They are pending with this consumer again, and handled here.
    Orphaned {
        /// The stream.
        stream: &'a StreamName,
        /// Their IDs.
        ids: &'a [EntryId],
    },
    /// Messages were deleted from the stream, or trimmed, after they were delivered. They are handled here.
    Detached {
        /// The stream.
        stream: &'a StreamName,
        /// Their IDs.
        ids: &'a [EntryId],
    },
    /// Another process uses this consumer's name: it shows so itself, has taken messages that this process was delivered, or
    /// messages are pending under the name that this process was not delivered. Both may handle the same messages.
    NameInUse {
        /// The stream.
        stream: &'a StreamName,
        /// The consumer.
        consumer: &'a str,
        /// Their IDs; empty where the other process shows by itself that it uses the name.
        ids: &'a [EntryId],
    },
    /// Consumers with a generated name that had nothing pending and did not read for long were removed from the group:
    /// their processes have ended.
    ConsumersRemoved {
        /// The stream.
        stream: &'a StreamName,
        /// Their names.
        names: &'a [String],
    },
    /// Attempts at a message were cut off too often, because the process ended or lost its lease: the message is listed as
    /// failed for each listener that has not handled it, and does not come again
    /// ([`Listening::poison`](super::Listening::poison)).
    Poison {
        /// The message.
        message: &'a ReceivedMessage,
        /// How many attempts.
        cut_off: u64,
    },
    /// The store or the archive could not be reached or refused; there will be a new attempt.
    Interrupted {
        /// What does not go on.
        scope: &'a Scope,
        /// Why.
        error: &'a EngineError,
        /// Which attempt comes, from 1 on.
        attempt: u32,
        /// In how long.
        delay: Duration,
    },
    /// What was interrupted goes on.
    Resumed {
        /// What goes on.
        scope: &'a Scope,
    },
    /// A group had vanished and was made again.
    GroupRecreated {
        /// The stream.
        stream: &'a StreamName,
        /// The group.
        group: &'a str,
        /// It begins after this ID.
        after: EntryId,
    },
    /// The end was asked for; what runs is being finished.
    Stopping,
}

/// How long a listener's attempt at a message waited and took. It is measured where a function is told of reports
/// ([`Listening::on_report`](super::Listening::on_report)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// From the delivery of the message to this process until the listener began, earlier listeners of it included.
    pub waited: Duration,
    /// How long the listener took.
    pub took: Duration,
}

impl Timing {
    /// An attempt that ends now.
    pub(super) fn ending_now(received: Instant, began: Instant) -> Self {
        Self {
            waited: began.saturating_duration_since(received),
            took: began.elapsed(),
        }
    }
}

/// What an interruption holds up. Everything else goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Reading, of all streams.
    Store,
    /// Reading, of these streams.
    Streams(Vec<StreamName>),
    /// Storing the outcomes of messages of these streams: they stay pending.
    Settling(Vec<StreamName>),
    /// Archiving or deleting messages that were handled.
    Retention,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("Listening"),
            Self::Streams(streams) => write!(f, "Listening to {}", names(streams)),
            Self::Settling(streams) => write!(f, "Settling messages of {}", names(streams)),
            Self::Retention => f.write_str("Archiving or purging"),
        }
    }
}

fn names<T: ToString>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `1 message`, `2 messages`.
fn messages(count: usize) -> String {
    format!("{count} {}", if count == 1 { "message" } else { "messages" })
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { streams, group } => {
                let streams = names(streams);
                match group {
                    Some((group, consumer)) => write!(f, "Listening to {streams} in group {group} as {consumer}."),
                    None => write!(f, "Listening to {streams}."),
                }
            }
            // The wording of these four is laravel-streamer's, which people search their logs for.
            Self::Processed { message, listener, .. } => write!(
                f,
                "Processed message [{}] on '{}' stream by [{listener}] listener.",
                message.id(),
                message.stream()
            ),
            Self::Failed {
                message,
                listener,
                error,
                ..
            } => write!(
                f,
                "Listener error. Failed processing message with ID {} on '{}' stream by {listener}. Error: {error}",
                message.id(),
                message.stream()
            ),
            Self::RetryLater {
                message,
                listener,
                error,
                attempt,
                delay,
                ..
            } => write!(
                f,
                "Attempt {attempt} failed for message with ID {} on '{}' stream by {listener}; the next comes in {} ms. \
                 Error: {error}",
                message.id(),
                message.stream(),
                delay.as_millis()
            ),
            Self::Archived { stream, id } => {
                write!(f, "Message [{id}] has been archived from the '{stream}' stream.")
            }
            Self::Purged { stream, id } => write!(f, "Message [{id}] has been purged from the '{stream}' stream."),
            Self::Recovered {
                stream,
                count,
                claimed: true,
            } => {
                write!(
                    f,
                    "Claimed {} on '{stream}' stream that another consumer left pending.",
                    messages(*count)
                )
            }
            Self::Recovered {
                stream,
                count,
                claimed: false,
            } => {
                write!(
                    f,
                    "Took up {} on '{stream}' stream, pending with this consumer before.",
                    messages(*count)
                )
            }
            Self::Gone { stream, ids } => write!(
                f,
                "{} on '{stream}' stream that {} pending {} deleted before anybody handled {}: {}.",
                messages(ids.len()),
                was(ids),
                was(ids),
                if ids.len() == 1 { "it" } else { "them" },
                list(ids)
            ),
            Self::LeaseLost {
                stream,
                ids,
                stood_still,
            } => {
                write!(
                    f,
                    "{} on '{stream}' stream {} claimed by another consumer while in flight here: {}.",
                    messages(ids.len()),
                    was(ids),
                    list(ids)
                )?;
                match stood_still {
                    Some(time) => write!(
                        f,
                        " This process ran no task for {} ms: a listener blocked the runtime, or the process was halted.",
                        time.as_millis()
                    ),
                    None => Ok(()),
                }
            }
            Self::Orphaned { stream, ids } => write!(
                f,
                "{} on '{stream}' stream {} pending with nobody, because the group or the consumer was removed; handled \
                 here: {}.",
                messages(ids.len()),
                was(ids),
                list(ids)
            ),
            Self::Detached { stream, ids } => write!(
                f,
                "{} on '{stream}' stream {} deleted after delivery; handled here: {}.",
                messages(ids.len()),
                was(ids),
                list(ids)
            ),
            Self::NameInUse { stream, consumer, ids } => {
                write!(
                    f,
                    "Another process uses the consumer name {consumer} on '{stream}' stream"
                )?;
                if !ids.is_empty() {
                    write!(f, ": it has taken {}: {}", messages(ids.len()), list(ids))?;
                }
                f.write_str(". Both may handle the same messages: give each process a name of its own, or none.")
            }
            Self::ConsumersRemoved {
                stream,
                names: consumers,
            } => write!(
                f,
                "Removed consumers of ended processes from the group of '{stream}' stream: {}.",
                names(consumers)
            ),
            Self::Poison { message, cut_off } => write!(
                f,
                "Message with ID {} on '{}' stream is listed as failed and will not be handled: {}.",
                message.id(),
                message.stream(),
                poison::error(*cut_off)
            ),
            Self::Interrupted {
                scope,
                error,
                attempt,
                delay,
            } => {
                write!(
                    f,
                    "{scope} was interrupted: {error}. Attempt {attempt} in {} ms.",
                    delay.as_millis()
                )
            }
            Self::Resumed { scope } => write!(f, "{scope} goes on."),
            Self::GroupRecreated { stream, group, after } => {
                write!(
                    f,
                    "Group {group} was gone from '{stream}' stream and was made again, after {after}."
                )
            }
            Self::Stopping => f.write_str("Stopping: finishing what runs."),
        }
    }
}

fn was(ids: &[EntryId]) -> &'static str {
    if ids.len() == 1 { "was" } else { "were" }
}

/// The first few IDs.
fn list(ids: &[EntryId]) -> String {
    let mut text = ids
        .iter()
        .take(10)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if ids.len() > 10 {
        text.push_str(", …");
    }
    text
}

/// Who is told of what happens. All are called while messages are handled, so they must be quick.
#[derive(Clone)]
pub(super) struct Reporter {
    tells: Vec<Arc<Tell>>,
    logs: bool,
    wants_times: bool,
    told: Arc<Told>,
}

type Tell = dyn Fn(&Report<'_>) + Send + Sync;

#[derive(Default)]
struct Told {
    /// Set by the first panic; nobody is told anything any more then.
    panicked: OnceLock<ListenError>,
    has_panicked: Notify,
    /// Whether it was told that archiving or deleting is interrupted, and not yet that it has resumed.
    retention_is_interrupted: AtomicBool,
}

impl Reporter {
    /// Tells one more.
    pub(super) fn add(&mut self, tell: impl Fn(&Report<'_>) + Send + Sync + 'static) {
        self.tells.push(Arc::new(tell));
    }

    /// Somebody is told how long things take.
    pub(super) fn want_times(&mut self) {
        self.wants_times = true;
    }

    pub(super) fn wants_times(&self) -> bool {
        self.wants_times
    }

    /// Whether the log is told, too.
    pub(super) fn log(&mut self, logs: bool) {
        self.logs = logs;
    }

    /// Notes whether archiving or deleting is interrupted: many batches meet the same trouble. Tells whether that is new.
    pub(super) fn retention_is_interrupted(&self, is_interrupted: bool) -> bool {
        self.told
            .retention_is_interrupted
            .swap(is_interrupted, Ordering::AcqRel)
            != is_interrupted
    }

    /// Tells. A panic is kept for [`Reporter::panicked`]: what was to be told of goes its way.
    pub(super) fn tell(&self, report: &Report<'_>) {
        if self.told.panicked.get().is_some() {
            return;
        }
        if self.logs {
            report.log();
        }
        for tell in &self.tells {
            if let Err(error) = guarded("the function given to `on_report`", || tell(report)) {
                let _ = self.told.panicked.set(error);
                self.told.has_panicked.notify_one();
                return;
            }
        }
    }

    /// Waits for a panic of what is told, once.
    pub(super) async fn panicked(&self) -> ListenError {
        self.told.has_panicked.notified().await;
        match self.told.panicked.get() {
            Some(ListenError::Stage { stage, text }) => ListenError::Stage {
                stage,
                text: text.clone(),
            },
            _ => std::future::pending().await,
        }
    }
}

impl Default for Reporter {
    /// Tells the log.
    fn default() -> Self {
        Self {
            tells: Vec::new(),
            logs: true,
            wants_times: false,
            told: Arc::default(),
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// What a listening did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many messages came through, each as often as it was handled.
    pub messages: u64,
    /// How many times a listener handled a message.
    pub processed: u64,
    /// How many times a listener failed, panicked or took too long.
    pub failed: u64,
    /// Why it ended.
    pub ended: EndReason,
}

/// Why a listening ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// It was stopped ([`StopHandle::stop`](crate::StopHandle::stop)).
    Stopped,
    /// No message came for as long as [`Listening::listen_timeout`](super::Listening::listen_timeout) says.
    Quiet,
    /// As many messages came as [`Listening::stop_after`](super::Listening::stop_after) says.
    Enough,
    /// It was ended at once, or the grace period ran out, or outcomes could not be stored after it was stopped: what was
    /// not finished comes again.
    Aborted,
}
