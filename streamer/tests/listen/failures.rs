//! What fails is recorded for its listener alone, and holds up nothing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use streamer::{
    EndReason, Listener, ListenerContext, ListenerError, Listeners, NewId, Payload, ReceivedMessage, Report, Streamer,
    async_trait,
    engine::{Append, AppendOptions},
    extract::State,
    failed::FailedMessage,
};

use crate::{Running, Seen, emit, on_each_engine, store::Store, until};

on_each_engine!(
    each_failure_is_recorded_for_its_listener_alone_and_the_message_acknowledged,
    a_payload_that_does_not_parse_is_its_listeners_failure,
    what_is_not_json_is_recorded_with_its_fields_and_holds_up_nothing,
    a_message_without_our_fields_is_handled,
    only_listeners_that_have_not_succeeded_run_again,
    what_stays_pending_is_our_own_and_does_not_prevent_the_end,
);

async fn failures(streamer: &Streamer) -> Vec<FailedMessage> {
    let (_, members) = streamer.engine().page_of_failures(0, 1_000).await.unwrap();
    let mut failures = members
        .iter()
        .map(|member| FailedMessage::from_member(member).unwrap())
        .collect::<Vec<_>>();
    failures.sort_by(|one, other| (&one.id, &one.receiver).cmp(&(&other.id, &other.receiver)));
    failures
}

async fn pending(streamer: &Streamer) -> u64 {
    streamer.engine().pending_summary(&"e".into(), "g").await.unwrap().count
}

async fn each_failure_is_recorded_for_its_listener_alone_and_the_message_acknowledged(store: Store) {
    async fn fails() -> Result<(), String> {
        Err("no stock ż".to_owned())
    }
    async fn panics() {
        panic!("never mind {}", 7);
    }
    async fn works(message: ReceivedMessage, State(seen): State<Seen>) {
        seen.add(message);
    }
    struct Hangs;
    #[async_trait]
    impl Listener for Hangs {
        async fn handle(&self, _: &ReceivedMessage, _: &ListenerContext) -> Result<(), ListenerError> {
            std::future::pending().await
        }
    }
    let streamer = store.connect().await;
    let ids = emit(&streamer, "e", 0..3).await;
    let seen = Seen::default();
    let mut listeners = Listeners::with_state(seen.clone())
        .on("e", "fails", fails)
        .on("e", "panics", panics)
        .on("e", "works", works);
    listeners.add_listener("e", "hangs", Hangs, Some(Duration::from_millis(5)));
    let listening = streamer
        .listen(listeners)
        .group("g")
        .listen_timeout(Duration::from_millis(100));
    let summary = listening.run().await.unwrap();
    assert_eq!((summary.messages, summary.processed, summary.failed), (3, 3, 9));
    assert_eq!(seen.ids(), ids);
    assert_eq!(pending(&streamer).await, 0);
    let failures = failures(&streamer).await;
    assert_eq!(failures.len(), 9);
    let first = failures.iter().filter(|failure| failure.id == ids[0].to_string());
    let first = first
        .map(|failure| (failure.receiver.as_str(), failure.error.as_str()))
        .collect::<Vec<_>>();
    assert_eq!(
        first,
        [
            ("fails", "no stock ż"),
            ("hangs", "took longer than 5 ms"),
            ("panics", "panicked: never mind 7")
        ]
    );
    assert!(
        failures
            .iter()
            .all(|failure| failure.stream == "e" && failure.date.len() == 19)
    );
}

async fn a_payload_that_does_not_parse_is_its_listeners_failure(store: Store) {
    #[derive(serde::Deserialize)]
    struct Strict {
        #[allow(dead_code)]
        name: String,
    }
    async fn strict(_: Payload<Strict>) {}
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let seen = Seen::default();
    let mut listeners = seen.listener("e");
    listeners.add("e", "strict", strict);
    streamer
        .listen(listeners)
        .group("g")
        .listen_timeout(Duration::from_millis(50))
        .run()
        .await
        .unwrap();
    let failures = failures(&streamer).await;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].receiver, "strict");
    assert!(failures[0].error.contains("name"), "{}", failures[0].error);
    assert_eq!(seen.len(), 1);
}

async fn append(streamer: &Streamer, fields: &[(&'static str, &'static [u8])]) -> streamer::EntryId {
    let fields = fields
        .iter()
        .map(|(name, value)| (Bytes::from(*name), Bytes::from_static(value)))
        .collect();
    let append = Append {
        stream: "e".into(),
        id: NewId::Auto,
        fields,
        options: AppendOptions::default(),
    };
    streamer.engine().append(append).await.unwrap()
}

