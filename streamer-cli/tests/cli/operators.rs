//! Commands of an operator: what deletes asks first, what only reads makes nothing, and what is not there is named.

use std::io::{BufRead as _, BufReader};

use crate::bench::{Bench, wait_until};

const FILE: &str =
    "[listen_and_fire]\na = ['it']\nb = ['it']\n[listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\n";

fn with_failures(bench: Bench) -> Bench {
    bench.write("streamer.toml", FILE);
    bench.script(
        "it.sh",
        "cat > line; test ! -e broken || { echo \"no paper for $$\" >&2; exit 1; }",
    );
    bench.write("broken", "");
    for event in ["a", "a", "b"] {
        bench.emit(event, "{\"n\":1}");
    }
    bench.listen_all(&[]);
    bench
}

fn benches() -> [Bench; 2] {
    [with_failures(Bench::new()), with_failures(Bench::on_redis())]
}

#[test]
fn whatever_deletes_needs_a_yes_and_says_what_it_deletes() {
    for bench in benches() {
        let id =
            serde_json::from_str::<serde_json::Value>(bench.ok(&["failed", "list", "--json"]).lines().next().unwrap())
                .unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned();
        bench.ok(&["emit", "u", "{}", "--identifier", "7", "--id", "5-1"]);
        if let Some(redis) = &bench.redis {
            redis.command(&["XDEL", "u", "5-1"]);
        } else {
            bench.ok(&["purge", "--streams", "u", "--older-than", "0s", "-y"]);
        }
        let before = bench.ok(&["failed", "list", "--json"]);
        for (command, would) in [
            (&["failed", "flush"][..], "3 failures"),
            (&["failed", "flush", "--stream", "b"], "1 failure"),
            (&["failed", "forget", &id], "1 failure"),
            (&["purge", "--streams", "a,b", "--older-than", "0s"], "3 messages"),
            (&["history", "trim", "u", "7"], "1 snapshot"),
            (&["group", "delete", "a", "g"], "group 'g'"),
        ] {
            let refused = bench.run(command);
            assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
            assert!(
                refused.stderr.contains(would)
                    && refused.stderr.contains("--yes")
                    && refused.stderr.contains("Nothing was done"),
                "{refused:?}"
            );
            let told = bench.ok(&[command, &["--dry-run"]].concat());
            assert!(told.to_lowercase().contains("would"), "{told}");
            bench.ok(&[command, &["--dry-run", "--json"]].concat());
        }
        assert_eq!(bench.ok(&["failed", "list", "--json"]), before, "nothing was deleted");
        assert_eq!(bench.ok(&["group", "list", "a", "--json"]).lines().count(), 1);

        let flushed = bench.ok(&[
            "streamer:failed:flush",
            "--no-interaction",
            "--no-ansi",
            "--env=testing",
        ]);
        assert_eq!(flushed, "Flushed 3 messages.\n");
        let purged = bench.ok(&[
            "streamer:purge",
            "--streams=a",
            "--older_than=0 seconds",
            "-n",
            "--ansi",
        ]);
        assert!(purged.ends_with("Total of 2 messages processed.\n"), "{purged}");
        assert!(
            bench
                .ok(&["purge", "--streams", "b", "--older-than", "0s", "--yes"])
                .ends_with("Total of 1 message processed.\n")
        );
    }
}

