//! Emits that wait until the device has them.

use serde_json::json;
use streamer::{DynamicEvent, EmitErrorKind, EmitOptions, Streamer, engine::EngineErrorKind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emit_is_flushed_on_request_and_what_cannot_be_done_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let event = DynamicEvent::new("e", json!({"id": 7}));
    let file = Streamer::connect(&url).await.unwrap();
    let flushed = || EmitOptions::new().flushed(true);
    let first = file.emit_with(&event, flushed().idempotency_key("once")).await.unwrap();
    assert_eq!(
        file.emit_with(&event, flushed().idempotency_key("once")).await.unwrap(),
        first
    );
    file.emit_with(&event, flushed().identifier("r1")).await.unwrap();
    assert_eq!(file.stream("e").len().await.unwrap(), 2);

    let memory = Streamer::connect("memory:").await.unwrap();
    for (streamer, options) in [(&file, EmitOptions::new().replicas(1)), (&memory, flushed())] {
        let before = streamer.stream("e").len().await.unwrap();
        let error = streamer.emit_with(&event, options).await.unwrap_err();
        assert_eq!(
            error.kind(),
            EmitErrorKind::Engine(EngineErrorKind::Unsupported),
            "{error}"
        );
        assert_eq!(streamer.stream("e").len().await.unwrap(), before);
    }
}
