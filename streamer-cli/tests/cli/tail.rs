use rustix::process::Signal;

use crate::bench::{Bench, Running, wait_until};

#[test]
fn messages_are_watched_and_left_to_those_who_listen() {
    let bench = Bench::new();
    bench.script("ok.sh", "while read -r line; do echo '{\"ok\":true}'; done");
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = [\"ok\"]\n[listeners.ok]\nprogram = [\"./ok.sh\"]\n",
    );
    let first = bench.emit("a", r#"{"n":1}"#);
    let mut tail = bench.start(&["tail", "a,b", "--last-id", "0"]);
    let line = tail.wait_for(&first);
    assert!(
        line.starts_with(&format!("{first} 20")) && line.ends_with(" a {\"n\":1}"),
        "{line}"
    );
    let second = bench.emit("b", r#"{"n":2}"#);
    assert!(tail.wait_for(&second).ends_with(" b {\"n\":2}"));
    // Watching took nothing away.
    assert!(bench.listen_all(&[]).stdout.contains(&first));
    tail.signal(Signal::INT);
    let ended = tail.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn without_a_start_only_what_comes_is_shown() {
    let bench = Bench::new();
    let old = bench.emit("a", r#"{"n":1}"#);
    let mut tail = bench.start(&["tail", "a", "--json"]);
    // When it has begun to watch is not known from outside; one of these comes after that.
    let mut emitted = Vec::new();
    let shown = wait_until(|| {
        emitted.push(bench.emit("a", r#"{"n":2}"#));
        tail.try_line()
    });
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_ne!(shown["id"], old.as_str());
    assert!(emitted.iter().any(|id| shown["id"] == id.as_str()));
}

/// Without the right to write nothing can be made beside the file, so it is read as one that nobody changes, until somebody
/// does.
#[test]
fn a_file_that_may_only_be_read_is_watched_on_when_somebody_writes_it() {
    let bench = Bench::new();
    let first = bench.emit("a", r#"{"n":1}"#);
    let (command, _programs) = bench.command_without_the_right_to_write(&["tail", "a", "--last-id", "0", "--json"]);
    let mut tail = Running::start(command);
    tail.wait_for(&first);
    bench.give_the_right_to_write();
    // Each of these opens the file, writes, and closes it.
    for n in 2..5 {
        let next = bench.emit("a", &format!("{{\"n\":{n}}}"));
        tail.wait_for(&next);
    }
    // This one keeps it open.
    bench.script("ok.sh", "while read -r line; do echo '{\"ok\":true}'; done");
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = [\"ok\"]\n[listeners.ok]\nprogram = [\"./ok.sh\"]\n",
    );
    let mut listening = bench.start(&["listen", "a", "--group", "g", "--json"]);
    listening.wait_for("started");
    let last = bench.emit("a", "{}");
    tail.wait_for(&last);
    listening.signal(Signal::TERM);
    assert_eq!(listening.end().code, Some(0));
    let after = bench.emit("a", "{}");
    tail.wait_for(&after);
    tail.signal(Signal::TERM);
    let ended = tail.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 6, "each once: {ended:?}");
    assert!(!ended.stderr.contains("error"), "{ended:?}");
}

/// What is left is one file, which can be copied, and read by those who may not write.
#[test]
fn a_command_that_is_done_has_closed_the_store() {
    let bench = Bench::new();
    for command in [&["emit", "a", "{}"][..], &["list"], &["status"], &["failed", "list"]] {
        bench.ok(command);
        let names = std::fs::read_dir(bench.folder.path()).unwrap();
        let names = names.map(|file| file.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!(names, ["test.db"], "{command:?}");
    }
}
