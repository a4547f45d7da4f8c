//! A new database of each kind, and a store.

use std::sync::LazyLock;

use serde_json::json;
use sqlx::{AnyPool, any::AnyPoolOptions};
use streamer::{
    DynamicEvent, Entry, RangeBound, Streamer,
    outbox::{Column, Dialect, Outbox, OutboxRow},
};
use streamer_test_servers::{DatabaseServer, RedisServer};

static POSTGRES: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::postgres);
static MARIA: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::maria);
static REDIS: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

pub(crate) struct Db {
    pub(crate) url: String,
    pub(crate) outbox: Outbox,
    /// The application's own connections.
    pub(crate) pool: AnyPool,
    /// A prefix that no other test's streams have.
    pub(crate) name: String,
    pub(crate) streamer: Streamer,
    pub(crate) store: String,
    _file: Option<tempfile::TempDir>,
}

pub(crate) async fn databases(test: &str) -> Vec<Db> {
    sqlx::any::install_default_drivers();
    let file = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}?mode=rwc", file.path().join("shop.db").display());
    let mut databases = Vec::new();
    for (url, file) in [
        (sqlite, Some(file)),
        (POSTGRES.new_database(), None),
        (MARIA.new_database(), None),
    ] {
        let outbox = Outbox::connect(&url).await.unwrap();
        outbox.migrate().await.unwrap();
        outbox.migrate().await.unwrap();
        databases.push(Db {
            pool: AnyPoolOptions::new().max_connections(8).connect(&url).await.unwrap(),
            name: format!("{test}.{:?}", outbox.dialect()),
            streamer: Streamer::connect(&REDIS.url()).await.unwrap(),
            store: REDIS.url(),
            outbox,
            url,
            _file: file,
        });
    }
    databases
}

impl Db {
    pub(crate) fn dialect(&self) -> Dialect {
        self.outbox.dialect()
    }

    pub(crate) fn row(&self, event: &str, key: &str, number: u64) -> OutboxRow {
        let event = DynamicEvent::new(format!("{}.{event}", self.name), json!({ "n": number, "key": key }));
        OutboxRow::new(&event, "shop").unwrap().ordered_by(key)
    }

    pub(crate) async fn write(&self, row: OutboxRow) {
        let mut connection = self.pool.acquire().await.unwrap();
        write(&mut connection, self.dialect(), row).await;
    }

    pub(crate) async fn entries(&self, event: &str) -> Vec<Entry> {
        let (stream, all) = (format!("{}.{event}", self.name).into(), RangeBound::Unbounded);
        self.streamer
            .engine()
            .range(&stream, all, all, None, false)
            .await
            .unwrap()
    }

    /// The numbers of the events on a stream.
    pub(crate) async fn numbers(&self, event: &str) -> Vec<u64> {
        self.entries(event)
            .await
            .iter()
            .map(|entry| payload(entry)["n"].as_u64().unwrap())
            .collect()
    }
}

pub(crate) fn payload(entry: &Entry) -> serde_json::Value {
    let data = entry.fields.iter().find(|(name, _)| name == "data").unwrap();
    serde_json::from_slice(&data.1).unwrap()
}

/// Writes a row as an application does that knows nothing but SQL.
pub(crate) async fn write(connection: &mut sqlx::AnyConnection, dialect: Dialect, row: OutboxRow) {
    let mut insert = sqlx::query(sqlx::AssertSqlSafe(OutboxRow::insert(dialect)));
    for column in row.columns() {
        insert = match column {
            Column::Text(text) => insert.bind(text),
            Column::Bytes(bytes) => insert.bind(bytes),
            Column::Small(number) => insert.bind(number),
            Column::Big(number) => insert.bind(number),
        };
    }
    insert.execute(connection).await.unwrap();
}
