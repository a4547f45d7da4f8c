//! One long-lived process of `mode = "lines"`: a line in, a line out.

use std::{io, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout},
    time::timeout,
};

use super::{command::Program, group::Group, last_words::LastWords};
use crate::output;

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 64 * 1024;
/// How much of what is not an answer is quoted.
const QUOTED: usize = 200;
/// How long a program gets to end after its input ended, and again after it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Child {
    process: tokio::process::Child,
    group: Group,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: LastWords,
}

/// What a program said about a message: that it is handled, or why not.
pub(super) type Answer = Result<(), String>;

impl Child {
    pub(super) fn start(program: &Program) -> io::Result<Self> {
        let (mut process, group) = program.start()?;
        let (Some(input), Some(answers), Some(errors)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err(io::Error::other("its standard streams could not be had"));
        };
        Ok(Self {
            process,
            group,
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
                output::beginning(said, QUOTED)
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
        let mut line = Vec::new();
        if let Err(error) = (&mut self.answers)
            .take(LONGEST_ANSWER)
            .read_until(b'\n', &mut line)
            .await
        {
            return Err(format!("the program's answer could not be read: {error}"));
        }
        if line.is_empty() {
            return Err(self.obituary("its output was closed").await);
        }
        parse(&line).ok_or_else(|| {
            format!(
                "the program answered neither {{\"ok\":true}} nor {{\"error\":\"text\"}} but: {}",
                output::beginning(&line, QUOTED)
            )
        })
    }

    /// Why there was no answer: usually because the program ended.
    async fn obituary(&mut self, otherwise: &str) -> String {
        match timeout(Duration::from_secs(1), self.process.wait()).await {
            Ok(Ok(status)) => {
                self.group.ended();
                format!("the program ended before it answered ({status})")
            }
            _ => format!("the program did not answer: {otherwise}"),
        }
    }

    /// What it said last on stderr, after it ended or was given up.
    pub(super) async fn last_words(self) -> String {
        // The pipe closes when the process is gone.
        drop((self.process, self.group, self.input));
        let words = self.errors.all().await;
        words
            .lines()
            .last()
            .map(|line| output::beginning(line.as_bytes(), QUOTED))
            .unwrap_or_default()
    }

    /// Ends it in good order: its input ends; then it is asked to end; then it is killed.
    pub(super) async fn end(mut self) {
        drop(self.input);
        if timeout(PATIENCE, self.process.wait()).await.is_err() {
            self.group.terminate();
            if timeout(PATIENCE, self.process.wait()).await.is_err() {
                return; // dropping the group kills it
            }
        }
        self.group.ended();
        self.errors.all().await;
    }
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
    use super::parse;

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
