//! A shop with something of everything: groups that are behind, failures, an archive, a history, an outbox.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Listeners, StopHandle, Streamer,
    archive::{ArchiveStorage, MemoryArchive, OlderThan, Sweep},
    engine::GroupStart,
    failed::{self, FailedMessage},
    message::CORRELATION_ID,
    outbox::Outbox,
};
use streamer_dashboard::{Dashboard, Token};
use streamer_test_servers::{Store, Topology};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub(crate) const TOKEN: &str = "a-token-for-the-browser-0123456789";

pub(crate) struct Shop {
    _store: Store,
    _folder: TempDir,
    pub(crate) streamer: Streamer,
    pub(crate) outbox: Outbox,
    pub(crate) root: String,
    stop: StopHandle,
}

impl Shop {
    /// An open shop.
    pub(crate) async fn open() -> Self {
        Self::with(|dashboard| dashboard).await
    }

    pub(crate) async fn with(change: impl FnOnce(Dashboard) -> Dashboard) -> Self {
        Self::on(Topology::Redis, change).await
    }

    /// On a store of this kind.
    pub(crate) async fn on(topology: Topology, change: impl FnOnce(Dashboard) -> Dashboard) -> Self {
        async fn receipt(message: streamer::ReceivedMessage) -> Result<(), std::io::Error> {
            match message.get("total").and_then(Value::as_f64) {
                Some(total) if total > 100.0 => Err(std::io::Error::other("the printer has no paper for 3 pages")),
                _ => Ok(()),
            }
        }
        let store = Store::new(topology);
        let streamer = Streamer::connect(store.url()).await.unwrap().with_domain("shop");
        let archive = Arc::new(MemoryArchive::default());
        let folder = TempDir::new().unwrap();
        let outbox = format!("sqlite://{}?mode=rwc", folder.path().join("shop.db").display());
        let outbox = Outbox::connect(&outbox).await.unwrap();
        outbox.migrate().await.unwrap();
        block_rows(&folder.path().join("shop.db"));
        // A history is written in one step with its event: on a cluster, only where both names lie in one slot.
        fill(&streamer, &archive, topology != Topology::Cluster).await;
        let dashboard = Dashboard::new(streamer.clone())
            .listeners(Listeners::new().on("order.placed", "receipt", receipt))
            .archive(archive.clone())
            .outbox(outbox.clone())
            .hosts(["shop.lan"])
            .interval(Duration::from_millis(500));
        let dashboard = change(dashboard);
        let stop = dashboard.stop_handle();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        tokio::spawn(dashboard.serve(listener));
        Self {
            _store: store,
            _folder: folder,
            streamer,
            outbox,
            root,
            stop,
        }
    }

    /// With a login.
    pub(crate) async fn locked() -> Self {
        Self::with(|dashboard| dashboard.token(Token::new(TOKEN).unwrap())).await
    }

    pub(crate) async fn order(&self, n: u64) -> EntryId {
        order(&self.streamer, n).await
    }

    /// A group to which nothing is delivered.
    pub(crate) async fn add_group_without_consumers(&self, stream: &str, group: &str) {
        let (engine, from) = (self.streamer.engine(), GroupStart::After(EntryId::MIN));
        engine.create_group(&stream.into(), group, from, true).await.unwrap();
    }

    /// Orders come and are handled, until the shop is closed.
    pub(crate) fn begin_traffic(&self) {
        tokio::spawn(traffic(self.streamer.clone(), self.stop.clone()));
    }

