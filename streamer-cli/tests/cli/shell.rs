use std::{io::Read as _, process::Command};

use crate::bench::{Bench, snapshot};

#[test]
fn completions_are_scripts_that_the_shell_takes() {
    let bench = Bench::new();
    let script = bench.ok(&["completions", "bash"]);
    assert!(
        script.contains("--last-id") && script.contains("completions"),
        "{script}"
    );
    bench.write("completions.bash", &script);
    let checked = Command::new("bash")
        .arg("-n")
        .arg(bench.path("completions.bash"))
        .status()
        .unwrap();
    assert!(checked.success());
    for shell in ["zsh", "fish"] {
        assert!(bench.ok(&["completions", shell]).contains("listen"));
    }
    assert_eq!(bench.run(&["completions", "cmd.exe"]).code, Some(2));
}

#[test]
fn every_command_teaches_with_an_example_and_exit_codes_are_documented() {
    let bench = Bench::new();
    for command in ["listen", "emit", "list", "tail", "config", "demo", "completions"] {
        let help = bench.ok(&[command, "--help"]);
        assert!(help.contains("Examples:\n  "), "{help}");
    }
    let help = bench.ok(&["--help"]);
    snapshot(&help, |help| insta::assert_snapshot!("help", help));
}

#[test]
fn a_command_line_that_makes_no_sense_exits_2() {
    let bench = Bench::new();
    for arguments in [
        &["listen"][..],
        &["listen", "a", "--all"],
        &["listen", "a", "--workers", "0"],
        &["listen", "a", "--reclaim", "soon"],
        &["listen", "a", "--last-id", "yesterday"],
        &["tail"],
        &["no-such-command"],
        &["list", "--url", "http://example.com", "--no-such-flag"],
    ] {
        let ended = bench.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
    // In our words, not in those of a library.
    for arguments in [
        &["emit", "a", "{}", "--maxlen", "x"][..],
        &["emit", "a", "{}", "--maxlen", "99999999999999999999"],
        &["emit", "a", "{}", "--replicas", "x"],
        &["failed", "list", "--limit", "-"],
        &["status", "--max-lag", "x"],
        &["status", "--max-failures", "x"],
        &["listen", "a", "--poison", "x"],
    ] {
        let ended = bench.run(arguments);
        assert!(
            ended.code == Some(2) && ended.stderr.contains("expected a whole number"),
            "{ended:?}"
        );
    }
    let ended = bench.run(&["emit", "a", "{}", "--url", "http://example.com"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[test]
fn a_store_that_cannot_be_reached_exits_3_and_hides_the_password() {
    let bench = Bench::new();
    // Nobody listens on port 1.
    let ended = bench.run(&["emit", "a", "{}", "--url", "redis://bob:hunter2@127.0.0.1:1"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.starts_with("error: could not "), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let bench = Bench::new();
    let lines: String = (0..5000)
        .map(|n| format!("{{\"n\":{n},\"filler\":\"{}\"}}\n", "x".repeat(100)))
        .collect();
    bench.write("lines", &lines).ok(&["emit", "a", "--lines", "@lines"]);
    let mut child = bench.command(&["-q", "tail", "a", "--last-id", "0"]).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}
