//! Publishes what applications have committed to their outbox.
//!
//! # Order
//!
//! Rows of one ordering key are published in the order of their positions. A relay publishes only rows of shards that it has
//! locked, and no two relays hold one shard. It reads whatever is visible and removes what it published; it keeps no
//! cursor, so a transaction that commits late is not skipped.
//!
//! # A crash
//!
//! A relay that dies between publishing and removing publishes the row again when it is back, with the same idempotency key:
//! the stream holds the event once, if the relay is back within the window ([`OutboxRelay::window`]).

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    OutboxError, OutboxRow, RelayReport, SHARDS,
    database::{Database, Locks, Waiting},
    wake::Wake,
};
use crate::{
    Streamer,
    engine::{Append, AppendOptions, EngineError, EngineErrorKind, Idempotency},
    entry::{NewId, StreamName, unix_ms},
    history::snapshot,
};

/// How often a relay shows that it is alive, and looks how many others are.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A relay that was not seen for this long does not count.
const GONE: Duration = Duration::from_secs(10);
/// How many keys are published at once.
const KEYS_AT_ONCE: usize = 256;
/// The longest time between two attempts to publish a row that the store refuses.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// The longest time after which a store or a database that was away is tried again: events wait no longer once it is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often in succession a relay that runs until the outbox is empty may fail: it does not wait for what is away.
const FAILURES_UNTIL_EMPTY: u32 = 2;

/// A relay that is being described; [`OutboxRelay::run`] starts it.
#[must_use = "nothing is published before `run`"]
pub struct OutboxRelay {
    streamer: Streamer,
    database: Database,
    stop: CancellationToken,
    batch: usize,
    poll: Duration,
    max_attempts: u32,
    keep: Option<Duration>,
    window: Duration,
    until_empty: bool,
    on_report: Box<dyn Fn(&RelayReport<'_>) + Send + Sync>,
}

impl fmt::Debug for OutboxRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxRelay")
            .field("streamer", &self.streamer)
            .field("database", &self.database)
            .field("batch", &self.batch)
            .field("poll", &self.poll)
            .field("max_attempts", &self.max_attempts)
            .field("keep", &self.keep)
            .field("window", &self.window)
            .field("until_empty", &self.until_empty)
            .finish_non_exhaustive()
    }
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RelaySummary {
    /// How many events it published.
    pub published: u64,
    /// How many rows it blocked, because they could not be published.
    pub blocked: u64,
}

impl OutboxRelay {
    pub(super) fn new(streamer: Streamer, database: Database) -> Self {
        Self {
            streamer,
            database,
            stop: CancellationToken::new(),
            batch: 500,
            poll: Duration::from_millis(200),
            max_attempts: 5,
            keep: None,
            window: Duration::from_secs(24 * 3600),
            until_empty: false,
            on_report: Box::new(|report| match report {
                RelayReport::Refused { .. } | RelayReport::Interrupted { .. } => tracing::warn!("{report}"),
                _ => tracing::debug!("{report}"),
            }),
        }
    }

    /// What ends the relay: it finishes the batch that it publishes, and returns.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// How many rows are read and published at once. Default: 500.
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows.max(1);
        self
    }

    /// How often the database is asked for rows where nothing announces them: always on MySQL and SQLite, and as a safety net
    /// (five times as long) on PostgreSQL, which notifies. Default: 200 ms.
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every;
        self
    }

    /// How often a row that the store refuses is tried before it is blocked. Default: 5, with growing pauses. A store that
    /// cannot be reached is no attempt.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Keeps published rows for this long in `streamer_outbox_published`. Default: they are deleted.
    pub fn keep(mut self, published: Option<Duration>) -> Self {
        self.keep = published;
        self
    }

    /// For how long a repeated publication is recognised. It must be longer than a relay that was killed stays away. Default:
    /// 24 hours. Each event of that time costs memory at the store (some 200 bytes on Redis).
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Ends when no row can be published any more, and with an error when the database or the store is away at the second
    /// attempt, too. Default: runs until it is stopped, and waits for both.
    pub fn until_empty(mut self, until_empty: bool) -> Self {
        self.until_empty = until_empty;
        self
    }

    /// Tells what happens, in place of the log. Called by the relay's own task: it must not block.
    pub fn on_report(mut self, tell: impl Fn(&RelayReport<'_>) + Send + Sync + 'static) -> Self {
        self.on_report = Box::new(tell);
        self
    }

    /// Publishes until it is stopped. A database or a store that is away is waited for, except with
    /// [`until_empty`](Self::until_empty).
    ///
    /// # Errors
    ///
    /// [`OutboxError`] when the database refuses what the relay needs (tables that are missing, no permission), and with
    /// [`until_empty`](Self::until_empty) when the database or the store is away. What was published until then is published.
    pub async fn run(self) -> Result<RelaySummary, OutboxError> {
        let mut running = Running {
            id: Uuid::now_v7().to_string(),
            wake: Wake::new(&self.database, self.poll).await,
            relay: self,
            summary: RelaySummary::default(),
            delayed: HashMap::new(),
            failures: 0,
            shares: None,
        };
        let stop = running.relay.stop.clone();
        let mut first = true;
        while !stop.is_cancelled() {
            let ended = running.session().await;
            let error = match ended {
                Ok(()) => break,
                Err(error) => error,
            };
            if first && !passes(&error) {
                return Err(error);
            }
            first = false;
            running.failures += 1;
            if running.relay.until_empty && (!passes(&error) || running.failures >= FAILURES_UNTIL_EMPTY) {
                // A database that is away forgets this relay by itself.
                if let OutboxError::Engine(_) = error {
                    running.relay.database.leave(&running.id).await;
                }
                return Err(error);
            }
            let delay = Duration::from_millis(100)
                .saturating_mul(1 << running.failures.min(10))
                .min(LONGEST_PAUSE);
            running.tell(&RelayReport::Interrupted {
                error: &error.to_string(),
                delay,
            });
            running.shares = None;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => {}
            }
        }
        running.relay.database.leave(&running.id).await;
        Ok(running.summary)
    }
}