#[test]
fn failures_come_by_date_and_can_be_narrowed_down_and_counted() {
    for bench in [Bench::new(), Bench::on_redis()] {
        bench.write("streamer.toml", FILE).script("it.sh", "exit 0");
        let member = |id: u64, date: &str, error: &str| {
            format!(
                "{{\"id\":\"{id}-0\",\"stream\":\"a\",\"receiver\":\"it\",\"error\":\"{error}\",\"date\":\"{date}\"}}"
            )
        };
        if let Some(redis) = &bench.redis {
            for (id, date) in [
                (3, "2026-11-03 00:00:00"),
                (1, "2026-11-01 00:00:00"),
                (2, "2026-11-02 00:00:00"),
            ] {
                redis.command(&[
                    "SADD",
                    "failed_stream",
                    &member(id, date, &format!("no stock for {id}")),
                ]);
            }
            redis.command(&["SADD", "failed_stream", &member(9, "2026-11-02 12:00:00", "timeout")]);
            let ids = |more: &[&str]| {
                let listed = bench.ok(&[&["failed", "list", "--json"], more].concat());
                let ids = listed.lines().map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()["id"]
                        .as_str()
                        .unwrap()
                        .to_owned()
                });
                ids.collect::<Vec<_>>()
            };
            assert_eq!(ids(&[]), ["1-0", "2-0", "9-0", "3-0"]);
            assert_eq!(ids(&["--limit", "2"]), ["1-0", "2-0"]);
            assert_eq!(ids(&["--since", "2026-11-02"]), ["2-0", "9-0", "3-0"]);
            assert_eq!(ids(&["--since", "2026-11-02T13:30+01:00"]), ["3-0"]);
            assert_eq!(ids(&["--error", "stock"]), ["1-0", "2-0", "3-0"]);
            let table = bench.ok(&["failed", "list"]);
            let order: Vec<_> = table
                .lines()
                .filter_map(|line| line.split('|').nth(1))
                .map(str::trim)
                .collect();
            assert_eq!(order, ["ID", "1-0", "2-0", "9-0", "3-0"]);
            let summary = bench.ok(&["failed", "list", "--summary", "--json"]);
            let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
            assert_eq!(summary["count"], 4);
            assert_eq!(
                summary["kinds"][0],
                serde_json::json!({
                    "stream": "a", "receiver": "it", "error": "no stock for #", "count": 3, "first": "2026-11-01 00:00:00",
                    "last": "2026-11-03 00:00:00",
                })
            );
            let summary = bench.ok(&["failed", "list", "--summary"]);
            assert!(
                summary.contains("no stock for #") && summary.ends_with("Total of 4 failures.\n"),
                "{summary}"
            );
        }
        bench.emit("a", "{}");
        assert_eq!(bench.run(&["failed", "show", "77-0"]).code, Some(1));
    }
}

