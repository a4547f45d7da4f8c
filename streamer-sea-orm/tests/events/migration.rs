//! SeaORM's migrator makes and removes our tables.

use sea_orm::ConnectionTrait;
use sea_orm_migration::{MigrationTrait, MigratorTrait};

use crate::{databases::databases, orders, orders::order};

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(streamer_sea_orm::Migration)]
    }
}

#[tokio::test]
async fn the_migrator_makes_the_tables_and_drops_no_event_that_is_not_published() {
    for db in databases().await {
        let connection = &db.connection;
        for table in ["", "_published", "_relays"] {
            connection
                .execute_unprepared(&format!("DROP TABLE IF EXISTS streamer_outbox{table}"))
                .await
                .unwrap();
        }
        db.create_table(orders::Entity).await;
        order("Ann").insert(connection).await.unwrap_err();
        Migrator::up(connection, None).await.unwrap();
        Migrator::up(connection, None).await.unwrap();
        order("Ann").insert(connection).await.unwrap();

        let refused = Migrator::down(connection, None).await.unwrap_err();
        assert!(refused.to_string().contains("not published"), "{refused}");
        assert_eq!(db.emitted().await.len(), 1);
        Migrator::down(connection, None).await.unwrap();
        order("Ann").insert(connection).await.unwrap_err();
        Migrator::up(connection, None).await.unwrap();
        order("Ann").insert(connection).await.unwrap();
    }
}
