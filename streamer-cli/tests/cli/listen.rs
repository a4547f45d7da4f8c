use crate::bench::{Bench, snapshot, wait_until};

fn bench() -> Bench {
    on(Bench::new())
}

fn on(bench: Bench) -> Bench {
    bench.script("ok.sh", "while read -r line; do echo '{\"ok\":true}'; done");
    bench.script("no.sh", "while read -r line; do echo '{\"error\":\"no paper\"}'; done");
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = ['ok']\nb = ['ok', 'no']\n[listeners.ok]\nprogram = ['./ok.sh']\n[listeners.no]\nprogram = ['./no.sh']\n",
    );
    bench
}

#[test]
fn messages_are_reported_as_php_prints_them() {
    let bench = bench();
    bench.emit("b", "{}");
    let ended = bench.listen_all(&[]);
    snapshot(&format!("{}---\n{}", ended.stdout, ended.stderr), |text| {
        insta::assert_snapshot!("listen", text);
    });
    assert!(bench.drained("b"));
}

#[test]
fn the_same_on_redis() {
    let bench = on(Bench::on_redis());
    let id = bench.emit("a", "{}");
    let printed = bench.listen_all(&[]).stdout;
    assert_eq!(
        printed,
        format!("Processed message [{id}] on 'a' stream by [ok] listener.\n")
    );
    let pending = bench.redis.as_ref().unwrap().command(&["XPENDING", "a", "g"]);
    assert!(pending.trim().starts_with('0'), "{pending}");
}

#[test]
fn reports_are_json_for_programs() {
    let bench = bench();
    bench.emit("b", "{}");
    let ended = bench.listen_all(&["--json"]);
    snapshot(&ended.stdout, |text| insta::assert_snapshot!("listen_json", text));
}

#[test]
fn quiet_prints_only_what_went_wrong() {
    let bench = bench();
    bench.emit("b", "{}");
    let ended = bench.listen_all(&["-q"]);
    assert_eq!(ended.stdout.lines().count(), 1);
    assert!(ended.stdout.starts_with("Listener error. "));
    assert_eq!(ended.stderr, "");
}

#[test]
fn quiet_commands_print_only_errors_and_what_was_asked_for() {
    for bench in [bench(), on(Bench::on_servers())] {
        bench.write("lines", "{}\n{}\n");
        for command in [
            &["emit", "b", "{}"][..],
            &["emit", "b", "{}", "--json"],
            &["emit", "c", "--lines", "@lines"],
            &["listen", "a", "--group", "g", "--listen-timeout", "200", "--json"],
            &["purge", "--streams", "c", "--older-than", "0s", "--yes"],
            &["archive", "--streams", "c", "--older-than", "0s"],
        ] {
            let ended = bench.run(&[command, &["-q"]].concat());
            assert_eq!(
                (ended.code, &*ended.stdout, &*ended.stderr),
                (Some(0), "", ""),
                "{command:?}"
            );
        }
        bench.listen_all(&["-q"]);
        let again = bench.run(&["failed", "retry", "--all", "-q"]);
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(
            again.stdout.lines().all(|line| line.contains("Error: no paper")),
            "{again:?}"
        );
        assert!(bench.ok(&["failed", "list", "-q"]).contains("no paper"));
        assert!(bench.ok(&["group", "list", "b", "-q"]).contains("| g "));
        let reset = ["group", "reset", "b", "g", "--to", "now", "-q"];
        let flush = ["failed", "flush", "--yes", "-q"];
        let delete = ["group", "delete", "b", "g", "--yes", "-q"];
        for command in [&reset[..], &flush, &delete] {
            assert_eq!(bench.ok(command), "", "{command:?}");
        }
        let mistake = bench.run(&["emit", "b", "{", "-q"]);
        assert!(mistake.stderr.starts_with("error: "), "{mistake:?}");
    }
}

#[test]
fn verbose_logs_what_is_read_claimed_and_settled() {
    for bench in [bench(), on(Bench::on_servers())] {
        let ids = [bench.emit("a", "{}"), bench.emit("a", "{}"), bench.emit("b", "{}")];
        let logged = |more: &[&str]| {
            let arguments = [&["listen", "a,b", "--group", "g", "--listen-timeout", "500"], more].concat();
            let ended = bench.run(&arguments);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            ended.stderr
        };
        let log = logged(&["-v"]);
        assert!(
            log.contains(&format!("DEBUG Read 2 messages ({} to {}) of 'a'.", ids[0], ids[1])),
            "{log}"
        );
        assert!(
            log.contains("DEBUG Settled ") && log.contains(" acknowledged."),
            "{log}"
        );
        assert!(!log.contains("TRACE"), "{log}");
        bench.ok(&["group", "reset", "b", "g", "--to", "start"]);
        let log = logged(&["-vv"]);
        assert!(
            log.contains(&format!("TRACE Read message {} of 'b': ", ids[2])),
            "{log}"
        );
        let settled = format!(
            "TRACE Settled message {} of 'b': acknowledged, failures recorded.",
            ids[2]
        );
        assert!(log.contains(&settled), "{log}");
        assert!(!logged(&[]).contains("DEBUG"));
    }
}