    /// Waits until the dashboard has drawn so many points of each stream; there is one each 30 seconds.
    pub(crate) async fn until_points(&self, points: usize) {
        loop {
            let overview = self.get("/api/overview").await;
            let rows = overview["rows"].as_array().cloned().unwrap_or_default();
            let drawn = |row: &Value| row["incoming_series"].as_array().map_or(0, Vec::len);
            if rows.iter().map(drawn).max() >= Some(points) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let port = self.root.trim_end_matches('/').rsplit(':').next().unwrap();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub(crate) async fn failures(&self) -> u64 {
        self.streamer.failed().count().await.unwrap()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

async fn order(streamer: &Streamer, n: u64) -> EntryId {
    let total = 9.5 + (n * 17 % 140) as f64;
    let payload = json!({"id": n, "total": total, "customer": format!("customer-{}", n % 7), "items": [{"sku": format!("A-{n}"), "count": 1 + n % 3}]});
    let options = EmitOptions::new().header(CORRELATION_ID, format!("checkout-{n}"));
    streamer
        .emit_with(&DynamicEvent::new("order.placed", payload), options)
        .await
        .unwrap()
}

/// Between 2 and 14 orders a second, in waves of two minutes. One group keeps up; the other one handles 8 a second.
async fn traffic(streamer: Streamer, stop: StopHandle) {
    let mut n = 1000;
    for tick in 0_u32.. {
        let wave = (f64::from(tick) / 240.0 * std::f64::consts::TAU).sin();
        for _ in 0..(4.0 + 3.0 * wave).round() as u64 {
            order(&streamer, n).await;
            n += 1;
        }
        let worker = if tick % 2 == 0 { "worker-1" } else { "worker-2" };
        for (stream, group, most) in [
            ("order.placed", "billing", 20),
            ("order.placed", "mailing", 4),
            ("payment.received", "ledger", 1),
        ] {
            let consumer = streamer.stream(stream).consumer(group, worker);
            let entries = consumer.read_new(most, None).await.unwrap();
            let ids = entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
            consumer.acknowledge(&ids).await.unwrap();
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = stop.stopped() => return,
        }
    }
}

async fn fill(streamer: &Streamer, archive: &Arc<MemoryArchive>, histories: bool) {
    let identified = |id: String| match histories {
        true => EmitOptions::new().identifier(id),
        false => EmitOptions::new(),
    };
    for n in 1..=5 {
        let options = identified(n.to_string());
        let event = DynamicEvent::new("invoice.sent", json!({"invoice": n}));
        streamer.emit_with(&event, options).await.unwrap();
    }
    let sweep = Sweep::archive(streamer, Arc::clone(archive) as Arc<dyn ArchiveStorage>);
    sweep.run(&"invoice.sent".into(), OlderThan::now()).await.unwrap();
    let mut ids = Vec::new();
    for n in 1..=40 {
        ids.push(order(streamer, n).await);
    }
    for n in 1..=6 {
        streamer
            .emit(&DynamicEvent::new(
                "payment.received",
                json!({"order": n, "amount": 12.5}),
            ))
            .await
            .unwrap();
    }
    for (order, hours) in [(41, 2), (42, 26), (43, 50)] {
        let reminder = DynamicEvent::new("payment.received", json!({"order": order, "reminder": true}));
        let later = EmitOptions::new().deliver_after(Duration::from_secs(hours * 3600));
        streamer.emit_with(&reminder, later).await.unwrap();
    }
    for (stream, group, read) in [
        ("order.placed", "billing", 28),
        ("order.placed", "mailing", 12),
        ("payment.received", "ledger", 6),
    ] {
        let engine = streamer.engine();
        engine
            .create_group(&stream.into(), group, GroupStart::After(EntryId::MIN), true)
            .await
            .unwrap();
        for (at, worker) in ["worker-1", "worker-2"].into_iter().enumerate() {
            let consumer = streamer.stream(stream).consumer(group, worker);
            let entries = consumer.read_new(read / 2, None).await.unwrap();
            let keep = if at == 0 { 3 } else { 1 };
            let settled = entries.iter().skip(keep).map(|entry| entry.id).collect::<Vec<_>>();
            consumer.acknowledge(&settled).await.unwrap();
        }
    }
    let fail = async |id: EntryId, receiver: &str, error: &str| {
        let failure = FailedMessage::new(id, &"order.placed".into(), receiver, error);
        failed::record(streamer.engine().as_ref(), &[failure]).await.unwrap();
    };
    for (n, id) in ids.iter().enumerate().take(12) {
        fail(*id, "receipt", &format!("the printer has no paper for {} pages", n + 1)).await;
    }
    for id in &ids[12..17] {
        let error = "connection to audit.example timed out after 30 s\n  at audit::send\n  at audit::handle";
        fail(*id, "audit", error).await;
    }
    for change in [
        json!({"name": "Ann", "city": "Oslo", "plan": "free"}),
        json!({"city": "Bergen"}),
        json!({"plan": "pro", "seats": 5}),
        json!({"seats": 12, "name": "Ann Hansen"}),
    ] {
        let options = identified("7".to_owned());
        streamer
            .emit_with(&DynamicEvent::new("user", change), options)
            .await
            .unwrap();
    }
}

/// Two rows of the outbox that a relay gave up, and one that waits behind.
fn block_rows(file: &std::path::Path) {
    let database = rusqlite::Connection::open(file).unwrap();
    for (at, blocked) in [(1, true), (2, true), (3, false)] {
        let error = blocked.then_some("WRONGTYPE: the key refund.made holds something else than a stream");
        let id = format!("0197fdd4-5f2c-7c0e-9d1b-0242ac12000{at}");
        database
            .execute(
                "INSERT INTO streamer_outbox (event_id, shard, ordering_key, stream, fields, created_ms, attempts, last_error, blocked)
                 VALUES (?, 1, ?, CAST('refund.made' AS BLOB), x'00', 1795407980936, 10, ?, ?)",
                rusqlite::params![id, format!("order-{at}"), error, blocked],
            )
            .unwrap();
    }
}
