//! `listen --health` and what systemd is told: real processes, servers that really go away, a real datagram socket.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use serde_json::Value;

use crate::bench::{Bench, wait_until};

const FILE: &str = "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\n";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The status and the body; `None` while nobody listens.
fn ask(port: u16, path: &str) -> Option<(u16, Value)> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// Waits until `/ready` answers so; `/live` is good all the time.
fn wait_for(port: u16, status: u16, condition: &str) -> Value {
    wait_until(|| {
        let (now, body) = ask(port, "/ready")?;
        let live = ask(port, "/live")?;
        assert_eq!(live.0, 200, "{live:?}");
        (now == status && body["condition"] == condition).then_some(body)
    })
}

#[test]
fn a_listener_is_ready_while_it_reads_and_not_while_its_store_is_away() {
    let mut bench = Bench::on_redis();
    bench.write("streamer.toml", FILE);
    bench.script("it.sh", "cat > /dev/null");
    let port = free_port();
    let mut listening = bench.start(&[
        "listen",
        "a",
        "--group",
        "g",
        "--keep-alive",
        "--health",
        &port.to_string(),
    ]);
    let body = wait_for(port, 200, "working");
    assert_eq!(
        (&body["live"], &body["ready"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    let redis = bench.redis.as_mut().unwrap();
    redis.stop();
    let body = wait_for(port, 503, "interrupted");
    assert_eq!(
        (&body["live"], &body["ready"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("Listening was interrupted: could not "), "{text}");
    redis.restart();
    wait_for(port, 200, "working");
    // It does what it says.
    bench.emit("a", "{}");
    listening.wait_for("Processed message");
    listening.signal(rustix::process::Signal::TERM);
    assert_eq!(listening.end().code, Some(0));
    assert!(ask(port, "/live").is_none());
}

#[test]
fn a_process_that_waits_for_its_first_store_is_alive_and_not_ready() {
    let mut bench = Bench::on_redis();
    bench.write("streamer.toml", FILE);
    bench.script("it.sh", "cat > /dev/null");
    bench.redis.as_mut().unwrap().stop();
    let port = free_port();
    let listening = bench.start(&[
        "listen",
        "a",
        "--group",
        "g",
        "--keep-alive",
        "--health",
        &port.to_string(),
    ]);
    wait_for(port, 503, "connecting");
    bench.redis.as_mut().unwrap().restart();
    wait_for(port, 200, "working");
    listening.signal(rustix::process::Signal::TERM);
    assert_eq!(listening.end().code, Some(0));
}

#[test]
fn a_listener_that_hangs_makes_its_process_unready_until_it_ends() {
    let bench = Bench::new();
    bench.write("streamer.toml", FILE);
    bench.script("it.sh", "cat > /dev/null; while [ ! -e go ]; do sleep 0.05; done");
    let port = free_port();
    let arguments = [
        "listen",
        "a",
        "--group",
        "g",
        "--health",
        &port.to_string(),
        "--stalled-after",
        "1s",
    ];
    let mut listening = bench.start(&arguments);
    wait_for(port, 200, "working");
    bench.emit("a", "{}");
    let body = wait_for(port, 503, "not_handling");
    assert!(body["text"].as_str().unwrap().ends_with("with 1 in flight"), "{body}");
    bench.write("go", "");
    listening.wait_for("Processed message");
    wait_for(port, 200, "working");
    listening.signal(rustix::process::Signal::TERM);
    assert_eq!(listening.end().code, Some(0));
}

#[test]
fn an_address_for_health_that_is_taken_is_told() {
    let bench = Bench::new();
    bench.write("streamer.toml", FILE);
    bench.script("it.sh", "cat");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = bench.run(&["listen", "a", "--group", "g", "--health", &address]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains(&format!("could not serve the health at {address}")),
        "{ended:?}"
    );
}

/// What a service manager gets.
struct Manager {
    socket: UnixDatagram,
    seen: Vec<String>,
}

impl Manager {
    /// Waits for a line.
    fn wait_for(&mut self, line: &str) {
        let mut buffer = [0; 4096];
        while !self.seen.iter().any(|seen| seen == line) {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                    self.seen.extend(text.lines().map(str::to_owned));
                }
                Err(error) => panic!("no {line:?} ({error}); so far: {:?}", self.seen),
            }
        }
    }
}

#[test]
fn systemd_is_told_of_the_start_the_watchdog_trouble_and_the_end() {
    let mut bench = Bench::on_redis();
    bench.write("streamer.toml", FILE);
    bench.script("it.sh", "cat > /dev/null");
    let path = bench.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut manager = Manager {
        socket,
        seen: Vec::new(),
    };
    let mut command = bench.command(&["listen", "a", "--group", "g", "--keep-alive"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let listening = crate::bench::Running::start(command);
    manager.wait_for("READY=1");
    manager.seen.clear();
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
        manager.seen.clear();
    }
    bench.redis.as_mut().unwrap().stop();
    let mut buffer = [0; 4096];
    wait_until(|| {
        let length = manager.socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        // A store that is away is no reason to restart the process.
        assert!(text.contains("WATCHDOG=1"), "{text}");
        text.contains("STATUS=Listening was interrupted: could not ")
            .then_some(())
    });
    bench.redis.as_mut().unwrap().restart();
    manager.wait_for("STATUS=working");
    listening.signal(rustix::process::Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert!(!manager.seen.iter().any(|line| line == "READY=1"), "{:?}", manager.seen);
    assert_eq!(listening.end().code, Some(0));
}
