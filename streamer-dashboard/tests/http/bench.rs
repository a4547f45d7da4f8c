//! A dashboard of a store, and a client that says exactly what it is told to.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Listeners, StopHandle, Streamer,
    engine::GroupStart,
    failed::{self, FailedMessage},
};
use streamer_dashboard::Dashboard;
use streamer_test_servers::{Store, Topology};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// How long anything may take that the dashboard does by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) streamer: Streamer,
    pub(crate) port: u16,
    stop: StopHandle,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Bench {
    /// A dashboard of an empty store; `change` adds what the test needs.
    pub(crate) async fn new(topology: Topology, change: impl FnOnce(Dashboard) -> Dashboard) -> Self {
        let store = Store::new(topology);
        let streamer = Streamer::connect(store.url()).await.unwrap();
        let dashboard = Dashboard::new(streamer.clone()).interval(Duration::from_millis(500));
        let dashboard = change(dashboard);
        let stop = dashboard.stop_handle();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(dashboard.serve(listener));
        Self {
            store,
            streamer,
            port,
            stop,
        }
    }

    /// Says something, with these headers besides `Host`.
    pub(crate) async fn say(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        if !headers.iter().any(|(name, _)| *name == "Host") {
            let _ = write!(head, "Host: 127.0.0.1:{}\r\n", self.port);
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.say("GET", path, &[], "").await
    }

    /// What must be answered.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.json()
    }

    /// A change as the page makes it.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        let headers = [("Content-Type", "application/json"), ("X-Streamer-Dashboard", "1")];
        self.say("POST", path, &headers, &body.to_string()).await
    }

    /// A change that begins a job, until that has ended.
    pub(crate) async fn job(&self, path: &str, body: Value) -> Value {
        let reply = self.post(path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        let id = reply.json()["job"].clone();
        self.until("/api/jobs", |jobs| {
            let mut jobs = jobs["jobs"].as_array().unwrap().iter();
            jobs.find(|job| job["id"] == id && job["state"] != "running").cloned()
        })
        .await
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until<T>(&self, path: &str, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let reply = self.get(path).await;
            if reply.status == 200
                && let Some(found) = wanted(&reply.json())
            {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{path}: {} {}", reply.status, reply.body);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for a look at the store that began after this was called: the next one may be under way already.
    pub(crate) async fn looked(&self) {
        let mut looks = std::collections::BTreeSet::new();
        self.until("/api/overview", |overview| {
            looks.insert(overview["at_ms"].as_u64()?);
            (looks.len() > 2).then_some(())
        })
        .await;
    }

    /// Server-sent events.
    pub(crate) async fn events(&self, path: &str) -> Events {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port);
        stream.write_all(head.as_bytes()).await.unwrap();
        Events(BufReader::new(stream))
    }

    pub(crate) async fn emit(&self, name: &str, payload: Value) -> EntryId {
        let event = DynamicEvent::new(name, payload);
        self.streamer.emit(&event).await.unwrap()
    }

    pub(crate) async fn emit_for(&self, name: &str, identifier: &str, payload: Value) -> EntryId {
        let options = EmitOptions::new().identifier(identifier);
        let event = DynamicEvent::new(name, payload);
        self.streamer.emit_with(&event, options).await.unwrap()
    }

    /// Records that a listener failed to handle a message.
    pub(crate) async fn fail(&self, stream: &str, id: EntryId, receiver: &str, error: &str) {
        let failure = FailedMessage::new(id, &stream.into(), receiver, error);
        failed::record(self.streamer.engine().as_ref(), &[failure])
            .await
            .unwrap();
    }

    pub(crate) async fn group(&self, stream: &str, group: &str) {
        let start = GroupStart::After(EntryId::MIN);
        self.streamer
            .engine()
            .create_group(&stream.into(), group, start, true)
            .await
            .unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Answers of a server that go on.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// The next event of this kind.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        let wanted = format!("event: {kind}");
        let next = async {
            let mut at = false;
            loop {
                let mut line = String::new();
                assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the events ended");
                let line = line.trim_end();
                if at && let Some(data) = line.strip_prefix("data: ") {
                    return serde_json::from_str(data).unwrap();
                }
                at = line == wanted;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    /// Waits until there are no more.
    pub(crate) async fn ended(mut self) {
        let rest = async {
            let mut rest = Vec::new();
            let _ = self.0.read_to_end(&mut rest).await;
        };
        tokio::time::timeout(PATIENCE, rest).await.unwrap();
    }
}

/// Listeners that handle everything except orders without paper.
pub(crate) fn listeners() -> Listeners {
    async fn receipt(message: streamer::ReceivedMessage) -> Result<(), std::io::Error> {
        match message.get("paper") {
            Some(Value::Bool(false)) => Err(std::io::Error::other("no paper")),
            _ => Ok(()),
        }
    }
    Listeners::new().on("order.placed", "receipt", receipt)
}

/// Three orders, a group that has one of them pending, and two failures.
pub(crate) async fn orders(bench: &Bench) -> Vec<EntryId> {
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(
            bench
                .emit("order.placed", json!({"n": n, "sku": format!("A-{n}")}))
                .await,
        );
    }
    bench.group("order.placed", "billing").await;
    let consumer = bench.streamer.stream("order.placed").consumer("billing", "worker-1");
    assert_eq!(consumer.read_new(1, None).await.unwrap().len(), 1);
    bench.fail("order.placed", ids[0], "receipt", "no paper for 17").await;
    bench.fail("order.placed", ids[1], "audit", "no stock for 18").await;
    ids
}

pub(crate) const STORES: [Topology; 3] = [Topology::Redis, Topology::Cluster, Topology::Embedded];
