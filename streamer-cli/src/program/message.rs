//! `mode = "message"`: one process for each message; its exit code is the answer.

use streamer::{Context, Listener, ListenerError, ReceivedMessage, async_trait};
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{command::Program, last_words::LastWords, too_late};

/// A program that is started for each message.
pub(crate) struct OnePerMessage(pub(crate) Program);

#[async_trait]
impl Listener for OnePerMessage {
    async fn handle(&self, message: &ReceivedMessage, _: &Context) -> Result<(), ListenerError> {
        let Self(program) = self;
        let mut line = message.to_json();
        line.push('\n');
        let (mut process, mut group) = program.start().map_err(|error| {
            ListenerError::new(format!(
                "the program {} could not be started: {error}",
                program.command.join(" ")
            ))
        })?;
        // What it prints must not mix with what we print for programs; it goes to the log.
        let _printed = process.stdout.take().map(|output| LastWords::of(&program.name, output));
        let errors = process.stderr.take().map(|output| LastWords::of(&program.name, output));
        let input = process.stdin.take();
        let work = async {
            if let Some(mut input) = input {
                // A program that does not read its input is free not to: its exit code decides.
                let _ = input.write_all(line.as_bytes()).await;
            }
            process.wait().await
        };
        let status = match program.timeout {
            Some(limit) => timeout(limit, work).await.map_err(|_| too_late(limit))?,
            None => work.await,
        };
        let status = status.map_err(|error| ListenerError::new(format!("the program was lost: {error}")))?;
        group.ended();
        if status.success() {
            return Ok(());
        }
        let words = match errors {
            Some(errors) => errors.all().await,
            None => String::new(),
        };
        if words.is_empty() {
            return Err(ListenerError::new(format!(
                "the program failed ({status}) and wrote nothing to stderr"
            )));
        }
        Err(ListenerError::new(format!("{words} ({status})")))
    }
}
