//! Writes events to streams: one at a time, or many in few round trips.

mod batch;
mod error;
mod headers;
mod scheduled;

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use tracing::Instrument as _;

use self::scheduled::Deliver;
pub use self::{
    error::{EmitAllError, EmitError, EmitErrorKind},
    scheduled::ScheduledEvents,
};
use crate::{
    Event, Replayable, Streamer,
    engine::{Append, AppendOptions, Durability, EngineError, EngineErrorKind, Idempotency, Record},
    entry::{EntryId, NewId, StreamName, Trim, unix_ms},
    history::snapshot,
    message::{Head, php_json},
    metrics::EmitTimer,
    reserved::check_name,
    trace,
};

/// How long a repeated emit is recognised, unless said otherwise.
const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(10 * 60);

/// Options of one emit: ID, trim, headers, idempotency, durability.
///
/// ```
/// use streamer::{EmitOptions, Trim};
///
/// let options = EmitOptions::new().trim(Trim::max_len(10_000)).create_stream(false);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmitOptions {
    id: NewId,
    append: AppendOptions,
    domain: Option<String>,
    identifier: Option<String>,
    history: Option<String>,
    /// Fields after those of the message.
    headers: Vec<(String, String)>,
    durability: Durability,
    /// When it is put on its stream, if not at once.
    deliver: Option<Deliver>,
}

impl EmitOptions {
    /// The defaults: the store gives the ID, a missing stream is made, nothing is trimmed, and the domain is that of the
    /// [`Streamer`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The ID of the new entry. Default: the store gives one. An ID that is not greater than the last one of the stream is
    /// refused.
    #[must_use]
    pub fn id(self, id: impl Into<NewId>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// Trims the oldest entries of the stream in the same step. Default: no trim.
    #[must_use]
    pub fn trim(mut self, trim: Trim) -> Self {
        self.append.trim = Some(trim);
        self
    }

    /// Whether a missing stream is made. Default: yes; otherwise the emit fails where there is no stream.
    #[must_use]
    pub fn create_stream(mut self, create: bool) -> Self {
        self.append.create_stream = create;
        self
    }

    /// The domain of the event: which application emitted it. Default: that of the [`Streamer`].
    #[must_use]
    pub fn domain(self, domain: impl Into<String>) -> Self {
        Self {
            domain: Some(domain.into()),
            ..self
        }
    }

    /// The identifier of the resource that the event is about: a snapshot for [`Streamer::replay`] is written in the same step
    /// as the entry. Default: none. For an event type that has an identifier, see [`Streamer::emit_replayable`].
    #[must_use]
    pub fn identifier(self, identifier: impl Into<String>) -> Self {
        Self {
            identifier: Some(identifier.into()),
            ..self
        }
    }

    /// Makes the emit idempotent: repeated with the same key within the window ([`EmitOptions::idempotency_window`]), it stores
    /// nothing and gives the ID of the first entry. An emit whose reply was lost with its connection is retried
    /// automatically, at most three times; the caller may repeat it later. A key has 1 to 256 bytes; a UUID is a
    /// good one.
    ///
    /// ```
    /// use serde_json::json;
    /// use streamer::{DynamicEvent, EmitOptions, Streamer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let streamer = Streamer::connect("memory:").await?;
    /// let event = DynamicEvent::new("order.placed", json!({"id": 7}));
    /// let once = EmitOptions::new().idempotency_key("order-7-placed");
    /// let first = streamer.emit_with(&event, once.clone()).await?;
    /// assert_eq!(streamer.emit_with(&event, once).await?, first);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<Bytes>) -> Self {
        let window = self
            .append
            .idempotency
            .map_or(IDEMPOTENCY_WINDOW, |earlier| earlier.window);
        self.append.idempotency = Some(Idempotency {
            key: key.into(),
            window,
        });
        self
    }

    /// How long the idempotency key is kept, from the first emit on. Default: 10 minutes. No effect without a key.
    #[must_use]
    pub fn idempotency_window(mut self, window: Duration) -> Self {
        if let Some(idempotency) = &mut self.append.idempotency {
            idempotency.window = window;
        }
        self
    }

