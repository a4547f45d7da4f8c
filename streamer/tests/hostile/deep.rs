//! JSON that nests a million levels deep. A parser or a destructor that calls itself for each level takes the whole stack,
//! and then the process ends without an error: each of these texts must be refused or kept as it is, wherever it comes from.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use rusqlite::Connection;
use serde::{Serialize, Serializer, ser::SerializeSeq as _};
use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EmitErrorKind, EmitOptions, EntryId, Event, ListenerError, Listeners, ReceivedMessage, Streamer,
    archive::{ArchiveStorage as _, ArchivedMessage, OlderThan, Restore, SqliteArchive, Sweep},
    failed::{FailedFilter, FailedMessage},
    message::{DecodeError, payload_from_text},
    stream::Range,
};
use streamer_test_servers::Place;

const LEVELS: usize = 1_000_000;
/// Where a text goes through many hands: more than any stack has frames for, all the same.
const SOME_LEVELS: usize = 200_000;

/// Lists, objects, and lists that are closed again.
fn texts(levels: usize) -> [String; 3] {
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    ["{\"a\":".repeat(levels), open.clone() + "1" + &close, open]
}

/// The same in an object, as the value of `key`.
fn within(key: &str, levels: usize) -> Vec<String> {
    let within = |text: String| format!("{{\"{key}\":{text}}}");
    texts(levels).map(within).to_vec()
}

#[test]
fn what_reads_json_refuses_a_million_levels() {
    for text in texts(LEVELS) {
        let error = payload_from_text::<Value>(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("deeper than 511 levels"), "{error}");
        let fields = vec![("data".into(), Bytes::from(text.clone()))];
        let entry = streamer::Entry {
            id: EntryId::new(1, 1),
            fields,
        };
        let message = ReceivedMessage::new("s".into(), entry, 1);
        assert!(message.check().is_err() && message.data().is_err());
        let typed = message.payload::<Vec<Value>>().unwrap_err();
        assert!(matches!(typed, DecodeError::Undecodable(_)), "{typed}");
        assert_eq!(message.get("a.a.a"), None);
        let shown = serde_json::from_str::<Value>(&message.to_json()).unwrap();
        assert_eq!(shown["raw"][0][1], text);
    }
    for key in ["fields", "stream", "original_ids", "other"] {
        for text in within(key, LEVELS) {
            assert_eq!(ArchivedMessage::from_json(text.as_bytes()), None);
            assert!(FailedMessage::from_member(text.as_bytes()).is_err());
        }
    }
}

/// A payload without a bottom.
struct Deep(bool);

impl Serialize for Deep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            return serializer.collect_map([("a", self)]);
        }
        let mut list = serializer.serialize_seq(Some(1))?;
        list.serialize_element(self)?;
        list.end()
    }
}

impl Event for Deep {
    fn name(&self) -> std::borrow::Cow<'_, str> {
        "e".into()
    }
}

on_each_engine! {
    whatever_is_stored_deep_ends_no_process,
}

/// Runs the listeners that look at a message in every way until nothing comes any more.
async fn listen(streamer: &Streamer) -> streamer::Summary {
    let listening = streamer.listen(listeners()).group("g").always_acknowledge(false);
    let listening = listening
        .start(streamer::StartAt::Beginning)
        .consumer("c")
        .reclaim(None);
    listening
        .listen_timeout(Duration::from_millis(500))
        .run()
        .await
        .unwrap()
}

fn listeners() -> Listeners {
    async fn look(message: ReceivedMessage) -> Result<(), ListenerError> {
        let _ = (message.get("a"), message.except(&["a"]), message.to_json());
        message.data()?;
        match message.get("fails") {
            Some(_) => Err(ListenerError::new("no")),
            None => Ok(()),
        }
    }
    Listeners::new().on("e", "look", look)
}

