//! Other processes are this test binary once more, run for the one test [`the_other_process`], which then plays a role.

use std::{
    io::{BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use futures_util::future::join_all;
use streamer::{
    EntryId,
    engine::{EmbeddedEngine, Engine, GroupAdmin},
};

use crate::place::{LONG, an_append, consumer, stream};

pub(crate) const ROLE: &str = "STREAMER_TEST_ROLE";
pub(crate) const URL: &str = "STREAMER_TEST_URL";

pub(crate) fn another_process(role_name: &str, url: &str) -> Command {
    role(Command::new(std::env::current_exe().unwrap()), role_name, url)
}

pub(crate) fn role(mut command: Command, role: &str, url: &str) -> Command {
    command.args(["--exact", "other_process::the_other_process", "--nocapture"]);
    command.env(ROLE, role).env(URL, url).stdout(Stdio::piped());
    command
}

pub(crate) fn start(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// What the other process said, without what the test harness says.
pub(crate) fn said(line: &str) -> Option<&str> {
    line.split_once("said: ").map(|(_, said)| said.trim())
}

pub(crate) fn say(text: impl std::fmt::Display) {
    println!("said: {text}");
    std::io::stdout().flush().unwrap();
}

#[tokio::test]
async fn the_other_process() {
    let (Ok(role), Ok(url)) = (std::env::var(ROLE), std::env::var(URL)) else {
        return;
    };
    let engine = match EmbeddedEngine::open(&url).await {
        Ok(engine) => engine,
        Err(error) => return say(format!("{:?} {error}", error.kind())),
    };
    match role.as_str() {
        "append once" => say(engine.append(an_append(10)).await.unwrap()),
        "append 100" => {
            for _ in 0..100 {
                say(engine.append(an_append(100)).await.unwrap());
            }
        }
        "append for ever" => {
            let appends = (0..16).map(|_| async {
                loop {
                    say(engine.append(an_append(300)).await.unwrap());
                }
            });
            join_all(appends).await;
        }
        "read" => {
            let mut reader = consumer(&engine, "other").await;
            let mut read = Vec::new();
            while !read.contains(&EntryId::MAX) {
                let found = reader.next(7, Some(LONG)).await.unwrap();
                read = found[0].entries.iter().map(|entry| entry.id).collect();
                engine.acknowledge(&stream(), "workers", &read).await.unwrap();
                read.iter().for_each(say);
            }
        }
        "deliver for ever" => crate::killed::deliver_for_ever(&engine).await,
        "append at a limit" => append_at_a_limit(&engine).await,
        _ => say("opened"),
    }
}

/// Appends until the files may not grow any more, then three times in vain, then once more without the limit.
async fn append_at_a_limit(engine: &EmbeddedEngine) {
    use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
    use tokio::signal::unix::{SignalKind, signal};

    // Else the system ends the process.
    let _caught = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).unwrap();
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    let set = |current| setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    set(Some(300_000));
    let mut errors = 0;
    while errors < 3 {
        match engine.append(an_append(1000)).await {
            Ok(id) => say(id),
            Err(error) => {
                errors += 1;
                say(format!("error {:?}: {error}", error.kind()));
            }
        }
    }
    set(maximum);
    say(engine.append(an_append(1000)).await.unwrap());
}