/// Whether an error may be gone the next time.
fn passes(error: &OutboxError) -> bool {
    match error {
        OutboxError::Engine(error) => error.kind().is_transient() || error.kind() == EngineErrorKind::Full,
        other => other.is_unreachable(),
    }
}

struct Running {
    id: String,
    relay: OutboxRelay,
    wake: Wake,
    summary: RelaySummary,
    /// Keys whose first row failed, and when it is tried again.
    delayed: HashMap<String, Instant>,
    failures: u32,
    /// How many shards it holds and how many relays run, as it was told last.
    shares: Option<(usize, usize)>,
}

impl Running {
    fn tell(&self, report: &RelayReport<'_>) {
        (self.relay.on_report)(report);
    }

    /// Publishes with one set of locks, until that is lost.
    async fn session(&mut self) -> Result<(), OutboxError> {
        let database = &self.relay.database;
        let mut locks = database.answer("lock its shards", database.locks()).await?;
        let ended = self.publish_with(&mut locks).await;
        locks.release().await;
        ended
    }

    async fn publish_with(&mut self, locks: &mut Locks) -> Result<(), OutboxError> {
        let mut next_heartbeat = Instant::now();
        loop {
            if self.relay.stop.is_cancelled() {
                return Ok(());
            }
            if Instant::now() >= next_heartbeat {
                self.heartbeat(locks).await?;
                next_heartbeat = Instant::now() + HEARTBEAT;
            }
            let now = Instant::now();
            self.delayed.retain(|_, until| *until > now);
            let waiting = self.delayed.keys().cloned().collect::<HashSet<_>>();
            let rows = match locks.shards.is_empty() {
                true => Vec::new(),
                false => {
                    let database = &self.relay.database;
                    let rows = database.read(&locks.shards, &waiting, self.relay.batch);
                    database.answer("read it", rows).await?
                }
            };
            if rows.is_empty() {
                if self.relay.until_empty && self.delayed.is_empty() && !locks.shards.is_empty() {
                    return Ok(());
                }
                let next_delayed = self.delayed.values().min().copied();
                let until = next_delayed.map_or(next_heartbeat, |delayed| delayed.min(next_heartbeat));
                tokio::select! {
                    () = self.wake.wait(until) => {}
                    () = self.relay.stop.cancelled() => {}
                }
                continue;
            }
            self.publish(rows).await?;
            self.failures = 0;
        }
    }

    /// Shows that this relay is alive, and takes its share of the shards.
    async fn heartbeat(&mut self, locks: &mut Locks) -> Result<(), OutboxError> {
        let now = now_ms();
        let gone = now.saturating_sub(i64::try_from(GONE.as_millis()).unwrap_or(i64::MAX));
        let database = &self.relay.database;
        let relays = database.alive(&self.id, now, gone);
        let relays = database
            .answer("share its shards with other relays", relays)
            .await?
            .max(1);
        let share = locks.hold(usize::from(SHARDS.unsigned_abs()).div_ceil(relays));
        database.answer("lock its shards", share).await?;
        let shares = (locks.shards.len(), relays);
        if self.shares.replace(shares) != Some(shares) {
            self.tell(&RelayReport::Shards { held: shares.0, relays });
        }
        if let Some(keep) = self.relay.keep {
            let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            let forget = database.forget_published(now.saturating_sub(keep));
            database.answer("delete old published rows", forget).await?;
        }
        Ok(())
    }

