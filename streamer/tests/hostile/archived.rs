//! Lines of an archive.

use streamer::archive::ArchivedMessage;

use crate::corpus;

#[test]
fn a_line_of_an_archive_is_a_message_or_refused() {
    let corpus = corpus("archived").with_tokens(&[
        "{\"base64\":\"\"}",
        "\"original_ids\"",
        "\"fields\"",
        "0-0",
        "null",
        "[]",
    ]);
    corpus.check(20_000, |text| {
        let message = ArchivedMessage::from_json(text)?;
        let line = message.to_json();
        assert!(!line.contains('\n'));
        assert_eq!(ArchivedMessage::from_json(line.as_bytes()).as_ref(), Some(&message));
        let _ = (message.message().to_json(), message.created_ms(), message.size());
        Some((
            message.fields.len(),
            message.original_ids.len(),
            std::str::from_utf8(message.stream.as_bytes()).is_ok(),
        ))
    });
}
