//! A short run with faults, on a server and on a file. Longer ones: `cargo xtask chaos`.
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
