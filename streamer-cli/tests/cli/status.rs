//! What an operator asks at three in the morning, each answered by one command.

use serde_json::Value;
use sqlx::Connection as _;
use streamer::{
    DynamicEvent, EntryId, Streamer,
    engine::GroupStart,
    failed::{self, FailedMessage},
    outbox,
};

use crate::bench::{Bench, wait_until};

const FILE: &str =
    "[listen_and_fire]\na = ['it']\nnever = ['it']\n[listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\n";

/// Three messages that failed, and three that nobody has.
fn behind(bench: Bench) -> Bench {
    bench.write("streamer.toml", FILE);
    bench.script("it.sh", "cat > line; echo 'no paper' >&2; exit 1");
    for n in 0..3 {
        bench.emit("a", &format!("{{\"n\":{n}}}"));
    }
    bench.ok(&["listen", "a", "--group", "g", "--listen-timeout", "500"]);
    for n in 3..6 {
        bench.emit("a", &format!("{{\"n\":{n}}}"));
    }
    bench.emit("lonely", "{}");
    bench
}

fn benches() -> [Bench; 3] {
    [Bench::new(), Bench::on_servers(), Bench::on_cluster()].map(behind)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn status_tells_lag_pending_and_failures_and_ends_by_its_limits() {
    for bench in benches() {
        let status = json(&bench.ok(&["status", "--json"]));
        let group = &status["streams"][0]["groups"][0];
        assert_eq!(status["streams"][0]["name"], "a");
        assert_eq!((&group["name"], &group["pending"]), (&"g".into(), &0.into()));
        assert_eq!(group["lag"], serde_json::json!({"messages": 3, "exact": true}));
        assert!(group["lag_ms"].is_u64(), "{group}");
        assert_eq!(status["failures"], 3);
        assert_eq!(status["missing"], serde_json::json!(["never"]));
        assert_eq!(status["beyond"], serde_json::json!([]));

        let table = bench.ok(&["status"]);
        assert!(table.contains("| a ") && table.contains("| lonely "), "{table}");
        assert!(
            table.contains("2 streams, 1 group: 3 messages to be delivered, 0 pending"),
            "{table}"
        );
        assert!(table.contains("There is no stream 'never'."), "{table}");

        for (limit, code) in [
            (&["--max-lag", "3"][..], 0),
            (&["--max-lag", "2"], 1),
            (&["--max-age", "1h"], 0),
            (&["--max-failures", "3"], 0),
            (&["--max-failures", "2"], 1),
        ] {
            let ended = bench.run(&[&["status"], limit].concat());
            assert_eq!(ended.code, Some(code), "{ended:?}");
            assert_eq!(ended.stdout.contains("Beyond the limit"), code == 1, "{ended:?}");
        }
        let late = wait_until(|| {
            let ended = bench.run(&["status", "a", "--max-age", "1ms", "--json"]);
            (ended.code == Some(1)).then_some(ended.stdout)
        });
        assert_eq!(json(&late)["beyond"].as_array().unwrap().len(), 1);

        let gauges = bench.ok(&["status", "--prometheus"]);
        assert!(
            gauges.contains("streamer_group_lag_messages{stream=\"a\",group=\"g\"} 3\n"),
            "{gauges}"
        );
        assert!(
            gauges.contains("# TYPE streamer_failures gauge\nstreamer_failures 3\n"),
            "{gauges}"
        );
        let page = include_str!("../../../docs/observability.md");
        for line in gauges.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap();
            assert!(
                page.contains(&format!("| `{name}` |")),
                "docs/observability.md lacks {name}"
            );
        }
    }
}

