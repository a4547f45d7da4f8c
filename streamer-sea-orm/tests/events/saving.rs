//! Saving one row emits one event, in the transaction that saves it.

use sea_orm::{ActiveValue::Set, DbErr, EntityTrait, IntoActiveModel, TransactionTrait};
use serde_json::json;

use crate::{
    databases::databases,
    orders::{self, order},
};

#[tokio::test]
async fn each_change_of_a_row_is_an_event() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let created = order("Ann").insert(&db.connection).await.unwrap();
        let emitted = db.emitted().await;
        assert_eq!(emitted.len(), 1, "{:?}", db.backend());
        assert_eq!(emitted[0].event, "order.created");
        assert_eq!(emitted[0].identifier, Some(created.id.to_string()));
        // In the order of the columns.
        let id = created.id;
        assert_eq!(
            emitted[0].data,
            format!(
                r#"{{"id":{id},"fields":["customer","total","is_paid","id"],"before":{{"customer":null,"total":null,"is_paid":null,"id":null}},"after":{{"customer":"Ann","total":9.5,"is_paid":false,"id":{id}}}}}"#
            )
        );

        let mut change = created.clone().into_active_model();
        change.paid = Set(true);
        change.customer = Set("Ann".to_owned());
        let updated = change.update(&db.connection).await.unwrap();
        assert!(updated.paid);
        let emitted = db.emitted().await;
        assert_eq!(emitted.len(), 1);
        assert_eq!(emitted[0].event, "order.updated");
        assert_eq!(
            emitted[0].payload(),
            json!({"id": created.id, "fields": ["is_paid"], "before": {"is_paid": false}, "after": {"is_paid": true}})
        );

        let deleted = updated.delete(&db.connection).await.unwrap();
        assert_eq!(deleted.rows_affected, 1);
        let emitted = db.emitted().await;
        assert_eq!(emitted[0].event, "order.deleted");
        assert_eq!(emitted[0].payload(), json!({"id": created.id, "deleted": true}));
        assert!(orders::Entity::find().all(&db.connection).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_update_that_changes_nothing_emits_nothing() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let created = order("Ann").insert(&db.connection).await.unwrap();
        db.emitted().await;
        let mut same = created.clone().into_active_model();
        same.customer = Set("Ann".to_owned());
        same.clone().update(&db.connection).await.unwrap();
        created.clone().into_active_model().save(&db.connection).await.unwrap();
        let mut hidden = created.into_active_model();
        hidden.secret = Set(Some("other".to_owned()));
        hidden.update(&db.connection).await.unwrap();
        assert_eq!(db.emitted().await, []);
    }
}

#[tokio::test]
async fn the_earlier_value_is_the_one_in_the_database() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let stale = order("Ann").insert(&db.connection).await.unwrap();
        let mut other = stale.clone().into_active_model();
        other.total = Set(20.0);
        other.update(&db.connection).await.unwrap();
        db.emitted().await;

        let mut change = stale.clone().into_active_model();
        change.total = Set(30.0);
        change.update(&db.connection).await.unwrap();
        assert_eq!(earlier_total(&db).await, 20.0);

        // A caller that holds the model may skip the look; what it holds is taken for the earlier value.
        stale
            .change(&db.connection, |order| order.total = Set(40.0))
            .await
            .unwrap();
        assert_eq!(earlier_total(&db).await, 9.5);
    }
}

#[tokio::test]
async fn a_rollback_takes_the_events_with_it() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let transaction = db.connection.begin().await.unwrap();
        let created = order("Ann").insert(&transaction).await.unwrap();
        created.delete(&transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(db.emitted().await, []);

        let transaction = db.connection.begin().await.unwrap();
        order("Ann").insert(&transaction).await.unwrap();
        order("Bob").insert(&transaction).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(db.emitted().await.len(), 2);
    }
}

#[tokio::test]
async fn what_fails_emits_nothing() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let created = order("Ann").insert(&db.connection).await.unwrap();
        db.emitted().await;
        let mut twice = order("Bob");
        twice.id = Set(created.id);
        twice.insert(&db.connection).await.unwrap_err();
        let mut missing = created.clone().into_active_model();
        missing.id = Set(created.id + 1);
        missing.total = Set(1.0);
        assert_eq!(
            missing.clone().update(&db.connection).await.unwrap_err(),
            DbErr::RecordNotUpdated
        );
        assert_eq!(missing.delete(&db.connection).await.unwrap().rows_affected, 0);
        assert_eq!(db.emitted().await, []);
    }
}

#[tokio::test]
async fn events_of_a_row_agree_with_the_row_however_many_change_it_at_once() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let created = order("Ann").insert(&db.connection).await.unwrap();
        db.emitted().await;
        let tasks = (1..=8).map(|number| {
            let (connection, created) = (db.connection.clone(), created.clone());
            tokio::spawn(async move {
                let mut change = created.into_active_model();
                change.total = Set(f64::from(number) * 100.0);
                change.update(&connection).await.unwrap();
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let mut total = 9.5;
        for event in db.emitted().await {
            let payload = event.payload();
            assert_eq!(payload["before"]["total"].as_f64(), Some(total), "{:?}", db.backend());
            total = payload["after"]["total"].as_f64().unwrap();
        }
        let row = orders::Entity::find_by_id(created.id)
            .one(&db.connection)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(total, row.total);
    }
}

/// PHP's JSON has no `20.0`.
async fn earlier_total(db: &crate::databases::Db) -> f64 {
    let emitted = db.emitted().await;
    assert_eq!(emitted[0].payload()["fields"], json!(["total"]));
    emitted[0].payload()["before"]["total"].as_f64().unwrap()
}