    /// Waits until so many replicas have received the event (Redis's `WAIT`). The embedded engine has no replicas and refuses
    /// this. Default: 0, so a fail-over may lose the event.
    ///
    /// If the replicas do not have it within [`EmitOptions::durable_within`], the emit fails with
    /// [`EmitErrorKind::NotDurable`]. The event is written all the same; [`EmitError::written_as`] names its entry.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.durability.replicas = replicas;
        self
    }

    /// Waits until the store has flushed the event to its device, so that it survives a power failure. Redis flushes its
    /// append-only file (`WAITAOF`, Redis 7.2 or newer and Valkey; with [`EmitOptions::replicas`] also those of the replicas);
    /// the embedded engine flushes its log, as with `synchronous=full`. Default: no. It fails as [`EmitOptions::replicas`]
    /// does.
    #[must_use]
    pub fn flushed(mut self, flushed: bool) -> Self {
        self.durability.flushed = flushed;
        self
    }

    /// How long to wait for [`EmitOptions::replicas`] and [`EmitOptions::flushed`], from 1 ms to
    /// [`Durability::LONGEST_TIMEOUT`](crate::engine::Durability::LONGEST_TIMEOUT). Default: 5 s.
    #[must_use]
    pub fn durable_within(mut self, timeout: Duration) -> Self {
        self.durability.timeout = timeout;
        self
    }

    /// The name of the history that gets the snapshot ([`Replayable::history`](crate::Replayable::history)). Default: the
    /// event's name. No effect without an identifier.
    #[must_use]
    pub fn history(self, name: impl Into<String>) -> Self {
        Self {
            history: Some(name.into()),
            ..self
        }
    }
}

/// Those of an emit without any: made once, since each emit would move them from place to place.
static PLAIN: LazyLock<EmitOptions> = LazyLock::new(EmitOptions::default);

impl Streamer {
    /// Emits an event and gives the ID of its entry. Concurrent emits share round trips, so there is no need to batch by
    /// hand.
    ///
    /// # Errors
    ///
    /// [`EmitErrorKind::Encode`] if the payload cannot be encoded as JSON; [`EmitErrorKind::Engine`] if the store refused the
    /// event or could not be reached. After a [`Connection`](crate::engine::EngineErrorKind::Connection) error the event may
    /// have been written ([`EmitError::may_be_written`]).
    pub async fn emit<E: Event>(&self, event: &E) -> Result<EntryId, EmitError> {
        self.emit_by(event, &PLAIN).await
    }

    /// Emits an event with options. With [`EmitOptions::deliver_at`] the ID is the one under which the event waits.
    ///
    /// # Errors
    ///
    /// As [`Streamer::emit`]; [`EmitErrorKind::NotDurable`] if the event is written, but is not as durable as the options
    /// request.
    pub async fn emit_with<E: Event>(&self, event: &E, options: EmitOptions) -> Result<EntryId, EmitError> {
        self.emit_by(event, &options).await
    }

    async fn emit_by<E: Event>(&self, event: &E, options: &EmitOptions) -> Result<EntryId, EmitError> {
        let span = trace::emit_span(event);
        let timer = EmitTimer::start();
        // Inside the span, which is the one that the message's trace goes on from.
        let encoded = span.in_scope(|| self.encode(event, options));
        let emitted = match encoded {
            Ok((append, created)) => {
                self.append_event(event, append, created, options)
                    .instrument(span.clone())
                    .await
            }
            Err(error) => Err(error),
        };
        match &emitted {
            Ok(id) => trace::emitted(&span, *id),
            Err(error) => trace::failed(&span, error),
        }
        if timer.is_running() {
            let stream = StreamName::from(event.name().as_bytes().to_vec());
            timer.stop(&stream, emitted.as_ref().err().map(EmitError::kind));
        }
        emitted
    }