#[test]
fn a_failure_is_shown_with_its_payload_and_all_that_is_known() {
    for bench in benches() {
        let id = bench.ok(&["failed", "list", "--stream", "b", "--json"]);
        let id = serde_json::from_str::<serde_json::Value>(&id).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let shown = bench.ok(&["failed", "show", &id]);
        for part in [
            &*format!("Message {id} on 'b' stream, listener it"),
            "no paper for",
            "\"n\": 1",
            "attempts: 1",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        let json: serde_json::Value = serde_json::from_str(&bench.ok(&["failed", "show", &id, "--json"])).unwrap();
        assert_eq!(
            (&json["receiver"], &json["message"]["data"]["n"]),
            (&"it".into(), &1.into())
        );
    }
}

#[test]
fn two_retries_at_once_run_each_failure_once() {
    for bench in [Bench::new(), Bench::on_servers()] {
        bench.write("streamer.toml", FILE);
        bench.script("it.sh", "test ! -e broken || exit 1; cat >> ran; sleep 0.05");
        bench.write("broken", "");
        let lines = (0..20).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>();
        bench.write("lines", &lines).ok(&["emit", "a", "--lines", "@lines"]);
        bench.listen_all(&["-q"]);
        std::fs::remove_file(bench.path("broken")).unwrap();
        let one = bench.start(&["failed", "retry", "--all"]);
        let two = bench.start(&["failed", "retry", "--all", "--workers", "2"]);
        let (one, two) = (one.end(), two.end());
        assert_eq!((one.code, two.code), (Some(0), Some(0)), "{one:?} {two:?}");
        assert_eq!(bench.read("ran").lines().count(), 20, "{one:?} {two:?}");
        let retried = |text: &str| text.matches("Successfully retried").count();
        assert_eq!(retried(&one.stdout) + retried(&two.stdout), 20);
        assert_eq!(bench.ok(&["failed", "list"]), "No failed messages\n");
    }
}

#[test]
fn what_a_dead_retry_had_claimed_is_free_again_and_was_never_unlisted() {
    let bench = Bench::on_redis();
    bench.write("streamer.toml", FILE);
    bench.script(
        "it.sh",
        "test ! -e broken || exit 1; cat >> ran; test -e go || sleep 1000",
    );
    bench.write("broken", "");
    bench.emit("a", "{}");
    bench.listen_all(&["-q"]);
    std::fs::remove_file(bench.path("broken")).unwrap();
    let mut killed = bench.start(&["failed", "retry", "--all"]);
    wait_until(|| (!bench.read("ran").is_empty()).then_some(()));
    killed.child.kill().unwrap();
    drop(killed);
    assert!(bench.ok(&["failed", "list"]).contains("| a "));
    bench.write("go", "");
    // It is claimed until the lease ends, which the store does by itself.
    let other = bench.run(&["failed", "retry", "--all"]);
    assert!(other.stdout.contains("Left to another retry: 1."), "{other:?}");
    let redis = bench.redis.as_ref().unwrap();
    let claim = redis.command(&["KEYS", "failed_stream:claim:*"]);
    let claim = claim.trim().trim_matches('"').to_owned();
    let lease: i64 = redis.command(&["PTTL", &claim]).trim().parse().unwrap();
    assert!((1..=30_000).contains(&lease), "{lease}");
    redis.command(&["PEXPIRE", &claim, "1"]);
    wait_until(|| (redis.command(&["EXISTS", &claim]).trim() == "0").then_some(()));
    assert!(bench.ok(&["failed", "retry", "--all"]).contains("Retried: 1."));
    assert_eq!(
        redis.command(&["KEYS", "failed_stream*"]).trim(),
        "",
        "nothing is left behind"
    );
}

#[test]
fn failures_of_a_stream_are_retried_in_order_where_that_is_asked_for() {
    let bench = Bench::new();
    bench.write("streamer.toml", FILE);
    bench.script("it.sh", "test ! -e broken || exit 1; cat >> ran");
    bench.write("broken", "");
    for n in 0..12 {
        bench.emit("a", &format!("{{\"n\":{n}}}"));
    }
    bench.listen_all(&["-q"]);
    std::fs::remove_file(bench.path("broken")).unwrap();
    bench.ok(&["failed", "retry", "--all", "--in-order", "--workers", "8"]);
    let ran = bench.read("ran");
    let numbers = ran
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["data"]["n"].clone());
    assert_eq!(
        numbers.collect::<Vec<_>>(),
        (0..12).map(serde_json::Value::from).collect::<Vec<_>>()
    );
}

#[test]
fn a_group_that_holds_messages_is_named() {
    for bench in [Bench::new(), Bench::on_servers()] {
        bench.write("streamer.toml", FILE).script("it.sh", "cat > /dev/null");
        for _ in 0..3 {
            bench.emit("a", "{}");
        }
        bench.ok(&["listen", "a", "--group", "live", "--listen-timeout", "300", "-q"]);
        bench.ok(&[
            "listen",
            "a",
            "--group",
            "dead",
            "--last-id",
            "now",
            "--listen-timeout",
            "300",
            "-q",
        ]);
        bench.ok(&["group", "reset", "a", "dead", "--to", "start"]);
        let purged = bench.ok(&["purge", "--streams", "a", "--older-than", "0s", "--yes"]);
        assert!(purged.contains("Group 'dead': 3 not yet delivered, "), "{purged}");
        assert!(!purged.contains("'live'"), "{purged}");
        let held = bench.ok(&["purge", "--streams", "a", "--older-than", "0s", "--dry-run", "--json"]);
        let held: serde_json::Value = serde_json::from_str(held.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&held["report"], &held["group"], &held["undelivered"]),
            (&"held".into(), &"dead".into(), &3.into())
        );
    }
}