#[test]
fn verbose_logs_what_is_claimed_from_others_and_taken_up_again() {
    for bench in [bench(), on(Bench::on_servers())] {
        bench.script("hang.sh", "echo begun; sleep 60");
        bench.write(
            "hang.toml",
            "grace = '30s'\n[listen_and_fire]\na = ['ok']\n[listeners.ok]\nprogram = ['./hang.sh']\nmode = 'message'\n",
        );
        let id = bench.emit("a", "{}");
        // Killed while it handles the message, which stays pending.
        let mut first = bench.start(&[
            "--config",
            "hang.toml",
            "listen",
            "a",
            "--group",
            "g",
            "--consumer",
            "dead",
            "-v",
        ]);
        wait_until(|| {
            let listed = bench.run(&["consumer", "list", "a", "g", "--json"]).stdout;
            listed.contains("\"pending\":1").then_some(())
        });
        first.child.kill().unwrap();
        first.child.wait().unwrap();
        let claimed = bench.run(&[
            "listen",
            "a",
            "--group",
            "g",
            "--reclaim",
            "200",
            "--listen-timeout",
            "1s",
            "-v",
        ]);
        let told = format!("DEBUG Claimed message {id} of 'a': 0 pending with this consumer, 1 left idle by others.");
        assert!(claimed.stderr.contains(&told), "{claimed:?}");
        assert!(
            claimed
                .stderr
                .contains(&format!("Settled message {id} of 'a': 1 acknowledged.")),
            "{claimed:?}"
        );
    }
}

