//! Mistakes in how listeners are registered, and names that events cannot have, are refused before anything begins.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use streamer::{
    DynamicEvent, EmitErrorKind, ListenError, Listeners, RetryPolicy, Streamer, engine::EngineErrorKind,
    failed::FailedFilter,
};

async fn works() {}

#[tokio::test]
async fn two_listeners_of_one_name_and_a_policy_for_nobody_are_errors_at_the_start() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    let policy = RetryPolicy::fixed(3, Duration::from_secs(1));
    for (listeners, mistake) in [
        (
            Listeners::new().on("a", "it", works).on("a", "it", works),
            "the event 'a' has two listeners of the name `it`",
        ),
        (
            Listeners::new().on("a", "it", works).retry_for("reciept", &policy),
            "a retry policy is for the listener `reciept`, which no event has",
        ),
    ] {
        let refused = streamer.listen(listeners.clone()).run().await.unwrap_err();
        assert!(
            matches!(&refused, ListenError::Mistake(text) if text == mistake),
            "{refused}"
        );
        let refused = streamer
            .failed()
            .retry(FailedFilter::all(), listeners)
            .run()
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), EngineErrorKind::InvalidInput);
        assert!(refused.to_string().contains(mistake), "{refused}");
    }
    let fine = Listeners::new()
        .on("a", "it", works)
        .on("b", "it", works)
        .retry_for("it", &policy);
    assert!(fine.mistakes().is_empty());
}

#[tokio::test]
async fn names_of_our_keys_are_refused() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    for name in ["failed_stream", "failed_stream:details", "{a}:restored", "{a}:retry:g"] {
        let refused = streamer
            .emit(&DynamicEvent::new(name, serde_json::json!({})))
            .await
            .unwrap_err();
        assert_eq!(
            refused.kind(),
            EmitErrorKind::Engine(EngineErrorKind::InvalidInput),
            "{refused}"
        );
        let refused = streamer
            .listen(Listeners::new().on(name, "it", works))
            .run()
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, ListenError::Mistake(text) if text.contains("give the event another name")),
            "{refused}"
        );
    }
    // Nothing was made on the way.
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
}

/// laravel-streamer can write to a stream without a name, so one can listen to it; nobody should begin one.
#[tokio::test]
async fn an_event_without_a_name_is_not_emitted() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    let refused = streamer
        .emit(&DynamicEvent::new("", serde_json::json!({})))
        .await
        .unwrap_err();
    assert_eq!(
        refused.kind(),
        EmitErrorKind::Engine(EngineErrorKind::InvalidInput),
        "{refused}"
    );
}