#[test]
fn groups_and_consumers_are_listed_moved_and_deleted() {
    for bench in [Bench::new(), Bench::on_servers()] {
        bench.write("streamer.toml", FILE).script("it.sh", "cat > /dev/null");
        let ids = [1, 2, 3].map(|n| bench.emit("a", &format!("{{\"n\":{n}}}")));
        let listen = |group: &str| {
            bench.ok(&[
                "listen",
                "a",
                "--group",
                group,
                "--consumer",
                "c",
                "--listen-timeout",
                "300",
            ])
        };
        assert_eq!(listen("g").lines().count(), 3);
        let listed = bench.ok(&["group", "list"]);
        assert!(listed.contains("| g ") && listed.contains(&ids[2]), "{listed}");

        let told = bench.ok(&["group", "reset", "a", "g", "--to", &ids[0], "--dry-run"]);
        assert!(
            told.contains("would be moved") && told.contains("2 messages will be delivered again"),
            "{told}"
        );
        assert_eq!(listen("g"), "");
        bench.ok(&["group", "reset", "a", "g", "--to", &ids[0]]);
        assert_eq!(listen("g").lines().count(), 2);
        bench.ok(&["group", "reset", "a", "g", "--to", "start"]);
        bench.ok(&["group", "reset", "a", "g", "--to", "now"]);
        assert_eq!(listen("g"), "");
        bench.ok(&["group", "reset", "a", "g", "--to", "2026-01-01[Europe/Oslo]"]);
        assert_eq!(listen("g").lines().count(), 3);

        for (command, nearest) in [
            (&["group", "reset", "a", "h1", "--to", "now"][..], ""),
            (
                &["group", "delete", "nothing", "g", "--yes"],
                "there is no stream 'nothing'",
            ),
            (&["consumer", "delete", "a", "gg", "c", "--yes"], "has no group 'gg'"),
        ] {
            let ended = bench.run(command);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.stderr.contains(nearest), "{ended:?}");
        }
        assert_eq!(
            bench
                .ok(&["group", "delete", "a", "g", "--yes"])
                .matches("has been deleted")
                .count(),
            1
        );
        assert_eq!(bench.ok(&["group", "list", "a"]), "There are no groups.\n");
    }
}

