//! Replies that no server gives.

use streamer_fuzz::Corpus;

use super::*;

/// A slow model: what the library's parser gives, taken apart.
fn streams(reply: Value) -> Option<Vec<StreamEntries>> {
    let list = |value: Value| match value {
        Value::Array(items) => Some(items),
        Value::Nil => Some(Vec::new()),
        _ => None,
    };
    let bytes = |value: Value| match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        _ => None,
    };
    let entry = |value: Value| {
        let [id, fields] = list(value)?.try_into().ok()?;
        let fields = match fields {
            Value::Array(fields) => fields.into_iter().map(bytes).collect::<Option<Vec<_>>>()?,
            _ => return None,
        };
        Some(Entry {
            id: entry_id(&bytes(id)?)?,
            fields: fields
                .chunks_exact(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
        })
    };
    let stream = |value: Value| {
        let [name, entries] = list(value)?.try_into().ok()?;
        Some(StreamEntries {
            stream: bytes(name)?.into(),
            entries: list(entries)?.into_iter().map(entry).collect::<Option<_>>()?,
        })
    };
    list(reply)?.into_iter().map(stream).collect()
}

#[test]
fn replies_are_scanned_as_the_library_parses_them_wherever_they_are_cut() {
    let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/replies")).with_tokens(&[
        "\r\n",
        "*-1\r\n",
        "$-1\r\n",
        "*0\r\n",
        "$0\r\n\r\n",
        ":1\r\n",
        "+OK\r\n",
        "-ERR x\r\n",
        "*2\r\n",
        "$1\r\n",
        "%1\r\n",
        "~1\r\n",
        "_\r\n",
        "18446744073709551615-0",
        "*281474976710655\r\n",
        "$281474976710655\r\n",
    ]);
    corpus.check(30_000, |received| {
        let mut extent = Extent::of(1);
        let whole = extent.reaches_end(received);
        // Piece by piece, as it comes: the same end, and no end before it.
        let mut pieces = Extent::of(1);
        let step = 1 + received.len() / 40;
        let mut last = Ok(false);
        for cut in (0..received.len()).step_by(step).chain([received.len()]) {
            last = pieces.reaches_end(&received[..cut]);
            if !matches!(last, Ok(false)) {
                break;
            }
        }
        match (&whole, &last) {
            (Ok(whole), Ok(last)) => assert_eq!((whole, extent.at), (last, pieces.at)),
            (whole, last) => assert_eq!(whole.is_err(), last.is_err(), "{whole:?} {last:?}"),
        }
        if !whole.as_ref().is_ok_and(|whole| *whole) {
            return (whole.is_err(), 0, String::new());
        }
        let reply = &received[..extent.at];
        let (ours, library) = (value(reply), redis::parse_redis_value(reply));
        match (&ours, &library) {
            (Ok(ours), Ok(library)) => assert_eq!(ours, library),
            (Err(_), Ok(library)) => assert!(matches!(library, Value::ServerError(_)), "{library:?}"),
            (Ok(ours), Err(error)) => panic!("{ours:?} of what is no reply: {error}"),
            (Err(_), Err(_)) => {}
        }
        let kind = format!("{:?}", library.as_ref().map(std::mem::discriminant).ok());
        let streams_of_library = library.ok().and_then(streams);
        let ours = Reply::new(Bytes::copy_from_slice(reply)).streams();
        // A nil in place of a list is one list in RESP2, and another value in ours: the library tells them apart no more.
        let other_nil = reply.windows(5).any(|part| part == b"$-1\r\n");
        if let Some(expected) = streams_of_library.as_ref().filter(|_| !other_nil) {
            assert_eq!(ours.as_ref().ok(), Some(expected));
        }
        values(received, 3);
        let count = ours.map_or(0, |streams| {
            1 + streams.iter().map(|stream| 1 + stream.entries.len()).sum::<usize>()
        });
        (false, count, kind)
    });
}
