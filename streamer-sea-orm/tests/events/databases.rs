//! Each kind of database, and what was written to its outbox.

use std::sync::LazyLock;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Schema, Statement};
use serde_json::Value;
use streamer::outbox::OutboxRow;
use streamer_test_servers::DatabaseServer;

static POSTGRES: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::postgres);
static MARIA: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::maria);

/// A new database of each kind, with the tables of the outbox.
pub(crate) async fn databases() -> Vec<Db> {
    let mut databases = Vec::new();
    let file = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}?mode=rwc", file.path().join("shop.db").display());
    for url in [sqlite, POSTGRES.new_database(), MARIA.new_database()] {
        let mut options = ConnectOptions::new(url);
        options.sqlx_logging(false).max_connections(4);
        let connection = Database::connect(options).await.unwrap();
        if connection.get_database_backend() == DbBackend::MySql {
            // The application's own tables; those of the outbox say it themselves.
            connection
                .execute_unprepared("ALTER DATABASE CHARACTER SET utf8mb4")
                .await
                .unwrap();
        }
        streamer_sea_orm::install(&connection).await.unwrap();
        databases.push(Db {
            connection,
            _file: None,
        });
    }
    databases[0]._file = Some(file);
    databases
}

pub(crate) struct Db {
    pub(crate) connection: DatabaseConnection,
    _file: Option<tempfile::TempDir>,
}

/// An event that the outbox has.
#[derive(Debug, PartialEq)]
pub(crate) struct Emitted {
    pub(crate) event: String,
    pub(crate) identifier: Option<String>,
    pub(crate) data: String,
    fields: streamer::Fields,
}

impl Emitted {
    pub(crate) fn payload(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.field("type")
    }

    pub(crate) fn domain(&self) -> String {
        self.field("domain")
    }

    fn field(&self, field: &str) -> String {
        let value = &self.fields.iter().find(|(name, _)| name == field).unwrap().1;
        String::from_utf8(value.to_vec()).unwrap()
    }
}

impl Db {
    pub(crate) fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    pub(crate) async fn create_table<E: sea_orm::EntityTrait>(&self, entity: E) {
        let table = Schema::new(self.backend()).create_table_from_entity(entity);
        self.connection.execute(&table).await.unwrap();
    }

    /// The rows of the outbox, which is empty then.
    pub(crate) async fn emitted(&self) -> Vec<Emitted> {
        let select = "SELECT stream, fields, identifier FROM streamer_outbox ORDER BY position";
        let rows = self
            .connection
            .query_all_raw(Statement::from_string(self.backend(), select))
            .await
            .unwrap();
        self.connection
            .execute_unprepared("DELETE FROM streamer_outbox")
            .await
            .unwrap();
        let emitted = |row: sea_orm::QueryResult| {
            let fields = OutboxRow::decode_fields(&row.try_get::<Vec<u8>>("", "fields").unwrap()).unwrap();
            let data = fields.iter().find(|(name, _)| name == "data").unwrap().1.clone();
            Emitted {
                event: String::from_utf8(row.try_get("", "stream").unwrap()).unwrap(),
                identifier: row.try_get("", "identifier").unwrap(),
                data: String::from_utf8(data.to_vec()).unwrap(),
                fields,
            }
        };
        rows.into_iter().map(emitted).collect()
    }
}