#[test]
fn a_consumer_with_pending_messages_is_deleted_only_after_it_gave_them_away() {
    let bench = Bench::on_redis();
    let redis = bench.redis.as_ref().unwrap();
    for _ in 0..3 {
        bench.emit("a", "{}");
    }
    redis.command(&["XGROUP", "CREATE", "a", "g", "0"]);
    redis.command(&["XREADGROUP", "GROUP", "g", "old", "COUNT", "3", "STREAMS", "a", ">"]);
    let refused = bench.run(&["consumer", "delete", "a", "g", "old", "--yes"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("3 pending messages"), "{refused:?}");
    let would = bench.ok(&[
        "consumer",
        "delete",
        "a",
        "g",
        "old",
        "--transfer-to",
        "new",
        "--dry-run",
    ]);
    assert!(
        would.contains("after giving its 3 pending messages to 'new'"),
        "{would}"
    );
    let did = bench.ok(&["consumer", "delete", "a", "g", "old", "--transfer-to", "new", "--yes"]);
    assert!(did.contains("3 messages went to 'new'"), "{did}");
    let left = redis.command(&["XPENDING", "a", "g"]);
    assert!(
        left.starts_with('3') && left.contains("new") && !left.contains("old"),
        "{left}"
    );
    let consumers = bench.ok(&["consumer", "list", "a", "g", "--json"]);
    assert!(
        consumers.contains("\"new\"") && !consumers.contains("\"old\""),
        "{consumers}"
    );
}

#[test]
fn a_command_that_only_reads_makes_no_file() {
    let bench = Bench::new();
    bench.write("streamer.toml", "archive_url = 'sqlite://archive.db'\n");
    for command in [
        &["failed", "list"][..],
        &["failed", "show", "1-0"],
        &["replay", "a", "7"],
        &["group", "list", "a"],
        &["consumer", "list", "a", "g"],
        &["status", "a"],
        &["show", "a", "1-0"],
    ] {
        let ended = bench.run(command);
        assert_eq!(ended.code, Some(3), "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("does not make it"), "{ended:?}");
    }
    for command in [
        &["archive", "list"][..],
        &["archive", "show", "a", "1-0"],
        &["archive", "restore", "--all", "--dry-run"],
        &["archive", "migrate", "--print"],
    ] {
        bench.run(command);
    }
    assert!(!bench.path("test.db").exists() && !bench.path("archive.db").exists());
    // Watching waits until there is something.
    let mut tail = bench.start(&["tail", "a", "--last-id", "0"]);
    let id = bench.emit("a", "{}");
    tail.wait_for(&id);
}

#[test]
fn what_changes_nothing_makes_no_file_either() {
    let bench = Bench::new();
    bench.write("streamer.toml", "archive_url = 'sqlite://archive.db'\n");
    for command in [
        &["purge", "--streams", "a", "--older-than", "0s"][..],
        &["archive", "--streams", "a", "--older-than", "0s"],
        &["failed", "flush"],
        &["failed", "forget", "1-0"],
        &["history", "trim", "a", "7"],
        &["group", "reset", "a", "g", "--to", "now"],
        &["group", "delete", "a", "g"],
        &["consumer", "delete", "a", "g", "c"],
    ] {
        for more in [&["--dry-run"][..], &[]] {
            let ended = bench.run(&[command, more].concat());
            assert_eq!(ended.code, Some(3), "{command:?}: {ended:?}");
        }
    }
    let ended = bench.run(&["failed", "retry", "--all"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    bench.emit("a", "{}");
    let told = bench.ok(&["archive", "--streams", "a", "--older-than", "0s", "--dry-run"]);
    assert!(told.ends_with("Total of 1 message would be processed.\n"), "{told}");
    assert!(!bench.path("archive.db").exists());
}

#[test]
fn a_store_and_an_archive_that_may_not_be_written_can_be_looked_at() {
    let bench = with_failures(Bench::new());
    bench.ok(&["emit", "u", "{\"name\":\"Ann\"}", "--identifier", "7"]);
    bench.write("archive.toml", "archive_url = 'sqlite://archive.db'\n");
    let purge = ["purge", "--streams", "a", "--older-than", "0s", "--dry-run"];
    let archive = ["archive", "--streams", "a", "--older-than", "0s", "--dry-run"];
    bench.emit("old", "{}");
    bench.ok(&[
        "--config",
        "archive.toml",
        "archive",
        "--streams",
        "old",
        "--older-than",
        "0s",
    ]);
    let id = bench.ok(&["failed", "list", "--json"]);
    let id = id.lines().next().unwrap();
    let id = serde_json::from_str::<serde_json::Value>(id).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let files = || {
        let files = std::fs::read_dir(bench.path("")).unwrap();
        files
            .map(|file| file.unwrap().file_name())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let open_the_files = || {
        const OPEN: &str = "import sqlite3, sys\n\
            connections = [sqlite3.connect(file) for file in sys.argv[1:]]\n\
            for connection in connections:\n    \
                connection.execute('SELECT count(*) FROM sqlite_schema').fetchall()\n\
            print('open', flush=True)\n\
            sys.stdin.read()\n\
            for connection in connections:\n    \
                connection.close()\n";
        let mut open = std::process::Command::new("python3");
        open.args(["-c", OPEN])
            .args([bench.path("test.db"), bench.path("archive.db")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut open = open.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(open.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "open\n");
        open
    };
    // As a process that is killed leaves it, with what is only in its log; and as the last one to close it leaves it.
    for closed in [false, true] {
        let mut open = open_the_files();
        if closed {
            drop(open.stdin.take());
        } else {
            bench.emit("b", "{}");
            open.kill().unwrap();
        }
        assert_eq!(open.wait().unwrap().success(), closed);
        assert_eq!(bench.path("test.db-wal").exists(), !closed);
        let before = files();
        for (command, shows) in [
            (&["failed", "list"][..], id.as_str()),
            (&["failed", "list", "--summary"], "Total of 3 failures."),
            (&["failed", "show", &id], id.as_str()),
            (&["show", "a", &id], id.as_str()),
            (&["status", "a"], "a"),
            (&["group", "list", "a"], "| a "),
            (&["consumer", "list", "a", "g"], "g"),
            (&["replay", "u", "7"], "Ann"),
            (&["archive", "list"], "old"),
            (&["archive", "restore", "--all", "--dry-run"], "Would restore 1 message"),
            (&purge, "Total of 2 messages would"),
            (&archive, "Total of 2 messages would"),
            (&["failed", "flush", "--dry-run"], "Would remove 3 failures"),
            (
                &["group", "reset", "a", "g", "--to", "start", "--dry-run"],
                "would be moved",
            ),
            (&["group", "delete", "a", "g", "--dry-run"], "Would delete"),
            (&["history", "trim", "u", "7", "--dry-run"], "Would remove 0 of 1"),
        ] {
            let command = [&["--config", "archive.toml"], command].concat();
            let ended = bench.run_without_the_right_to_write(&command);
            assert_eq!(ended.code, Some(0), "{closed}, {command:?}: {ended:?}");
            assert!(ended.stdout.contains(shows), "{closed}, {command:?}: {ended:?}");
        }
        assert_eq!(files(), before, "nothing was made beside the files");
    }
    for command in [&["emit", "a", "{}"][..], &["failed", "flush", "--yes"]] {
        let ended = bench.run_without_the_right_to_write(command);
        assert_eq!(ended.code, Some(3), "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("read-only"), "{ended:?}");
    }
}

#[test]
fn a_read_only_store_is_read_with_what_another_process_has_written_last() {
    let bench = Bench::new();
    bench.script("wait.sh", "read -r line");
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./wait.sh']\n",
    );
    bench.emit("a", "{}");
    // It keeps the file open, so that what it writes is in the log.
    let mut listening = bench.start(&["listen", "a", "--group", "busy", "--json"]);
    listening.wait_for("started");
    let listed = bench.run_without_the_right_to_write(&["group", "list", "a"]);
    assert!(listed.code == Some(0) && listed.stdout.contains("busy"), "{listed:?}");
}

#[test]
fn on_a_terminal_whatever_deletes_asks_first() {
    for bench in benches() {
        let asked = |typed| bench.run_on_a_terminal(&["failed", "flush", "--stream", "b"], typed);
        for typed in ["n\n", "\n", "no\n"] {
            let refused = asked(typed);
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(
                refused
                    .stdout
                    .contains("This removes 1 failure from the failed list (1 on 'b')")
                    && refused.stdout.contains("Go on? [y/N]")
                    && refused.stdout.contains("Nothing was removed."),
                "{refused:?}"
            );
        }
        assert_eq!(bench.ok(&["failed", "list", "--json"]).lines().count(), 3);
        let agreed = asked("y\n");
        assert!(
            agreed.code == Some(0) && agreed.stdout.contains("Flushed 1 message."),
            "{agreed:?}"
        );
        let purged = bench.run_on_a_terminal(&["purge", "--streams", "a,b", "--older-than", "0s"], "yes\n");
        assert!(
            purged.code == Some(0)
                && purged
                    .stdout
                    .contains("This deletes 3 messages for good (2 on 'a', 1 on 'b')."),
            "{purged:?}"
        );
    }
}

#[test]
fn a_failing_archive_has_an_exit_code_of_its_own() {
    let bench = Bench::new();
    bench.emit("a", "{}");
    bench.write("streamer.toml", "archive_url = 'sqlite:///nowhere/archive.db'\n");
    let ended = bench.run(&["archive", "--streams", "a", "--older-than", "0s"]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("archive"), "{ended:?}");
}
