//! Text that nests a million levels deep, wherever the commands read text: it is refused or passed on, and ends no process.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use crate::bench::{Bench, Ended, wait_until};

const LEVELS: usize = 1_000_000;

fn texts() -> [String; 3] {
    let (open, close) = ("[".repeat(LEVELS), "]".repeat(LEVELS));
    ["{\"a\":".repeat(LEVELS), open.clone() + "1" + &close, open]
}

/// A process that overflowed its stack has no exit code.
fn refused(ended: &Ended, because: &str) {
    assert!(
        matches!(ended.code, Some(1 | 2)) && ended.stderr.contains(because),
        "{:?} {:.2000}",
        ended.code,
        ended.stderr
    );
    assert!(ended.stderr.len() < 10_000, "{} bytes on stderr", ended.stderr.len());
}

#[test]
fn a_deep_configuration_is_refused_with_its_line() {
    let bench = Bench::new();
    for file in [
        format!("a = {}", "[".repeat(LEVELS)),
        format!("a = {}", "{a=".repeat(LEVELS)),
        format!("a = {}1{}", "[".repeat(LEVELS), "]".repeat(LEVELS)),
        format!("{}a = 1", "a.".repeat(LEVELS)),
        format!("[{}a]", "a.".repeat(LEVELS)),
        // What the parser does not count as it should.
        format!("b = {{a=1 {}, c={}", "[] ".repeat(LEVELS), "[".repeat(LEVELS)),
        format!("b = {{{}}}\nc = {}", "a=1 [] ".repeat(LEVELS), "[".repeat(LEVELS)),
        format!("a = {}", "[ } ".repeat(LEVELS)),
    ] {
        bench.write("streamer.toml", &format!("\n{file}"));
        let ended = bench.run(&["config"]);
        refused(&ended, "streamer.toml:");
        assert!(
            ended
                .stderr
                .contains("are nested deeper than 64 levels; a configuration needs five"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_deep_payload_is_refused_from_a_file_from_stdin_and_among_lines() {
    let bench = Bench::new();
    let because = "nests deeper than 511 levels";
    for text in texts() {
        bench.write("payload.json", &text);
        refused(&bench.run(&["emit", "a", "@payload.json"]), because);
        refused(&bench.run_with_input(&["emit", "a"], &text), because);
        let lines = format!("{{}}\n{text}\n{{}}\n");
        let ended = bench.run_with_input(&["emit", "a", "--lines"], &lines);
        refused(&ended, because);
        let written = ["line 2 of stdin", "1 event was written to 'a' before"];
        assert!(
            written.iter().all(|text| ended.stderr.contains(text)),
            "{}",
            ended.stderr
        );
    }
    // An argument has at most 128 KiB.
    refused(&bench.run(&["emit", "a", &"[".repeat(100_000)]), because);
}

#[test]
fn deep_answers_of_programs_and_webhooks_fail_their_message_alone() {
    // The answer of a line is at most 64 KiB; what is longer is cut.
    let bench = Bench::new();
    bench.script(
        "deep.sh",
        &format!(
            "while read -r line; do case \"$line\" in\n\
             *objects*) head -c {LEVELS} /dev/zero | sed 's/\\x0/{{\"a\":/g'; echo;;\n\
             *lists*) head -c {LEVELS} /dev/zero | tr '\\0' '['; echo;;\n\
             *short*) head -c 60000 /dev/zero | tr '\\0' '['; echo;;\n\
             *error*) printf '{{\"error\":'; head -c 60000 /dev/zero | tr '\\0' '['; echo;;\n\
             *) echo '{{\"ok\":true}}';; esac; done"
        ),
    );
    // One that answers 500 with a deep body.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            let _ = connection.read(&mut [0; 10_000]);
            for text in texts() {
                let head = format!(
                    "HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    text.len()
                );
                if connection.write_all((head + &text).as_bytes()).is_err()
                    || connection.read(&mut [0; 10_000]).is_err()
                {
                    break;
                }
            }
        }
    });
    bench.write(
        "streamer.toml",
        &format!(
            "[listen_and_fire]\na = ['program', 'hook']\n[listeners.program]\nprogram = ['./deep.sh']\n[listeners.hook]\nwebhook = '{url}'\n"
        ),
    );
    for what in ["objects", "lists", "short", "error", "well"] {
        bench.emit("a", &format!("{{\"do\":\"{what}\"}}"));
    }
    let ended = bench.listen_all(&[]);
    let said = |what: &str| ended.stdout.lines().filter(|line| line.contains(what)).count();
    assert_eq!(said("by [program] listener"), 1, "{:.3000}", ended.stdout);
    let refused = "by program. Error: the program answered neither";
    assert_eq!(
        (said(refused), said("by hook. Error: the webhook answered 500")),
        (4, 5),
        "{:.3000}",
        ended.stdout
    );
    assert!(ended.stdout.lines().all(|line| line.len() < 5_000));
    assert!(bench.drained("a"));
}

/// What others wrote onto a stream and beside it, through all commands that look at it.
#[test]
fn deep_entries_and_records_are_shown_archived_and_restored() {
    let bench = Bench::on_redis();
    bench.write(
        "streamer.toml",
        "archive_url = 'sqlite://archive.db'\n[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\n",
    );
    // What is undecodable is handed over with its fields.
    bench.script("it.sh", "cat > /dev/null; exit 1");
    let server = bench.redis.as_ref().unwrap();
    let mut ids = Vec::new();
    for text in texts() {
        ids.push(server.command(&["XADD", "a", "*", "name", "a", "data", &text]));
        server.command(&["SADD", "failed_stream", &format!("{{\"id\":{text}}}")]);
        server.command(&["LPUSH", "a-7", &format!("{{\"other\":{text}}}")]);
    }
    let ended = bench.listen_all(&[]);
    assert_eq!(
        ended.stdout.matches("Listener error").count(),
        3,
        "{:.3000}",
        ended.stdout
    );
    let mut tail = bench.start(&["tail", "a", "--last-id", "0", "--json"]);
    let mut shown = 0;
    wait_until(|| {
        shown += usize::from(tail.try_line().is_some());
        (shown == 3).then_some(())
    });
    drop(tail);
    for arguments in [
        &["list"][..],
        &["show", "a", &ids[0]],
        &["show", "a", &ids[1], "--json"],
        &["failed", "list", "--json"],
        &["failed", "list"],
        &["failed", "retry", "--all"],
        &["replay", "a", "7"],
        &["status"],
        &["doctor"],
        &[
            "archive",
            "--streams",
            "a",
            "--older-than",
            "0 seconds",
            "--force",
            "--yes",
        ],
        &["archive", "list"],
        &["archive", "list", "--json"],
        &["archive", "show", "a", &ids[0]],
        &["archive", "restore", "--all", "--yes"],
        &["history", "trim", "a", "7"],
        &["failed", "flush", "--yes"],
    ] {
        let ended = bench.run(arguments);
        assert!(
            ended.code.is_some_and(|code| code != 101),
            "{arguments:?}: {:?} {:.2000}",
            ended.code,
            ended.stderr
        );
        assert!(
            !ended.stderr.contains("unexpected argument"),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
    assert_eq!(server.command(&["XLEN", "a"]), "3");
}
