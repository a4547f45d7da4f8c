//! What others wrote drives no terminal.

use sqlx::{AnyConnection, Connection as _, Executor as _};
use streamer::{
    DynamicEvent,
    outbox::{Column, Dialect, OutboxRow},
};

use crate::bench::Bench;

/// One of each class of what drives a terminal.
const ESCAPES: [(&str, &str); 12] = [
    ("CSI", "\u{1b}[31m\u{1b}[2J"),
    ("OSC", "\u{1b}]0;title\u{7}"),
    ("DCS", "\u{1b}P1$r\u{1b}\\"),
    ("cursor", "\u{1b}[1A\u{1b}[K"),
    ("C1 CSI", "\u{9b}31m"),
    ("C1 OSC", "\u{9d}0;t\u{9c}"),
    ("bell", "\u{7}"),
    ("backspace", "ab\u{8}\u{8}"),
    ("return", "a\rb"),
    ("delete", "\u{7f}"),
    ("right to left", "\u{202e}txt.exe\u{202c}"),
    ("isolate", "\u{2066}x\u{2069}"),
];

fn check(what: &str, text: &str) {
    let driving = |c: &char| {
        c.is_control() && *c != '\n' && *c != '\t'
            || ('\u{200b}'..='\u{200f}').contains(c)
            || ('\u{2028}'..='\u{202e}').contains(c)
            || ('\u{2060}'..='\u{206f}').contains(c)
            || ['\u{61c}', '\u{feff}', '\u{e0001}'].contains(c)
    };
    let found = text.chars().find(driving);
    assert!(found.is_none(), "{what} prints {found:?}: {text:?}");
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A key in TOML, which takes no control character as it is.
fn toml(text: &str) -> String {
    let escaped = |c: char| match c {
        '\\' => r"\\".to_owned(),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

#[test]
fn no_escape_sequence_reaches_the_terminal_through_payloads_names_and_errors() {
    for bench in [Bench::new(), Bench::on_servers()] {
        bench.script(
            "fail.py",
            "exec python3 -c '\nimport sys, json\nfor line in sys.stdin:\n    message = json.loads(line)\n    \
             sys.stderr.write(message[\"data\"][\"text\"] + \"\\n\"); sys.stderr.flush()\n    \
             print(json.dumps({\"error\": message[\"data\"][\"text\"]}), flush=True)\n'",
        );
        let name = format!("name{}", ESCAPES.map(|(_, escape)| escape).concat());
        bench.write(
            "streamer.toml",
            &format!(
                "archive_url = 'sqlite://archive.db'\n[listen_and_fire]\na = ['it']\n{} = ['it']\n[listeners.it]\n\
                 program = ['./fail.py']\n",
                toml(&name)
            ),
        );
        for (_, escape) in ESCAPES {
            let payload = format!("{{\"text\":{}}}", json(&format!("before {escape} after\nnext line")));
            bench.ok(&["emit", "a", &payload, "--type", escape, "--identifier", "7"]);
            bench.ok(&["emit", &name, &payload]);
        }
        let mut shown = Vec::new();
        let mut run = |arguments: &[&str]| {
            let ended = bench.run(arguments);
            check(&format!("{arguments:?}"), &ended.stdout);
            check(&format!("{arguments:?} (log)"), &ended.stderr);
            shown.push(ended.stdout.clone());
            ended
        };
        let listened = run(&["listen", "--all", "--group", "g", "--listen-timeout", "1s", "-v"]);
        assert_eq!(listened.stdout.matches("Listener error.").count(), 24, "{listened:?}");
        assert!(listened.stdout.contains(r"\u{1b}[31m"), "{listened:?}");
        run(&["list"]);
        run(&["list", "--compact"]);
        run(&["config"]);
        run(&["failed", "list"]);
        run(&["failed", "list", "--summary"]);
        run(&["failed", "retry", "--all"]);
        run(&["failed", "list", "--stream", &format!("{name}x")]);
        let listed = bench.ok(&["failed", "list", "--json"]);
        let first: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
        run(&["failed", "show", first["id"].as_str().unwrap()]);
        run(&["replay", "a", "7"]);
        run(&["replay", "a", "7", "--steps"]);
        run(&["group", "list"]);
        run(&["group", "list", &name]);
        run(&["purge", "--streams", &name, "--older-than", "0s", "--dry-run"]);
        run(&["failed", "flush", "--dry-run"]);
        run(&["archive", "--streams", &format!("a,{name}"), "--older-than", "0s"]);
        run(&["archive", "list"]);
        let archived = bench.ok(&["archive", "list", "--json"]);
        for line in archived.lines() {
            let message: serde_json::Value = serde_json::from_str(line).unwrap();
            run(&[
                "archive",
                "show",
                message["stream"].as_str().unwrap(),
                message["id"].as_str().unwrap(),
            ]);
        }
        run(&["archive", "restore", "--all", "--yes"]);
        run(&["emit", "a", &format!("{{\"x\":{}", ESCAPES[0].1)]);
        run(&[&format!("no{}such", ESCAPES[0].1)]);
        run(&["replay", "a", "7", "--until", ESCAPES[0].1]);
        let mut tail = bench.start(&["tail", &format!("a,{name}"), "--last-id", "0"]);
        for _ in 0..24 {
            let line = tail.wait_for("after");
            check("tail", &line);
            assert!(line.contains("next line"), "{line}");
        }
        // JSON is exact.
        let mut tail = bench.start(&["tail", "a", "--last-id", "0", "--json"]);
        for (_, escape) in ESCAPES {
            let line: serde_json::Value = serde_json::from_str(&tail.wait_for("{")).unwrap();
            assert_eq!(line["data"]["text"], format!("before {escape} after\nnext line"));
            assert_eq!(line["type"], escape);
        }
    }
}

/// A server that speaks Redis's protocol and answers everything with this error.
fn rude_server(error: String) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let error = error.clone();
            std::thread::spawn(move || {
                while connection.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    if write!(connection, "-{error}\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn no_escape_sequence_reaches_the_terminal_through_names_of_groups_files_and_what_servers_say() {
    // Beyond those of the other test: what is not seen, and what breaks lines.
    let more = ["\u{200b}", "\u{200e}", "\u{2028}", "\u{61c}", "\u{feff}", "\u{e0001}"];
    let name = ESCAPES.map(|(_, escape)| escape).concat() + &more.concat();
    for bench in [Bench::new(), Bench::on_servers()] {
        let run = |arguments: &[&str]| {
            let ended = bench.run(arguments);
            check(&format!("{arguments:?}"), &ended.stdout);
            check(&format!("{arguments:?} (log)"), &ended.stderr);
            ended
        };
        let id = bench.emit(&name, "{}");
        // Its complaint and its name go to the log, and its complaint to the failed list.
        bench.write("complaint", &name);
        let listen = [
            "listen",
            &name,
            "--exec",
            "cat complaint >&2; exit 1",
            "--listen-timeout",
            "500",
            "-vv",
        ];
        let listened = run(&[&listen[..], &["--group", &name, "--consumer", &name]].concat());
        assert!(
            listened.code == Some(0) && listened.stdout.contains("Listener error."),
            "{listened:?}"
        );
        // A consumer that is there to stay.
        run(&[
            "listen",
            &name,
            "--exec",
            "true",
            "--group",
            &name,
            "--consumer",
            &name,
            "--listen-timeout",
            "300",
        ]);
        for command in [
            &["group", "list", &name][..],
            &["consumer", "list", &name, &name],
            &["consumer", "list", &name, "no"],
            &["consumer", "delete", &name, &name, &format!("{name}x")],
            &["consumer", "delete", &name, &name, &name],
            &["group", "reset", &name, &name, "--to", "start", "--dry-run"],
            &["group", "reset", &name, &name, "--to", "start"],
            &["group", "delete", &name, &name],
            &["group", "delete", &name, &name, "--dry-run"],
            &["group", "delete", "no", &name],
            &["purge", "--streams", &name, "--older-than", "0s", "--dry-run"],
            &["purge", "--streams", &name, "--older-than", "0s"],
            &["status", &name],
            &["show", &name, &id],
            &["show", &name, &id, "--raw"],
            &["doctor"],
            &["failed", "list"],
            &["failed", "show", &id],
            &["failed", "show", &name],
            &["failed", "forget", &name, "--yes"],
            &["failed", "forget", &id],
            &["failed", "flush", "--error", &name, "--receiver", &name],
            &["failed", "retry", "--receiver", &name],
            &["history", "trim", &name, &name, "--dry-run"],
            &["replay", &name, &name],
            &["emit", &name, &format!("@{name}")],
            &["emit", "a", "--lines", &format!("@{name}")],
            &["config", "--config", &name],
            &[
                "config",
                "--group",
                &name,
                "--consumer",
                &name,
                "--key",
                &name,
                "--domain",
                &name,
            ],
            &["archive", "show", &name, "1-0"],
            &["list", "--url", &name],
            &["tail", &name, "--last-id", &name],
            &["group", "delete", &name, &name, "--yes"],
        ] {
            run(command);
        }
        bench.write("lines", &format!("{{}}\n{name}\n"));
        assert_eq!(run(&["emit", "a", "--lines", "@lines"]).code, Some(1));
        // Where a question is asked, it is on a terminal.
        let asked = bench.run_on_a_terminal(&["purge", "--streams", &name, "--older-than", "0s"], "n\n");
        check("the question", &asked.stdout.replace("\r\n", "\n"));
        assert!(asked.stdout.contains("Go on? [y/N]"), "{asked:?}");
    }
    let bench = Bench::new();
    let said = name.replace(['\r', '\n'], "");
    let url = rude_server(format!("ERR no {said}"));
    for command in [
        &["emit", "a", "{}"][..],
        &["failed", "list"],
        &["tail", "a"],
        &["group", "list", "a", "-vv"],
    ] {
        let ended = bench.run(&[command, &["--url", &url]].concat());
        check(
            &format!("{command:?} (server)"),
            &format!("{}{}", ended.stdout, ended.stderr),
        );
        assert!(
            ended.code != Some(0) && ended.stderr.contains(r"\u{1b}[31m"),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn no_escape_sequence_reaches_the_terminal_through_rows_of_the_outbox() {
    sqlx::any::install_default_drivers();
    let name = ESCAPES.map(|(_, escape)| escape).concat();
    let bench = Bench::new();
    let database = format!("sqlite://{}?mode=rwc", bench.path("app.db").display());
    bench.write("streamer.toml", &format!("outbox_url = '{database}'\n"));
    let run = |arguments: &[&str]| {
        let ended = bench.run(arguments);
        check(&format!("{arguments:?}"), &ended.stdout);
        check(&format!("{arguments:?} (log)"), &ended.stderr);
        ended
    };
    run(&["outbox", "migrate"]);
    let mut connection = AnyConnection::connect(&database).await.unwrap();
    let mut ids = Vec::new();
    for key in [&*name, "published"] {
        let row = OutboxRow::new(&DynamicEvent::new(&*name, serde_json::json!({})), &name);
        let row = row.unwrap().ordered_by(key);
        ids.push(row.event_id.clone());
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(OutboxRow::insert(Dialect::Sqlite)));
        for column in row.columns() {
            insert = match column {
                Column::Text(text) => insert.bind(text),
                Column::Bytes(bytes) => insert.bind(bytes),
                Column::Small(number) => insert.bind(number),
                Column::Big(number) => insert.bind(number),
            };
        }
        insert.execute(&mut connection).await.unwrap();
    }
    // Somebody wrote into our table: fields that nobody can read, and another ID.
    let damage = sqlx::query("UPDATE streamer_outbox SET fields = x'1b5b', event_id = ? WHERE event_id = ?");
    damage
        .bind(&*name)
        .bind(&*ids[0])
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = run(&["outbox", "relay", "--once", "--max-attempts", "1", "-vv"]);
    assert!(
        refused.stderr.contains(r"\x1b[31m") && refused.stderr.contains("It is blocked"),
        "{refused:?}"
    );
    let error = sqlx::query("UPDATE streamer_outbox SET last_error = ?").bind(&*name);
    error.execute(&mut connection).await.unwrap();
    let shown = run(&["outbox", "status"]);
    assert!(
        shown.stdout.contains("Blocked: 1 row of these.") && shown.stdout.contains(r"\u{1b}"),
        "{shown:?}"
    );
    for command in [
        &["outbox", "retry", &format!("{name}x")][..],
        &["outbox", "skip", &name],
        &["outbox", "skip", &name, "--dry-run"],
        &["outbox", "skip", &format!("{name}x"), "--yes"],
        &["outbox", "migrate", "--print", "--database", &name],
        &["outbox", "status", "--database", &name],
        &["outbox", "status", "--database", &format!("sqlite://{name}.db")],
        &["outbox", "relay", "--once", "--url", &name],
        &["outbox", "relay", "--batch", &name],
        &["outbox", "retry", &name],
        &["outbox", "relay", "--once", "--max-attempts", "1"],
    ] {
        run(command);
    }
    let asked = bench.run_on_a_terminal(&["outbox", "skip", &name], "n\n");
    check("the question", &asked.stdout.replace("\r\n", "\n"));
    assert!(asked.stdout.contains("Go on? [y/N]"), "{asked:?}");
    assert_eq!(run(&["outbox", "skip", &name, "--yes"]).code, Some(0));
    connection.execute("DROP TABLE streamer_outbox").await.unwrap();
    run(&["outbox", "status"]);
}

#[test]
fn an_error_of_a_megabyte_is_cut_in_a_table_and_whole_elsewhere() {
    let bench = Bench::new();
    bench.script("long.sh", "while read -r line; do cat answer; done");
    bench.write("answer", &format!("{{\"error\":\"begin {}\"}}\n", "x".repeat(1 << 20)));
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./long.sh']\n",
    );
    let id = bench.emit("a", "{\"n\":1}");
    let listened = bench.listen_all(&[]).stdout;
    // The answer was longer than an answer may be: it is cut, and is no nonsense.
    assert!(
        listened.contains("Error: begin xxx") && listened.contains("was cut"),
        "{}",
        listened.len()
    );
    let table = bench.ok(&["failed", "list"]);
    assert!(table.lines().all(|line| line.chars().count() < 400), "{table}");
    assert!(
        table.contains(&id) && table.contains("begin xxx") && table.contains('…'),
        "{table}"
    );
    let shown = bench.ok(&["failed", "show", &id]);
    assert!(shown.len() > 64 * 1000 && shown.contains("\"n\": 1"), "{}", shown.len());
    assert!(bench.ok(&["failed", "list", "--json"]).len() > 64 * 1000);
}

#[test]
fn no_escape_sequence_reaches_the_terminal_through_the_configuration() {
    let name = ESCAPES.map(|(_, escape)| escape).concat();
    let text = toml(&name);
    let text = text.trim_matches('"');
    let bench = Bench::new();
    bench.emit("p", "{}");
    let listener = "[listen_and_fire]\np = ['a']\n[listeners.a]\n";
    for file in [
        format!("workers = \"{text}\""),
        format!("\"{text}\" = 1"),
        format!("archive_driver = \"{text}\"\narchive_url = \"{text}\""),
        format!("group = \"{text}\"\nconsumer = \"{text}\"\nkey = \"{text}\"\ndomain = \"{text}\""),
        format!("[listen_and_fire]\n\"{text}\" = [\"{text}\"]"),
        format!("[listeners.\"{text}\"]\nprogram = [\"{text}\"]\n[listen_and_fire]\np = [\"{text}\"]"),
        format!("{listener}program = [\"/no{text}\"]"),
        format!("{listener}program = ['cat']\ncwd = \"/no{text}\""),
        format!("{listener}program = ['cat']\nmode = \"{text}\""),
        format!("{listener}webhook = \"http://{text}\""),
        format!("{listener}webhook = 'http://127.0.0.1:1'\nheaders = {{ \"{text}\" = \"{text}\" }}"),
        format!("{listener}webhook = 'http://127.0.0.1:1'\nheaders = {{ X = {{ file = \"/no{text}\" }} }}"),
        format!("[retry]\nbackoff = \"{text}\""),
        // Unquoted, where the file is no TOML.
        format!("workers = 0 # {name}"),
        format!("{name} = 2"),
    ] {
        bench.write("streamer.toml", &file);
        for command in [
            &["config"][..],
            &["list"],
            &["listen", "p", "--listen-timeout", "100"],
            &["archive", "list"],
            &["doctor"],
        ] {
            let ended = bench.run(command);
            check(&format!("{command:?} with {text}"), &ended.stdout);
            check(&format!("{command:?} with {text} (log)"), &ended.stderr);
        }
    }
}
