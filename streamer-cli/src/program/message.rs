//! `mode = "message"`: one process for each message; its exit code is the answer.

use streamer::{Listener, ListenerContext, ListenerError, ReceivedMessage, async_trait};
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{command::Program, last_words::LastWords, too_late};

/// A program that is started for each message.
pub(crate) struct OnePerMessage(pub(crate) Program);

#[async_trait]
impl Listener for OnePerMessage {
    async fn handle(&self, message: &ReceivedMessage, _: &ListenerContext) -> Result<(), ListenerError> {
        let Self(program) = self;
        let mut line = message.to_json();
        line.push('\n');
        let mut process = program.start().map_err(|error| program.cannot_start(&error))?;
        let streams = process
            .child()
            .map(|child| (child.stdin.take(), child.stdout.take(), child.stderr.take()));
        let (input, output, errors) = streams.unwrap_or_default();
        // What it prints must not mix with what we print for programs; it goes to the log.
        let _printed = output.map(|output| LastWords::of(&program.name, output));
        let errors = errors.map(|output| LastWords::of(&program.name, output));
        let work = async {
            if let Some(mut input) = input {
                // A program that does not read its input is free not to: its exit code decides.
                let _ = input.write_all(line.as_bytes()).await;
            }
            process.wait().await
        };
        let status = match program.timeout {
            Some(limit) => match timeout(limit, work).await {
                Ok(status) => status,
                Err(_) => {
                    // The next attempt must not meet this one.
                    process.end().await;
                    return Err(too_late(limit, ""));
                }
            },
            None => work.await,
        };
        let status = status.map_err(|error| ListenerError::new(format!("the program was lost: {error}")))?;
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
