//! The same work by other libraries, each through its public interface and with the fastest settings that were found.
//!
//! Their messages have one payload, and are no longer on the wire than ours.

pub(crate) mod apalis;
pub(crate) mod apalis_sqlite;
pub(crate) mod honker;
pub(crate) mod ruststream;
pub(crate) mod sea_streamer;

use anyhow::{Context, Result};

use crate::{case::Job, message::GROUP, raw};

/// Not the stream of our own messages: neither backlog may be taken for the other.
pub(crate) const STREAM: &str = "order.placed.peer";

/// What makes a payload as long as the fields of our message.
const BODY: &str = "order.placed event 1.3 shop 1795407980 id=123 total=9.99 sku=ABC-1 \
                    4fdb1ff4ff0b8f0e9a4c8b1b0b9ee7ba1ab0dd6f5d2e2a4c8c1f3f9f6d7a1e2b \
                    4fdb1ff4ff0b8f0e9a4c8b1b0b9ee7ba1ab0dd6f5d2e2a4c8c1f3f9f6d";

/// A payload that says when it was emitted.
fn payload(at: u64) -> Vec<u8> {
    format!(r#"{{"at":{at},"body":"{BODY}"}}"#).into_bytes()
}

/// A stream of messages with this one field, of which a group has been delivered none.
fn backlog(job: &Job, field: &str) -> Result<()> {
    const AT_ONCE: usize = 500;
    let payload = String::from_utf8(payload(0)).context("a payload of text")?;
    let batch = raw::command(&["XADD", STREAM, "*", field, &payload]).repeat(AT_ONCE);
    let mut connection = job.raw()?;
    connection.call(&["FLUSHALL"], 1)?;
    for _ in 0..job.amount / AT_ONCE as u64 {
        connection.send(&batch)?;
        connection.receive(AT_ONCE * raw::XADD_LINES)?;
    }
    connection.call(&["XGROUP", "CREATE", STREAM, GROUP, "0"], 1)
}
