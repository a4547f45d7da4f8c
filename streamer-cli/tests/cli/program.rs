use crate::bench::{Bench, lives, snapshot, wait_until};

/// Answers as the payload asks, and notes its process ID and what it was asked to do.
const OBEDIENT: &str = r#"
echo $$ >> pids
while read -r line; do
  case "$line" in
    *die*) echo "these are my last words" >&2; exit 4;;
    *hang*) sleep 1000;;
    *garbage*) printf 'what is this?\n{"ok":true}\n';;
    *refuse*) echo '{"error":"no paper"}';;
    *) printf '%s\n' "$line" >> done; echo '{"ok":true}';;
  esac
done
echo end >> ended
"#;

fn bench(listener: &str) -> Bench {
    let bench = Bench::new();
    bench.script("obedient.sh", OBEDIENT);
    bench.write(
        "streamer.toml",
        &format!("[listen_and_fire]\na = [\"it\"]\n[listeners.it]\n{listener}\n"),
    );
    bench
}

#[test]
fn a_program_gets_each_message_as_a_line_of_json_and_one_process_gets_them_all() {
    let bench = bench("program = ['./obedient.sh']");
    let ids: Vec<String> = (0..20)
        .map(|n| bench.emit("a", &format!("{{\"n\":{n},\"text\":\"é\\nü\"}}")))
        .collect();
    let printed = bench.listen_all(&[]).stdout;
    let expected: Vec<String> = ids
        .iter()
        .map(|id| format!("Processed message [{id}] on 'a' stream by [it] listener."))
        .collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    assert_eq!(bench.read("pids").lines().count(), 1);
    assert_eq!(
        bench.read("ended"),
        "end\n",
        "its input ends, and it gets the time to finish"
    );
    let done: Vec<serde_json::Value> = bench
        .read("done")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(done.len(), 20);
    let keys: Vec<_> = done[0].as_object().unwrap().keys().cloned().collect();
    let mut expected = [
        "id",
        "stream",
        "name",
        "type",
        "domain",
        "created",
        "original_id",
        "attempt",
        "data",
    ];
    expected.sort_unstable();
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(
        (&done[7]["id"], &done[7]["attempt"]),
        (&ids[7].as_str().into(), &1.into())
    );
    assert_eq!(done[7]["data"], serde_json::json!({"n": 7, "text": "é\nü"}));
}

#[test]
fn a_program_that_fails_dies_hangs_or_talks_nonsense_fails_that_message_alone() {
    let bench = bench("program = ['./obedient.sh']\ntimeout = 700");
    for what in ["well", "refuse", "garbage", "well", "die", "well", "hang", "well"] {
        bench.emit("a", &format!("{{\"do\":\"{what}\"}}"));
    }
    let ended = bench.listen_all(&[]);
    snapshot(&ended.stdout, |text| insta::assert_snapshot!("program_failures", text));
    assert!(ended.stderr.contains("it: these are my last words"), "{ended:?}");
    // After nonsense, a death and a time-out a new process answers; a late answer was never taken for the next one.
    assert_eq!(bench.read("pids").lines().count(), 4);
    assert!(bench.read("pids").lines().all(|pid| !lives(pid)));
    assert!(bench.drained("a"));
}

#[test]
fn one_process_a_message_answers_by_its_exit_code() {
    let script = "read -r line; echo noise; case \"$line\" in *silent*) exit 5;; *bad*) echo 'no paper' >&2; exit 3;; \
                  *hang*) sleep 1000;; esac";
    let bench = bench("program = ['./one.sh']\nmode = 'message'\ntimeout = '700ms'");
    bench.script("one.sh", script);
    for what in ["well", "bad", "silent", "hang", "well"] {
        bench.emit("a", &format!("{{\"do\":\"{what}\"}}"));
    }
    let ended = bench.listen_all(&[]);
    snapshot(&ended.stdout, |text| {
        insta::assert_snapshot!("one_process_a_message", text);
    });
    assert!(ended.stderr.contains("it: noise"), "{ended:?}");
}

#[test]
fn only_the_tail_of_a_long_complaint_is_kept() {
    let bench = bench("program = ['./one.sh']\nmode = 'message'");
    bench.script(
        "one.sh",
        "i=0; while [ $i -lt 1000 ]; do echo \"line $i\" >&2; i=$((i+1)); done; exit 1",
    );
    bench.emit("a", "{}");
    let printed = bench.listen_all(&["-q"]).stdout;
    assert!(printed.trim().ends_with("line 999 (exit status: 1)"), "{printed}");
    assert!(
        !printed.contains("line 100\n") && printed.len() < 2400,
        "{} bytes",
        printed.len()
    );
}