async fn whatever_is_stored_deep_ends_no_process(place: Place) {
    let streamer = Streamer::connect(place.url()).await.unwrap();
    for deep in [Deep(true), Deep(false)] {
        let error = streamer.emit(&deep).await.unwrap_err();
        assert_eq!(error.kind(), EmitErrorKind::Encode);
        assert!(error.to_string().contains("deeper than 512 levels"), "{error}");
    }
    for text in texts(SOME_LEVELS) {
        streamer
            .stream("e")
            .add(vec![("data".into(), text.into())])
            .await
            .unwrap();
    }
    let failing = DynamicEvent::new("e", json!({ "fails": 1 }));
    let options = EmitOptions::new().identifier("7");
    let failing = streamer.emit_with(&failing, options).await.unwrap();
    let summary = listen(&streamer).await;
    assert_eq!((summary.messages, summary.failed), (4, 4), "{summary:?}");

    // Beside the streams, where others may write too.
    for text in within("succeeded", SOME_LEVELS) {
        plant(&place, "hash", "{e}:retry:g", &failing.to_string(), &text);
        assert!(streamer.failed().count().await.unwrap() >= 4);
        // What earlier attempts achieved cannot be read: the listening tells it, or runs all listeners again.
        assert!(listen(&streamer).await.messages >= 3);
    }
    let members = streamer
        .failed()
        .list(FailedFilter::all())
        .next_page()
        .await
        .unwrap()
        .unwrap();
    for (text, listed) in within("fields", SOME_LEVELS).iter().zip(&members) {
        let field = hash_of(&listed.member);
        plant(&place, "hash", "failed_stream:details", &field, text);
        plant(&place, "set", "failed_stream", "", text);
        plant(&place, "list", "e-7", "", text);
        plant(&place, "list", "e-7", "", &text.replacen("fields", "id", 1));
    }
    let mut unreadable = 0;
    let mut listing = streamer.failed().list(FailedFilter::all()).with_details();
    while let Some(page) = listing.next_page().await.unwrap() {
        unreadable += page.iter().filter(|listed| listed.record.is_err()).count();
        for listed in page.iter().filter(|listed| listed.record.is_ok()) {
            let _ = streamer.failed().message(listed, None).await.unwrap();
        }
    }
    assert_eq!(unreadable, 3);
    let retried = streamer
        .failed()
        .retry(FailedFilter::all(), listeners())
        .run()
        .await
        .unwrap();
    assert_eq!(retried.retried, 0, "{retried:?}");
    assert!(retried.failed_again >= 1 && retried.skipped >= 3, "{retried:?}");
    let replayed = streamer.replay("e", "7").run().await.unwrap().unwrap();
    assert_eq!((replayed.messages, replayed.unreadable.len()), (1, 6), "{replayed:?}");

    // Into the archive, between rows that are nonsense, and back.
    let url = format!("sqlite://{}", place.file("archive.db").display());
    let archive = Arc::new(SqliteArchive::open(&url).await.unwrap());
    let sweep = Sweep::archive(&streamer, archive.clone()).force(true);
    let swept = sweep.run(&"e".into(), OlderThan::now()).await.unwrap();
    assert_eq!(swept.removed, 4);
    let rows = Connection::open(place.file("archive.db")).unwrap();
    let mut replaced = 0;
    for text in within("fields", SOME_LEVELS) {
        replaced += rows
            .execute(
                "INSERT INTO streamer_archive VALUES (X'65', ?, ?)",
                (EntryId::new(replaced as u64, 7).to_be_bytes(), text),
            )
            .unwrap();
    }
    assert_eq!(replaced, 3);
    assert!(archive.page(None, None, 100).await.is_err());
    assert!(archive.find(&"e".into(), EntryId::new(0, 7)).await.is_err());
    rows.execute(
        "DELETE FROM streamer_archive WHERE message LIKE '{\"fields\":[[[%' OR message LIKE '{\"fields\":{\"a\":{%'",
        (),
    )
    .unwrap();
    let restored = Restore::new(&streamer, archive).run(None).await.unwrap();
    assert_eq!((restored.restored, restored.failed), (4, 0));
    let entries = streamer.stream("e").range(Range::all()).entries();
    let entries = entries.try_collect::<Vec<_>>().await.unwrap();
    let kept = |text: &String| {
        entries
            .iter()
            .any(|entry| entry.fields.iter().any(|(_, value)| value == text))
    };
    assert!(texts(SOME_LEVELS).iter().all(kept));
}

/// Writes what an operator or another program may have written.
fn plant(place: &Place, kind: &str, key: &str, field: &str, value: &str) {
    if let Some(server) = place.server() {
        let answer = match kind {
            "hash" => server.command(&["HSET", key, field, value]),
            "set" => server.command(&["SADD", key, value]),
            _ => server.command(&["LPUSH", key, value]),
        };
        assert!(!answer.starts_with('-'), "{answer}");
        return;
    }
    let file = Connection::open(place.file("store.db")).unwrap();
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    let number = match kind {
        "set" => 1,
        "hash" => 2,
        _ => 3,
    };
    file.execute(
        "INSERT OR IGNORE INTO streamer_keys (name, kind) VALUES (?, ?)",
        (key.as_bytes(), number),
    )
    .unwrap();
    let sql = match kind {
        "set" => {
            "INSERT OR IGNORE INTO streamer_members (key, member) SELECT id, ?2 FROM streamer_keys WHERE name = ?1"
        }
        "hash" => "INSERT OR REPLACE INTO streamer_hash_fields SELECT id, ?3, ?2 FROM streamer_keys WHERE name = ?1",
        _ => "INSERT INTO streamer_elements (key, element) SELECT id, ?2 FROM streamer_keys WHERE name = ?1",
    };
    let written = match kind {
        "hash" => file.execute(sql, (key.as_bytes(), value.as_bytes(), field.as_bytes())),
        _ => file.execute(sql, (key.as_bytes(), value.as_bytes())),
    };
    assert_eq!(written.unwrap(), 1);
}

/// Under which field the details of a failure lie.
fn hash_of(member: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(member))
}
