//! Spans that go to a receiver of OTLP: one trace from an emit to a listener, in processes of their own, and through retries.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "cli/bench.rs"]
#[allow(dead_code, reason = "it is made for the other tests")]
mod bench;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message as _;

use crate::bench::Bench;

/// A span as it arrived.
#[derive(Clone, Debug)]
struct Received {
    service: String,
    name: String,
    kind: i32,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    fields: BTreeMap<String, String>,
}

type Spans = Arc<Mutex<Vec<Received>>>;

fn fields(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| {
        let value = match one.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        Some((one.key.clone(), value))
    };
    attributes.iter().filter_map(text).collect()
}

async fn receive(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    for of_service in request.resource_spans {
        let service = fields(&of_service.resource.unwrap().attributes)["service.name"].clone();
        for span in of_service.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.lock().unwrap().push(Received {
                service: service.clone(),
                name: span.name,
                kind: span.kind,
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                fields: fields(&span.attributes),
            });
        }
    }
    StatusCode::OK
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_goes_from_an_emit_to_a_listener_in_another_process_and_through_retries() {
    for bench in [Bench::new(), Bench::on_redis()] {
        let spans = Spans::default();
        let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", receiver.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(spans.clone());
        tokio::spawn(async move { axum::serve(receiver, router).await });
        bench.script(
            "it.sh",
            "cat > /dev/null; [ -e paper ] || { echo 'no paper' >&2; exit 1; }",
        );
        bench.write(
            "streamer.toml",
            "[listen_and_fire]\na = ['it']\n\
             [listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\nretry = { attempts = 2, delay = '50ms' }\n",
        );
        let run = async |service: &str, arguments: &[&str]| {
            let mut command = bench.command(arguments);
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
                .env("OTEL_SERVICE_NAME", service);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap())
                .await
                .unwrap();
            let shown = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{service}: {shown}");
        };
        run("shop", &["emit", "a", "{\"n\":1}"]).await;
        // Two attempts fail, and the message is listed.
        run("worker", &["listen", "a", "--group", "g", "--listen-timeout", "500"]).await;
        bench.write("paper", "");
        // An operator's third attempt handles it.
        run("operator", &["failed", "retry", "--all"]).await;

        let spans = spans.lock().unwrap().clone();
        let ours = |service: &str, name: &str| {
            let ours = spans.iter().filter(|span| span.service == service && span.name == name);
            ours.cloned().collect::<Vec<_>>()
        };
        let emitted = ours("shop", "emit");
        assert_eq!(emitted.len(), 1, "{spans:#?}");
        let emitted = &emitted[0];
        // PRODUCER, CONSUMER
        assert_eq!(
            (emitted.kind, emitted.fields["messaging.destination.name"].as_str()),
            (4, "a")
        );
        let attempts = ours("worker", "handle");
        let numbers = attempts.iter().map(|span| span.fields["streamer.attempt"].as_str());
        assert_eq!(numbers.collect::<Vec<_>>(), ["1", "2"], "{spans:#?}");
        assert!(
            attempts
                .iter()
                .all(|span| span.fields["error.message"].contains("no paper")),
            "{attempts:#?}"
        );
        let retried = ours("operator", "handle");
        assert_eq!(retried.len(), 1, "{spans:#?}");
        assert!(!retried[0].fields.contains_key("error.message"), "{retried:#?}");
        for handled in attempts.iter().chain(&retried) {
            assert_eq!(handled.trace, emitted.trace, "{handled:#?}");
            assert_eq!(handled.parent, emitted.id, "{handled:#?}");
            assert_eq!(handled.kind, 5, "{handled:#?}");
            assert_eq!(
                handled.fields["messaging.message.id"],
                emitted.fields["messaging.message.id"]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_told_once_and_holds_nothing_up() {
    let bench = Bench::new();
    // A port that nobody listens at.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = bench.command(&["emit", "a", "{}"]);
    command.env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        format!("http://user:secret@127.0.0.1:{port}"),
    );
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}");
    assert_eq!(
        shown.matches("the OTLP collector does not take spans").count(),
        1,
        "{shown}"
    );
    assert!(!shown.contains("secret"), "{shown}");
    // Without one nothing goes with the message.
    let id = bench.emit("a", "{}");
    let life = bench.ok(&["show", "a", &id, "--json"]);
    assert!(!life.contains("traceparent"), "{life}");
}
