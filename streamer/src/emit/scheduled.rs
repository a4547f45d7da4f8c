//! Events that are due later: when, and what waits.

use std::{sync::Arc, time::Duration};

use super::EmitOptions;
use crate::{
    Moment, Streamer,
    engine::{Engine, EngineResult, ScheduledEntry},
    entry::{EntryId, StreamName, unix_ms},
};

/// How many events one step appends.
const AT_ONCE: usize = 256;

/// When an event is put on its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deliver {
    At(Moment),
    After(Duration),
}

impl Deliver {
    pub(super) fn due_ms(self) -> u64 {
        match self {
            Self::At(moment) => moment.unix_ms(),
            Self::After(delay) => {
                unix_ms().saturating_add(u64::try_from(delay.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
            }
        }
    }
}

impl EmitOptions {
    /// Puts the event on its stream at this moment and not before. Until then the store keeps it, as safe as it keeps the
    /// events of the stream. Default: at once; also for a moment that has passed by the store's clock.
    ///
    /// The emit gives the ID under which the event waits: the millisecond in which it is due, `-`, and a number.
    /// [`Streamer::scheduled`] lists and cancels what waits by this ID. The entry gets an ID of its own when it is put on the
    /// stream, and a header [`SCHEDULED_ID`](crate::message::SCHEDULED_ID) with the one under which it waited. Its `created` is
    /// the time of the emit, not that at which it was due.
    ///
    /// Every listening moves the events of its streams that are due, once, however many listen. Where nobody listens to the
    /// stream, an event waits until somebody does, or until [`ScheduledEvents::append_due`] is called. An event that is due
    /// within a second of its emit may come up to a second late: that often a listening looks, at 50 streams each time. For each
    /// 50 streams that it reads beyond that, one more second.
    ///
    /// An [idempotency key](EmitOptions::idempotency_key) works as without it: its window begins with the emit, and a repetition
    /// gives the ID under which the event waits or waited. [Trimming](EmitOptions::trim) happens when the event is put on the
    /// stream. An own ID and an [identifier](EmitOptions::identifier) are refused
    /// ([`InvalidInput`](crate::engine::EngineErrorKind::InvalidInput)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use serde_json::json;
    /// use streamer::{DynamicEvent, EmitOptions, Streamer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let streamer = Streamer::connect("memory:").await?;
    /// let reminder = DynamicEvent::new("cart.reminder", json!({"cart": 7}));
    /// let tomorrow = EmitOptions::new().deliver_after(Duration::from_secs(24 * 60 * 60));
    /// let id = streamer.emit_with(&reminder, tomorrow).await?;
    /// // The customer has paid.
    /// assert!(streamer.scheduled("cart.reminder").cancel(id).await?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn deliver_at(mut self, moment: Moment) -> Self {
        self.deliver = Some(Deliver::At(moment));
        self
    }

    /// Puts the event on its stream so long after the emit, as [`EmitOptions::deliver_at`].
    #[must_use]
    pub fn deliver_after(mut self, delay: Duration) -> Self {
        self.deliver = Some(Deliver::After(delay));
        self
    }
}

impl Streamer {
    /// The events of one name that wait until they are due.
    pub fn scheduled(&self, event: impl Into<StreamName>) -> ScheduledEvents {
        ScheduledEvents {
            engine: Arc::clone(self.engine()),
            stream: event.into(),
        }
    }
}

/// The events of one name that were emitted with [`EmitOptions::deliver_at`] and are not due yet, or not moved yet. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct ScheduledEvents {
    engine: Arc<dyn Engine>,
    stream: StreamName,
}

impl ScheduledEvents {
    /// How many wait.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn count(&self) -> EngineResult<u64> {
        let counted = self.engine.count_scheduled(std::slice::from_ref(&self.stream)).await;
        counted.into_iter().next().unwrap_or(Ok(0))
    }

    /// At most `count` of them that are due after this one, in the order in which they are due. A page with fewer is the last.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn page(&self, after: Option<EntryId>, count: usize) -> EngineResult<Vec<ScheduledEntry>> {
        self.engine.page_of_scheduled(&self.stream, after, count).await
    }

    /// Cancels one; `false` when none waits under this ID: it is on its stream already, or was cancelled.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn cancel(&self, id: EntryId) -> EngineResult<bool> {
        Ok(self.engine.cancel_scheduled(&self.stream, &[id]).await? > 0)
    }

    /// Puts those that are due on their stream, and tells how many. A listening does so by itself.
    ///
    /// # Errors
    ///
    /// Those of the store. What was moved before stays so.
    pub async fn append_due(&self) -> EngineResult<u64> {
        let mut appended = 0;
        loop {
            let done = self.engine.append_due(&self.stream, AT_ONCE).await?;
            appended += done.appended;
            if !done.next.is_due() || done.appended == 0 {
                return Ok(appended);
            }
        }
    }
}
