//! The tables of the outbox, for each kind of database.

/// The table of events that are on their way.
pub const TABLE: &str = "streamer_outbox";

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL 12 or newer.
    Postgres,
    /// MySQL 8.0.1 or MariaDB 10.6, or newer.
    MySql,
    /// SQLite 3.35 or newer.
    Sqlite,
}

impl Dialect {
    /// The placeholder of the parameter with this number; the first is 1.
    #[must_use]
    pub fn placeholder(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::MySql | Self::Sqlite => "?".to_owned(),
        }
    }
}

/// The statements that create the tables where they are missing, in order.
#[must_use]
pub fn schema(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgres => &[
            "CREATE TABLE IF NOT EXISTS streamer_outbox (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id VARCHAR(36) NOT NULL UNIQUE,
    shard SMALLINT NOT NULL,
    ordering_key VARCHAR(200) NOT NULL,
    stream BYTEA NOT NULL,
    fields BYTEA NOT NULL,
    identifier TEXT,
    history TEXT,
    created_ms BIGINT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    blocked BOOLEAN NOT NULL DEFAULT FALSE
)",
            "CREATE INDEX IF NOT EXISTS streamer_outbox_shard ON streamer_outbox (shard, position)",
        ],
        Dialect::MySql => &["CREATE TABLE IF NOT EXISTS streamer_outbox (
    position BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(36) CHARACTER SET ascii NOT NULL UNIQUE,
    shard SMALLINT NOT NULL,
    ordering_key VARCHAR(200) NOT NULL,
    stream VARBINARY(8192) NOT NULL,
    fields LONGBLOB NOT NULL,
    identifier TEXT,
    history TEXT,
    created_ms BIGINT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    blocked BOOLEAN NOT NULL DEFAULT FALSE,
    INDEX streamer_outbox_shard (shard, position)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE = InnoDB"],
        Dialect::Sqlite => &[
            "CREATE TABLE IF NOT EXISTS streamer_outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    shard INTEGER NOT NULL,
    ordering_key TEXT NOT NULL,
    stream BLOB NOT NULL,
    fields BLOB NOT NULL,
    identifier TEXT,
    history TEXT,
    created_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    blocked INTEGER NOT NULL DEFAULT 0
)",
            "CREATE INDEX IF NOT EXISTS streamer_outbox_shard ON streamer_outbox (shard, position)",
        ],
    }
}
