//! Configurations, times and numbers that nobody of good will writes.

use std::{path::Path, time::Duration};

use streamer_fuzz::Corpus;

use super::{
    Batch, Defaults, Definitions, Flags, Limit, Number, PhpBool, Settings, Value, Workers,
    file::{File, Table},
};
use crate::exit::{Exit, Failure};

fn corpus(name: &str) -> Corpus {
    Corpus::at(format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR")))
}

/// As [`super::Config::load`] reads it.
fn read(text: &str) -> Result<(usize, usize), Failure> {
    let file = File::new(Path::new("streamer.toml"), text);
    let entries = file.parse()?;
    let top = Table::new(file, "", &entries);
    let settings = Settings::resolve(&Flags::default(), Some(&top), &Defaults::default())?;
    let definitions = Definitions::read(&top, &["known"])?;
    // What is in force can be shown.
    let shown = settings.rows().iter().filter(|row| !row.text.is_empty()).count();
    let _ = settings
        .rows()
        .iter()
        .map(|row| row.json.to_string())
        .collect::<Vec<_>>();
    Ok((shown, definitions.listeners.len()))
}

#[test]
fn a_configuration_is_read_or_refused_with_its_line() {
    let corpus = corpus("config").with_tokens(&[
        "[retry]\n",
        "[listeners.x]\n",
        "[listen_and_fire]\n",
        "[[",
        "= ",
        "'''",
        "\"\"\"",
        "{ env = 'X' }",
        "{ file = 'x' }",
        "inf",
        "nan",
        "0x",
        "1979-05-27T07:32:00Z",
        "true",
        "[]",
        "{}",
        "\\u0000",
        "webhook = 'http://x/'\n",
        "program = ['x']\n",
        "program = 'x'\nshell = true\n",
    ]);
    corpus.check(6_000, |text| {
        // A file that is not UTF-8 is refused before it is parsed.
        let text = String::from_utf8_lossy(text);
        match read(&text) {
            Ok(read) => format!("{read:?}"),
            Err(failure) => {
                let said = failure.to_string();
                assert_eq!(failure.exit, Exit::Usage, "{said}");
                let line = said
                    .strip_prefix("streamer.toml:")
                    .and_then(|rest| rest.split(':').next());
                let line = line.and_then(|line| line.parse::<usize>().ok());
                let lines = text.split('\n').count();
                assert!(line.is_some_and(|line| (1..=lines + 1).contains(&line)), "{said}");
                let known = said.chars().filter(char::is_ascii_lowercase).take(50);
                known.collect()
            }
        }
    });
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
