//! The store is away, full, or says no, and what processes do then.

use rustix::process::Signal;
use streamer_test_servers::{Options, Proxy, RedisServer};

use crate::bench::{Bench, Running, fifo, wait_until};

/// Promises that are not kept yet. This list may only shrink: a test that passes fails until it leaves the list.
const KNOWN: &[&str] = &[];

fn promise(name: &str, body: impl FnOnce()) {
    if !KNOWN.contains(&name) {
        return body();
    }
    let kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
    assert!(!kept, "{name} passes now: take it out of KNOWN");
}

/// Notes each line, then says yes, or no where the payload says so.
const NOTES: &str = "while read -r line; do echo \"$line\" >> ran; case \"$line\" in *fail*) echo '{\"error\":\"no\"}';; \
                     *) echo '{\"ok\":true}';; esac; done";

fn on(server: RedisServer) -> Bench {
    let mut bench = Bench::on_redis();
    bench.url = server.url();
    bench.redis = Some(server);
    bench.script("notes.sh", NOTES);
    bench.write(
        "streamer.toml",
        "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./notes.sh']\n",
    );
    bench
}

#[test]
fn with_keep_alive_a_start_waits_for_its_store() {
    promise("with_keep_alive_a_start_waits_for_its_store", || {
        let mut bench = on(RedisServer::start());
        let network = Proxy::to(bench.redis.as_ref().unwrap().port());
        network.refuse();
        let url = std::mem::replace(&mut bench.url, format!("redis://127.0.0.1:{}", network.port()));
        let mut listening = bench.start(&["listen", "a", "--group", "g", "--keep-alive", "--json"]);
        wait_until(|| (network.refused() > 2).then_some(()));
        network.resume();
        bench.ok(&["emit", "a", "{}", "--url", &url]);
        listening.wait_for("processed");
        listening.signal(Signal::TERM);
        assert_eq!(listening.end().code, Some(0));
    });
}

#[test]
fn a_replica_is_called_one_and_nothing_else_is_said() {
    let master = RedisServer::start();
    let bench = on(Options::default().replica_of(&master).start());
    for arguments in [&["emit", "a", "{}"][..], &["listen", "a", "--group", "g"]] {
        let ended = bench.run(arguments);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("this server is a replica: use the URL of its master"),
            "{ended:?}"
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(!ended.stderr.contains("@user_script"), "{ended:?}");
    }
}

