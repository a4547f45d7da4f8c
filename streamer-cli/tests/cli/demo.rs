use rustix::process::Signal;

use crate::bench::{Bench, lives, snapshot};

#[test]
fn two_processes_handle_every_order_and_one_fails_on_record() {
    let bench = Bench::new();
    let temporary = bench.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output = bench.command(&["demo"]).env("TMPDIR", &temporary).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let screen = String::from_utf8(output.stdout).unwrap();
    assert!(screen.lines().count() < 50, "{screen}");
    assert!(
        screen.contains("\n\n  emitted") && !screen.contains("\\n  "),
        "{screen}"
    );
    for promise in [
        "emitted    300",
        "handled    299",
        "failed       1",
        "charge: the card was declined for order",
    ] {
        assert!(screen.contains(promise), "{promise} is not in\n{screen}");
    }
    assert_eq!(
        std::fs::read_dir(&temporary).unwrap().count(),
        0,
        "the temporary store is gone"
    );
    let end = screen.split_once("What to try next").unwrap().1;
    snapshot(end, |end| insta::assert_snapshot!("demo_next", end));
}

#[test]
fn on_a_named_store_it_cleans_up_after_itself() {
    let bench = Bench::new();
    let counts = bench.ok(&["demo", "--json", "--orders", "100", "--url", &bench.url]);
    let counts: serde_json::Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(
        (&counts["emitted"], &counts["handled"], &counts["failed"]),
        (&100.into(), &99.into(), &1.into())
    );
}

#[test]
fn on_redis_it_is_the_same() {
    let bench = Bench::on_redis();
    let redis = bench.redis.as_ref().unwrap();
    redis.command(&["SADD", "failed_stream", "somebody else's"]);
    let screen = bench.ok(&["demo", "--url", &bench.url]);
    assert!(screen.contains("charge: the card was declined for order"), "{screen}");
    assert_eq!(redis.command(&["SMEMBERS", "failed_stream"]).trim(), "somebody else's");
    assert_eq!(
        redis.command(&["KEYS", "*"]).trim(),
        "failed_stream",
        "nothing else is left"
    );
}

#[test]
fn ctrl_c_ends_both_processes() {
    let bench = Bench::new();
    let mut demo = bench.start(&["demo", "--orders", "100000"]);
    let line = demo.wait_for("listens to");
    let pid = line.split(' ').nth(1).unwrap().to_owned();
    demo.signal(Signal::INT);
    let ended = demo.end();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    crate::bench::wait_until(|| (!lives(&pid)).then_some(()));
}
