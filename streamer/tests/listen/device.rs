//! A file on a device that fails for a while, under a listening in a process of its own.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use streamer::{Listeners, ReceivedMessage, Report, Streamer, extract::State};
use streamer_test_servers::{DeviceMode, FailingDevice};
use tempfile::TempDir;

use crate::{all_there, emit, number, on, quick, store::Store, until};

on!(
    embedded,
    Embedded,
    a_device_that_fails_for_a_while_ends_no_listening_and_damages_nothing
);

/// How many calls have to fail before the device works again.
const FAILURES: u64 = 30;

async fn a_device_that_fails_for_a_while_ends_no_listening_and_damages_nothing(store: Store) {
    let file = store.file().unwrap();
    let device = FailingDevice::new(file.parent().unwrap()).expect("a C compiler: cc");
    let streamer = store.connect().await;
    let notes = tempfile::tempdir().unwrap();
    let mut listening = start(&store, &device, &notes);
    let begun = || {
        lines(&notes, "begun")
            .into_iter()
            .map(|line| line.parse::<u64>().unwrap())
    };
    let mut emitted = 0;
    for mode in [
        DeviceMode::Reads,
        DeviceMode::Locks,
        DeviceMode::Writes,
        DeviceMode::Full,
    ] {
        emit(&streamer, "e", emitted..emitted + 10).await;
        emitted += 10;
        until("it listens", async || all_there(begun(), 0..emitted)).await;
        let before = device.failures();
        device.fails(mode);
        // What comes in between is what it fails with. This process writes as it always does.
        until("calls fail", async || {
            emit(&streamer, "e", emitted..emitted + 1).await;
            emitted += 1;
            listening.0.try_wait().unwrap().is_some() || device.failures() - before >= FAILURES
        })
        .await;
        device.works();
        let ended = listening.0.try_wait().unwrap();
        assert!(ended.is_none(), "{mode:?}: {ended:?}, {:?}", lines(&notes, "reports"));
    }
    until("everything is handled and settled", async || {
        all_there(begun(), 0..emitted) && store.pending("e", "g").is_empty()
    })
    .await;
    assert!(listening.0.try_wait().unwrap().is_none());
    let reports = lines(&notes, "reports");
    assert!(
        reports.iter().any(|report| report.contains("interrupted")),
        "{reports:?}"
    );
    for report in reports {
        for word in ["damaged", "backup", "not a SQLite database"] {
            assert!(!report.contains(word), "{report}");
        }
    }
}

/// A child that does not outlive its test.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(store: &Store, device: &FailingDevice, notes: &TempDir) -> Listening {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["device::child", "--exact", "--ignored", "--nocapture"]);
    device.apply(&mut command);
    command
        .env("LD_PRELOAD", device.library())
        .env("STORE", store.url())
        .env("NOTES", notes.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Listening(command.spawn().unwrap())
}

fn lines(notes: &TempDir, name: &str) -> Vec<String> {
    let text = fs::read_to_string(notes.path().join(name)).unwrap_or_default();
    // A line that is being written is none yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

#[derive(Clone)]
struct Notes(PathBuf);

impl Notes {
    fn note(&self, name: &str, line: &str) {
        let file = OpenOptions::new().append(true).create(true).open(self.0.join(name));
        let line = line.replace('\n', " ");
        file.unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Not a test of its own: what the child does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test in a process of its own"]
async fn child() {
    async fn note(message: ReceivedMessage, State(notes): State<Notes>) {
        notes.note("begun", &number(&message).to_string());
    }
    let notes = Notes(std::env::var("NOTES").unwrap().into());
    let streamer = Streamer::connect(&std::env::var("STORE").unwrap()).await.unwrap();
    let listeners = Listeners::with_state(notes.clone()).on("e", "note", note);
    let listening = streamer.listen(listeners).group("g").keep_alive(quick());
    let told = notes.clone();
    let ended = listening
        .on_report(move |report| {
            if let Report::Interrupted { error, .. } = report {
                told.note("reports", &format!("interrupted: {error}"));
            }
        })
        .run()
        .await;
    notes.note("reports", &format!("ended: {ended:?}"));
}
