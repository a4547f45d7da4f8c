//! Listening: from streams to listeners and back to the store.
//!
//! # Layout
//!
//! The subscription ([`engine::subscription`](crate::engine)) owns every delivery until it is settled. Here messages go one
//! way through tasks that each own their state, in whole batches over bounded channels:
//!
//! - `read`: takes deliveries from the subscription.
//! - `dispatch`: hands messages to workers, in order, at once, or in order per key.
//! - `work`: runs the listeners of a message; `outcome`: what came of it; `poison`: what is not run any more;
//!   `failing_group`: in which group a listener fails.
//! - `settle`: gives outcomes to the subscription, many at a time.
//! - `retention`: what becomes of a message that was handled: it stays, or is archived or purged.
//!
//! Around them:
//!
//! - `held`: messages that wait behind a retry of their key, where their order is kept.
//! - `scheduled`: moves events that are due later to their streams; `looks`: which streams it asks for.
//! - `run`: puts them together, and ends them in order (`running`: in a task of its own); `supervisor`: owns the tasks, and says which one failed.
//! - `plan`: what is to be done; it never changes, and every task has a reference to it.
//! - `guarded`: calls an application's code that is no listener; `trouble`: repeats what may succeed later.
//!
//! What an application touches: `options`, `report`, `error`, `health`. `log`: reports in the log. Listeners themselves are in [`listener`](crate::Listener),
//! below this.

mod dispatch;
mod error;
mod failing_group;
mod guarded;
mod health;
mod held;
mod log;
mod looks;
mod options;
mod outcome;
mod plan;
mod poison;
mod read;
mod report;
mod retention;
mod run;
mod running;
mod scheduled;
mod settle;
mod supervisor;
mod trouble;
mod work;

use std::time::Duration;

pub use self::{
    error::ListenError,
    health::{Condition, Health},
    options::{KeepAlive, OnNameInUse, OrderKey, StartAt, Workers},
    report::{EndReason, Report, Scope, Summary, Timing},
    retention::{AfterSuccess, LeaveWhen},
    running::RunningListening,
};
use self::{options::Options, report::Reporter};
use crate::{
    client::Streamer,
    entry::StreamName,
    listener::{Listeners, StopHandle},
};

/// The settings of a listening, from [`Streamer::listen`]; nothing happens before [`Listening::run`] or
/// [`Listening::spawn`].
///
/// ```no_run
/// use streamer::{Listeners, Payload, Streamer, Workers};
///
/// # #[derive(serde::Deserialize)] struct Order { id: u64 }
/// async fn receipt(Payload(order): Payload<Order>) -> Result<(), std::io::Error> {
///     println!("receipt for order {}", order.id);
///     Ok(())
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let streamer = Streamer::connect("sqlite://shop.db").await?;
/// let listeners = Listeners::new().on("order.placed", "receipt", receipt);
/// let listening = streamer.listen(listeners).group("billing").workers(Workers::AtOnce(8));
/// listening.stop_handle().on_signals()?;
/// let summary = listening.run().await?;
/// println!("{} messages", summary.messages);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is listened to before `run`"]
pub struct Listening {
    streamer: Streamer,
    listeners: Listeners,
    events: Vec<StreamName>,
    options: Options,
    stop: StopHandle,
    ends: running::Ends,
    reporter: Reporter,
    health: Health,
}

impl Streamer {
    /// Prepares a listening with these listeners, to every event that has one; [`Listening::run`] begins it.
    pub fn listen<S>(&self, listeners: Listeners<S>) -> Listening {
        Listening {
            streamer: self.clone(),
            listeners: listeners.without_state(),
            events: Vec::new(),
            options: Options::default(),
            stop: StopHandle::new(),
            ends: running::Ends::default(),
            reporter: Reporter::default(),
            health: Health::new(),
        }
    }
}

impl Listening {
    /// Listens to these events only. Default: every event that has a listener. An event without a listener is an error when
    /// the listening begins.
    pub fn events<E: Into<StreamName>>(mut self, events: impl IntoIterator<Item = E>) -> Self {
        self.events.extend(events.into_iter().map(Into::into));
        self
    }

