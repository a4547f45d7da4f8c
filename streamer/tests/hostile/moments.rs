//! Dates and ages.

use streamer::{Moment, archive::OlderThan};

use crate::{corpus, kind};

#[test]
fn a_moment_is_understood_or_refused_in_our_words() {
    let corpus = corpus("moments.txt").with_tokens(&[
        " ago",
        "days",
        "P",
        "T",
        "Z",
        "[UTC]",
        "[Europe/Oslo]",
        "+01:00",
        "-",
        "99999999999999999999",
        "24:00",
        ":60",
        "٣",
        "\u{2212}",
    ]);
    corpus.check(20_000, |text| {
        let text = String::from_utf8_lossy(text);
        match (text.parse::<Moment>(), text.parse::<OlderThan>()) {
            (Ok(_), older) => older
                .map(|_| "understood".to_owned())
                .unwrap_or_else(|error| kind(&error)),
            (Err(error), older) => {
                assert!(older.is_err(), "{text:?} is an age and no moment");
                let said = error.to_string();
                assert!(said.chars().count() < 500 && !said.contains("jiff"), "{said}");
                let quoted = text.trim().chars().take(100).collect::<String>();
                kind(&said.replace(&quoted, ""))
            }
        }
    });
}
