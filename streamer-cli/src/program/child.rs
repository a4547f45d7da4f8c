//! One long-lived process of `mode = "lines"`: a line in, a line out.

use std::{io, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout},
    time::timeout,
};

use super::{
    command::Program,
    group::{PATIENCE, Process},
    last_words::LastWords,
};
use crate::terminal;

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How much of what is not an answer is quoted.
const QUOTED: usize = 200;

pub(super) struct Child {
    process: Process,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: LastWords,
}

/// What a program said about a message: that it is handled, or why not.
pub(super) type Answer = Result<(), String>;

impl Child {
    pub(super) fn start(program: &Program) -> io::Result<Self> {
        let mut process = program.start()?;
        let streams = process
            .child()
            .map(|child| (child.stdin.take(), child.stdout.take(), child.stderr.take()));
        let Some((Some(input), Some(answers), Some(errors))) = streams else {
            return Err(io::Error::other("its standard streams could not be had"));
        };
        Ok(Self {
            process,
            input,
            answers: BufReader::new(answers),
            errors: LastWords::of(&program.name, errors),
        })
    }

    /// Whether it lives and is silent. One that speaks without being asked is of no use: what it says would be taken
    /// for the answer to the next message.
    pub(super) fn is_ready(&mut self) -> Result<(), String> {
        match self.answers.fill_buf().now_or_never() {
            None => Ok(()),
            Some(Ok([])) => Err("it ended".to_owned()),
            Some(Ok(said)) => Err(format!(
                "it wrote without being asked: {}",
                terminal::beginning(said, QUOTED)
            )),
            Some(Err(error)) => Err(format!("its output cannot be read: {error}")),
        }
    }

    /// Gives it a message (one line with its newline) and waits for the answer. An error means that this child cannot
    /// be used any more; so does a future that was dropped.
    pub(super) async fn ask(&mut self, message: &[u8]) -> Result<Answer, String> {
        let written = async {
            self.input.write_all(message).await?;
            self.input.flush().await
        };
        if let Err(error) = written.await {
            return Err(self
                .obituary(&format!("it could not be given the message: {error}"))
                .await);
        }
        let (line, whole) = match self.answer().await {
            Ok(answer) => answer,
            Err(error) => return Err(format!("the program's answer could not be read: {error}")),
        };
        if line.is_empty() {
            return Err(self.obituary("its output was closed").await);
        }
        let answer = match whole {
            true => parse(&line),
            false => parse_cut(&line),
        };
        answer.ok_or_else(|| {
            format!(
                "the program answered neither {{\"ok\":true}} nor {{\"error\":\"text\"}} but: {}",
                terminal::beginning(&line, QUOTED)
            )
        })
    }

