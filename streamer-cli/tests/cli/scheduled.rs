//! Events that are emitted for later.

use serde_json::Value;

use crate::bench::{Bench, wait_until};

fn benches() -> [Bench; 2] {
    [Bench::new(), Bench::on_servers()]
}

fn listed(bench: &Bench, events: &[&str]) -> Vec<Value> {
    let listed = bench.ok(&[&["scheduled", "list", "--json"], events].concat());
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_event_for_later_is_listed_until_it_is_cancelled() {
    for bench in benches() {
        let id = bench.ok(&["emit", "cart.reminder", "{\"cart\":7}", "--in", "24h"]);
        let id = id.trim();
        let second = bench.ok(&[
            "emit",
            "cart.reminder",
            "{\"cart\":8}",
            "--at",
            "2199-12-01T09:00+01:00",
            "--json",
        ]);
        let second: Value = serde_json::from_str(&second).unwrap();
        let found = listed(&bench, &["cart.reminder"]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((&found[0]["id"], &found[0]["data"]["cart"]), (&id.into(), &7.into()));
        assert_eq!(found[0]["overdue"], false);
        assert_eq!(found[1]["id"], second["id"]);
        assert_eq!(found[1]["due"], "2199-12-01 08:00:00 UTC");
        let table = bench.ok(&["scheduled", "list", "cart.reminder", "--limit", "1"]);
        assert!(
            table.contains(id) && table.contains("{\"cart\":7}") && table.contains("1 scheduled event more"),
            "{table}"
        );
        // It is shown like any other message.
        let shown = bench.ok(&["show", "cart.reminder", id]);
        assert!(
            shown.contains("an event for later") && shown.contains("\"cart\": 7"),
            "{shown}"
        );
        // Nothing is due.
        assert_eq!(
            bench.ok(&["scheduled", "deliver", "cart.reminder"]),
            "Delivered 0 events.\n"
        );
        // It deletes the event, so it asks.
        let cancel = ["scheduled", "cancel", "cart.reminder", id];
        let refused = bench.run(&cancel);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(
            refused.stderr.contains("1 scheduled event") && refused.stderr.contains("--yes"),
            "{refused:?}"
        );
        let would = bench.ok(&[&cancel[..], &["--dry-run"]].concat());
        assert_eq!(would, "Would cancel 1 scheduled event of 'cart.reminder'.\n");
        assert_eq!(listed(&bench, &["cart.reminder"]).len(), 2);
        let cancelled = bench.ok(&[&cancel[..], &["--yes"]].concat());
        assert_eq!(cancelled, format!("Cancelled [{id}] of 'cart.reminder'.\n"));
        let again = bench.run(&["scheduled", "cancel", "cart.reminder", id]);
        assert_eq!(again.code, Some(1));
        assert!(
            again
                .stderr
                .contains(&format!("no event of 'cart.reminder' waits as {id}")),
            "{again:?}"
        );
        assert_eq!(listed(&bench, &["cart.reminder"]).len(), 1);
        assert_eq!(bench.ok(&["scheduled", "list", "other"]), "No scheduled events\n");
    }
}

#[test]
fn what_is_due_is_delivered_by_a_listening_or_by_the_command() {
    for bench in benches() {
        bench.write(
            "streamer.toml",
            "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\n",
        );
        bench.script("it.sh", "cat > line; echo done >> lines");
        let mut id = bench.ok(&["emit", "a", "{\"n\":1}", "--in", "100ms"]);
        id.truncate(id.trim_end().len());
        wait_until(|| {
            let found = listed(&bench, &[]);
            (found.len() == 1 && found[0]["overdue"] == true).then_some(())
        });
        assert_eq!(bench.ok(&["scheduled", "deliver"]), "Delivered 1 event.\n");
        assert!(listed(&bench, &[]).is_empty());
        bench.ok(&["emit", "a", "{\"n\":2}", "--in", "100ms"]);
        let listening = bench.start(&["listen", "--all", "--group", "g"]);
        wait_until(|| {
            let lines = std::fs::read_to_string(bench.path("lines")).unwrap_or_default();
            (lines.lines().count() == 2).then_some(())
        });
        listening.signal(rustix::process::Signal::TERM);
        assert_eq!(listening.end().code, Some(0));
        let gone = bench.run(&["scheduled", "cancel", "a", &id]);
        assert_eq!(gone.code, Some(1), "{gone:?}");
    }
}

#[test]
fn without_names_also_streams_that_have_no_event_yet_are_looked_at() {
    for bench in benches() {
        bench.ok(&["emit", "{shop}cart", "{\"n\":1}", "--in", "24h"]);
        bench.ok(&["emit", "cart", "{\"n\":2}", "--in", "48h"]);
        bench.ok(&["emit", "soon", "{\"n\":3}", "--in", "50ms"]);
        let found = wait_until(|| {
            let found = listed(&bench, &[]);
            found.iter().any(|event| event["overdue"] == true).then_some(found)
        });
        let mut names: Vec<_> = found.iter().map(|event| event["event"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cart", "soon", "{shop}cart"]);
        assert_eq!(bench.ok(&["scheduled", "deliver"]), "Delivered 1 event.\n");
        assert_eq!(listed(&bench, &[]).len(), 2);
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    for (arguments, told) in [
        (&["--in", "soon"][..], "time"),
        (&["--at", "3 days"], "is not a date"),
        (&["--at", "2026-13-01"], "2026-13-01"),
        (&["--in", "1h", "--at", "2099-01-01"], "cannot be used with"),
        (&["--in", "1h", "--id", "5-1"], "cannot be used with"),
        (&["--in", "1h", "--identifier", "7"], "cannot be used with"),
    ] {
        let refused = bench.run(&[&["emit", "a", "{}"], arguments].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    let refused = bench.run(&["scheduled", "cancel", "a", "x"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(!bench.path("test.db").exists() || listed(&bench, &["a"]).is_empty());
    // A date that has passed is now.
    let id = bench.ok(&["emit", "a", "{}", "--at", "2020-01-01"]);
    assert!(bench.ok(&["status", "--json"]).contains("\"a\""));
    assert!(listed(&bench, &["a"]).is_empty(), "{id}");
}

#[test]
fn a_stream_with_nothing_but_events_for_later_is_in_every_view_without_being_named() {
    for bench in benches().into_iter().chain([Bench::on_cluster()]) {
        bench.ok(&["emit", "cart.reminder", "{}", "--at", "2199-12-01T09:00+01:00"]);
        let table = bench.ok(&["status"]);
        assert!(table.contains("| cart.reminder | 1 "), "{table}");
        let gauges = bench.ok(&["status", "--prometheus"]);
        assert!(
            gauges.contains("streamer_stream_scheduled_messages{stream=\"cart.reminder\"} 1\n"),
            "{gauges}"
        );
        let json: Value = serde_json::from_str(&bench.ok(&["status", "--json"])).unwrap();
        assert_eq!(json["totals"]["scheduled"], 1, "{json}");
        assert_eq!(json["missing"], serde_json::json!([]), "{json}");
        let doctor = bench.run(&["doctor", "--json"]);
        let doctor: Value = serde_json::from_str(&doctor.stdout).unwrap();
        let streams = &doctor["looked_at"][0];
        assert_eq!(
            (&streams["what"], &streams["looked_at"]),
            (&"streams".into(), &1.into()),
            "{doctor}"
        );
    }
}

#[test]
fn status_tells_what_waits_until_it_is_due_and_what_is_overdue() {
    for bench in benches().into_iter().chain([Bench::on_cluster()]) {
        bench.emit("cart.reminder", "{}");
        bench.ok(&[
            "emit",
            "cart.reminder",
            "{\"cart\":7}",
            "--at",
            "2199-12-01T09:00+01:00",
        ]);
        let table = bench.ok(&["status"]);
        let row = table.lines().find(|line| line.contains("2199-12-01 08:00:00 UTC"));
        let row = row.unwrap_or_else(|| panic!("{table}"));
        assert!(
            table.contains("| Next due ") && row.contains("| cart.reminder | 1 "),
            "{table}"
        );
        // One that was due before the store got it is on its stream at once: on a busy machine that takes long.
        let mut soon = 1;
        while listed(&bench, &["cart.reminder"]).len() < 2 {
            bench.ok(&["emit", "cart.reminder", "{\"cart\":8}", "--in", &format!("{soon}ms")]);
            soon *= 4;
        }
        let table = wait_until(|| {
            let table = bench.ok(&["status"]);
            table.contains("1, since ").then_some(table)
        });
        assert!(table.contains("| cart.reminder | 2 "), "{table}");
        let late = wait_until(|| {
            let ended = bench.run(&["status", "--max-age", "1ms"]);
            (ended.code == Some(1)).then_some(ended.stdout)
        });
        assert!(late.contains("overdue for"), "{late}");
        let json: Value = serde_json::from_str(&bench.ok(&["status", "--json"])).unwrap();
        let scheduled = &json["streams"][0]["scheduled"];
        assert_eq!((&scheduled["waiting"], &scheduled["overdue"]), (&2.into(), &1.into()));
        assert!(scheduled["overdue_ms"].is_u64(), "{scheduled}");
        let gauges = bench.ok(&["status", "--prometheus"]);
        for line in [
            "streamer_stream_scheduled_messages{stream=\"cart.reminder\"} 2\n",
            "streamer_stream_overdue_messages{stream=\"cart.reminder\"} 1\n",
            "# TYPE streamer_stream_overdue_seconds gauge\n",
        ] {
            assert!(gauges.contains(line), "{gauges}");
        }
        bench.ok(&["scheduled", "deliver", "cart.reminder"]);
        let table = bench.ok(&["status"]);
        assert!(
            table.contains("| cart.reminder | 1 ") && !table.contains("since"),
            "{table}"
        );
    }
}