#[test]
fn the_log_is_json_when_asked_for() {
    let bench = bench();
    let ended = bench.listen_all(&["--log-format", "json"]);
    assert!(!ended.stderr.is_empty());
    for line in ended.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn an_event_without_listeners_is_named_and_the_others_are_listened_to() {
    let bench = bench();
    let id = bench.emit("a", "{}");
    let text = "There are no local listeners associated with 'x' event in configuration.";
    let ended = bench.run(&["listen", "x,a", "--group", "g", "--listen-timeout", "300"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains(text) && ended.stdout.contains(&id), "{ended:?}");
    let ended = bench.run(&["listen", "x"]);
    assert_eq!((ended.code, ended.stderr), (Some(1), format!("error: {text}\n")));
}

#[test]
fn the_start_is_what_was_asked_for() {
    let bench = bench();
    let ids: Vec<String> = (0..3).map(|_| bench.emit("a", "{}")).collect();
    let count = |arguments: &[&str]| {
        let all = [&["listen", "a", "--listen-timeout", "300"], arguments].concat();
        bench.ok(&all).lines().count()
    };
    assert_eq!(count(&[]), 0);
    // laravel-streamer takes 0 for "not given".
    assert_eq!(count(&["--last_id=0"]), 3);
    assert_eq!(count(&["--last-id", &ids[0]]), 2);
    assert_eq!(count(&["--group", "late", "--last-id", "now"]), 0);
    assert_eq!(count(&["--group", "early"]), 3);
}

#[test]
fn a_group_divides_the_work() {
    let bench = bench();
    let mut one = bench.start(&["listen", "a", "--group", "g", "--json"]);
    let mut two = bench.start(&["listen", "a", "--group", "g", "--json"]);
    one.wait_for("started");
    two.wait_for("started");
    let ids: std::collections::BTreeSet<String> = (0..200).map(|_| bench.emit("a", "{}")).collect();
    let (mut by_one, mut by_two) = (Vec::new(), Vec::new());
    wait_until(|| {
        by_one.extend(one.try_line());
        by_two.extend(two.try_line());
        (by_one.len() + by_two.len() == 200).then_some(())
    });
    let id = |line: &String| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        by_one
            .iter()
            .chain(&by_two)
            .map(id)
            .collect::<std::collections::BTreeSet<_>>(),
        ids
    );
    assert!(
        !by_one.is_empty() && !by_two.is_empty(),
        "{} and {}",
        by_one.len(),
        by_two.len()
    );
}

#[test]
fn a_listener_of_the_command_line_needs_no_configuration() {
    let bench = Bench::new();
    let id = bench.emit("order.placed", "{\"n\":1}");
    let nothing = bench.run(&["listen", "order.placed", "--listen-timeout", "300"]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    for part in ["listen_and_fire", "--exec", "--webhook"] {
        assert!(nothing.stderr.contains(part), "{nothing:?}");
    }
    let listened = bench.ok(&[
        "listen",
        "order.placed",
        "--exec",
        "cat > got; exit 0",
        "--last-id",
        "0",
        "--listen-timeout",
        "500",
    ]);
    assert_eq!(
        listened,
        format!("Processed message [{id}] on 'order.placed' stream by [exec] listener.\n")
    );
    assert!(bench.read("got").contains(&id));
    let hook = bench.run(&["listen", "a", "--webhook", "ftp://example.com"]);
    assert_eq!(hook.code, Some(2), "{hook:?}");
}

#[test]
fn what_is_hardly_meant_is_worth_a_warning() {
    let bench = bench();
    bench.emit("a", "{}");
    let warned = |more: &[&str]| {
        let arguments = [&["listen", "a", "--listen-timeout", "200"], more].concat();
        let ended = bench.run(&arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stderr.matches("WARN").count()
    };
    assert_eq!(warned(&["--group", "g"]), 0);
    assert_eq!(warned(&["--group", "g", "--reclaim", "60"]), 1);
    assert_eq!(warned(&["--reclaim", "60s"]), 1);
    assert_eq!(warned(&["--key", "id"]), 1);
    assert_eq!(warned(&["--when", "at-once"]), 1);
    assert_eq!(warned(&["--max-attempts", "3"]), 1);
    assert_eq!(warned(&["--last-id", "99999999999999-0"]), 1);
    // An empty name counts as not given, as in laravel-streamer.
    assert_eq!(warned(&["--consumer="]), 0);
    assert_eq!(warned(&["--group=", "--consumer="]), 0);
}

#[test]
fn names_of_our_own_keys_are_refused_before_anything_breaks() {
    for bench in [Bench::new(), Bench::on_redis()] {
        for name in [
            "failed_stream",
            "failed_stream:details",
            "{order.placed}:restored",
            "{order.placed}:handled:g",
            "{order.placed}:retry:g",
        ] {
            for command in [
                &["emit", name, "{}"][..],
                &["listen", name, "--exec", "true", "--listen-timeout", "100"],
                &["tail", name],
            ] {
                if command[0] == "tail" && bench.redis.is_none() {
                    continue;
                }
                let ended = bench.run(command);
                assert_eq!(ended.code, Some(2), "{command:?}: {ended:?}");
                assert!(ended.stderr.contains("give the event another name"), "{ended:?}");
            }
        }
        // A history has the name of the event and of the resource.
        bench.ok(&["emit", "user", "{}", "--identifier", "7"]);
        let ended = bench.run(&["emit", "user-7", "{}"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.contains("it may be the history of a resource"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_service_goes_on_when_nobody_reads_its_output_and_does_not_end_well() {
    let bench = bench();
    bench.emit("a", "{}");
    let mut command = bench.command(&["listen", "a", "--group", "g", "--listen-timeout", "2s"]);
    let mut child = command.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut [0; 10]).unwrap();
    drop(output);
    let ids = [1, 2, 3].map(|_| bench.emit("a", "{}"));
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("goes on without it"), "{stderr}");
    assert!(stderr.contains("Messages: 4. Handled: 4."), "{stderr} {ids:?}");
    assert!(bench.drained("a"));
}

#[test]
fn one_binary_field_keeps_a_message_from_nobody() {
    let bench = Bench::on_redis();
    let redis = bench.redis.as_ref().unwrap();
    redis.command(&[
        "XADD",
        "users",
        "*",
        "id",
        "7",
        "name",
        "Ann",
        "type",
        "admin",
        "created",
        "2026-11-01",
        "metadata",
        "\u{81}",
    ]);
    bench.ok(&[
        "listen",
        "users",
        "--exec",
        "cat > got",
        "--last-id",
        "0",
        "--listen-timeout",
        "500",
    ]);
    let got: serde_json::Value = serde_json::from_str(&bench.read("got")).unwrap();
    assert_eq!(
        (&got["name"], &got["data"]["name"], &got["data"]["type"]),
        (&"users".into(), &"Ann".into(), &"admin".into())
    );
}