    /// Publishes rows, those of one key one after the other, and removes them.
    async fn publish(&mut self, rows: Vec<Waiting>) -> Result<(), OutboxError> {
        let mut keys: Vec<Vec<Waiting>> = Vec::new();
        let mut places = HashMap::new();
        for row in rows {
            let place = *places.entry(row.ordering_key.clone()).or_insert_with(|| {
                keys.push(Vec::new());
                keys.len() - 1
            });
            keys[place].push(row);
        }
        let (streamer, window) = (&self.relay.streamer, self.relay.window);
        let published = keys.into_iter().map(|rows| publish_key(streamer, rows, window));
        let published = stream::iter(published)
            .buffer_unordered(KEYS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;

        let done = published
            .iter()
            .flat_map(|key| key.published.iter().copied())
            .collect::<Vec<_>>();
        let database = &self.relay.database;
        let remove = database.remove(&done, self.relay.keep.map(|_| now_ms()));
        database.answer("remove what is published", remove).await?;
        self.summary.published += done.len() as u64;
        if !done.is_empty() {
            self.tell(&RelayReport::Published {
                events: done.len() as u64,
                total: self.summary.published,
            });
        }
        let mut away = None;
        for (row, error) in published.into_iter().filter_map(|key| key.failed) {
            if error.kind().is_transient() || error.kind() == EngineErrorKind::Full {
                away = Some(error);
                continue;
            }
            let attempts = u32::try_from(row.attempts).unwrap_or(u32::MAX).saturating_add(1);
            let blocked = attempts >= self.relay.max_attempts;
            let text = error.to_string();
            let note = database.note_failure(row.position, &text, blocked);
            database.answer("note a failure", note).await?;
            self.tell(&RelayReport::Refused {
                event_id: &row.event_id,
                stream: &String::from_utf8_lossy(&row.stream),
                ordering_key: &row.ordering_key,
                attempts,
                error: &text,
                blocked,
            });
            if blocked {
                self.summary.blocked += 1;
            } else {
                let delay = Duration::from_millis(100)
                    .saturating_mul(1 << attempts.min(10))
                    .min(LONGEST_DELAY);
                self.delayed.insert(row.ordering_key, Instant::now() + delay);
            }
        }
        away.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What became of the rows of one key.
struct PublishedKey {
    published: Vec<i64>,
    /// The first row that was not published. Those behind it were not tried.
    failed: Option<(Waiting, EngineError)>,
}

async fn publish_key(streamer: &Streamer, rows: Vec<Waiting>, window: Duration) -> PublishedKey {
    let mut published = Vec::with_capacity(rows.len());
    for row in rows {
        match publish_row(streamer, &row, window).await {
            Ok(()) => published.push(row.position),
            Err(error) => {
                return PublishedKey {
                    published,
                    failed: Some((row, error)),
                };
            }
        }
    }
    PublishedKey {
        published,
        failed: None,
    }
}

async fn publish_row(streamer: &Streamer, row: &Waiting, window: Duration) -> Result<(), EngineError> {
    let stream = StreamName::from(row.stream.clone());
    let Some(fields) = OutboxRow::decode_fields(&row.fields) else {
        let attempted = format!("publish event {} of the outbox to stream '{stream}'", row.event_id);
        return Err(EngineError::new(
            EngineErrorKind::Corrupt,
            attempted,
            "its fields cannot be decoded",
        ));
    };
    let record = row.identifier.as_deref().map(|identifier| {
        let text = |name: &str| {
            let value = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
            value
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .unwrap_or_default()
        };
        let event = text("name");
        let history = row.history.as_deref().unwrap_or(&event);
        snapshot(history, &event, identifier, text("created").parse().unwrap_or_default())
    });
    let append = Append {
        stream,
        id: NewId::Auto,
        fields,
        options: AppendOptions {
            idempotency: Some(Idempotency {
                key: row.event_id.clone().into(),
                window,
            }),
            due_ms: OutboxRow::split_due(&row.fields).0,
            ..AppendOptions::default()
        },
    };
    match record {
        None => streamer.engine().append(append).await.map(drop),
        Some(record) => streamer.engine().append_recorded(append, record).await.map(drop),
    }
}

fn now_ms() -> i64 {
    i64::try_from(unix_ms()).unwrap_or(i64::MAX)
}
