//! Webhooks and programs that mean harm: they flood, fork and lie.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use crate::bench::{Bench, Running, lives, wait_until};

/// What a listening may need beside what it needs for any message.
const MOST_KIB: u64 = 150 * 1024;
const MOST_LOG: usize = 500_000;

/// The most memory that a process ever had.
fn peak_kib(listening: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", listening.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

fn bench(listener: &str) -> Bench {
    let bench = Bench::new();
    bench.write(
        "streamer.toml",
        &format!("[listen_and_fire]\na = [\"it\"]\n[listeners.it]\n{listener}\n"),
    );
    bench
}

/// Answers each connection with a beginning and then with `more` until its client has gone. Counts the bytes.
fn flood(beginnings: &'static [(&'static str, &'static str)]) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    thread::spawn(move || {
        let mut beginnings = beginnings.iter().cycle();
        while let Ok((mut connection, _)) = listener.accept() {
            let (beginning, more) = *beginnings.next().unwrap();
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                let mut request = [0; 10_000];
                let _ = connection.read(&mut request);
                let more = more.repeat(64 * 1024 / more.len());
                let mut next = beginning;
                // 10 GB, if anybody takes them.
                for _ in 0..10_000_000_000 / 65_536_u64 {
                    if connection.write_all(next.as_bytes()).is_err() {
                        break;
                    }
                    counted.fetch_add(next.len() as u64, SeqCst);
                    next = &more;
                }
            });
        }
    });
    (url, sent)
}

#[test]
fn a_webhook_that_answers_without_end_costs_neither_memory_nor_the_next_message() {
    let (url, sent) = flood(&[
        ("HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n", "body "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", "body "),
        (
            "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            "5\r\nchunk\r\n",
        ),
        ("HTTP/1.1 200 OK\r\n", "X-Header: value\r\n"),
        ("HTTP/1.1 200 ", "reason "),
        ("HTTP/1.1 302 Found\r\nLocation: /", "long"),
        ("", "noise "),
    ]);
    let bench = bench(&format!("webhook = '{url}'\ntimeout = '20s'"));
    for n in 0..14 {
        bench.emit("a", &format!("{{\"n\":{n}}}"));
    }
    let mut listening = bench.start(&["listen", "a", "--group", "g", "--json"]);
    let (mut processed, mut failed) = (0, 0);
    wait_until(|| {
        while let Some(line) = listening.try_line() {
            processed += u32::from(line.contains("\"processed\""));
            failed += u32::from(line.contains("\"failed\""));
            assert!(line.len() < 10_000, "a line of {} bytes", line.len());
        }
        (processed + failed >= 14).then_some(())
    });
    assert_eq!((processed, failed), (2, 12));
    let peak = peak_kib(&listening);
    assert!(peak < MOST_KIB, "{peak} KiB");
    listening.signal(rustix::process::Signal::TERM);
    let ended = listening.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.len() < MOST_LOG, "{} bytes of log", ended.stderr.len());
    assert!(bench.drained("a"));
    let sent = sent.load(SeqCst);
    assert!(sent < 500_000_000, "{sent} bytes were taken");
}

#[test]
fn a_program_that_answers_without_end_costs_neither_memory_nor_the_next_message() {
    let bench = bench("program = ['./flood.sh']");
    // A line of 300 MB, then lines nobody asked for, and then it does as it should.
    bench.script(
        "flood.sh",
        "while read -r line; do case \"$line\" in\n\
         *lines*) yes '{\"ok\":true}' | head -c 50000000;;\n\
         *line*) head -c 300000000 /dev/zero; echo;;\n\
         *) echo '{\"ok\":true}';;\n\
         esac; done",
    );
    for what in ["one line", "well", "many lines", "well"] {
        bench.emit("a", &format!("{{\"do\":\"{what}\"}}"));
    }
    let mut listening = bench.start(&["listen", "a", "--group", "g", "--json"]);
    let mut ended = 0;
    wait_until(|| {
        while let Some(line) = listening.try_line() {
            ended += u32::from(line.contains("\"processed\"") || line.contains("\"failed\""));
            assert!(line.len() < 10_000, "a line of {} bytes", line.len());
        }
        (ended >= 4).then_some(())
    });
    let peak = peak_kib(&listening);
    assert!(peak < MOST_KIB, "{peak} KiB");
    listening.signal(rustix::process::Signal::TERM);
    let ended = listening.end();
    assert!(ended.stderr.len() < MOST_LOG, "{} bytes of log", ended.stderr.len());
    assert!(bench.drained("a"));
}

#[test]
fn what_a_program_forks_does_not_outlive_its_time_out() {
    for mode in ["message", "lines"] {
        let bench = bench(&format!("program = ['./fork.sh']\nmode = '{mode}'\ntimeout = '1s'"));
        // Children that ignore a request to end, and hold its output open.
        bench.script(
            "fork.sh",
            "touch pids; for n in 1 2 3 4 5 6 7 8 9 10; do (trap '' TERM HUP; sh -c 'echo $$ >> pids; exec sleep 1000') & done; \
             while [ \"$(wc -l < pids)\" -lt 10 ]; do sleep 0.01; done; sleep 1000",
        );
        bench.emit("a", "{}");
        let ended = bench.listen_all(&[]);
        assert!(ended.stdout.contains("did not finish within 1s"), "{ended:?}");
        let pids = bench.read("pids");
        assert!(pids.lines().count() >= 10, "{pids}");
        wait_until(|| pids.lines().all(|pid| !lives(pid)).then_some(()));
    }
}

#[test]
fn programs_that_lie_fail_their_own_message_alone() {
    let bench = bench("program = ['./liar.sh']\ntimeout = '5s'");
    // Answers for two, in the name of another, with a wrong type, and with half an answer before it ends.
    bench.script(
        "liar.sh",
        "while read -r line; do case \"$line\" in\n\
         *twice*) printf '{\"ok\":true}\\n{\"ok\":true}\\n';;\n\
         *both*) echo '{\"ok\":true,\"error\":\"no\"}';;\n\
         *number*) echo '{\"ok\":1}';;\n\
         *half*) printf '{\"ok\":tr'; exit 0;;\n\
         *bytes*) printf '\\377\\376\\000\\n';;\n\
         *escape*) printf '{\"error\":\"\\\\u001b[2J\\\\u0000\"}\\n';;\n\
         *) echo '{\"ok\":true}';;\n\
         esac; done",
    );
    for what in [
        "both", "well", "number", "well", "half", "well", "bytes", "well", "escape", "well", "twice", "well",
    ] {
        bench.emit("a", &format!("{{\"do\":\"{what}\"}}"));
    }
    let ended = bench.listen_all(&[]);
    let processed = ended.stdout.matches("Processed message").count();
    // Of `twice` the first answer counts; the second is not taken for that of the message after it.
    assert_eq!(processed, 7, "{ended:?}");
    assert_eq!(ended.stdout.matches("Listener error").count(), 5, "{ended:?}");
    assert!(!ended.stdout.contains(['\u{1b}', '\0']), "{ended:?}");
    assert!(bench.drained("a"));
}