    /// Listens as a consumer of this group: each message goes to one consumer of it, and is pending until it is
    /// settled. Groups and streams that are missing are made. Default: no group; every listening gets every message.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options.group = Some(group.into());
        self
    }

    /// The consumer's name in the group. Default: the group, `-` and 16 random characters. A consumer that keeps its
    /// name takes up its own pending messages when it starts again.
    pub fn consumer(mut self, consumer: impl Into<String>) -> Self {
        self.options.consumer = Some(consumer.into());
        self
    }

    /// Where to begin. Default: [`StartAt::Now`] without a group, and [`StartAt::Beginning`] for a group that is made. A group
    /// that exists goes on where it is, whatever is said here.
    pub fn start(mut self, start: StartAt) -> Self {
        self.options.start = Some(start);
        self
    }

    /// How many messages are handled at once. Default: one, in order.
    pub fn workers(mut self, workers: Workers) -> Self {
        self.options.workers = workers;
        self
    }

    /// Whether a message that waits for a retry holds up what comes after it: with [`Workers::PerKey`] the later messages of its
    /// key, with [`Workers::InOrder`] those of its stream. Others go on. Default: no; later messages overtake it.
    ///
    /// Held messages are in flight: they are renewed, and released when the listening ends. Once a batch
    /// ([`Listening::batch`]) of them is held by a worker, it takes no further messages until a retry is due, so that reading
    /// waits. A message that has failed for good goes to the failed list and holds up nothing.
    ///
    /// The order is that of one process. When it dies, what it had in flight is taken over later, after messages that others
    /// have read in the meantime; a group with one consumer keeps its order even then. `failed retry` handles a
    /// message again whenever it is called.
    ///
    /// It needs a group, and is refused with [`Workers::AtOnce`] and without
    /// [`always_acknowledge`](Listening::always_acknowledge) ([`ListenError::InvalidOption`]).
    pub fn retry_in_order(mut self, in_order: bool) -> Self {
        self.options.retry_in_order = in_order;
        self
    }

    /// Makes each retry due at once. Reports tell the delay that it would have waited for.
    #[cfg(feature = "embedded")]
    pub(crate) fn retry_at_once(mut self) -> Self {
        self.options.retries_wait = false;
        self
    }

    /// The lease of a message: a consumer claims messages that other consumers of the group left idle for so long, at the
    /// start and then all the time. The leases of messages in flight here are renewed at least three times in that time.
    /// `None` never claims. Default: 60 s; less than 3 ms is an error. It must be the same for all consumers of a group, and
    /// longer than any pause of a process (consumers of laravel-streamer do not renew: make it longer than their longest
    /// batch).
    pub fn reclaim(mut self, idle: Option<Duration>) -> Self {
        self.options.reclaim = idle;
        self
    }

    /// Upper limit for one read over all streams, in messages. Default: 512; 0 is an error. With so many backlogged streams
    /// that each would get fewer than 10 (or the limit, if that is less), each still gets that many. Up to four batches
    /// are in memory; when many streams that were empty get a backlog at the same moment, one read brings up to eight.
    /// A read asks for fewer messages when they are large (about 8 MiB together) or their listeners slow (about a quarter of a
    /// second's work), so that other consumers of the group get their share.
    pub fn batch(mut self, messages: usize) -> Self {
        self.options.batch = messages;
        self
    }

    /// How long one read waits for messages at the store. Default: 2 s. A message that arrives ends the wait, so a longer
    /// one delays nothing.
    pub fn read_wait(mut self, wait: Duration) -> Self {
        self.options.read_wait = wait;
        self
    }

    /// Ends the listening when it is idle: so much time has passed since the last message was settled (or since the listening
    /// began), every stream answered a read with nothing, nothing is in flight, and no retry waits in this process. Default:
    /// never.
    pub fn listen_timeout(mut self, quiet: Duration) -> Self {
        self.options.listen_timeout = Some(quiet);
        self
    }

    /// Reconnects with backoff when the store is away, also at the start, and goes on after the last message that was read.
    /// Default: a failure of the store ends the listening with an error.
    pub fn keep_alive(mut self, keep_alive: KeepAlive) -> Self {
        self.options.keep_alive = Some(keep_alive);
        self
    }

    /// Whether a message is acknowledged although a listener failed. The failure is in the failed list either way. With `true`,
    /// the default, the message is done. With `false` it stays pending and is delivered again after the reclaim time, then
    /// after twice as long each time, up to one hour (or the reclaim time, if that is longer); only listeners that have not
    /// succeeded run again.
    pub fn always_acknowledge(mut self, always: bool) -> Self {
        self.options.always_acknowledge = always;
        self
    }

    /// After how many attempts that the end of the process cut off a message is listed as failed and not handled any more
    /// ([`Report::Poison`]). Default: 5; 0 never does; 1 and 2 count as 3. The first two crashes do not tell which of the
    /// messages in flight caused them; from the third attempt on such messages run one at a time. If two or more attempts
    /// were cut off, a message that waits for a retry has no more attempts than its listener's
    /// [`RetryPolicy`](crate::RetryPolicy) allows. A process that stands still for longer than the reclaim time looks like
    /// one that has ended.
    pub fn poison(mut self, cut_off: u64) -> Self {
        self.options.poison = cut_off;
        self
    }

    /// What to do when another process uses the consumer's name in the group. Default: [`OnNameInUse::Warn`].
    pub fn on_name_in_use(mut self, choice: OnNameInUse) -> Self {
        self.options.on_name_in_use = choice;
        self
    }

    /// Ends after so many deliveries: a message that is delivered twice counts twice. Prefetched messages beyond them are
    /// released. Default: no limit.
    pub fn stop_after(mut self, messages: u64) -> Self {
        self.options.stop_after = Some(messages);
        self
    }

    /// How long to wait for running listeners when the listening ends. Default: 30 s. Messages of listeners that take longer
    /// stay pending.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// What becomes of a message that all its listeners have handled. Default: it stays on the stream. A message with a failed
    /// listener always stays.
    pub fn after_success(mut self, after: AfterSuccess) -> Self {
        self.options.after_success = Some(after);
        self
    }

    /// Calls `tell` with every [`Report`], besides the log. Several functions can be given and are called in that order. They
    /// are called by the tasks that read and handle messages, so a slow one delays these. A panic ends the listening.
    pub fn on_report(mut self, tell: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.reporter.add(tell);
        self.reporter.want_times();
        self
    }

    /// Whether reports are logged ([`Report::log`]). Default: yes.
    pub fn log_reports(mut self, log: bool) -> Self {
        self.reporter.log(log);
        self
    }

    /// A handle that ends this listening, from any task.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// A handle that tells whether this listening works, for health checks of an orchestrator or a page of the application.
    /// Call this before the listening runs.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.watched()
    }

    /// Listens until it is stopped, until [`Listening::listen_timeout`] or [`Listening::stop_after`] ends it, or until it cannot
    /// go on.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; also then everything that was handled is settled as far as the store could be reached.
    pub async fn run(self) -> Result<Summary, ListenError> {
        running::run(self).await
    }
}