#[test]
fn a_store_that_is_not_there_ends_with_3() {
    let mut bench = Bench::new();
    bench.url = "redis://127.0.0.1:1".to_owned();
    assert_eq!(bench.run(&["status"]).code, Some(3));
    let ended = bench.run(&["doctor", "--json"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(json(&ended.stdout)["findings"][0]["check"], "store_unreachable");
    // A file that is not there is not made.
    let bench = Bench::new();
    assert_eq!(bench.run(&["status"]).code, Some(3));
    assert!(!bench.path("test.db").exists());
}

#[test]
fn status_watches_with_rates_until_it_is_stopped() {
    let bench = behind(Bench::new());
    let mut watch = bench.start(&["status", "--watch", "--interval", "100ms", "--json"]);
    watch.wait_for("\"rates\"");
    bench.emit("a", "{}");
    let line = wait_until(|| {
        let line = watch.wait_for("\"rates\"");
        let rate = json(&line)["streams"][0]["rates"]["incoming"].as_f64();
        rate.filter(|rate| *rate > 0.0).map(|_| line)
    });
    assert!(line.contains("\"lag\":{\"messages\":4"), "{line}");
    watch.signal(rustix::process::Signal::INT);
    assert_eq!(watch.end().code, Some(0));
}

#[test]
fn show_tells_the_life_of_a_message() {
    for bench in benches() {
        let hostile = bench
            .ok(&["emit", "a", "{\"text\":\"\\u001b[31mred\"}"])
            .trim()
            .to_owned();
        let listed = bench.ok(&["failed", "list", "--json"]);
        let failed = json(listed.lines().next().unwrap())["id"].as_str().unwrap().to_owned();
        let shown = bench.ok(&["show", "a", &failed]);
        for text in [
            &*format!("Message {failed} of stream 'a'"),
            "Group 'g': acknowledged",
            "Listener 'it' failed at",
            "no paper",
            "\"n\"",
            "Archive: none is configured.",
        ] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        let life = json(&bench.ok(&["show", "a", &failed, "--json"]));
        assert_eq!(life["groups"][0]["state"], "settled");
        assert_eq!(life["failures"].as_array().unwrap().len(), 1);

        let waiting = bench.ok(&["show", "a", &hostile]);
        assert!(waiting.contains("Group 'g': not delivered yet."), "{waiting}");
        let raw = bench.ok(&["show", "a", &hostile, "--raw"]);
        assert!(raw.contains("Field version: 1.3") && !raw.contains('\u{1b}'), "{raw}");
        let nothing = bench.run(&["show", "a", "1-1"]);
        assert_eq!(nothing.code, Some(1), "{nothing:?}");
        assert!(
            nothing.stdout.contains("Its entry is not on the stream."),
            "{nothing:?}"
        );
    }
}

#[test]
fn doctor_names_what_is_wrong_and_the_command_that_fixes_it() {
    for bench in benches() {
        let ended = bench.run(&["doctor", "--json"]);
        let diagnosis = json(&ended.stdout);
        let findings = diagnosis["findings"].as_array().unwrap();
        let has = |check: &str| findings.iter().any(|finding| finding["check"] == check);
        assert!(has("group_abandoned") && has("failures_listed"), "{diagnosis}");
        assert!(has("nobody_listens") && has("stream_missing"), "{diagnosis}");
        // The group has work and its consumers have left.
        assert_eq!((ended.code, &diagnosis["importance"]), (Some(2), &"critical".into()));
        for finding in findings {
            for part in ["subject", "found", "meaning", "fix"] {
                assert!(!finding[part].as_str().unwrap().is_empty(), "{finding}");
            }
        }
        let text = bench.run(&["doctor"]);
        assert!(
            text.stdout
                .contains("Fix: start its listener: streamer listen a --group g"),
            "{text:?}"
        );
        assert!(text.stdout.contains("critical, "), "{text:?}");
        // It says how much it has looked at.
        assert!(text.stdout.contains("Looked at all there is: "), "{text:?}");
        let looked_at = diagnosis["looked_at"].as_array().unwrap();
        let failures = looked_at.iter().find(|one| one["what"] == "failures").unwrap();
        assert!(
            failures["looked_at"].as_u64() > Some(0) && failures["looked_at"] == failures["of"],
            "{diagnosis}"
        );

        // With the work done only the store's own notices are left.
        bench.script("it.sh", "cat > line");
        bench.listen_all(&[]);
        bench.ok(&["failed", "flush", "--yes"]);
        let ended = bench.run(&["doctor", "a", "--json"]);
        let diagnosis = json(&ended.stdout);
        assert!(ended.code < Some(2), "{diagnosis}");
    }
}

#[tokio::test]
async fn each_question_of_the_night_is_answered_by_one_command() {
    for bench in [Bench::new(), Bench::on_servers(), Bench::on_cluster()] {
        let id = bench.emit("a", "{\"n\":1}");
        bench.emit("a", "{\"n\":2}");
        let streamer = Streamer::connect(&bench.url).await.unwrap();
        let start = GroupStart::After(EntryId::MIN);
        let engine = streamer.engine();
        engine.create_group(&"a".into(), "g", start, false).await.unwrap();
        let read = streamer.stream("a").consumer("g", "worker-1").read_new(1, None).await;
        let pending = read.unwrap()[0].id;
        assert_eq!(id, pending.to_string());
        let failure = FailedMessage::new(pending, &"a".into(), "receipt", "no paper for 3 pages");
        failed::record(engine.as_ref(), &[failure]).await.unwrap();

        // How far behind is the group, what is pending, with whom and since when, is anybody alive?
        let status = json(&bench.ok(&["status", "--json"]));
        let group = &status["streams"][0]["groups"][0];
        assert_eq!(group["lag"], serde_json::json!({"messages": 1, "exact": true}));
        assert!(group["lag_ms"].is_u64(), "{group}");
        let oldest = &group["oldest_pending"];
        assert_eq!(
            (&oldest["id"], &oldest["consumer"]),
            (&id.as_str().into(), &"worker-1".into())
        );
        assert!(oldest["age_ms"].is_u64() && oldest["idle_ms"].is_u64(), "{oldest}");
        assert_eq!((&group["pending"], &group["alive"]), (&1.into(), &1.into()));
        let table = bench.ok(&["status"]);
        assert!(table.contains("| worker-1 ") && table.contains("| 1/1 "), "{table}");
        // Which message is it?
        let shown = bench.ok(&["show", "a", &id]);
        assert!(
            shown.contains("pending with worker-1") && shown.contains("\"n\": 1"),
            "{shown}"
        );
        // What failed, and why?
        let summary = bench.ok(&["failed", "list", "--summary"]);
        assert!(
            summary.contains("receipt") && summary.contains("no paper for # pages"),
            "{summary}"
        );
    }
}

#[tokio::test]
async fn the_archive_and_the_outbox_are_part_of_the_status() {
    for bench in [Bench::new(), Bench::on_servers()] {
        let database = format!("sqlite://{}?mode=rwc", bench.path("app.db").display());
        let archive = format!("sqlite://{}", bench.path("archive.db").display());
        bench.write(
            "streamer.toml",
            &format!("outbox_url = '{database}'\narchive_url = '{archive}'\n"),
        );
        for _ in 0..2 {
            bench.emit("a", "{}");
        }
        assert!(!bench.ok(&["status"]).contains("Archive"), "there is none");
        bench.ok(&["archive", "--streams", "a", "--older-than", "0 seconds"]);
        bench.ok(&["outbox", "migrate"]);
        let mut connection = sqlx::SqliteConnection::connect(&database).await.unwrap();
        let event = DynamicEvent::new("a", serde_json::json!({}));
        outbox::emit_in(&mut connection, &event, "shop").await.unwrap();
        let shown = bench.ok(&["status"]);
        assert!(shown.contains("archive.db: 2 messages."), "{shown}");
        assert!(
            shown.contains("Outbox: 1 row to be published, the oldest for "),
            "{shown}"
        );
        let status = json(&bench.ok(&["status", "--json"]));
        assert_eq!(
            (&status["archive"]["messages"], &status["archive"]["exact"]),
            (&2.into(), &true.into())
        );
        assert_eq!(
            (&status["outbox"]["waiting"], &status["outbox"]["blocked"]),
            (&1.into(), &0.into())
        );
        let gauges = bench.ok(&["status", "--prometheus"]);
        for gauge in [
            "streamer_archive_messages 2",
            "streamer_outbox_waiting_rows 1",
            "streamer_outbox_blocked_rows 0",
        ] {
            assert!(gauges.contains(&format!("{gauge}\n")), "{gauges}");
        }
    }
}
