//! A short run with faults, on a server and on a file. Longer ones: `cargo xtask chaos`. And a short one without any, in which
//! everything is measured that must not grow. Longer ones: `cargo xtask soak`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

fn nothing_is_lost(topology: &str) {
    let run = Command::new(env!("CARGO_BIN_EXE_streamer-chaos"))
        .args(["--minutes", "0.5", "--seed", "7", "--topology", topology])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(text.contains(", lost 0\n"), "{text}");
}

#[test]
fn nothing_is_lost_on_a_server_through_half_a_minute_of_faults() {
    nothing_is_lost("redis");
}

#[test]
fn nothing_is_lost_in_a_file_through_half_a_minute_of_faults() {
    nothing_is_lost("embedded");
}

#[test]
fn a_soak_measures_what_all_processes_hold_and_draws_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_streamer-chaos"))
        .args(["soak", "--hours", "0.005", "--every", "1", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    // In so short a time nobody can tell what grows.
    assert!(run.status.code().is_some_and(|code| code <= 1), "{text}");
    assert_eq!(text.matches("all handled: true").count(), 2, "{text}");
    assert!(!text.contains("MISBEHAVIOUR"), "{text}");
    for (store, measures) in [("redis", 8), ("embedded", 8)] {
        let samples = std::fs::read_to_string(folder.path().join(format!("{store}.jsonl"))).unwrap();
        let last = serde_json::from_str::<serde_json::Value>(samples.lines().last().unwrap()).unwrap();
        let held = last["held"].as_object().unwrap();
        let measured = held.iter().filter(|(_, value)| value.is_number()).count();
        assert_eq!(measured, measures, "{last}");
        assert!(
            held["resident memory, MiB"].as_f64().unwrap() > 10.0 && held["keys"].as_f64().unwrap() >= 2.0,
            "{last}"
        );
        let plot = std::fs::read_to_string(folder.path().join(format!("{store}.svg"))).unwrap();
        assert_eq!(plot.matches("<polyline").count(), measures, "{plot}");
    }
}