#[test]
fn a_shell_is_used_only_where_it_is_asked_for() {
    let bench =
        bench("program = 'cat > \"$OUT\"; exit 0'\nshell = true\nmode = 'message'\nenv = { OUT = 'out' }\ncwd = 'sub'");
    std::fs::create_dir(bench.path("sub")).unwrap();
    let id = bench.emit("a", "{}");
    bench.listen_all(&[]);
    assert!(bench.read("sub/out").contains(&id));

    let bench = crate::program::bench("program = ['./obedient.sh; touch broken']");
    let ended = bench.run(&["listen", "a"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

#[test]
fn what_cannot_be_started_is_named_before_anything_is_read() {
    let mut all = String::new();
    for listener in [
        "program = ['./missing.sh']",
        "program = ['no-such-program-anywhere']",
        "program = ['./streamer.toml']",
        "program = ['./obedient.sh']\ncwd = 'missing'",
        "webhook = 'http://127.0.0.1:1/'\nsecret_env = 'NOT_THERE'",
    ] {
        let bench = bench(listener);
        bench.emit("a", "{}");
        let ended = bench.run(&["listen", "a", "--group", "g"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        all.push_str(&format!("{listener}\n{}\n", ended.stderr));
        // A listener that is not listened to does not matter.
        assert_eq!(bench.run(&["list"]).code, Some(0));
    }
    snapshot(&all, |all| insta::assert_snapshot!("cannot_work", all));
}

#[test]
fn several_workers_have_as_many_processes_at_most() {
    let bench = bench("program = ['./obedient.sh']");
    for n in 0..40 {
        bench.emit("a", &format!("{{\"n\":{n}}}"));
    }
    let printed = bench.listen_all(&["--workers", "4"]).stdout;
    assert_eq!(printed.lines().count(), 40);
    assert_eq!(bench.read("done").lines().count(), 40);
    assert!((1..=4).contains(&bench.read("pids").lines().count()));
}

#[test]
fn a_program_that_ends_after_each_answer_loses_no_message() {
    let bench = bench("program = ['./once.sh']");
    bench.script("once.sh", "echo $$ >> pids; read -r line; echo '{\"ok\":true}'");
    let mut listening = bench.start(&["listen", "a", "--group", "g"]);
    for n in 1..=3 {
        let id = bench.emit("a", "{}");
        listening.wait_for(&format!("Processed message [{id}]"));
        wait_until(|| {
            bench
                .read("pids")
                .lines()
                .nth(n - 1)
                .is_some_and(|pid| !lives(pid))
                .then_some(())
        });
    }
}

/// Notes that it was asked to end, and whether it was then left to finish.
const POLITE: &str = "import signal, sys, time\n\
    def asked(*_):\n    open('log', 'a').write('asked\\n')\n    time.sleep(0.2)\n    open('log', 'a').write('ended\\n')\n    sys.exit(1)\n\
    signal.signal(signal.SIGTERM, asked)\n\
    sys.stdin.readline()\n\
    open('log', 'a').write('begun\\n')\n\
    while True:\n    time.sleep(0.05)\n";

#[test]
fn a_program_is_asked_to_end_before_it_is_killed_in_both_modes() {
    for mode in ["message", "lines"] {
        let bench = bench(&format!(
            "program = ['python3', 'polite.py']\nmode = '{mode}'\ntimeout = '1s'"
        ));
        bench.write("polite.py", POLITE);
        bench.emit("a", "{}");
        let ended = bench.listen_all(&[]);
        assert!(ended.stdout.contains("did not finish within 1s"), "{ended:?}");
        assert_eq!(bench.read("log"), "begun\nasked\nended\n", "{mode}");

        // The same when the grace period runs out.
        let bench = crate::program::bench(&format!("program = ['python3', 'polite.py']\nmode = '{mode}'"));
        bench.write("polite.py", POLITE);
        bench.emit("a", "{}");
        let mut command = bench.command(&["listen", "a", "--group", "g"]);
        command.env("STREAMER_GRACE", "100");
        let listening = crate::bench::Running::start(command);
        wait_until(|| (bench.read("log") == "begun\n").then_some(()));
        listening.signal(rustix::process::Signal::TERM);
        let ended = listening.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(bench.read("log"), "begun\nasked\nended\n", "{mode}: {ended:?}");
    }
}

#[test]
fn a_program_that_talks_without_end_fills_neither_the_log_nor_the_memory() {
    let bench = bench("program = ['./loud.sh']\nmode = 'message'");
    // 20 MB, in lines and in one.
    bench.script(
        "loud.sh",
        "yes noise | head -c 10000000 >&2; head -c 10000000 /dev/zero >&2; exit 0",
    );
    bench.emit("a", "{}");
    let ended = bench.listen_all(&[]);
    assert!(ended.stdout.contains("Processed message"), "{}", ended.stdout);
    assert!(ended.stderr.len() < 5_000_000, "{} bytes of log", ended.stderr.len());
    assert!(ended.stderr.contains("bytes of its output are left out"));
}

#[test]
fn as_the_first_process_it_reaps_what_programs_leave_behind() {
    let bench = bench("program = ['./parent.sh']\nmode = 'message'");
    bench.script(
        "parent.sh",
        "cat > /dev/null; (sleep 0.05 < /dev/null > /dev/null 2>&1 &); echo x >> ran; exit 0",
    );
    for _ in 0..10 {
        bench.emit("a", "{}");
    }
    let listen = bench.command(&["listen", "a", "--group", "g"]);
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-pf", "--mount-proc"])
        .arg(listen.get_program())
        .args(listen.get_args());
    command.current_dir(bench.path("")).env("STREAMER_URL", &bench.url);
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let listening = crate::bench::Running::start(command);
    let first = listening.child.id().to_string();
    // The process that it started is ours, the first of its namespace.
    let children = |pid: &str| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let inner = wait_until(|| match listening_ended(&first) {
        // Without the right to make namespaces there is nothing to see.
        true => Some(None),
        false => children(&first).first().cloned().map(Some),
    });
    let Some(inner) = inner else { return };
    wait_until(|| (bench.read("ran").lines().count() == 10).then_some(()));
    wait_until(|| children(&inner).is_empty().then_some(()));
    let pid = rustix::process::Pid::from_raw(inner.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = listening.end();
    assert!(ended.stderr.contains("Handled: 10"), "{ended:?}");
}

fn listening_ended(pid: &str) -> bool {
    !lives(pid)
}
