//! Times and numbers that nobody of good will writes.

use std::time::Duration;

use streamer_fuzz::Corpus;

use super::{Batch, Limit, Number, PhpBool, Value, Workers};

fn corpus(name: &str) -> Corpus {
    Corpus::at(format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn times_and_numbers_are_read_as_they_are_shown() {
    let corpus = corpus("durations.txt").with_tokens(&[
        "ms",
        "us",
        "ns",
        "months",
        "years",
        "off",
        " ",
        "0",
        "9999999999999999999",
        "\u{b5}s",
    ]);
    corpus.check(30_000, |text| {
        let text = String::from_utf8_lossy(text);
        let time = Duration::from_text(&text);
        if let Some(time) = time {
            assert_eq!(Duration::from_text(&time.show()), Some(time), "{}", time.show());
        }
        let limit = Limit::from_text(&text);
        if let Some(limit) = limit {
            assert_eq!(Limit::from_text(&limit.show()), Some(limit), "{}", limit.show());
        }
        let numbers = (
            Workers::from_text(&text),
            Number::from_text(&text),
            Batch::from_text(&text),
        );
        if let Some(workers) = numbers.0 {
            assert_eq!(Workers::from_text(&workers.show()), Some(workers));
        }
        let unit = time.map(|time| (time.subsec_nanos() > 0, time.as_secs().checked_ilog10()));
        (
            unit,
            limit.is_some(),
            numbers.0.is_some(),
            numbers.1.is_some(),
            numbers.2.is_some(),
            PhpBool::from_text(&text).map(|PhpBool(yes)| yes),
        )
    });
}
