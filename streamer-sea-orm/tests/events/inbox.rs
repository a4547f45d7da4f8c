//! A listener that writes by SeaORM handles each message once.

use sea_orm::{EntityTrait, PaginatorTrait, TransactionTrait};
use streamer::{Entry, EntryId, ReceivedMessage, StreamName};
use streamer_sea_orm::Once;

use crate::{databases::databases, orders, orders::order};

#[tokio::test]
async fn a_message_that_is_delivered_twice_has_one_effect() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let message = |ms| {
            let entry = Entry {
                id: EntryId::new(ms, 0),
                fields: Vec::new(),
            };
            ReceivedMessage::new(StreamName::from("orders"), entry, 1)
        };
        let handle = async |message: &ReceivedMessage, group: &str, commit: bool| {
            let transaction = db.connection.begin().await.unwrap();
            let first = Once::in_transaction(&transaction, message, group).await.unwrap();
            if first {
                order("Ann").insert(&transaction).await.unwrap();
            }
            match commit {
                true => transaction.commit().await.unwrap(),
                false => transaction.rollback().await.unwrap(),
            }
            first
        };
        let (one, other) = (message(1), message(2));
        // A listener that is killed before it commits has done nothing.
        assert!(handle(&one, "g", false).await);
        assert!(handle(&one, "g", true).await);
        assert!(!handle(&one, "g", true).await);
        assert!(handle(&one, "h", true).await);
        assert!(handle(&other, "g", true).await);
        let orders = orders::Entity::find().count(&db.connection).await.unwrap();
        assert_eq!(orders, 3, "{:?}", db.backend());
    }
}
