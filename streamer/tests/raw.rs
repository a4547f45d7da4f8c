//! Payloads that are bytes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};

use serde_json::json;
use streamer::{
    DynamicEvent, EmitOptions, Entry, Listeners, Payload, Raw, ReceivedMessage, Streamer, extract::State,
    failed::FailedFilter,
};

const EVENT: &str = "order.placed";

async fn stored(streamer: &Streamer) -> Vec<Entry> {
    use streamer::RangeBound::Unbounded;
    let engine = streamer.engine();
    engine
        .range(&EVENT.into(), Unbounded, Unbounded, None, false)
        .await
        .unwrap()
}

fn data(entry: &Entry) -> String {
    let (_, data) = entry.fields.iter().find(|(name, _)| name == "data").unwrap();
    String::from_utf8(data.to_vec()).unwrap()
}

#[tokio::test]
async fn any_bytes_come_back_as_they_went_in() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    let payloads = [
        Raw::new(Vec::new()),
        Raw::new((0..=255).collect::<Vec<u8>>()).with_content_type("application/x-protobuf"),
        Raw::new(vec![0xff; 300_000]).with_content_type("text/\"odd\"; charset=ü"),
    ];
    for raw in &payloads {
        let event = raw.clone().event(EVENT).with_kind("command");
        let options = EmitOptions::new().header("tenant", "north");
        streamer.emit_with(&event, options).await.unwrap();
    }
    type Seen = Arc<Mutex<Vec<Raw>>>;
    async fn as_argument(raw: Raw, message: ReceivedMessage, State(seen): State<Seen>) {
        assert_eq!(message.kind(), "command");
        seen.lock().unwrap().push(raw);
    }
    async fn as_payload(Payload(raw): Payload<Raw>, State(seen): State<Seen>) {
        seen.lock().unwrap().push(raw);
    }
    let seen = Seen::default();
    let listeners = Listeners::with_state(seen.clone())
        .on(EVENT, "argument", as_argument)
        .on(EVENT, "payload", as_payload);
    let listening = streamer.listen(listeners).group("g").stop_after(payloads.len() as u64);
    let summary = listening.run().await.unwrap();
    assert_eq!((summary.processed, summary.failed), (6, 0));
    let expected: Vec<_> = payloads.iter().flat_map(|raw| [raw.clone(), raw.clone()]).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// As `json_encode(['content_type' => 'application/x-protobuf', 'base64' => base64_encode("\xff\xef\xff")])` has it.
#[tokio::test]
async fn what_is_stored_is_what_php_would_store_of_an_array() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    let raw = Raw::new(vec![0xff, 0xef, 0xff]).with_content_type("application/x-protobuf");
    streamer.emit(&raw.clone().event(EVENT)).await.unwrap();
    let entries = stored(&streamer).await;
    assert_eq!(
        data(&entries[0]),
        r#"{"content_type":"application\/x-protobuf","base64":"\/+\/\/"}"#
    );
    // What PHP emits as such an array is read as bytes.
    let of_php = DynamicEvent::new(
        EVENT,
        json!({"content_type": "application/x-protobuf", "base64": "/+//"}),
    );
    streamer.emit(&of_php).await.unwrap();
    let entries = stored(&streamer).await;
    let message = ReceivedMessage::new(EVENT.into(), entries[1].clone(), 1);
    assert_eq!(message.payload::<Raw>().unwrap(), raw);
}

#[tokio::test]
async fn what_is_no_raw_payload_is_listed_and_not_handled() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    for payload in [
        json!({"id": 7}),
        json!({"content_type": "a/b", "base64": "no base64!"}),
        json!({"content_type": "a/b", "base64": 7}),
    ] {
        streamer.emit(&DynamicEvent::new(EVENT, payload)).await.unwrap();
    }
    async fn never(_: Raw) {
        unreachable!("it has no payload");
    }
    let listening = streamer.listen(Listeners::new().on(EVENT, "store", never)).group("g");
    let summary = listening.stop_after(3).run().await.unwrap();
    assert_eq!(summary.failed, 3);
    let mut listing = streamer.failed().list(FailedFilter::all());
    let page = listing.next_page().await.unwrap().unwrap();
    let errors: Vec<_> = page.into_iter().map(|listed| listed.record.unwrap().error).collect();
    assert!(
        errors.iter().any(|error| error.contains("no base64 text")),
        "{errors:?}"
    );
    assert!(errors.iter().any(|error| error.contains("content_type")), "{errors:?}");
}
