//! The application's tables and the streams in one SQLite file: a model's events are on their streams at the commit.

use sea_orm::{
    ActiveValue::Set, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, EntityTrait as _, Schema,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};
use serde_json::json;
use streamer::{DynamicEvent, Streamer};

use crate::orders::{Entity, order};

async fn database(url: &str) -> DatabaseConnection {
    Database::connect(format!("{url}?mode=rwc")).await.unwrap()
}

async fn lengths(streamer: &Streamer) -> [u64; 3] {
    let mut lengths = [0; 3];
    for (length, action) in lengths.iter_mut().zip(["created", "updated", "deleted"]) {
        *length = streamer.stream(format!("order.{action}")).len().await.unwrap();
    }
    lengths
}

#[tokio::test]
async fn model_events_commit_with_their_rows() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("shop.db").display());
    let db = database(&url).await;
    let table = Schema::new(DbBackend::Sqlite).create_table_from_entity(Entity);
    db.execute(&table).await.unwrap();
    // The outbox's own table comes first, as with migrations that know nothing of one file.
    streamer_sea_orm::install(&db).await.unwrap();
    let streamer = Streamer::connect(&url).await.unwrap();
    streamer_sea_orm::install(&db).await.unwrap();

    let saved = order("ann").insert(&db).await.unwrap();
    assert_eq!(lengths(&streamer).await, [1, 0, 0]);
    for commits in [false, true] {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = db.begin_with_options(immediate).await.unwrap();
        let mut changed: crate::orders::ActiveModel = saved.clone().into();
        changed.note = Set(Some("a gift".to_owned()));
        changed.update(&transaction).await.unwrap();
        let other = order("ben").insert(&transaction).await.unwrap();
        other.delete(&transaction).await.unwrap();
        let event = DynamicEvent::new("mail.asked", json!({ "order": saved.id }));
        streamer_sea_orm::emit_in(&transaction, &event, "shop").await.unwrap();
        assert_eq!(lengths(&streamer).await, [1, 0, 0], "not before the commit");
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
    }
    assert_eq!(lengths(&streamer).await, [2, 1, 1]);
    assert_eq!(streamer.stream("mail.asked").len().await.unwrap(), 1);
    assert_eq!(Entity::find().all(&db).await.unwrap().len(), 1);

    let rebuilt = streamer
        .replay_model("order", saved.id.to_string())
        .run()
        .await
        .unwrap()
        .unwrap();
    assert!(rebuilt.is_whole());
    assert_eq!((rebuilt.messages, &rebuilt.data["note"]), (2, &json!("a gift").into()));
}

#[tokio::test]
async fn a_deferred_transaction_that_has_read_is_told_how_to_begin() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("shop.db").display());
    let streamer = Streamer::connect(&url).await.unwrap();
    let db = database(&url).await;
    let transaction = db.begin().await.unwrap();
    transaction
        .execute_unprepared("SELECT count(*) FROM sqlite_schema")
        .await
        .unwrap();
    streamer.emit(&DynamicEvent::new("other", json!({}))).await.unwrap();
    let event = DynamicEvent::new("mail.asked", json!({}));
    let error = streamer_sea_orm::emit_in(&transaction, &event, "shop")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("BEGIN IMMEDIATE"), "{error}");
}
