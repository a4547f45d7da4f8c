use rustix::process::Signal;

use crate::bench::{Bench, fifo, lives, open_gate, wait_until};

/// Notes that it has begun, then waits at the gate.
const GATED: &str = "echo $$ > pid\nwhile read -r line; do echo \"$line\" >> begun; read -r x < gate; \
                     echo \"$line\" >> done; echo '{\"ok\":true}'; done";

fn bench() -> Bench {
    let bench = Bench::new();
    fifo(&bench.path("gate"));
    bench.script("gated.sh", GATED);
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./gated.sh']\n",
    );
    bench
}

#[test]
fn a_first_signal_finishes_what_runs_and_leaves_the_rest_to_the_group() {
    for signal in [Signal::TERM, Signal::INT] {
        let bench = bench();
        let ids: Vec<String> = (0..5).map(|_| bench.emit("a", "{}")).collect();
        let listening = bench.start(&["listen", "a", "--group", "g", "--json"]);
        wait_until(|| (!bench.read("begun").is_empty()).then_some(()));
        listening.signal(signal);
        // It says so when it has heard the signal; only then the program may go on.
        let mut listening = listening;
        listening.wait_for("stopping");
        open_gate(&bench.path("gate"));
        let ended = listening.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.stdout.contains(&ids[0]) && !ended.stdout.contains(&ids[1]),
            "{ended:?}"
        );

        // Nothing is lost, and nothing that was handled comes again.
        bench.script("gated.sh", "while read -r line; do echo '{\"ok\":true}'; done");
        let rest = bench.run(&[
            "listen",
            "a",
            "--group",
            "g",
            "--reclaim",
            "200",
            "--listen-timeout",
            "1000",
        ]);
        let expected: Vec<String> = ids[1..]
            .iter()
            .map(|id| format!("Processed message [{id}] on 'a' stream by [it] listener."))
            .collect();
        assert_eq!(rest.stdout.lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_second_signal_ends_at_once_and_what_ran_stays_pending() {
    let bench = bench();
    let id = bench.emit("a", "{}");
    let mut listening = bench.start(&["listen", "a", "--group", "g", "--json"]);
    wait_until(|| (!bench.read("begun").is_empty()).then_some(()));
    listening.signal(Signal::INT);
    listening.wait_for("stopping");
    // One that comes too soon counts as the first one, so somebody asks again.
    wait_until(|| {
        listening.signal(Signal::INT);
        listening.child.try_wait().unwrap()
    });
    let ended = listening.end();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(
        ended.stderr.contains("error: ended at once by a second signal"),
        "{ended:?}"
    );
    assert!(!ended.stdout.contains("processed"), "{ended:?}");
    wait_until(|| (!lives(&bench.read("pid"))).then_some(()));
    assert_eq!(bench.read("done"), "");

    bench.script("gated.sh", "while read -r line; do echo '{\"ok\":true}'; done");
    let rest = bench.run(&[
        "listen",
        "a",
        "--group",
        "g",
        "--reclaim",
        "200",
        "--listen-timeout",
        "1000",
    ]);
    assert!(rest.stdout.contains(&id), "{rest:?}");
}

#[test]
fn a_program_at_work_dies_with_a_grace_period_that_ran_out() {
    let bench = bench();
    bench.emit("a", "{}");
    let mut command = bench.command(&["listen", "a", "--group", "g", "--json"]);
    command.env("STREAMER_GRACE", "100");
    let listening = crate::bench::Running::start(command);
    wait_until(|| (!bench.read("begun").is_empty()).then_some(()));
    listening.signal(Signal::TERM);
    let ended = listening.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("the grace period ran out"), "{ended:?}");
    wait_until(|| (!lives(&bench.read("pid"))).then_some(()));
}
