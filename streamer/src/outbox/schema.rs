//! The tables of the outbox, for each kind of database.

use std::fmt;

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
    /// The database that a URL's scheme names.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        match url.split(':').next().unwrap_or_default() {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    /// The cargo feature of `streamer-events` and `streamer-cli` that brings its client.
    #[must_use]
    pub fn feature(self) -> &'static str {
        match self {
            Self::Postgres => "outbox-postgres",
            Self::MySql => "outbox-mysql",
            Self::Sqlite => "outbox-sqlite",
        }
    }

    /// The placeholder of the parameter with this number; the first is 1.
    #[must_use]
    pub fn placeholder(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::MySql | Self::Sqlite => "?".to_owned(),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MySQL",
            Self::Sqlite => "SQLite",
        })
    }
}

/// The statements that create the tables where they are missing, in order. Running them again changes nothing.
///
/// - `streamer_outbox`: events that are not published yet. `position` gives the order within a key, `shard` divides the keys
///   among relays, a row that is `blocked` could not be published and keeps its key waiting.
/// - `streamer_outbox_published`: rows that were published, where the relay is told to keep them for a time.
/// - `streamer_outbox_relays`: which relays run, so that they share the shards.
/// - `streamer_inbox`: messages that listeners handled in a transaction of their own database.
#[must_use]
pub fn schema(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgres => POSTGRES,
        Dialect::MySql => MYSQL,
        Dialect::Sqlite => SQLITE,
    }
}

/// A query that gives a row in a SQLite file whose streams are in the same file: there `streamer_outbox` is a view, and an event
/// that is written to it is on its stream as soon as the transaction commits. The engine has made it.
pub const IS_ONE_FILE: &str = "SELECT 1 FROM sqlite_schema WHERE name = 'streamer_outbox' AND type = 'view'";

/// What [`schema`] gives, without what the engine makes in a SQLite file that holds the streams too ([`IS_ONE_FILE`]).
#[must_use]
pub fn schema_of_one_file() -> &'static [&'static str] {
    &SQLITE[SQLITE_OUTBOX..]
}

const POSTGRES: &[&str] = &[
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
    attempts BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    blocked BOOLEAN NOT NULL DEFAULT FALSE
)",
    "CREATE INDEX IF NOT EXISTS streamer_outbox_shard ON streamer_outbox (shard, position)",
    "CREATE INDEX IF NOT EXISTS streamer_outbox_blocked ON streamer_outbox (ordering_key) WHERE blocked",
    "CREATE OR REPLACE FUNCTION streamer_outbox_notify() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN PERFORM pg_notify('streamer_outbox', ''); RETURN NULL; END $$",
    "DROP TRIGGER IF EXISTS streamer_outbox_notify ON streamer_outbox",
    "CREATE TRIGGER streamer_outbox_notify AFTER INSERT ON streamer_outbox \
     FOR EACH STATEMENT EXECUTE FUNCTION streamer_outbox_notify()",
    "CREATE TABLE IF NOT EXISTS streamer_outbox_published (
    event_id VARCHAR(36) PRIMARY KEY,
    ordering_key VARCHAR(200) NOT NULL,
    stream BYTEA NOT NULL,
    fields BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    published_ms BIGINT NOT NULL
)",
    "CREATE INDEX IF NOT EXISTS streamer_outbox_published_ms ON streamer_outbox_published (published_ms)",
    "CREATE TABLE IF NOT EXISTS streamer_outbox_relays (
    relay_id VARCHAR(36) PRIMARY KEY,
    seen_ms BIGINT NOT NULL
)",
    "CREATE TABLE IF NOT EXISTS streamer_inbox (
    consumer_group VARCHAR(200) NOT NULL,
    stream BYTEA NOT NULL,
    message_id VARCHAR(41) NOT NULL,
    handled_ms BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, stream, message_id)
)",
];

const MYSQL: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS streamer_outbox (
    position BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id VARCHAR(36) NOT NULL UNIQUE,
    shard SMALLINT NOT NULL,
    ordering_key VARCHAR(200) NOT NULL,
    stream VARBINARY(8192) NOT NULL,
    fields LONGBLOB NOT NULL,
    identifier TEXT,
    history TEXT,
    created_ms BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    blocked BOOLEAN NOT NULL DEFAULT FALSE,
    INDEX streamer_outbox_shard (shard, position),
    INDEX streamer_outbox_blocked (ordering_key, blocked)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS streamer_outbox_published (
    event_id VARCHAR(36) NOT NULL PRIMARY KEY,
    ordering_key VARCHAR(200) NOT NULL,
    stream VARBINARY(8192) NOT NULL,
    fields LONGBLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    published_ms BIGINT NOT NULL,
    INDEX streamer_outbox_published_ms (published_ms)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS streamer_outbox_relays (
    relay_id VARCHAR(36) NOT NULL PRIMARY KEY,
    seen_ms BIGINT NOT NULL
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS streamer_inbox (
    consumer_group VARCHAR(200) NOT NULL,
    stream VARBINARY(1024) NOT NULL,
    message_id VARCHAR(41) NOT NULL,
    handled_ms BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, stream, message_id)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE = InnoDB",
];

const SQLITE: &[&str] = &[
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
    "CREATE INDEX IF NOT EXISTS streamer_outbox_blocked ON streamer_outbox (ordering_key) WHERE blocked",
    "CREATE TABLE IF NOT EXISTS streamer_outbox_published (
    event_id TEXT PRIMARY KEY,
    ordering_key TEXT NOT NULL,
    stream BLOB NOT NULL,
    fields BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    published_ms INTEGER NOT NULL
) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS streamer_outbox_published_ms ON streamer_outbox_published (published_ms)",
    SQLITE_INBOX,
];

pub(crate) const SQLITE_INBOX: &str = "CREATE TABLE IF NOT EXISTS streamer_inbox (
    consumer_group TEXT NOT NULL,
    stream BLOB NOT NULL,
    message_id TEXT NOT NULL,
    handled_ms INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, stream, message_id)
) WITHOUT ROWID";

/// How many of the first statements of SQLite's schema are about `streamer_outbox`.
const SQLITE_OUTBOX: usize = 2;
