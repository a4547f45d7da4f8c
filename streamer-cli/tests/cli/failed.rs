use std::fmt::Write as _;

use crate::bench::{Bench, Ended, snapshot};

/// `receipt` fails while there is a file named `broken`.
const FILE: &str = r#"
[listen_and_fire]
"order.placed" = ["audit", "receipt"]

[listeners.audit]
program = ["true"]
mode = "message"

[listeners.receipt]
program = ["./receipt.sh"]
mode = "message"
"#;

fn with_failures(bench: Bench) -> Bench {
    bench.write("streamer.toml", FILE);
    bench.script(
        "receipt.sh",
        "cat > /dev/null; test ! -e broken || { echo no paper >&2; exit 1; }",
    );
    bench.write("broken", "");
    for number in 0..3 {
        bench.emit("order.placed", &format!("{{\"id\":{number}}}"));
    }
    bench.listen_all(&[]);
    bench
}

fn show(all: &mut String, arguments: &[&str], ended: &Ended) {
    let Ended { code, stdout, stderr } = ended;
    let mut lines = stdout.lines().collect::<Vec<_>>();
    if !stdout.starts_with('+') {
        // A set has no order.
        let last = lines.pop();
        lines.sort_unstable();
        lines.extend(last);
    }
    writeln!(
        all,
        "$ streamer {}\n{}\n{stderr}= {code:?}\n",
        arguments.join(" "),
        lines.join("\n")
    )
    .unwrap();
}

/// Every command, one after the other.
fn failures_are_listed_retried_and_forgotten(bench: Bench) {
    let bench = with_failures(bench);
    let mut all = String::new();
    let mut run = |arguments: &[&str]| {
        let ended = bench.run(arguments);
        show(&mut all, arguments, &ended);
    };
    run(&["failed", "list"]);
    run(&["failed", "list", "--compact"]);
    run(&["failed", "list", "--json"]);
    run(&["failed", "list", "--compact", "--json"]);
    run(&["failed", "list", "--receiver", "audit"]);
    run(&["streamer:failed:list"]);
    run(&["failed", "retry"]);
    run(&["failed", "retry", "--all", "--stream", "order.placed"]);
    run(&["failed", "retry", "--stream", "nothing"]);
    run(&["failed", "retry", "--all"]);
    run(&["failed", "retry", "--stream", "order.placed", "--json"]);
    std::fs::remove_file(bench.path("broken")).unwrap();
    run(&["streamer:failed:retry", "--all", "--purge"]);
    run(&["failed", "retry", "--all"]);
    run(&["failed", "list"]);
    run(&["failed", "list", "--json"]);
    run(&["failed", "flush", "--yes"]);
    run(&["streamer:failed:flush", "--no-interaction"]);
    snapshot(&all, |all| insta::assert_snapshot!("failed", all));
}

#[test]
fn failures_are_listed_retried_and_forgotten_on_the_embedded_engine() {
    failures_are_listed_retried_and_forgotten(Bench::new());
}

#[test]
fn failures_are_listed_retried_and_forgotten_on_redis() {
    failures_are_listed_retried_and_forgotten(Bench::on_servers());
}

#[test]
fn what_is_forgotten_or_flushed_leaves_the_list_and_stays_on_the_stream() {
    let bench = with_failures(Bench::new());
    let id = bench.ok(&["failed", "list", "--json"]);
    let id = id.split('"').nth(3).unwrap().to_owned();
    assert_eq!(
        bench.ok(&["failed", "forget", &id, "--receiver", "audit", "--yes"]),
        "No messages to remove.\n"
    );
    assert_eq!(bench.ok(&["failed", "forget", &id, "-y"]), "Forgot 1 message.\n");
    assert_eq!(
        bench.ok(&["failed", "flush", "--stream", "other"]),
        "No messages to remove.\n"
    );
    assert_eq!(bench.ok(&["failed", "flush", "--yes"]), "Flushed 2 messages.\n");
    assert_eq!(bench.ok(&["failed", "list"]), "No failed messages\n");
    // Another group still gets all of them.
    let listened = bench.ok(&["listen", "--all", "--group", "other", "--listen-timeout", "500"]);
    assert_eq!(listened.matches("[audit]").count(), 3, "{listened}");
}

#[test]
fn a_message_is_archived_after_its_last_failure() {
    let bench = with_failures(Bench::new());
    std::fs::remove_file(bench.path("broken")).unwrap();
    let retried = bench.ok(&["failed", "retry", "--all", "--archive"]);
    assert_eq!(
        retried
            .matches("has been archived from the 'order.placed' stream.")
            .count(),
        3,
        "{retried}"
    );
    assert_eq!(bench.ok(&["archive", "list", "--json"]).lines().count(), 3);
}

#[test]
fn a_listener_is_tried_again_as_the_configuration_says() {
    let bench = Bench::new();
    bench.write(
        "streamer.toml",
        r#"
[listen_and_fire]
a = ["receipt", "hopeless"]

[retry]
attempts = 5
backoff = "fixed"
delay = 20
permanent = ["never"]

[listeners.receipt]
program = ["./receipt.sh"]
mode = "message"
retry = { attempts = 3, delay = 20, longest = "1s" }

[listeners.hopeless]
program = ["sh", "-c", "cat > /dev/null; echo never >&2; exit 1"]
mode = "message"
"#,
    );
    // It works at the third attempt.
    bench.script(
        "receipt.sh",
        "cat > /dev/null; echo x >> tries; test $(wc -l < tries) -ge 3",
    );
    bench.emit("a", "{}");
    let listened = bench.ok(&["listen", "a", "--group", "g", "--listen-timeout", "2s"]);
    assert_eq!(bench.read("tries"), "x\nx\nx\n", "{listened}");
    assert!(
        listened.contains("Attempt 1 failed") && listened.contains("Attempt 2 failed"),
        "{listened}"
    );
    assert!(listened.contains("by [receipt] listener"), "{listened}");
    let listed = bench.ok(&["failed", "list", "--json"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(
        listed.contains(r#""receiver":"hopeless""#) && listed.contains(r#""attempts":1"#),
        "{listed}"
    );

    let config = bench.ok(&["config"]);
    assert!(
        config.contains("5 attempts, 20ms apart, permanent [\"never\"]"),
        "{config}"
    );
    for (wrong, complaint) in [
        ("retry = 3", "`retry` must be a table"),
        (
            "[retry]\nattempts = 0",
            "`retry.attempts` must be a whole number of at least 1",
        ),
        (
            "[retry]\nbackof = 1",
            "unknown key `retry.backof`; did you mean `backoff`?",
        ),
        (
            "[retry]\nbackoff = \"none\"",
            "`retry.backoff` must be \"exponential\" or \"fixed\"",
        ),
        (
            "[retry]\nbackoff = \"fixed\"\nlongest = 1",
            "`retry.longest` has no effect",
        ),
    ] {
        bench.write("streamer.toml", wrong);
        let ended = bench.run(&["config"]);
        assert!(ended.code == Some(2) && ended.stderr.contains(complaint), "{ended:?}");
    }
}
