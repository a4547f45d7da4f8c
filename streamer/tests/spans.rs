//! Spans, and traces that go from process to process.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use streamer::{
    DynamicEvent, EmitOptions, Listeners, ReceivedMessage, Streamer,
    extract::State,
    message::{TRACEPARENT, TRACESTATE},
    outbox::OutboxRow,
    trace::{self, Propagator},
};
use tracing::{
    Event, Metadata, Span, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// A span's name and fields.
type Recorded = (String, BTreeMap<String, String>);

/// Spans with their fields, by number; and which one was entered.
#[derive(Default)]
struct Spans {
    all: Mutex<BTreeMap<u64, Recorded>>,
    next: AtomicU64,
}

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

struct Recording(Arc<Spans>);

impl Subscriber for Recording {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == trace::TARGET
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        let name = attributes.metadata().name().to_owned();
        self.0.all.lock().unwrap().insert(id, (name, fields));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some((_, fields)) = self.0.all.lock().unwrap().get_mut(&span.into_u64()) {
            values.record(&mut Fields(fields));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Tells one trace, and remembers the messages whose spans it was given.
struct OneTrace(Arc<Mutex<Vec<Option<String>>>>);

const ACTIVE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

impl Propagator for OneTrace {
    fn inject(&self, put: &mut dyn FnMut(&'static str, String)) {
        put(TRACEPARENT, ACTIVE.to_owned());
        put(TRACESTATE, "vendor=1".to_owned());
        put("hash", "must not be written".to_owned());
    }

    fn link(&self, span: &Span, message: &ReceivedMessage) {
        assert!(!span.is_disabled());
        self.0.lock().unwrap().push(message.header(TRACEPARENT).map(Into::into));
    }
}

#[tokio::test]
async fn emits_and_listeners_are_spans_and_the_trace_goes_with_the_message() {
    let spans = Arc::new(Spans::default());
    tracing::subscriber::set_global_default(Recording(spans.clone())).unwrap();
    let linked = Arc::new(Mutex::new(Vec::new()));
    assert!(trace::set_propagator(OneTrace(linked.clone())));
    assert!(!trace::set_propagator(OneTrace(linked.clone())), "the first one stays");

    let streamer = Streamer::connect("memory:").await.unwrap();
    let event = DynamicEvent::new("order.placed", json!({"id": 7}));
    let id = streamer.emit(&event).await.unwrap();
    // Who names a trace keeps it.
    let own = EmitOptions::new().header(TRACEPARENT, "00-own");
    let own = streamer.emit_with(&event, own).await.unwrap();
    let events = [1, 2, 3].map(|id| DynamicEvent::new("order.paid", json!({"id": id})));
    let batch = streamer.emit_all(&events).await.unwrap();
    let other = DynamicEvent::new("order.sent", json!({}));
    streamer.emit_all([&events[0], &other]).await.unwrap();
    streamer.emit_all([DynamicEvent::new("", json!({}))]).await.unwrap_err();
    let refused = EmitOptions::new().id(streamer::EntryId::new(1, 1));
    streamer.emit_with(&event, refused).await.unwrap_err();

    let listeners = Listeners::with_state(streamer.clone()).on(
        "order.placed",
        "receipt",
        |message: ReceivedMessage, State(_): State<Streamer>| async move {
            match message.header(TRACEPARENT).as_deref() {
                Some(ACTIVE) => Ok(()),
                _ => Err("no paper"),
            }
        },
    );
    let listening = streamer.listen(listeners).group("billing").consumer("b-1");
    listening.listen_timeout(Duration::from_millis(50)).run().await.unwrap();

    let entries = streamer
        .engine()
        .get_many(&"order.placed".into(), &[id, own])
        .await
        .unwrap();
    let message = |at: usize| ReceivedMessage::new("order.placed".into(), entries[at].clone().unwrap(), 1);
    let headers: Vec<_> = message(0)
        .headers()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        headers,
        [format!("{TRACEPARENT}={ACTIVE}"), format!("{TRACESTATE}=vendor=1")]
    );
    assert_eq!(message(1).header(TRACEPARENT).unwrap(), "00-own");
    let paid = streamer.engine().get_many(&"order.paid".into(), &batch).await.unwrap();
    for entry in paid {
        let message = ReceivedMessage::new("order.paid".into(), entry.unwrap(), 1);
        assert_eq!(message.header(TRACEPARENT).unwrap(), ACTIVE);
    }
    let row = OutboxRow::new(&event, "shop").unwrap();
    let fields = OutboxRow::decode_fields(&row.fields).unwrap();
    assert!(
        fields
            .iter()
            .any(|(name, value)| name == TRACEPARENT && value == ACTIVE)
    );
    assert_eq!(
        *linked.lock().unwrap(),
        [Some(ACTIVE.to_owned()), Some("00-own".to_owned())]
    );

    let spans = spans.all.lock().unwrap();
    let named = |name: &str| {
        spans
            .values()
            .filter(|(known, _)| known == name)
            .map(|(_, fields)| fields)
            .collect::<Vec<_>>()
    };
    let emits = named(trace::EMIT);
    assert_eq!(emits.len(), 3);
    let page = include_str!("../../docs/observability.md");
    let expect = |fields: &BTreeMap<String, String>, expected: &[(&str, &str)]| {
        for (name, value) in expected {
            assert_eq!(
                fields.get(*name).map(String::as_str),
                Some(*value),
                "{name} in {fields:?}"
            );
        }
        for name in fields.keys() {
            assert!(
                page.contains(&format!("| `{name}` |")),
                "docs/observability.md lacks {name}"
            );
        }
    };
    let id = id.to_string();
    expect(
        emits[0],
        &[
            ("messaging.destination.name", "order.placed"),
            ("messaging.message.id", &id),
            ("otel.kind", "producer"),
        ],
    );
    assert!(emits[2]["error.message"].contains("could not emit"), "{:?}", emits[2]);
    // One span for a batch; its trace goes with each message of it.
    let batches = named(trace::EMIT_ALL);
    assert_eq!(batches.len(), 3);
    expect(
        batches[0],
        &[
            ("messaging.destination.name", "order.paid"),
            ("messaging.batch.message_count", "3"),
            ("messaging.operation.name", "send"),
            ("otel.kind", "producer"),
        ],
    );
    expect(batches[1], &[("messaging.batch.message_count", "2")]);
    assert!(
        !batches[1].contains_key("messaging.destination.name"),
        "{:?}",
        batches[1]
    );
    assert!(!batches[0].contains_key("error.message") && batches[2].contains_key("error.message"));
    let handled = named(trace::HANDLE);
    assert_eq!(handled.len(), 2);
    expect(
        handled[0],
        &[
            ("messaging.consumer.group.name", "billing"),
            ("messaging.client.id", "b-1"),
            ("streamer.listener.name", "receipt"),
            ("streamer.attempt", "1"),
            ("streamer.traceparent", ACTIVE),
        ],
    );
    assert!(handled[1]["error.message"].contains("no paper"), "{:?}", handled[1]);
}
