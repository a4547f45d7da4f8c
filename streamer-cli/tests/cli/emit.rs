use crate::bench::{Bench, snapshot};

/// What is on the stream, a JSON line each.
fn stored(bench: &Bench, event: &str, count: usize) -> Vec<serde_json::Value> {
    let mut tail = bench.start(&["tail", event, "--last-id", "0", "--json"]);
    (0..count)
        .map(|_| serde_json::from_str(&tail.wait_for("{")).unwrap())
        .collect()
}

#[test]
fn every_form_of_payload_arrives() {
    let bench = Bench::new();
    bench.write("order.json", r#"{"from":"file"}"#);
    let id = bench.emit("order.placed", r#"{"from":"argument"}"#);
    assert!(
        id.split_once('-')
            .is_some_and(|(ms, seq)| ms.len() == 13 && seq.parse::<u64>().is_ok()),
        "{id}"
    );
    bench.emit("order.placed", "@order.json");
    assert_eq!(
        bench
            .run_with_input(&["emit", "order.placed", "-"], r#"{"from":"stdin"}"#)
            .code,
        Some(0)
    );
    bench.ok(&["emit", "order.placed", "{}"]);
    let messages = stored(&bench, "order.placed", 4);
    let from: Vec<_> = messages.iter().map(|message| message["data"]["from"].clone()).collect();
    assert_eq!(
        from,
        [
            "argument".into(),
            "file".into(),
            "stdin".into(),
            serde_json::Value::Null
        ]
    );
    assert_eq!(messages[0]["id"], id);
}

#[test]
fn a_payload_may_nest_as_deep_as_listeners_can_read_it() {
    let bench = Bench::new();
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let id = bench.emit("deep", &nested(511));
    bench.start(&["tail", "deep", "--last-id", "0"]).wait_for(&id);
    let refused = bench.run(&["emit", "deep", &nested(512)]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("nests deeper than 511 levels"),
        "{}",
        refused.stderr
    );
}

#[test]
fn type_domain_and_id_are_what_was_asked_for() {
    let bench = Bench::new();
    let printed = bench.ok(&[
        "emit", "a", "{}", "--type", "command", "--domain", "shop", "--id", "5-1",
    ]);
    assert_eq!(printed, "5-1\n");
    assert_eq!(
        bench.ok(&["emit", "a", "{}", "--json", "--id", "6"]),
        "{\"id\":\"6-0\"}\n"
    );
    let message = &stored(&bench, "a", 1)[0];
    assert_eq!(
        (&message["type"], &message["domain"], &message["id"]),
        (&"command".into(), &"shop".into(), &"5-1".into())
    );
    let refused = bench.run(&["emit", "a", "{}", "--id", "5-1"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused.stderr.starts_with("error: could not emit event 'a'"),
        "{refused:?}"
    );
}

#[test]
fn headers_are_carried_and_an_event_with_a_key_is_stored_once() {
    let bench = Bench::new();
    let emit = [
        "emit",
        "a",
        "{}",
        "--header",
        "tenant=north=1",
        "--header",
        "empty=",
        "--idempotency-key",
        "order-7",
        "--idempotency-window",
        "1h",
    ];
    let first = bench.ok(&emit);
    assert_eq!(bench.ok(&emit), first);
    bench.ok(&["emit", "a", "{}", "--idempotency-key", "order-8"]);
    let messages = stored(&bench, "a", 2);
    assert_eq!(
        (
            &messages[0]["headers"],
            messages[1]
                .get("headers")
                .is_none_or(|headers| headers == &serde_json::json!({}))
        ),
        (&serde_json::json!({"tenant": "north=1", "empty": ""}), true)
    );
    for (wrong, why) in [
        (&["--header", "tenant"][..], "NAME=VALUE"),
        (&["--header", "data=x"], "could not emit event 'a'"),
        (&["--idempotency-window", "1h"], "--idempotency-key"),
        (&["--idempotency-key", ""], "could not emit event 'a'"),
    ] {
        let refused = bench.run(&[&["emit", "a", "{}"], wrong].concat());
        assert!(refused.code != Some(0) && refused.stderr.contains(why), "{refused:?}");
    }
}

#[test]
fn what_cannot_be_emitted_is_named() {
    let bench = Bench::new();
    bench.write("broken.json", "{\"a\":");
    let mut all = String::new();
    for arguments in [
        &["emit", "a", "not json"][..],
        &["emit", "a", "7"],
        &["emit", "a", "@broken.json"],
        &["emit", "a", "@missing.json"],
        &["emit", "", "{}"],
        &["emit", "a", "--id", "x"],
        &["emit", "a", "{}", "--lines"],
    ] {
        let ended = bench.run(arguments);
        all.push_str(&format!("{arguments:?}\nexit {:?}\n{}\n", ended.code, ended.stderr));
    }
    snapshot(&all, |all| insta::assert_snapshot!("emit_errors", all));
}

#[test]
fn lines_are_emitted_in_order_from_a_file_and_from_stdin() {
    let bench = Bench::new();
    let lines: String = (0..2000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    bench.write("orders.jsonl", &lines);
    let printed = bench.ok(&["emit", "a", "--lines", "@orders.jsonl"]);
    assert!(printed.starts_with("Emitted 2000 events to 'a' in "), "{printed}");
    let summary = bench.run_with_input(&["emit", "a", "--lines", "--json"], "{\"n\":2000}\n{\"n\":2001}");
    let summary: serde_json::Value = serde_json::from_str(&summary.stdout).unwrap();
    assert_eq!(summary["emitted"], 2);
    let numbers: Vec<_> = stored(&bench, "a", 2002)
        .iter()
        .map(|message| message["data"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..2002).collect::<Vec<_>>());
}

#[test]
fn a_bad_line_is_named_with_what_was_written_before_it() {
    let bench = Bench::new();
    for (bad, reason) in [
        ("{\"n\":", "is not JSON"),
        ("7", "is not a JSON object or list"),
        ("nope", "is not JSON: expected"),
    ] {
        let lines: String = (1..700).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        bench.write("orders.jsonl", &format!("{lines}{bad}\n{{\"n\":701}}\n"));
        let ended = bench.run(&["emit", reason, "--lines", "@orders.jsonl"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(
            ended.stderr.contains(&format!("line 700 of orders.jsonl {reason}")),
            "{ended:?}"
        );
        assert!(
            ended
                .stderr
                .contains(&format!("; 699 events were written to '{reason}' before")),
            "{ended:?}"
        );
        let last = bench.emit(reason, "{\"n\":\"after\"}");
        let stored = stored(&bench, reason, 700);
        assert_eq!(stored[698]["data"]["n"], 699);
        assert_eq!(stored[699]["id"], last, "what follows a bad line must not be written");
    }
}

#[test]
fn standard_input_is_read_where_it_is_one_and_never_taken_for_nothing() {
    let bench = Bench::new();
    let emitted = bench.run_with_input(&["emit", "a"], "{\"from\":\"file\"}");
    assert_eq!(emitted.code, Some(0), "{emitted:?}");
    assert_eq!(stored(&bench, "a", 1)[0]["data"]["from"], "file");
    let empty = bench.run_with_input(&["emit", "a"], "  \n");
    assert_eq!(empty.code, Some(2), "{empty:?}");
    assert!(empty.stderr.contains("standard input is empty"), "{empty:?}");
    // As in a timer or a service; and `-` reads it.
    let nothing = bench.run(&["emit", "a"]);
    assert_eq!((nothing.code, &*nothing.stdout), (Some(2), ""), "{nothing:?}");
    assert!(nothing.stderr.contains("'{}' for an empty one"), "{nothing:?}");
    let nothing = bench.run(&["emit", "a", "-"]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    let closed = std::process::Command::new("sh")
        .args(["-c", &format!("{} emit a <&-", env!("CARGO_BIN_EXE_streamer"))])
        .env("STREAMER_URL", &bench.url)
        .output()
        .unwrap();
    assert_eq!(closed.status.code(), Some(2), "{closed:?}");
    let pipe = std::process::Command::new("sh")
        .args(["-c", &format!("true | {} emit a", env!("CARGO_BIN_EXE_streamer"))])
        .env("STREAMER_URL", &bench.url)
        .output()
        .unwrap();
    assert_eq!(pipe.status.code(), Some(2), "{pipe:?}");
    let last = bench.emit("a", "{}");
    assert_eq!(stored(&bench, "a", 2)[1]["id"], last, "nothing was emitted in between");
    std::fs::write(bench.path("latin"), b"{\"n\":\"\xe9\"}").unwrap();
    let latin = bench.run(&["emit", "a", "@latin"]);
    assert_eq!(
        (latin.code, &*latin.stderr),
        (Some(2), "error: the payload from latin is not UTF-8\n")
    );
    let pipe = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "echo '{{\"from\":\"pipe\"}}' | {} emit b",
            env!("CARGO_BIN_EXE_streamer")
        ))
        .env("STREAMER_URL", &bench.url)
        .output()
        .unwrap();
    assert!(pipe.status.success(), "{pipe:?}");
    assert_eq!(stored(&bench, "b", 1)[0]["data"]["from"], "pipe");
}

#[test]
fn on_a_terminal_and_with_an_input_without_end_nothing_is_emitted() {
    let bench = Bench::new();
    let asked = bench.run_on_a_terminal(&["emit", "a"], "");
    assert_eq!(asked.code, Some(2), "{asked:?}");
    assert!(asked.stdout.contains("an event needs a payload"), "{asked:?}");
    let typed = bench.run_on_a_terminal(&["emit", "a", "-"], "{\"from\":\"keyboard\"}\n\u{4}");
    assert_eq!(typed.code, Some(0), "{typed:?}");
    assert_eq!(stored(&bench, "a", 1)[0]["data"]["from"], "keyboard");
}

#[test]
fn lines_that_drip_in_are_emitted_before_there_are_many() {
    let bench = Bench::new();
    // Never so long without a line that it would count as a pause.
    bench.script("drip.sh", "while echo '{}'; do sleep 0.005; done");
    let mut command = bench.command(&["emit", "a", "--lines"]);
    command.stdin(std::process::Stdio::piped());
    let mut emitting = command.spawn().unwrap();
    let mut drip = std::process::Command::new(bench.path("drip.sh"))
        .stdout(emitting.stdin.take().unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let first = stored(&bench, "a", 1);
    drip.kill().unwrap();
    drip.wait().unwrap();
    assert!(emitting.wait().unwrap().success());
    assert_eq!(first.len(), 1);
}

#[test]
fn a_list_is_a_payload_as_in_php() {
    let bench = Bench::on_redis();
    let id = bench.emit("a", r#"["zero","one"]"#);
    bench.run_with_input(&["emit", "a", "--lines"], "[1,2]\n\n{}\n[]\n");
    let messages = stored(&bench, "a", 4);
    assert_eq!(messages[0]["data"], serde_json::json!(["zero", "one"]));
    assert_eq!(messages[1]["data"], serde_json::json!([1, 2]));
    let raw = bench.redis.as_ref().unwrap().command(&["XRANGE", "a", &id, &id]);
    assert!(raw.contains(r#"["zero","one"]"#), "{raw}");
    let zero = bench.emit("z", r#"{"n":-0,"m":[-0]}"#);
    let raw = bench.redis.as_ref().unwrap().command(&["XRANGE", "z", &zero, &zero]);
    assert!(raw.contains(r#"{"n":0,"m":[0]}"#), "{raw}");
}

/// PHP's arrays have an order: what is typed, stored, shown and replayed has one.
#[test]
fn keys_keep_the_order_in_which_they_were_typed() {
    const PAYLOAD: &str = r#"{"z":1,"b":{"y":[{"d":1,"c":2}],"x":3},"a":4}"#;
    let bench = Bench::on_redis();
    let raw = |stream: &str| bench.redis.as_ref().unwrap().command(&["XRANGE", stream, "-", "+"]);
    let id = bench.ok(&["emit", "a", PAYLOAD, "--identifier", "7", "--header", "x=1"]);
    let id = id.trim();
    bench.run_with_input(&["emit", "l", "--lines"], &format!("{PAYLOAD}\n"));
    bench.ok(&["emit", "s", PAYLOAD, "--in", "24h"]);
    for stored in [raw("a"), raw("l")] {
        assert!(stored.contains(PAYLOAD), "{stored}");
    }
    for command in [
        &["show", "a", id, "--json"][..],
        &["scheduled", "list", "s"],
        &["scheduled", "list", "s", "--json"],
        &["replay", "a", "7", "--json"],
    ] {
        let shown = bench.ok(command);
        assert!(shown.contains(PAYLOAD), "{command:?}: {shown}");
    }
    for more in [&[][..], &["--json"]] {
        let mut tail = bench.start(&[&["tail", "a", "--last-id", "0"], more].concat());
        let shown = tail.wait_for("{");
        assert!(shown.contains(PAYLOAD), "{shown}");
    }
    let steps = bench.ok(&["replay", "a", "7", "--steps", "--json"]);
    assert!(steps.contains(r#""to":{"y":[{"d":1,"c":2}],"x":3}"#), "{steps}");
    for command in [&["show", "a", id][..], &["replay", "a", "7"]] {
        let shown = bench.ok(command).replace([' ', '\n'], "");
        assert!(shown.contains(PAYLOAD), "{command:?}: {shown}");
    }
}

#[test]
fn what_has_come_is_emitted_when_the_input_pauses() {
    use std::io::Write as _;
    let bench = Bench::new();
    let mut command = bench.command(&["emit", "a", "--lines"]);
    command.stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"n\":1}\n\n{\"n\":2}\n").unwrap();
    // It is still open: nothing but the pause says that this is all for now.
    assert_eq!(stored(&bench, "a", 2)[1]["data"]["n"], 2);
    input.write_all(b"{\"n\":3}\n").unwrap();
    drop(input);
    let ended = child.wait_with_output().unwrap();
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert!(printed.starts_with("Emitted 3 events to 'a' in "), "{printed}");
}

#[test]
fn an_emit_waits_for_a_flush_and_for_a_replica_or_says_that_it_is_written_and_what_it_lacks() {
    let file = Bench::new();
    assert!(file.ok(&["emit", "e", "{}", "--flushed"]).contains('-'));
    let bench = Bench::on_redis();
    let master = bench.redis.as_ref().unwrap();
    let lonely = bench.run(&["emit", "e", "{}", "--replicas", "1", "--within", "100ms"]);
    assert_eq!(lonely.code, Some(1));
    for part in ["is written to stream 'e' as ", "0 of 1 replicas had it after 100 ms"] {
        assert!(lonely.stderr.contains(part), "{}", lonely.stderr);
    }
    let replica = streamer_test_servers::Options::default().replica_of(master).start();
    bench.ok(&["emit", "e", "{}", "--replicas", "1"]);
    assert_eq!(replica.command(&["XLEN", "e"]), "2");
}