    /// A line, and whether that is all of it: of a longer one the beginning is kept, and the rest is read and thrown away.
    async fn answer(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut line = Vec::new();
        let mut whole = true;
        loop {
            let read = self.answers.fill_buf().await?;
            if read.is_empty() {
                return Ok((line, whole));
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(read.len(), |end| end + 1);
            let room = LONGEST_ANSWER.saturating_sub(line.len());
            line.extend_from_slice(&read[..taken.min(room)]);
            whole &= taken <= room;
            self.answers.consume(taken);
            if end.is_some() {
                return Ok((line, whole));
            }
        }
    }

    /// Why there was no answer: usually because the program ended.
    async fn obituary(&mut self, otherwise: &str) -> String {
        match timeout(Duration::from_secs(1), self.process.wait()).await {
            Ok(Ok(status)) => format!("the program ended before it answered ({status})"),
            _ => format!("the program did not answer: {otherwise}"),
        }
    }

    /// What it said last on stderr, after it ended or was given up.
    pub(super) async fn last_words(self) -> String {
        // The pipe closes when the process is gone.
        drop((self.process, self.input));
        let words = self.errors.all().await;
        words
            .lines()
            .last()
            .map(|line| terminal::beginning(line.as_bytes(), QUOTED))
            .unwrap_or_default()
    }

    /// Asks it to end, and waits until it has ended or was killed.
    pub(super) async fn give_up(self) {
        drop(self.input);
        self.process.end().await;
    }

    /// Ends it in good order: its input ends; then it is asked to end; then it is killed.
    pub(super) async fn end(mut self) {
        drop(self.input);
        if timeout(PATIENCE, self.process.wait()).await.is_err() {
            self.process.end().await;
        }
        self.errors.all().await;
    }
}

/// An answer of which only the beginning was kept: an error that is too long is cut, and is an error all the same.
fn parse_cut(line: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\u{fffd}');
    // The cut may have gone through an escape, `\u12` for example.
    let ends = text.char_indices().rev().map(|(at, _)| at).take(12);
    ends.filter_map(|end| parse(format!("{}\"}}", &text[..end]).as_bytes()))
        .map(|answer| answer.map_err(|error| error + "… (the answer was longer than 64 KiB and was cut)"))
        .next()
}

fn parse(line: &[u8]) -> Option<Answer> {
    let answer: serde_json::Value = serde_json::from_slice(line).ok()?;
    match (answer.get("ok"), answer.get("error")) {
        (None, Some(serde_json::Value::String(error))) => Some(Err(error.clone())),
        (Some(serde_json::Value::Bool(true)), None) => Some(Ok(())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::Value;
    use streamer_fuzz::Corpus;

    use super::{LONGEST_ANSWER, parse, parse_cut};

    /// The pairs of an object, in their order: what an answer says is looked up in them one by one.
    struct Pairs(Vec<(String, Value)>);

    impl<'de> Deserialize<'de> for Pairs {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Reader;
            impl<'de> Visitor<'de> for Reader {
                type Value = Pairs;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                    let mut pairs = Vec::new();
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Reader)
        }
    }

    /// A slow model of [`parse`].
    fn model(line: &[u8]) -> Option<Result<(), String>> {
        let Pairs(pairs) = serde_json::from_slice(line).ok()?;
        // Of two with one name the last counts.
        let last = |name: &str| {
            pairs
                .iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        match (last("ok"), last("error")) {
            (Some(ok), None) => (ok == true).then_some(Ok(())),
            (None, Some(error)) => Some(Err(error.as_str()?.to_owned())),
            _ => None,
        }
    }

    #[test]
    fn an_answer_is_taken_or_refused_and_a_cut_one_never_says_more() {
        let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/answers.txt"));
        let corpus = corpus.with_tokens(&[
            "{\"ok\":true}",
            "\"error\":",
            "\\u00e9",
            "\\ud83d",
            "[",
            "null",
            "true",
            ",",
        ]);
        corpus.check(20_000, |line| {
            let answer = parse(line);
            assert_eq!(answer, model(line), "{}", line.escape_ascii());
            // Cut anywhere, a refusal is never taken for an agreement.
            let mut of_cut = None;
            for part in 1..8 {
                let cut = &line[..line.len() * part / 8];
                of_cut = parse_cut(&cut[..cut.len().min(LONGEST_ANSWER)]);
                let agrees = matches!(of_cut, Some(Ok(())));
                assert!(!agrees || !matches!(answer, Some(Err(_))), "{}", line.escape_ascii());
            }
            (answer.map(|answer| answer.is_ok()), of_cut.map(|answer| answer.is_ok()))
        });
    }

    #[test]
    fn a_cut_answer_is_the_answer() {
        let long = "x".repeat(1000);
        for cut in [
            format!("{{\"error\":\"{long}"),
            format!("{{\"error\":\"{long}\\u12"),
            format!("{{\"error\":\"{long}\\"),
        ] {
            let Some(Err(error)) = parse_cut(cut.as_bytes()) else {
                panic!("{cut} is no answer");
            };
            assert!(error.starts_with("xxx") && error.ends_with("was cut)"), "{error}");
        }
        assert_eq!(
            parse_cut(format!("{{\"ok\":true,\"note\":\"{long}").as_bytes()),
            Some(Ok(()))
        );
        assert_eq!(parse_cut(long.as_bytes()), None);
    }

    #[test]
    fn only_the_two_answers_are_answers() {
        assert_eq!(parse(b"{\"ok\":true}\n"), Some(Ok(())));
        assert_eq!(
            parse(b" {\"error\": \"no paper\"}\r\n"),
            Some(Err("no paper".to_owned()))
        );
        for line in [
            "",
            "ok",
            "true",
            "{\"ok\":false}",
            "{\"ok\":1}",
            "{\"ok\":true,\"error\":\"x\"}",
            "{\"error\":1}",
            "[]",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
