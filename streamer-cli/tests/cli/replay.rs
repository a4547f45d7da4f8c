//! `emit --identifier`, `replay` and `history trim`, on both engines.

use crate::bench::{Bench, Ended, snapshot};

/// A run as people see it.
fn shown(bench: &Bench, arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = bench.run(arguments);
    let text = format!(
        "$ streamer {}\n{stdout}{stderr}[exit {}]\n\n",
        arguments.join(" "),
        code.unwrap()
    );
    text.replace(&bench.path("").display().to_string(), "FOLDER/")
}

fn benches() -> [Bench; 2] {
    [Bench::new(), Bench::on_servers()]
}

fn emit(bench: &Bench, payload: &str) -> String {
    bench
        .ok(&["emit", "user", payload, "--identifier", "7"])
        .trim()
        .to_owned()
}

#[test]
fn a_resource_is_replayed_whole_and_in_steps() {
    for bench in benches() {
        emit(&bench, r#"{"name":"Ann","city":"Oslo"}"#);
        emit(&bench, r#"{"city":"Bergen","tags":["a",null]}"#);
        let text = [
            &["replay", "user", "7"][..],
            &["replay", "user", "7", "--json"],
            &["replay", "user", "7", "--steps"],
            &["replay", "user", "7", "--steps", "--json"],
            &["replay", "user", "7", "--until", "2020-01-01"],
            &["replay", "user", "8"],
            &["replay", "user", "8", "--json"],
            &["replay", "user", "7", "--until", "yesterday"],
        ]
        .map(|arguments| shown(&bench, arguments))
        .concat();
        snapshot(&text, |text| insta::assert_snapshot!("replay", text));
        assert_eq!(
            bench.ok(&["streamer:replay", "user", "7"]),
            bench.ok(&["replay", "user", "7"])
        );
        assert!(!bench.path("archive.db").exists());
    }
}

#[test]
fn until_is_before_an_instant_whatever_its_zone() {
    for bench in benches() {
        let before = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
        emit(&bench, r#"{"a":1}"#);
        let later: jiff::Timestamp = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
        let replay = |until: &str| bench.ok(&["replay", "user", "7", "--json", "--until", until]);
        assert!(replay(&before).contains(r#""data":[]"#));
        assert!(replay(&later.to_string()).contains(r#""data":{"a":1}"#));
        // The same instant, written in a zone that is ahead.
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(9));
        let there = later
            .to_zoned_datetime(zone)
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string();
        assert!(replay(&there).contains(r#""data":{"a":1}"#), "{there}");
        // Where the clock shows the same and the zone is ahead, it is long before.
        let ahead = format!("{}+09:00", later.strftime("%Y-%m-%dT%H:%M:%S"));
        assert!(replay(&ahead).contains(r#""data":[]"#), "{ahead}");
    }
}

#[test]
fn archived_messages_are_replayed_and_purged_ones_are_named() {
    for bench in benches() {
        emit(&bench, r#"{"name":"Ann"}"#);
        bench.ok(&["archive", "--streams", "user", "--older-than", "0 seconds"]);
        let mut text = shown(&bench, &["replay", "user", "7"]);
        emit(&bench, r#"{"name":"Bob"}"#);
        bench.ok(&["purge", "--streams", "user", "--older-than", "0 seconds", "--yes"]);
        emit(&bench, r#"{"age":5}"#);
        for arguments in [
            &["replay", "user", "7"][..],
            &["replay", "user", "7", "--json"],
            &["history", "trim", "user", "7", "8"],
            &["history", "trim", "user", "7", "8", "--dry-run"],
            &["history", "trim", "user", "7", "8", "--yes"],
            &["history", "trim", "user", "7", "--json", "--yes"],
            &["replay", "user", "7"],
            &["history", "trim", "user"],
        ] {
            text += &shown(&bench, arguments);
        }
        snapshot(&text, |text| insta::assert_snapshot!("history", text));
    }
}

#[test]
fn a_history_with_the_name_of_a_stream_is_refused() {
    for bench in benches() {
        bench.emit("user-7", "{}");
        let ended = bench.run(&["emit", "user", "{}", "--identifier", "7"]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("'user-7'"), "{ended:?}");
        assert_eq!(bench.run(&["replay", "user", "7"]).code, Some(1));
    }
}
