//! The service and its worker, as two processes, on a file and on Redis.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use streamer_test_servers::RedisServer;
use tempfile::TempDir;

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the service, and the address that it serves at. Dropping it kills it.
struct Process {
    child: Child,
    address: String,
}

fn command(folder: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service"));
    command.args(["--url", url]).args(arguments).current_dir(folder);
    command.env_remove("STREAMER_URL").env_remove("STREAMER_CONFIG");
    command
}

impl Process {
    fn start(folder: &Path, url: &str, arguments: &[&str]) -> Self {
        let mut command = command(folder, url, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("Serving at ")
            .unwrap_or_else(|| panic!("{line:?}"));
        Self {
            child,
            address: address.to_owned(),
        }
    }

    /// Asks it to end, as Kubernetes does, and gives what it logged.
    fn end(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {log}");
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn get(address: &str, page: &str) -> String {
    let answer = reqwest::get(format!("{address}{page}")).await.unwrap();
    answer.text().await.unwrap()
}

/// Waits until a page says something.
async fn wait_for(address: &str, page: &str, text: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let said = get(address, page).await;
        if said.contains(text) {
            return said;
        }
        assert!(Instant::now() < until, "{page} does not say {text:?}:\n{said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn works(url: &str) {
    // The HTTP client of this test asks for one, although nothing here is encrypted. The other test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = TempDir::new().unwrap();
    let web = Process::start(folder.path(), url, &["web", "--address", "127.0.0.1:0"]);
    assert_eq!(get(&web.address, "/health").await, "OK");
    let client = reqwest::Client::new();
    let place = async |order: Value, key: &str| -> Value {
        let request = client.post(format!("{}/orders", web.address)).json(&order);
        let answer = request.header("idempotency-key", key).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json().await.unwrap()
    };
    let first = place(json!({"order": 1, "customer": "Ada", "cents": 850}), "1").await;
    let repeated = place(json!({"order": 1, "customer": "Ada", "cents": 850}), "1").await;
    assert_eq!(first, repeated, "an order that is sent again is one event");
    place(json!({"order": 2, "customer": "Ada", "cents": 100}), "2").await;
    place(json!({"order": 3, "customer": "", "cents": 5}), "3").await;
    place(json!({"order": 4, "customer": "Grace", "cents": 0}), "4").await;
    let answer = client
        .post(format!("{}/orders", web.address))
        .json(&json!({"order": "no"}));
    assert_eq!(
        answer.send().await.unwrap().status(),
        422,
        "what is no order is refused"
    );

    let worker = Process::start(folder.path(), url, &["work", "--metrics", "127.0.0.1:0"]);
    // Two orders are given up: one at once, one after three attempts.
    let labels = "{messaging_destination_name=\"order.placed\",messaging_consumer_group_name=\"accounts\",\
                  streamer_listener_name=\"charge\"}";
    wait_for(
        &worker.address,
        "/metrics",
        &format!("streamer_listener_dead_lettered_total{labels} 2"),
    )
    .await;
    let metrics = wait_for(
        &worker.address,
        "/metrics",
        &format!("streamer_listener_handled_total{labels} 2"),
    )
    .await;
    assert!(
        metrics.contains(&format!("streamer_listener_retried_total{labels} 2")),
        "{metrics}"
    );
    wait_for(&worker.address, "/metrics", "streamer_listener_name=\"announce\"} 2").await;
    let log = worker.end();
    assert!(log.contains("order 2 is paid; 950 cents in all"), "{log}");

    // The commands of `streamer` beside those of the service.
    let streamer = |arguments: &[&str]| {
        let output = command(folder.path(), url, arguments).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), text.concat())
    };
    let (code, failures) = streamer(&["failed", "list", "--json"]);
    assert_eq!(code, Some(0), "{failures}");
    let errors: Vec<Value> = failures
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(errors.len(), 2, "{failures}");
    assert!(
        failures.contains("order 3 has no customer") && failures.contains("order 4 has no price yet"),
        "{failures}"
    );
    let (code, retried) = streamer(&["failed", "retry", "--all"]);
    assert_eq!(code, Some(1), "the worker's listener fails again: {retried}");
    let (code, help) = streamer(&["--help"]);
    assert_eq!(code, Some(0));
    for command in ["web", "work", "listen", "failed", "doctor"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    let (code, completions) = streamer(&["completions", "bash"]);
    assert!(code == Some(0) && completions.contains("service,web)"), "{completions}");
    web.end();
}

#[tokio::test]
async fn orders_are_taken_charged_retried_and_listed_on_one_file() {
    let folder = TempDir::new().unwrap();
    works(&format!("sqlite://{}/service.db", folder.path().display())).await;
}

#[tokio::test]
async fn orders_are_taken_charged_retried_and_listed_on_redis() {
    works(&RedisServer::start().url()).await;
}
