//! `dashboard`: the store in the browser.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::{Bench, Running};

const FILE: &str = "[listen_and_fire]\na = ['it']\n[listeners.it]\nprogram = ['./it.sh']\nmode = 'message'\n";
const TOKEN: &str = "a-token-of-32-characters-or-so-12";

/// Where it is served.
fn address(dashboard: &mut Running) -> String {
    let line = dashboard.wait_for("Dashboard: ");
    let rest = line.split("http://").nth(1).unwrap();
    rest.split('/').next().unwrap().to_owned()
}

/// The status and the body of an answer.
fn ask(address: &str, line: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn json(address: &str, path: &str) -> Value {
    let (status, body) = ask(address, &format!("GET {path}"), "", "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn it_serves_the_store_retries_with_the_configured_listeners_and_logs_who_did_it() {
    for bench in [Bench::new(), Bench::on_servers()] {
        bench.write("streamer.toml", FILE);
        bench.script("it.sh", "cat > line; test -e paper || exit 1");
        bench.emit("a", "{\"n\":1}");
        bench.ok(&["listen", "a", "--group", "g", "--listen-timeout", "500"]);
        let mut dashboard = bench.start(&["dashboard", "--listen", "0"]);
        let address = address(&mut dashboard);
        let session = json(&address, "/api/session");
        assert_eq!(
            (&session["cannot_retry"], &session["login"]),
            (&Value::Null, &false.into()),
            "{session}"
        );
        assert_eq!(json(&address, "/api/overview")["rows"][0]["stream"], "a");
        assert_eq!(json(&address, "/api/failed")["listed"], 1);

        bench.write("paper", "");
        let headers = "Content-Type: application/json\r\nX-Streamer-Dashboard: 1\r\n";
        let (status, body) = ask(&address, "POST /api/failed/retry", headers, "{\"filter\":{}}");
        assert_eq!(status, 200, "{body}");
        crate::bench::wait_until(|| (json(&address, "/api/jobs")["jobs"][0]["state"] == "done").then_some(()));
        assert_eq!(json(&address, "/api/jobs")["jobs"][0]["succeeded"], 1);
        assert_eq!(bench.ok(&["failed", "list"]), "No failed messages\n");

        dashboard.signal(Signal::TERM);
        let ended = dashboard.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.stderr.contains("action=\"failed_retry\" actor=\"127.0.0.1\""),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("affected=1"), "{}", ended.stderr);
    }
}

#[test]
fn read_only_changes_nothing_and_needs_no_right_to() {
    let bench = Bench::new();
    bench.emit("a", "{}");
    let mut dashboard = bench.start(&["dashboard", "--listen", "0", "--read-only"]);
    let address = address(&mut dashboard);
    assert_eq!(json(&address, "/api/session")["read_only"], true);
    let headers = "Content-Type: application/json\r\nX-Streamer-Dashboard: 1\r\n";
    let (status, body) = ask(&address, "POST /api/failed/forget", headers, "{\"filter\":{}}");
    assert_eq!(status, 403, "{body}");
    dashboard.signal(Signal::INT);
    assert_eq!(dashboard.end().code, Some(0));
}

#[test]
fn beyond_this_machine_it_asks_for_a_token() {
    let bench = Bench::new();
    bench.emit("a", "{}");
    let ended = bench.run(&["dashboard", "--listen", "0.0.0.0:0"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("STREAMER_DASHBOARD_TOKEN or --token-file"),
        "{}",
        ended.stderr
    );
    bench.write("short", "Hunter2\n");
    let ended = bench.run(&["dashboard", "--listen", "0.0.0.0:0", "--token-file", "short"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("at least 16") && !ended.stderr.contains("Hunter2"),
        "{}",
        ended.stderr
    );
    let ended = bench.run(&["dashboard", "--token-file", "nothing"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("nothing"), "{ended:?}");

    bench.write("token", &format!("{TOKEN}\n"));
    let mut dashboard = bench.start(&["dashboard", "--listen", "0.0.0.0:0", "--token-file", "token"]);
    let address = address(&mut dashboard);
    assert_eq!(ask(&address, "GET /api/overview", "", "").0, 401);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(&address, "GET /api/overview", &bearer, "").0, 200);
    let mut command = bench.command(&["dashboard", "--listen", "0"]);
    command.env("STREAMER_DASHBOARD_TOKEN", TOKEN);
    let mut second = Running::start(command);
    let line = second.wait_for("Dashboard: ");
    assert!(line.contains("with the token") && !line.contains(TOKEN), "{line}");
}
