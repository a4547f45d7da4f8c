//! SeaORM's dense form: models with relations, saved as a whole.

use sea_orm::{ActiveValue::Set, EntityTrait as _, IntoActiveModel as _};
use serde_json::json;

use crate::databases::databases;

mod basket {
    use sea_orm::entity::prelude::*;
    use streamer_sea_orm::ModelEvents;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "baskets")]
    #[model_events(name = "basket")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) customer: String,
        #[sea_orm(has_many)]
        pub(crate) items: HasMany<super::item::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod item {
    use sea_orm::entity::prelude::*;
    use streamer_sea_orm::ModelEvents;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "items")]
    #[model_events(name = "item")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) basket_id: i64,
        pub(crate) sku: String,
        #[sea_orm(belongs_to, from = "basket_id", to = "id")]
        pub(crate) basket: HasOne<super::basket::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[tokio::test]
async fn a_dense_model_and_what_it_holds_emit() {
    for db in databases().await {
        db.create_table(basket::Entity).await;
        db.create_table(item::Entity).await;
        let basket = basket::ActiveModel::builder()
            .set_customer("Ann")
            .add_item(item::ActiveModel::builder().set_sku("tea"))
            .add_item(item::ActiveModel::builder().set_sku("cup"))
            .insert(&db.connection)
            .await
            .unwrap();
        let emitted = db.emitted().await;
        let events = emitted.iter().map(|event| event.event.as_str()).collect::<Vec<_>>();
        assert_eq!(
            events,
            ["basket.created", "item.created", "item.created"],
            "{:?}",
            db.backend()
        );
        assert_eq!(emitted[1].payload()["after"]["basket_id"], json!(basket.id));

        let row = basket::Entity::find_by_id(basket.id)
            .one(&db.connection)
            .await
            .unwrap()
            .unwrap();
        let mut change = row.into_active_model();
        change.customer = Set("Eve".to_owned());
        change.update(&db.connection).await.unwrap();
        let emitted = db.emitted().await;
        assert_eq!(
            emitted[0].payload(),
            json!({"id": basket.id, "fields": ["customer"], "before": {"customer": "Ann"}, "after": {"customer": "Eve"}})
        );
    }
}
