//! The tables of the outbox and the inbox, for SeaORM's migrator.

use sea_orm::{ConnectionTrait, DbErr, Statement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};
use streamer::outbox::{IS_ONE_FILE, TABLE};

use crate::install;

/// Creates the tables of the outbox and of the inbox where they are missing. Add it to your migrator:
///
/// ```
/// use sea_orm_migration::{MigrationTrait, MigratorTrait};
///
/// struct Migrator;
///
/// impl MigratorTrait for Migrator {
///     fn migrations() -> Vec<Box<dyn MigrationTrait>> {
///         vec![Box::new(streamer_sea_orm::Migration)]
///     }
/// }
/// ```
///
/// `down` drops them, unless events are not published yet. `MigratorTrait::fresh` and `reset` of SeaORM drop every table of
/// the database without asking, unpublished events too.
#[derive(Clone, Copy, Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261101_000001_streamer_outbox"
    }
}

#[allow(elided_lifetimes_in_paths, reason = "as the trait has them")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        install(manager.get_connection()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let first = Statement::from_string(
            db.get_database_backend(),
            format!("SELECT event_id FROM {TABLE} LIMIT 1"),
        );
        if db.query_one_raw(first).await?.is_some() {
            let reason = "the table `streamer_outbox` has events that are not published yet; dropping it would lose them: \
                          run `streamer outbox relay --once` first, or skip them";
            return Err(DbErr::Custom(reason.to_owned()));
        }
        // Where the streams are in the same file, the outbox belongs to them.
        let is_one_file = db.get_database_backend() == sea_orm::DbBackend::Sqlite
            && db
                .query_one_raw(Statement::from_string(sea_orm::DbBackend::Sqlite, IS_ONE_FILE))
                .await?
                .is_some();
        if !is_one_file {
            db.execute_unprepared(&format!("DROP TABLE IF EXISTS {TABLE}")).await?;
        }
        for table in ["streamer_outbox_published", "streamer_outbox_relays", "streamer_inbox"] {
            db.execute_unprepared(&format!("DROP TABLE IF EXISTS {table}")).await?;
        }
        if db.get_database_backend() == sea_orm::DbBackend::Postgres {
            db.execute_unprepared("DROP FUNCTION IF EXISTS streamer_outbox_notify()")
                .await?;
        }
        Ok(())
    }
}
