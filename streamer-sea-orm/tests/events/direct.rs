//! Emitting at once, without the outbox.

use sea_orm::{ActiveValue::Set, EntityTrait, IntoActiveModel};
use serde_json::json;
use streamer::Streamer;
use streamer_sea_orm::direct::{self, DirectError};

use crate::{
    databases::databases,
    orders::{Entity, order},
};

#[tokio::test]
async fn a_direct_event_is_on_its_stream_and_not_in_the_outbox() {
    for db in databases().await {
        db.create_table(Entity).await;
        let streamer = Streamer::connect("memory:").await.unwrap();
        let connection = &db.connection;
        let created = direct::insert::<Entity>(order("Ann"), connection, &streamer)
            .await
            .unwrap();
        let key = created.id.to_string();
        let mut change = created.clone().into_active_model();
        change.total = Set(12.5);
        let saved = direct::save::<Entity>(change, connection, &streamer).await.unwrap();
        // It changes nothing.
        direct::update::<Entity>(saved.clone(), connection, &streamer)
            .await
            .unwrap();
        let replayed = streamer.replay_model("order", &key).run().await.unwrap().unwrap();
        assert_eq!(
            (replayed.messages, replayed.data),
            (
                2,
                json!({"customer": "Ann", "total": 12.5, "is_paid": false, "id": created.id}).into()
            )
        );
        assert_eq!(
            direct::delete::<Entity>(saved.clone(), connection, &streamer)
                .await
                .unwrap()
                .rows_affected,
            1
        );
        assert_eq!(
            direct::delete::<Entity>(saved, connection, &streamer)
                .await
                .unwrap()
                .rows_affected,
            0
        );
        assert!(
            streamer
                .replay_model("order", &key)
                .run()
                .await
                .unwrap()
                .unwrap()
                .deleted
        );
        assert_eq!(db.emitted().await, []);
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_emitted_is_reported_and_the_row_stays() {
    for db in databases().await {
        db.create_table(Entity).await;
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("s.db").display());
        let streamer = Streamer::connect(&url).await.unwrap();
        // The history has the name of a stream: the event is refused.
        let event = streamer::DynamicEvent::new("order-1", json!({}));
        streamer.emit(&event).await.unwrap();
        let mut first = order("Ann");
        first.id = Set(1);
        let error = direct::insert::<Entity>(first, &db.connection, &streamer)
            .await
            .unwrap_err();
        assert!(matches!(error, DirectError::Emit(_)), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("the row is saved, but its event was not emitted"),
            "{error}"
        );
        assert!(Entity::find_by_id(1).one(&db.connection).await.unwrap().is_some());
    }
}
