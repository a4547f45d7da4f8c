//! The second process of the demo: this same program, listening in a group.

use std::process::Stdio;

use clap::Args;
use serde::{Deserialize, Serialize};
use streamer::{Listeners, Report, StopHandle, Streamer, Workers};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{
    orders::{Order, charge},
    store::Store,
};
use crate::{
    exit::{Exit, Failure, Outcome},
    output,
};

const URL: &str = "STREAMER_DEMO_URL";

/// What the second process tells the first, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Started { pid: u32 },
    Handled { id: String, order: String },
    Failed { id: String, error: String },
}

/// The second process, seen from the first. Dropping it kills it.
pub(super) struct Worker {
    process: Child,
    told: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub(super) fn start(store: &Store) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("could not start the listening process: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["demo-listen", &store.stream, &store.group]);
        // Not an argument: those can be seen by everybody, and a URL may hold a password.
        command.env(URL, &store.url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C is for the first process, which ends this one.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn().map_err(failed)?;
        let told = process
            .stdout
            .take()
            .ok_or_else(|| Failure::failed("the listening process has no output"))?;
        Ok(Self {
            process,
            told: BufReader::new(told).lines(),
        })
    }

    pub(super) async fn next(&mut self) -> Result<Told, Failure> {
        let line = self.told.next_line().await;
        let line = line.map_err(|error| Failure::failed(format!("could not hear the listening process: {error}")))?;
        let line = line.ok_or_else(|| Failure::failed("the listening process ended before its work was done"))?;
        serde_json::from_str(&line)
            .map_err(|error| Failure::failed(format!("the listening process said {line:?}: {error}")))
    }

    /// Asks it to end in good order, by ending its input, and waits until it has acknowledged everything.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        drop(self.process.stdin.take());
        let ended = self.process.wait().await;
        let status = ended.map_err(|error| Failure::failed(format!("the listening process was lost: {error}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::failed(format!("the listening process ended with {status}")))
        }
    }
}

/// The second process of the demo
#[derive(Args, Debug)]
pub(crate) struct DemoListen {
    stream: String,
    group: String,
}

impl DemoListen {
    pub(crate) async fn run(self) -> Outcome {
        let url = std::env::var(URL).map_err(|_| Failure::usage("demo-listen is started by demo"))?;
        let streamer = Streamer::connect(&url).await?;
        let listeners = Listeners::new().on(&self.stream, "charge", charge);
        let listening = streamer.listen(listeners).group(self.group).workers(Workers::AtOnce(4));
        let stop = listening.stop_handle();
        tokio::spawn(first_process_ends(stop.clone()));
        let tell = move |report: &Report<'_>| {
            let told = match report {
                Report::Started { .. } => Told::Started {
                    pid: std::process::id(),
                },
                Report::Processed { message, .. } => {
                    let order = message
                        .payload()
                        .map(|order: Order| order.describe())
                        .unwrap_or_default();
                    Told::Handled {
                        id: message.id().to_string(),
                        order,
                    }
                }
                Report::Failed { message, error, .. } => Told::Failed {
                    id: message.id().to_string(),
                    error: (*error).to_owned(),
                },
                _ => return,
            };
            if output::json(&told).is_err() {
                stop.stop();
            }
        };
        listening.log_reports(false).on_report(tell).run().await?;
        Ok(Exit::Done)
    }
}

/// Stops when the input ends: the first process asked for it, or died.
async fn first_process_ends(stop: StopHandle) {
    let mut input = tokio::io::stdin();
    while let Ok(1..) = input.read(&mut [0; 64]).await {}
    stop.stop();
}
