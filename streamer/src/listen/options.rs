//! How to listen.

use std::{
    collections::hash_map::DefaultHasher,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{AfterSuccess, ListenError};
pub use crate::engine::{KeepAlive, OnNameInUse};
use crate::{entry::EntryId, message::ReceivedMessage};

/// Where listening begins: without a group always, with a group when the group does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With what arrives from now on. "Now" is resolved once, so nothing that arrives later is missed.
    Now,
    /// With the first message of each stream.
    Beginning,
    /// After this ID.
    After(EntryId),
}

/// How many messages are handled at once, and in which order.
///
/// The order is that of the attempts. A message that failed and waits for a retry is overtaken by later ones, unless
/// [`Listening::retry_in_order`](super::Listening::retry_in_order) is asked for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Workers {
    /// One at a time, in order.
    #[default]
    InOrder,
    /// So many at once, in no order.
    AtOnce(usize),
    /// So many at once, those with the same key one at a time and in order.
    PerKey(usize, OrderKey),
}

impl Workers {
    pub(super) fn count(&self) -> usize {
        match self {
            Self::InOrder => 1,
            Self::AtOnce(count) | Self::PerKey(count, _) => (*count).max(1),
        }
    }
}

/// What messages are kept in order by.
#[derive(Clone)]
pub struct OrderKey(Arc<dyn Fn(&ReceivedMessage) -> u64 + Send + Sync>);

impl OrderKey {
    /// By what a function makes of a message.
    pub fn new<K: Hash>(key: impl Fn(&ReceivedMessage) -> K + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |message| {
            let mut hasher = DefaultHasher::new();
            key(message).hash(&mut hasher);
            hasher.finish()
        }))
    }

    /// By a value of the payload, such as `order.id`. Messages without it share one key.
    pub fn path(path: impl Into<String>) -> Self {
        let path = path.into();
        Self::new(move |message| message.get(&path).map(ToString::to_string))
    }

    pub(super) fn of(&self, message: &ReceivedMessage) -> u64 {
        (self.0)(message)
    }
}

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Everything that can be set about a listening; [`Listening`](super::Listening) has a method for each.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) group: Option<String>,
    pub(super) consumer: Option<String>,
    pub(super) start: Option<StartAt>,
    pub(super) workers: Workers,
    pub(super) reclaim: Option<Duration>,
    pub(super) batch: usize,
    pub(super) batch_bytes: usize,
    pub(super) read_wait: Duration,
    pub(super) listen_timeout: Option<Duration>,
    pub(super) stop_after: Option<u64>,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) always_acknowledge: bool,
    pub(super) grace: Duration,
    pub(super) after_success: Option<AfterSuccess>,
    pub(super) poison: u64,
    pub(super) on_name_in_use: OnNameInUse,
    pub(super) retry_in_order: bool,
    /// Whether a retry waits for its delay. Not in tests of an application, which are told the delay.
    pub(super) retries_wait: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            group: None,
            consumer: None,
            start: None,
            workers: Workers::default(),
            reclaim: Some(Duration::from_secs(60)),
            batch: 512,
            batch_bytes: 8 << 20,
            read_wait: Duration::from_secs(2),
            listen_timeout: None,
            stop_after: None,
            keep_alive: None,
            always_acknowledge: true,
            grace: Duration::from_secs(30),
            after_success: None,
            poison: 5,
            on_name_in_use: OnNameInUse::Warn,
            retry_in_order: false,
            retries_wait: true,
        }
    }
}

impl Options {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> Result<(), ListenError> {
        let refused = if self.consumer.is_some() && self.group.is_none() {
            "a consumer needs a group: name the group too"
        } else if self.group.as_deref() == Some("") {
            "a group needs a name"
        } else if self.consumer.as_deref() == Some("") {
            "a consumer needs a name: leave it out for a generated one"
        } else if self.reclaim.is_some_and(|reclaim| reclaim.as_millis() < 3) {
            "a reclaim time below 3 ms leaves no time to renew: make it longer"
        } else if self.batch == 0 {
            "a batch of 0 messages reads nothing: make it 1 or more"
        } else if self.retry_in_order && self.group.is_none() {
            "order across retries needs a group: name one"
        } else if self.retry_in_order && matches!(self.workers, Workers::AtOnce(2..)) {
            "workers at once keep no order that retries could keep: handle messages in order, or in order per key"
        } else if self.retry_in_order && !self.always_acknowledge {
            "a message that stays pending after its last attempt comes again after later ones: order across retries needs \
             `always_acknowledge`, with which it goes to the failed list"
        } else {
            return Ok(());
        };
        Err(ListenError::InvalidOption(refused))
    }
}
