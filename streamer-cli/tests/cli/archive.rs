//! `archive`, `purge` and `archive restore`, on both engines.

use crate::bench::{Bench, Ended, snapshot};

const FILE: &str = r#"
archive_url = "sqlite://archive.db"

[listen_and_fire]
"order.placed" = "receipt"

[listeners.receipt]
program = ["./receipt.sh"]
mode = "message"
"#;

fn benches() -> [Bench; 2] {
    [Bench::new(), Bench::on_servers()].map(|bench| {
        bench.write("streamer.toml", FILE).script("receipt.sh", "exit 0");
        bench
    })
}

/// A run as people see it, with the IDs numbered as they came.
fn shown(bench: &Bench, ids: &[String], arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = bench.run(arguments);
    let mut text = format!(
        "$ streamer {}\n{stdout}{stderr}[exit {}]\n\n",
        arguments.join(" "),
        code.unwrap()
    );
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(id.as_str(), &format!("ID-{}", number + 1));
    }
    text.replace(&bench.path("").display().to_string(), "FOLDER/")
}

fn ids(bench: &Bench, command: &[&str]) -> Vec<String> {
    let lines = bench.ok(&[command, &["--json"]].concat());
    let ids = lines.lines().filter_map(|line| {
        let line = serde_json::from_str::<serde_json::Value>(line).unwrap();
        line["id"].as_str().map(str::to_owned)
    });
    ids.collect()
}

#[test]
fn messages_are_archived_looked_at_and_restored() {
    for bench in benches() {
        let emitted = [1, 2, 3].map(|n| bench.emit("order.placed", &format!("{{\"n\":{n}}}")));
        let run = |arguments: &[&str]| shown(&bench, &emitted, arguments);
        let mut text = String::new();
        let archive = [
            "archive",
            "--streams",
            "order.placed,nothing",
            "--older-than",
            "0 seconds",
        ];
        text += &run(&["archive", "--streams", "order.placed", "--older-than", "5 days"]);
        text += &run(&[&archive[..], &["--dry-run"]].concat());
        text += &run(&archive);
        text += &run(&["archive", "list", "--stream", "nothing"]);
        text += &run(&["archive", "show", "order.placed", &emitted[1]]);
        text += &run(&["archive", "show", "order.placed", "1-1"]);
        text += &run(&["archive", "restore", "--all"]);
        text += &run(&["archive", "migrate"]);
        text += &run(&["archive", "migrate", "--print"]);
        assert_eq!(ids(&bench, &["archive", "list"]), emitted);
        let list = bench.ok(&["archive", "list"]);
        assert!(list.starts_with(&format!("order.placed {} 20", emitted[0])), "{list}");

        let restored = bench.ok(&[
            "archive",
            "restore",
            "--stream",
            "order.placed",
            "--id",
            &emitted[0],
            "--yes",
        ]);
        let line = format!("Successfully restored [order.placed][{}] message. New ID: ", emitted[0]);
        assert!(restored.starts_with(&line), "{restored}");
        assert!(restored.ends_with("Total of 1 message restored.\n"), "{restored}");
        let all = bench.ok(&["streamer:archive:restore", "--all", "--no-interaction", "--json"]);
        assert!(
            all.ends_with("{\"report\":\"total\",\"restored\":2,\"failed\":0}\n"),
            "{all}"
        );
        assert_eq!(bench.ok(&["archive", "list", "--json"]), "");
        text += &run(&[
            "streamer:purge",
            "--streams",
            "order.placed",
            "--older_than",
            "0 seconds",
            "--quiet",
            "-n",
        ]);
        snapshot(&text, |text| {
            insta::with_settings!({
            prepend_module_to_snapshot => false,
            filters => vec![(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"), (r"created: \d+", "created: SECONDS"), (r"hash: [0-9a-f]{64}", "hash: HASH")],
        }, { insta::assert_snapshot!("archive", text) });
        });
    }
}

#[test]
fn what_a_group_still_needs_is_kept_and_told() {
    for bench in benches() {
        let emitted = [1, 2].map(|n| bench.emit("order.placed", &format!("{{\"n\":{n}}}")));
        bench.listen_all(&[]);
        let emitted = [&emitted[..], &[bench.emit("order.placed", "{}")]].concat();
        let purge = ["purge", "--streams", "order.placed", "--older-than", "0 seconds"];
        let json = bench.ok(&[&purge[..], &["--json", "--dry-run"]].concat());
        let total = json.lines().last().unwrap();
        assert_eq!(
            total,
            "{\"report\":\"total\",\"processed\":2,\"dry_run\":true,\"streams\":{\"order.placed\":{\"removed\":2,\
             \"too_young\":0,\"undelivered\":1,\"pending\":0,\"conflicts\":0,\"too_many_fields\":0}}}"
        );
        let text = shown(&bench, &emitted, &purge)
            + &shown(&bench, &emitted, &[&purge[..], &["--yes"]].concat())
            + &shown(&bench, &emitted, &[&purge[..], &["--force", "--yes"]].concat());
        snapshot(
            &text,
            |text| insta::with_settings!({prepend_module_to_snapshot => false}, { insta::assert_snapshot!("purge", text) }),
        );
    }
}

#[test]
fn handled_messages_are_archived_or_purged_as_php_says_it() {
    for bench in benches() {
        let id = bench.emit("order.placed", "{}");
        let ended = bench.listen_all(&["--archive"]);
        let handled = format!("Processed message [{id}] on 'order.placed' stream by [receipt] listener.\n");
        let archived = format!("{handled}Message [{id}] has been archived from the 'order.placed' stream.\n");
        assert_eq!(ended.stdout, archived);
        assert_eq!(ids(&bench, &["archive", "list"]), [id]);

        bench.emit("order.placed", "{}");
        let ended = bench.listen_all(&["--purge", "--when", "all-groups-acked", "--json"]);
        assert!(
            ended
                .stdout
                .contains("{\"report\":\"purged\",\"stream\":\"order.placed\","),
            "{ended:?}"
        );

        bench.script("receipt.sh", "exit 1");
        let id = bench.emit("order.placed", "{}");
        let ended = bench.listen_all(&["--purge"]);
        assert!(!ended.stdout.contains("purged"), "{ended:?}");
        let left = bench.ok(&[
            "purge",
            "--streams",
            "order.placed",
            "--older-than",
            "0 seconds",
            "--dry-run",
        ]);
        assert!(left.starts_with(&format!("Message [{id}] would be purged")), "{left}");
    }
}

#[test]
fn mistakes_are_named() {
    let bench = Bench::new();
    let error = |arguments: &[&str]| {
        let ended = bench.run(arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        ended.stderr
    };
    let age = error(&["purge", "--streams", "a", "--older-than", "soon"]);
    assert!(age.contains("'soon' is neither an age, such as `5 days`"), "{age}");
    error(&["purge", "--streams", "a"]);
    error(&["archive", "--older-than", "5 days"]);
    error(&["archive", "restore", "--yes"]);
    error(&["listen", "a", "--archive", "--purge"]);
    bench.write("streamer.toml", "archive_driver = 'tape'\n");
    let driver = error(&["archive", "list"]);
    assert!(driver.contains("there is no driver 'tape'; there are: "), "{driver}");
}
