//! Many rows at once emit one event for each.

use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait};
use serde_json::json;

use crate::{
    databases::databases,
    orders::{self, order},
};

#[tokio::test]
async fn each_row_of_a_bulk_statement_is_an_event() {
    for db in databases().await {
        db.create_table(orders::Entity).await;
        let rows = ["Ann", "Bob", "Cy"].map(order);
        let models = streamer_sea_orm::insert_many::<orders::Entity, _>(rows, &db.connection)
            .await
            .unwrap();
        assert_eq!(db.emitted().await.len(), 3);

        let mut set = <orders::ActiveModel as ActiveModelTrait>::default();
        set.note = Set(Some("late".to_owned()));
        let not_bob = orders::Column::Customer.ne("Bob");
        let updated = streamer_sea_orm::update_many::<orders::Entity, _>(not_bob.clone(), set.clone(), &db.connection);
        assert_eq!(updated.await.unwrap().len(), 2);
        let emitted = db.emitted().await;
        let told = emitted
            .iter()
            .map(|event| event.payload()["after"].clone())
            .collect::<Vec<_>>();
        assert_eq!(told, [json!({"note": "late"}), json!({"note": "late"})]);
        // The same again changes nothing.
        streamer_sea_orm::update_many::<orders::Entity, _>(not_bob.clone(), set.clone(), &db.connection)
            .await
            .unwrap();
        assert_eq!(db.emitted().await, []);

        set.id = Set(5);
        let error = streamer_sea_orm::update_many::<orders::Entity, _>(not_bob.clone(), set, &db.connection);
        assert!(error.await.unwrap_err().to_string().contains("cannot change a key"));

        let deleted = streamer_sea_orm::delete_many::<orders::Entity, _>(not_bob, &db.connection)
            .await
            .unwrap();
        assert_eq!(deleted, 2);
        let emitted = db.emitted().await;
        let keys = emitted
            .iter()
            .map(|event| event.payload()["id"].clone())
            .collect::<Vec<_>>();
        assert_eq!(keys, [json!(models[0].id), json!(models[2].id)]);
        assert_eq!(orders::Entity::find().all(&db.connection).await.unwrap().len(), 1);
    }
}
