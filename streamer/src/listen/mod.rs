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
mod log;
mod options;
mod outcome;
mod plan;
mod poison;
mod read;
mod report;
mod retention;
mod run;
mod running;
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

/// A listening that is being described; [`Listening::run`] begins it.
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
    /// Begins to describe a listening with these listeners, to every event that has one.
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
    /// Listens to these events only.
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

    /// Where to begin. Default: [`StartAt::Now`] without a group; with a group, where the group stands, and
    /// [`StartAt::Beginning`] for a group that is made.
    pub fn start(mut self, start: StartAt) -> Self {
        self.options.start = Some(start);
        self
    }

    /// How many messages are handled at once. Default: one, in order.
    pub fn workers(mut self, workers: Workers) -> Self {
        self.options.workers = workers;
        self
    }

    /// Claims what other consumers of the group left idle for so long, at the start and then all the time; what is in
    /// flight here is renewed well before. `None` never claims. Default: 60 s. It must be the same for all consumers of
    /// a group, and longer than any pause of a process (consumers of laravel-streamer do not renew: keep it longer than
    /// their longest batch).
    pub fn reclaim(mut self, idle: Option<Duration>) -> Self {
        self.options.reclaim = idle;
        self
    }

    /// The most messages read at once, of all streams together; though up to ten of each (or the batch, if that is
    /// less), where so many streams have a backlog that less would be left for them. At most four times as many are in
    /// memory; eight times as many in one read, when all of many streams have a backlog at once after few had one.
    /// Default: 512. Fewer are read when they are large (about 8 MiB at once), or when their listeners are slow (about
    /// a quarter of a second's work at once, so that other consumers of the group get their share).
    pub fn batch(mut self, messages: usize) -> Self {
        self.options.batch = messages;
        self
    }

    /// How long one read waits for messages at the server. Default: 2 s. It delays nothing: messages end the wait.
    pub fn read_wait(mut self, wait: Duration) -> Self {
        self.options.read_wait = wait;
        self
    }

    /// Ends when so much time has passed since the last message was settled (or, before the first, since the listening
    /// began), every stream answered a read with nothing, nothing is in flight and nothing waits for a retry here.
    /// Default: never.
    pub fn listen_timeout(mut self, quiet: Duration) -> Self {
        self.options.listen_timeout = Some(quiet);
        self
    }

    /// Goes on when the store comes back, also when it is away at the start. Default: a failure of the store ends the
    /// listening.
    pub fn keep_alive(mut self, keep_alive: KeepAlive) -> Self {
        self.options.keep_alive = Some(keep_alive);
        self
    }

    /// Whether a message is acknowledged although a listener failed (the failure is recorded either way). `true`, the
    /// default, leaves it to the failed list. `false` keeps it pending: it comes again after the reclaim time, and only
    /// listeners that have not succeeded run again.
    pub fn always_acknowledge(mut self, always: bool) -> Self {
        self.options.always_acknowledge = always;
        self
    }

    /// How many attempts at a message may be cut off because the process ended, before the message is listed as failed
    /// and not handled any more ([`Report::Poison`]). Default: 5; 0: any number. Below 3 counts as 3: a message that
    /// ends its process takes others with it that were read together with it, and only from the third time on it is known
    /// which one ran. A message that waits for a retry has no more attempts than its listener's
    /// [`RetryPolicy`](crate::RetryPolicy), if two or more were cut off.
    pub fn poison(mut self, cut_off: u64) -> Self {
        self.options.poison = cut_off;
        self
    }

    /// What to do when another process uses the consumer's name in the group. Default: [`OnNameInUse::Warn`].
    pub fn on_name_in_use(mut self, choice: OnNameInUse) -> Self {
        self.options.on_name_in_use = choice;
        self
    }

    /// Ends after so many messages, each counted as often as it comes. What was read beyond them goes back to the group.
    /// Default: any number.
    pub fn stop_after(mut self, messages: u64) -> Self {
        self.options.stop_after = Some(messages);
        self
    }

    /// How long to wait at the end for listeners that run. Default: 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// What becomes of a message after all its listeners handled it. Default: it stays on the stream. A message that any
    /// listener failed on stays in any case.
    pub fn after_success(mut self, after: AfterSuccess) -> Self {
        self.options.after_success = Some(after);
        self
    }

    /// Tells `tell` what happens, besides the log. Several may be told, in the order in which they were given. Each is called
    /// in the midst of the work, so it must be quick.
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

    /// What ends this listening.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// What tells whether this listening works: for the health checks of an orchestrator, or a page of the application. To be
    /// asked for before the listening runs.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.watched()
    }

    /// Listens until it is stopped, until it was quiet for long enough or has had enough, or until it cannot go on.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; also then everything that was handled is settled as far as the store could be reached.
    pub async fn run(self) -> Result<Summary, ListenError> {
        running::run(self).await
    }
}
