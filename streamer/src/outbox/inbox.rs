//! Listeners that write to a database of their own handle each message once.

use super::{Column, Dialect};
use crate::{entry::unix_ms, message::ReceivedMessage};

/// A message that a listener is about to handle in a transaction of its own database.
///
/// Messages are delivered at least once: a listener that is killed after it committed, and before its message was
/// acknowledged, gets the message again. A row of `streamer_inbox`, written in the listener's own transaction, recognises it:
/// when the row is there, the message was handled, and the listener has nothing to do.
///
/// That makes the *effect in that database* exactly once. What a listener does elsewhere (mail, another service) still happens
/// at least once. A message that was archived and restored has a new ID and is handled again, and so is one whose row was
/// deleted: keep rows for longer than a message can come again.
///
/// [`Once::statement`] and [`Once::columns`] are for any client of the database; the crate `streamer-sea-orm` has a function for
/// SeaORM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    group: String,
    stream: Vec<u8>,
    message_id: String,
    handled_ms: i64,
}

impl Once {
    /// This message, for this group. Two listeners of a group that write to one database need names of their own: add the
    /// listener's name to the group's.
    #[must_use]
    pub fn new(message: &ReceivedMessage, group: &str) -> Self {
        Self {
            group: group.to_owned(),
            stream: message.stream().as_bytes().to_vec(),
            message_id: message.id().to_string(),
            handled_ms: i64::try_from(unix_ms()).unwrap_or(i64::MAX),
        }
    }

    /// The statement that notes the message. It affects one row the first time, and none when the message was handled.
    #[must_use]
    pub fn statement(dialect: Dialect) -> String {
        let values = (1..=4)
            .map(|number| dialect.placeholder(number))
            .collect::<Vec<_>>()
            .join(", ");
        let (ignore, conflict) = match dialect {
            Dialect::MySql => (" IGNORE", ""),
            Dialect::Postgres | Dialect::Sqlite => ("", " ON CONFLICT DO NOTHING"),
        };
        format!(
            "INSERT{ignore} INTO streamer_inbox (consumer_group, stream, message_id, handled_ms) VALUES ({values}){conflict}"
        )
    }

    /// The values of its placeholders.
    #[must_use]
    pub fn columns(self) -> [Column; 4] {
        [
            Column::Text(Some(self.group)),
            Column::Bytes(self.stream),
            Column::Text(Some(self.message_id)),
            Column::Big(self.handled_ms),
        ]
    }
}