#[test]
fn without_keep_alive_a_start_without_its_store_fails() {
    promise("without_keep_alive_a_start_without_its_store_fails", || {
        let bench = on(RedisServer::start());
        let ended = bench.run(&["listen", "a", "--group", "g", "--url", "redis://127.0.0.1:1"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
    });
}

#[test]
fn with_keep_alive_a_password_that_changed_is_waited_for() {
    promise("with_keep_alive_a_password_that_changed_is_waited_for", || {
        let mut bench = on(Options::default().user("app on >secret ~* &* +@all").start());
        let url = bench.url.replace("redis://", "redis://app:secret@");
        let server = bench.redis.take().unwrap();
        let mut listening = bench.start(&["listen", "a", "--group", "g", "--keep-alive", "--json", "--url", &url]);
        listening.wait_for("started");
        assert_eq!(
            server.command(&["ACL", "SETUSER", "app", "resetpass", ">another"]),
            "OK"
        );
        let _ = server.command(&["CLIENT", "KILL", "USER", "app"]);
        listening.wait_for("interrupted");
        // A new process is as patient.
        let mut second = bench.start(&["listen", "a", "--group", "h", "--keep-alive", "--json", "--url", &url]);
        wait_until(|| server.command(&["ACL", "LOG"]).contains("auth").then_some(()));
        wait_until(|| {
            let log = server.command(&["INFO", "stats"]);
            let denied = log
                .lines()
                .find_map(|line| line.strip_prefix("acl_access_denied_auth:"));
            denied
                .is_none_or(|count| count.trim().parse::<u64>().unwrap() > 5)
                .then_some(())
        });
        assert_eq!(server.command(&["ACL", "SETUSER", "app", "resetpass", ">secret"]), "OK");
        bench.emit("a", "{}");
        for listening in [&mut listening, &mut second] {
            listening.wait_for("processed");
        }
    });
}

#[test]
fn two_processes_with_one_consumer_name_are_warned_of() {
    promise("two_processes_with_one_consumer_name_are_warned_of", || {
        for bench in [Bench::new(), Bench::on_servers()] {
            fifo(&bench.path("gate"));
            bench.script(
                "gated.sh",
                "while read -r line; do echo \"$line\" >> begun; read -r x < gate; echo '{\"ok\":true}'; done",
            );
            bench.write(
                "streamer.toml",
                "consumer = 'billing-1'\nreclaim = '300ms'\ngrace = '100ms'\n[listen_and_fire]\na = ['it']\n\
             [listeners.it]\nprogram = ['./gated.sh']\n",
            );
            for _ in 0..10 {
                bench.emit("a", "{}");
            }
            let start = |bench: &Bench| bench.start(&["listen", "a", "--group", "g", "--json"]);
            let first = start(&bench);
            wait_until(|| (!bench.read("begun").is_empty()).then_some(()));
            let second = start(&bench);
            let mut running = [first, second];
            wait_until(|| {
                let lines = running.iter_mut().filter_map(Running::try_line);
                lines.into_iter().any(|line| line.contains("name_in_use")).then_some(())
            });
            for listening in &running {
                listening.signal(Signal::TERM);
            }
            let told = running.map(|listening| listening.end().stderr);
            assert!(
                told.iter()
                    .any(|text| text.contains("WARN") && text.contains("billing-1")),
                "{told:?}"
            );
        }
    });
}

/// The server does not show who acknowledged, so the log names both causes.
#[test]
fn an_operator_who_acknowledges_what_is_in_flight_is_named_as_a_cause() {
    let bench = Bench::on_redis();
    fifo(&bench.path("gate"));
    bench.script(
        "gated.sh",
        "while read -r line; do echo \"$line\" >> begun; read -r x < gate; echo '{\"ok\":true}'; done",
    );
    bench.write(
        "streamer.toml",
        "consumer = 'billing-1'\nreclaim = 'off'\n[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./gated.sh']\n",
    );
    let id = bench.emit("a", "{}");
    let mut listening = bench.start(&["listen", "a", "--group", "g", "--json"]);
    wait_until(|| (!bench.read("begun").is_empty()).then_some(()));
    let server = bench.redis.as_ref().unwrap();
    assert_eq!(server.command(&["XACK", "a", "g", &id]).trim(), "1");
    let open = std::thread::spawn({
        let gate = bench.path("gate");
        move || std::fs::write(gate, "go\n").unwrap()
    });
    listening.wait_for("processed");
    open.join().unwrap();
    listening.signal(Signal::TERM);
    let told = listening.end();
    assert_eq!(told.code, Some(0));
    for part in ["WARN", "billing-1", "XACK", "another name"] {
        assert!(told.stderr.contains(part), "{part}: {}", told.stderr);
    }
    assert!(!told.stdout.contains("name_in_use"), "{}", told.stdout);
}

/// Ends long before the grace period, and loses nothing.
#[test]
fn a_signal_ends_a_listening_whose_store_is_full_or_gone() {
    promise("a_signal_ends_a_listening_whose_store_is_full_or_gone", || {
        for gone in [false, true] {
            let mut bench = on(RedisServer::start());
            bench.ok(&["emit", "a", "{\"fail\":1}"]);
            let mut command = bench.command(&["listen", "a", "--group", "g", "--keep-alive", "--json"]);
            command.env("STREAMER_GRACE", "1h");
            let mut listening;
            if gone {
                // It has something in flight when the server goes away.
                fifo(&bench.path("gate"));
                bench.script(
                    "notes.sh",
                    "while read -r line; do echo \"$line\" >> ran; read -r x < gate; echo '{\"ok\":true}'; done",
                );
                listening = Running::start(command);
                wait_until(|| (!bench.read("ran").is_empty()).then_some(()));
                bench.redis.as_mut().unwrap().kill9();
                crate::bench::open_gate(&bench.path("gate"));
                listening.wait_for("interrupted");
            } else {
                let server = bench.redis.as_ref().unwrap();
                let _ = server.command(&["XGROUP", "CREATE", "a", "g", "0"]);
                assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
                listening = Running::start(command);
                listening.wait_for("interrupted");
            }
            listening.signal(Signal::TERM);
            let _ = listening.end();
            if !gone {
                let server = bench.redis.as_ref().unwrap();
                assert!(
                    server.command(&["XPENDING", "a", "g"]).starts_with('1'),
                    "it is not acknowledged"
                );
            }
        }
    });
}