async fn what_is_not_json_is_recorded_with_its_fields_and_holds_up_nothing(store: Store) {
    let streamer = store.connect().await;
    let broken = append(
        &streamer,
        &[("name", b"e"), ("data", b"{\"n\":"), ("extra", b"\xff\x00")],
    )
    .await;
    emit(&streamer, "e", 0..5).await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .listen_timeout(Duration::from_millis(100));
    listening.run().await.unwrap();
    assert!(seen.numbers().into_iter().eq(0..5));
    assert_eq!(pending(&streamer).await, 0);
    let failures = failures(&streamer).await;
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (failures[0].id.as_str(), failures[0].receiver.as_str()),
        (&*broken.to_string(), "note")
    );
    // Even if the entry goes, its fields are kept beside the failure.
    streamer.engine().delete(&"e".into(), &[broken]).await.unwrap();
    let kept = streamer
        .engine()
        .failure_details(&[failures[0].to_member()])
        .await
        .unwrap();
    let kept = serde_json::from_slice::<serde_json::Value>(kept[0].as_ref().unwrap()).unwrap();
    let fields = serde_json::json!([["name", "e"], ["data", "{\"n\":"], ["extra", { "base64": "/wA=" }]]);
    assert_eq!(kept["fields"], fields);
}

async fn a_message_without_our_fields_is_handled(store: Store) {
    let streamer = store.connect().await;
    append(&streamer, &[("sku", b"ABC-1"), ("amount", b"2")]).await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .listen_timeout(Duration::from_millis(50));
    assert_eq!(listening.run().await.unwrap().processed, 1);
    let message = seen.0.lock().unwrap()[0].clone();
    assert_eq!(message.name(), "e");
    assert_eq!(message.get("sku").unwrap(), "ABC-1");
}

async fn only_listeners_that_have_not_succeeded_run_again(store: Store) {
    #[derive(Clone, Default)]
    struct Calls {
        works: Arc<AtomicUsize>,
        fails: Arc<AtomicUsize>,
        mended: Arc<AtomicBool>,
    }
    async fn works(State(calls): State<Calls>) {
        calls.works.fetch_add(1, Ordering::SeqCst);
    }
    async fn fails(State(calls): State<Calls>) -> Result<(), &'static str> {
        calls.fails.fetch_add(1, Ordering::SeqCst);
        if calls.mended.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err("not yet")
        }
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let calls = Calls::default();
    let listeners = Listeners::with_state(calls.clone())
        .on("e", "works", works)
        .on("e", "fails", fails);
    let listen = || {
        let listening = streamer
            .listen(listeners.clone())
            .group("g")
            .consumer("c")
            .always_acknowledge(false);
        listening.reclaim(Some(Duration::from_millis(60)))
    };
    // It comes again by itself after the reclaim time.
    let listening = listen();
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("it failed three times", async || {
        calls.fails.load(Ordering::SeqCst) >= 3
    })
    .await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(pending(&streamer).await, 1);
    assert_eq!(
        failures(&streamer).await.len(),
        1,
        "the same failure stands once in the list"
    );

    // And after a restart.
    calls.mended.store(true, Ordering::SeqCst);
    listen().listen_timeout(Duration::from_millis(200)).run().await.unwrap();
    assert_eq!(pending(&streamer).await, 0);
    assert_eq!(failures(&streamer).await, []);
    assert_eq!(
        calls.works.load(Ordering::SeqCst),
        1,
        "a listener that succeeded does not run again"
    );
}

async fn what_stays_pending_is_our_own_and_does_not_prevent_the_end(store: Store) {
    async fn fails() -> Result<(), &'static str> {
        Err("no")
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let taken_up = Arc::new(Mutex::new(Vec::new()));
    let listen = |reclaim: u64| {
        let taken_up = taken_up.clone();
        let listening = streamer.listen(Listeners::new().on("e", "fails", fails)).group("g");
        let listening = listening
            .always_acknowledge(false)
            .reclaim(Some(Duration::from_millis(reclaim)));
        listening.on_report(move |report| {
            if let Report::Recovered { claimed, .. } = report {
                taken_up.lock().unwrap().push(*claimed);
            }
        })
    };
    let running = Running::start(listen(100));
    until("it came again", async || !taken_up.lock().unwrap().is_empty()).await;
    running.stop().await;
    assert!(!taken_up.lock().unwrap().contains(&true), "claimed from whom?");

    // It comes again and again, and each time well before the timeout.
    let summary = listen(50)
        .listen_timeout(Duration::from_millis(400))
        .run()
        .await
        .unwrap();
    assert_eq!(summary.ended, EndReason::Quiet);
    assert_eq!(store.pending("e", "g").len(), 1);
}
