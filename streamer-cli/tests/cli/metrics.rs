//! `listen --metrics`: what a real Prometheus would read from a real process.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use crate::bench::{Bench, wait_until};

const FILE: &str = "[listen_and_fire]\na = ['good', 'bad']\n[listeners.good]\nprogram = ['./good.sh']\nmode = 'message'\n[listeners.bad]\nprogram = ['./bad.sh']\nmode = 'message'\n";

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn scrape(port: u16) -> Option<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_listening_process_counts_and_measures_for_prometheus() {
    for bench in [Bench::new(), Bench::on_servers()] {
        bench.write("streamer.toml", FILE);
        bench.script("good.sh", "cat > /dev/null");
        bench.script("bad.sh", "cat > /dev/null; echo 'no paper' >&2; exit 1");
        for n in 0..3 {
            bench.emit("a", &format!("{{\"n\":{n}}}"));
        }
        let port = free_port();
        let mut listening = bench.start(&["listen", "a", "--group", "g", "--metrics", &port.to_string()]);
        for _ in 0..3 {
            listening.wait_for("Processed message");
        }
        let labels = "messaging_destination_name=\"a\",messaging_consumer_group_name=\"g\"";
        let expected = [
            format!("messaging_client_consumed_messages_total{{{labels}}} 3"),
            format!("streamer_listener_handled_total{{{labels},streamer_listener_name=\"good\"}} 3"),
            format!("streamer_listener_failed_total{{{labels},streamer_listener_name=\"bad\"}} 3"),
            format!("streamer_listener_dead_lettered_total{{{labels},streamer_listener_name=\"bad\"}} 3"),
            format!("messaging_process_duration_seconds_count{{{labels},streamer_listener_name=\"good\"}} 3"),
            format!("streamer_queue_wait_duration_seconds_count{{{labels}}} 3"),
            format!("streamer_delivery_duration_seconds_count{{{labels}}} 3"),
            "streamer_in_flight{messaging_consumer_group_name=\"g\"} 0".to_owned(),
            "streamer_prefetched{messaging_consumer_group_name=\"g\"} 0".to_owned(),
            "streamer_retries_waiting{messaging_consumer_group_name=\"g\"} 0".to_owned(),
            "# HELP streamer_leases_lost_total Messages that another consumer claimed".to_owned(),
        ];
        let mut last = String::new();
        let missing = |text: &str| expected.iter().find(|line| !text.contains(line.as_str())).cloned();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while let Some(line) = missing(&last) {
            assert!(std::time::Instant::now() < until, "{line} is missing in\n{last}");
            last = wait_until(|| scrape(port));
        }
        listening.signal(rustix::process::Signal::TERM);
        assert_eq!(listening.end().code, Some(0));
    }
}

#[test]
fn an_address_that_is_taken_is_told() {
    let bench = Bench::new();
    bench.write("streamer.toml", FILE);
    bench.script("good.sh", "cat").script("bad.sh", "cat");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = bench.run(&["listen", "a", "--group", "g", "--metrics", &address]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!("could not serve metrics at {address}")),
        "{ended:?}"
    );
    let ended = bench.run(&["listen", "a", "--metrics", "nonsense"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