    async fn append_event<E: Event>(
        &self,
        event: &E,
        append: Append,
        created: u64,
        options: &EmitOptions,
    ) -> Result<EntryId, EmitError> {
        // Asked again, not kept: each emit would pay for its error.
        let stream = || StreamName::from(event.name().as_bytes().to_vec());
        let snapshot = options.identifier.as_ref().map(|identifier| {
            let name = event.name();
            let history = options.history.as_deref().unwrap_or(&name);
            snapshot(history, &name, identifier, created)
        });
        if options.durability.is_asked() {
            let list = snapshot.as_ref().and_then(|snapshot| snapshot.list().cloned());
            let written = self.engine().append_durably(append, snapshot, options.durability).await;
            let written =
                written.map_err(|error| EmitError::engine(&stream(), about_snapshot(error, list.as_ref())))?;
            return match written.reached {
                Ok(()) => Ok(written.id),
                Err(error) => Err(EmitError::not_durable(&stream(), written.id, error)),
            };
        }
        let emitted = match snapshot {
            None => self.engine().append(append).await,
            Some(snapshot) => self.append_with_snapshot(append, snapshot).await,
        };
        emitted.map_err(|error| EmitError::engine(&stream(), error))
    }

    /// Emits an event, and writes a snapshot of the resource that it is about, in one atomic step: both are written, or
    /// neither. [`Streamer::replay`] rebuilds the resource from its snapshots.
    ///
    /// The snapshot is in the list `<name>-<identifier>`, where laravel-streamer keeps it.
    ///
    /// # Errors
    ///
    /// As [`Streamer::emit`]. [`EngineErrorKind::WrongType`] if a stream has the name of that list, or a list has the name of
    /// the event; nothing is written then. [`EngineErrorKind::Unsupported`] on a Redis Cluster, unless the event's name has a
    /// hash tag, such as `{user}.changed`.
    pub async fn emit_replayable<E: Replayable>(&self, event: &E) -> Result<EntryId, EmitError> {
        let mut options = EmitOptions::new().identifier(event.identifier());
        let history = event.history();
        if history != event.name() {
            options = options.history(history);
        }
        self.emit_with(event, options).await
    }

    async fn append_with_snapshot(&self, append: Append, snapshot: Record) -> Result<EntryId, EngineError> {
        let list = snapshot.list().cloned();
        let appended = self.engine().append_recorded(append, snapshot).await;
        Ok(appended.map_err(|error| about_snapshot(error, list.as_ref()))?.id)
    }

    /// The append that emits an event, and the second in which it is created.
    fn encode<E: Event>(&self, event: &E, options: &EmitOptions) -> Result<(Append, u64), EmitError> {
        let (name, kind) = (event.name(), event.kind());
        check_name(&name).map_err(|error| EmitError::engine(&StreamName::from(name.as_bytes().to_vec()), error))?;
        let data = php_json::payload_to_vec(event)
            .map_err(|error| EmitError::encode(&StreamName::from(name.as_bytes().to_vec()), error))?;
        let created = unix_ms() / 1000;
        let head = Head {
            name: name.as_bytes(),
            kind: kind.as_bytes(),
            domain: options.domain.as_deref().unwrap_or(self.domain()).as_bytes(),
            original_id: None,
            created,
        };
        let (stream, mut fields) = head.encode(data);
        headers::put(&options.headers, &mut fields)
            .map_err(|error| EmitError::engine(&StreamName::from(stream.clone()), error))?;
        let append = Append {
            stream: StreamName::from(stream),
            id: options.id,
            fields,
            options: AppendOptions {
                due_ms: options.deliver.map(Deliver::due_ms),
                ..options.append.clone()
            },
        };
        Ok((append, created))
    }
}

/// The same error with a word about snapshots, where they are the cause.
fn about_snapshot(error: EngineError, list: Option<&StreamName>) -> EngineError {
    match (error.kind(), list) {
        (EngineErrorKind::WrongType, Some(list)) => {
            let reason = format!(
                "{}; snapshots are kept in the list '{list}', beside the stream: give the event or the identifier \
                 another name",
                error.reason()
            );
            EngineError::new(error.kind(), "append", reason).with_source(error)
        }
        _ => error,
    }
}
