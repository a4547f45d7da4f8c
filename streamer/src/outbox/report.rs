//! What a relay tells while it runs.

use std::{fmt, time::Duration};

/// Something that happened to a relay.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayReport<'a> {
    /// It holds so many of the outbox's shards now, beside so many relays in all. Without a shard it stands by.
    Shards {
        /// The shards that it holds.
        held: usize,
        /// The relays that run, with this one.
        relays: usize,
    },
    /// Events are on their streams, and their rows are removed.
    Published {
        /// How many.
        events: u64,
        /// How many since this relay runs.
        total: u64,
    },
    /// The store refused an event.
    Refused {
        /// The event's ID.
        event_id: &'a str,
        /// Its stream.
        stream: &'a str,
        /// Its key, whose other rows wait.
        ordering_key: &'a str,
        /// How often it was tried.
        attempts: u32,
        /// Why it was refused.
        error: &'a str,
        /// Whether it was the last attempt: the row is blocked.
        blocked: bool,
    },
    /// The database or the store is away.
    Interrupted {
        /// Why.
        error: &'a str,
        /// When the relay tries again.
        delay: Duration,
    },
}

impl fmt::Display for RelayReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |count: u64| if count == 1 { "" } else { "s" };
        match self {
            Self::Shards { held: 0, .. } => f.write_str("Standing by: other relays hold all shards."),
            Self::Shards { held, relays } => write!(
                f,
                "Publishing {held} shard{} of the outbox; {relays} relay{} in all.",
                s(*held as u64),
                s(*relays as u64)
            ),
            Self::Published { events, total } => {
                write!(f, "Published {events} event{}, {total} in all.", s(*events))
            }
            Self::Refused {
                event_id,
                stream,
                ordering_key,
                attempts,
                error,
                blocked,
            } => {
                let then = match blocked {
                    true => {
                        " It is blocked, and later rows of its key wait: `streamer outbox status` lists it, `retry` and \
                         `skip` release it."
                    }
                    false => "",
                };
                write!(
                    f,
                    "Could not publish event {event_id} to the '{stream}' stream (key '{ordering_key}', attempt {attempts}): \
                     {error}.{then}"
                )
            }
            Self::Interrupted { error, delay } => write!(
                f,
                "The outbox's relay was interrupted: {error}. It goes on in {} ms.",
                delay.as_millis()
            ),
        }
    }
}
