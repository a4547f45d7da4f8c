//! Entries, whoever wrote them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use streamer::{
    Entry, EntryId, ReceivedMessage,
    archive::ArchivedMessage,
    message::{DecodeError, Envelope},
};

use crate::{corpus, kind};

/// What an application may ask for.
#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Order {
    id: Option<u64>,
    amount: Option<f32>,
    items: Option<Vec<BTreeMap<String, String>>>,
    user: Option<String>,
    raw: Option<Vec<u8>>,
    state: Option<State>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
enum State {
    Open,
    Closed(u8),
}

/// Fields from text: each ends with U+001E, and its name with U+001F.
fn entry(text: &[u8]) -> Entry {
    let field = |field: &[u8]| {
        let mut parts = field.splitn(2, |byte| *byte == 0x1f).map(Bytes::copy_from_slice);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    };
    Entry {
        id: EntryId::new(1_795_407_980_936, 0),
        fields: text.split(|byte| *byte == 0x1e).map(field).collect(),
    }
}

#[test]
fn any_entry_is_shown_and_read_or_refused_with_its_fields_kept() {
    let corpus = corpus("entries").with_tokens(&[
        "data\u{1f}",
        "\u{1e}data\u{1f}{}",
        "\u{1e}data\u{1f}[]",
        "original_id\u{1f}1-0\u{1e}",
        "created\u{1f}",
        "hash\u{1f}\u{1e}",
        "state\u{1f}Open\u{1e}",
        "raw\u{1f}",
        "{\"base64\":\"AA==\"}",
        "1795407980936000",
    ]);
    corpus.check(2_000, |text| {
        let entry = entry(text);
        let message = ReceivedMessage::new("s".into(), entry.clone(), 1);
        let data = message.data();
        assert_eq!(
            ReceivedMessage::new("s".into(), entry.clone(), 1).check().is_ok(),
            data.is_ok()
        );
        match (message.payload::<Value>(), &data) {
            (Ok(payload), Ok(data)) => assert_eq!(&payload, *data),
            (payload, data) => assert_eq!(payload.is_ok(), data.is_ok(), "{payload:?} {data:?}"),
        }
        let order = message.payload::<Order>();
        let state = message.payload::<State>();
        let bytes = message.payload::<BTreeMap<String, Vec<u8>>>();
        if let Err(DecodeError::Undecodable(_)) = &order {
            assert!(data.is_err(), "{order:?}");
        }
        let _ = (
            message.get("a.b"),
            message.get(""),
            message.get("items.0.sku"),
            message.except(&["a.b", "items.0", "user"]),
        );
        assert!(message.created().is_none_or(|created| created <= 1_795_407_980 + 3_600));

        let line = message.to_json();
        assert!(!line.contains(|c: char| c < ' '), "{line:?}");
        let mut reader = serde_json::Deserializer::from_str(&line);
        reader.disable_recursion_limit();
        let shown = Value::deserialize(&mut reader).unwrap();
        assert_eq!(shown["id"], "1795407980936-0");
        assert_eq!(shown.get("raw").is_some(), data.is_err());

        // Into the archive and back, to the byte.
        let archived = ArchivedMessage {
            stream: "s".into(),
            id: entry.id,
            original_ids: Vec::new(),
            fields: entry.fields.clone(),
        };
        assert_eq!(
            ArchivedMessage::from_json(archived.to_json().as_bytes()),
            Some(archived)
        );

        // What we make of its parts reads back as them.
        let value = |name: &str| message.field(name).cloned().unwrap_or_default();
        let envelope = Envelope {
            name: value("name"),
            kind: value("type"),
            domain: value("domain"),
            original_id: None,
            created: 5,
            data: value("data"),
        };
        let fields = envelope.clone().encode();
        let again = ReceivedMessage::new("s".into(), Entry { id: entry.id, fields }, 1);
        assert_eq!(again.field("data"), Some(&envelope.data));
        assert_eq!(again.name(), String::from_utf8_lossy(&envelope.name));
        let told = |result: Result<(), DecodeError>| result.err().map(|error| kind(&error));
        (
            told(order.map(drop)),
            told(state.map(drop)),
            told(bytes.map(drop)),
            message.created().is_some(),
            entry.fields.len(),
        )
    });
}
