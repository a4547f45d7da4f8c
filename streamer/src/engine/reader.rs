//! Reading new entries, and waiting for them.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{EngineError, EngineErrorKind, EngineResult};
use crate::entry::{Entry, EntryId, StreamName};

/// Reads new entries, waiting for them if asked to. It remembers how far it came.
///
/// A reader that returned an error is spent: drop it and ask the engine for another. In a group, what it was delivered
/// and did not pass on is then in the consumer's own pending entries ([`GroupAdmin::read_pending`](super::GroupAdmin::read_pending)).
#[async_trait]
pub trait Reader: Send {
    /// The next entries, at most `count` of each stream, in the order of their IDs within a stream. When there are
    /// none it waits up to `wait` (not at all when `None`) and may then return nothing.
    ///
    /// In a group the entries are delivered to the consumer: pending until acknowledged, with a delivery count of 1.
    ///
    /// **Not cancel safe.** A future of this method that is dropped may take entries with it. To end a wait, use
    /// [`Reader::interrupter`].
    ///
    /// While many streams have more than `count`, a call may leave some of these out. Each has its turn, and streams that
    /// have no more are left out of none.
    async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>>;

    /// Whether [`Reader::next`] may ask the store for the following entries, as many, before it returns those that it was
    /// called for. The next call begins with them, whatever its own `count` is. In a group they are delivered to the
    /// consumer although nobody has them yet: **before it pauses or is dropped, take [`Reader::rest`]**. Default: no; not
    /// every engine does it.
    fn read_ahead(&mut self, allowed: bool) {
        _ = allowed;
    }

    /// The reply to a read that was sent ahead; it never waits for entries that are not there. Not cancel safe, as [`Reader::next`].
    async fn rest(&mut self) -> EngineResult<Vec<StreamEntries>> {
        Ok(Vec::new())
    }

    /// A handle that ends waits, from anywhere.
    fn interrupter(&self) -> Interrupter;
}

/// Entries of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntries {
    /// The stream.
    pub stream: StreamName,
    /// Its entries, oldest first.
    pub entries: Vec<Entry>,
}

/// What a [`Reader`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// `XREAD`: every entry of these streams after the given ID. The reader moves the IDs on as it reads, each stream's
    /// apart.
    Plain(Vec<(StreamName, EntryId)>),
    /// `XREADGROUP … >`: entries that nobody in the group was delivered yet.
    Group {
        /// The group. It must exist on every stream.
        group: String,
        /// The consumer; it is made when it is missing.
        consumer: String,
        /// The streams.
        streams: Vec<StreamName>,
    },
}

/// There is nothing to read where no stream was named.
pub(super) fn some_stream(mode: &ReadMode) -> EngineResult<()> {
    let none = match mode {
        ReadMode::Plain(positions) => positions.is_empty(),
        ReadMode::Group { streams, .. } => streams.is_empty(),
    };
    if none {
        let reason = "no stream was named";
        return Err(EngineError::new(EngineErrorKind::InvalidInput, "read", reason));
    }
    Ok(())
}

/// The streams of a mode, for error texts.
pub(super) fn names(mode: &ReadMode) -> String {
    let list = |names: &mut dyn Iterator<Item = &StreamName>| {
        let quoted: Vec<String> = names.map(|name| format!("'{name}'")).collect();
        quoted.join(", ")
    };
    match mode {
        ReadMode::Plain(positions) => format!("stream {}", list(&mut positions.iter().map(|(stream, _)| stream))),
        ReadMode::Group { group, streams, .. } => {
            format!("stream {} in group '{group}'", list(&mut streams.iter()))
        }
    }
}

/// Ends the wait of a [`Reader`].
#[derive(Clone)]
pub struct Interrupter(Arc<dyn Fn() + Send + Sync>);

impl Interrupter {
    /// An interrupter that does `end_wait`, which must not block.
    pub fn new(end_wait: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(end_wait))
    }

    /// Ends the reader's wait that is under way, soon, with what there is. A wait that begins later is not affected. An engine
    /// that cannot be told (no permission, for example) lets the wait run to its end.
    pub fn interrupt(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}
