use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use hmac::{Hmac, KeyInit as _, Mac as _};

use crate::bench::{Bench, snapshot};

struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A server that gives these answers, one a request, and hands over the requests. An empty answer never comes.
fn server(answers: &'static [&'static str]) -> (String, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut silent = Vec::new();
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let mut lines = (&mut reader)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty());
            let line = lines.next().unwrap();
            let headers: Vec<(String, String)> = lines
                .map(|line| {
                    line.split_once(": ")
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .unwrap()
                })
                .collect();
            let mut request = Request {
                line,
                headers,
                body: String::new(),
            };
            let length = request.header("content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request.body = String::from_utf8(body).unwrap();
            sender.send(request).unwrap();
            if answer.is_empty() {
                silent.push(connection);
                continue;
            }
            write!(connection, "HTTP/1.1 {answer}").unwrap();
        }
        // Kept open: its client waits in vain.
        thread::park();
        drop(silent);
    });
    (url, receiver)
}

fn bench(url: &str, more: &str) -> Bench {
    let bench = Bench::new();
    bench.write(
        "streamer.toml",
        &format!("[listen_and_fire]\na = ['hook']\n[listeners.hook]\nwebhook = '{url}'\n{more}\n"),
    );
    bench
}

const DONE: &str = "204 No Content\r\nConnection: close\r\n\r\n";

#[test]
fn a_message_is_posted_with_a_signature() {
    let (url, requests) = server(&[DONE]);
    let bench = bench(&url, "secret_env = 'HOOK_SECRET'");
    let id = bench.emit("a", r#"{"n":1}"#);
    let mut command = bench.command(&["listen", "a", "--last-id", "0", "--listen-timeout", "500", "-vv"]);
    let output = command.env("HOOK_SECRET", "hunter2").output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(
        stdout,
        format!("Processed message [{id}] on 'a' stream by [hook] listener.\n"),
        "{stderr}"
    );
    assert!(!stderr.contains("hunter2"), "{stderr}");

    let request = requests.recv().unwrap();
    assert_eq!(request.line, "POST /hook HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-streamer-event"), Some("a"));
    assert_eq!(request.header("x-streamer-id"), Some(id.as_str()));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"hunter2").unwrap();
    mac.update(request.body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    assert_eq!(request.header("x-streamer-signature"), Some(signature.as_str()));
    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        (&body["id"], &body["data"]),
        (&id.as_str().into(), &serde_json::json!({"n": 1}))
    );
}

#[test]
fn without_a_secret_there_is_no_signature() {
    let (url, requests) = server(&[DONE]);
    let bench = bench(&url, "");
    bench.emit("a", "{}");
    bench.listen_all(&[]);
    assert_eq!(requests.recv().unwrap().header("x-streamer-signature"), None);
}

#[test]
fn an_answer_that_is_not_2xx_is_the_failure_and_redirects_are_not_followed() {
    let (url, requests) = server(&[
        "500 Internal Server Error\r\nConnection: close\r\nContent-Length: 8\r\n\r\nno paper",
        "302 Found\r\nConnection: close\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        "",
        "200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ]);
    let bench = bench(&url, "timeout = 700");
    for _ in 0..4 {
        bench.emit("a", "{}");
    }
    let printed = bench.listen_all(&[]).stdout.replace(&url, "URL");
    snapshot(&printed, |text| insta::assert_snapshot!("webhook_failures", text));
    assert!(
        requests
            .iter()
            .take(4)
            .all(|request| request.line == "POST /hook HTTP/1.1")
    );
}

#[test]
fn a_server_that_is_not_there_is_the_failure() {
    // Nobody listens on port 1.
    let bench = bench("http://bob:hunter2@127.0.0.1:1/hook", "");
    bench.emit("a", "{}");
    let ended = bench.listen_all(&[]);
    let expected = "Error: the webhook http://bob:***@127.0.0.1:1/hook could not be reached: ";
    assert!(ended.stdout.contains(expected), "{ended:?}");
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
}

#[test]
fn an_overloaded_server_is_left_alone_as_long_as_it_asks_for() {
    let (url, requests) = server(&[
        "429 Too Many Requests\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
        DONE,
    ]);
    let bench = bench(&url, "retry = { attempts = 3, delay = '10ms', backoff = 'fixed' }");
    bench.emit("a", "{}");
    let mut listening = bench.start(&["listen", "a", "--group", "g", "--json"]);
    let put_off: serde_json::Value = serde_json::from_str(&listening.wait_for("retry_later")).unwrap();
    assert_eq!(put_off["delay_ms"], 2000, "{put_off}");
    listening.wait_for("processed");
    assert_eq!(requests.iter().take(2).count(), 2);
}

#[test]
fn headers_come_from_the_file_the_environment_and_files() {
    let (url, requests) = server(&[DONE]);
    let bench = bench(
        &url,
        "headers = { X-Shop = '7', Authorization = { env = 'HOOK_AUTH' }, X-Key = { file = 'key.txt' } }",
    );
    bench.write("key.txt", "k-1\n");
    bench.emit("a", "{}");
    let missing = bench.run(&["listen", "a", "--last-id", "0"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("HOOK_AUTH"), "{missing:?}");
    let mut command = bench.command(&["listen", "a", "--last-id", "0", "--listen-timeout", "500"]);
    let output = command.env("HOOK_AUTH", "Bearer x").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let request = requests.recv().unwrap();
    assert_eq!(
        (
            request.header("x-shop"),
            request.header("authorization"),
            request.header("x-key")
        ),
        (Some("7"), Some("Bearer x"), Some("k-1"))
    );
}

#[test]
fn redirects_are_followed_only_where_that_is_allowed() {
    let (elsewhere, other_requests) = server(&[DONE]);
    // The first server's own address is not known before it exists.
    let same = "307 Temporary Redirect\r\nConnection: close\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n";
    let (url, requests) = server(Box::leak(Box::new([
        same,
        DONE,
        &*Box::leak(
            format!(
                "307 Temporary Redirect\r\nConnection: close\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n"
            )
            .into_boxed_str(),
        ),
    ])));
    let bench = bench(&url, "redirects = 'same-host'");
    bench.emit("a", "{}");
    bench.emit("a", "{}");
    let printed = bench.listen_all(&[]).stdout;
    assert!(printed.contains("Processed message"), "{printed}");
    assert!(
        printed.contains("redirects to another host are not followed"),
        "{printed}"
    );
    let lines: Vec<_> = requests.iter().take(3).map(|request| request.line).collect();
    assert_eq!(
        lines,
        ["POST /hook HTTP/1.1", "POST /new HTTP/1.1", "POST /hook HTTP/1.1"]
    );
    assert!(other_requests.try_recv().is_err(), "the body went to another host");
}

#[test]
fn webhooks_that_hang_hold_up_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // It takes connections, by its backlog, and answers none.
    let bench = Bench::new();
    bench.script("ok.sh", "cat > /dev/null");
    bench.write(
        "streamer.toml",
        &format!(
            "[listen_and_fire]\nslow = ['hook']\nfast = ['it']\n[listeners.hook]\nwebhook = '{url}'\ntimeout = '30s'\n\
             [listeners.it]\nprogram = ['./ok.sh']\nmode = 'message'\n"
        ),
    );
    bench
        .write("slow", &"{}\n".repeat(60))
        .ok(&["emit", "slow", "--lines", "@slow"]);
    let mut listening = bench.start(&["listen", "--all", "--group", "g", "--workers", "200", "--json"]);
    listening.wait_for("started");
    let id = bench.emit("fast", "{}");
    listening.wait_for(&id);
    drop(listener);
}
