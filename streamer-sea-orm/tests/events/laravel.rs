//! What laravel-streamer emitted for the same changes of the same models, byte for byte.

use sea_orm::{ActiveValue::Set, IntoActiveModel};
use serde_json::{Value, json};

use crate::databases::{Db, databases};

mod product {
    use sea_orm::entity::prelude::*;
    use streamer_sea_orm::ModelEvents;

    // PHP assigns `updated_at` before `created_at`.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "products")]
    #[model_events(custom)]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) name: String,
        pub(crate) qty: Option<i32>,
        #[sea_orm(column_type = "Double")]
        pub(crate) price: Option<f64>,
        pub(crate) active: Option<bool>,
        pub(crate) updated_at: Option<DateTime>,
        pub(crate) created_at: Option<DateTime>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl ModelEvents for Entity {
        const NAME: &'static str = "Product";

        fn format() -> streamer_sea_orm::PayloadFormat {
            streamer_sea_orm::PayloadFormat::Laravel
        }
    }
}

mod plain {
    use sea_orm::entity::prelude::*;
    use streamer_sea_orm::ModelEvents;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "plains")]
    #[model_events(name = "PlainNamed", laravel)]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod thing {
    use sea_orm::entity::prelude::*;
    use streamer_sea_orm::ModelEvents;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "things")]
    #[model_events(name = "thing.base", laravel)]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) code: String,
        pub(crate) name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod with_additional {
    use sea_orm::entity::prelude::*;
    use serde_json::json;
    use streamer::OrderedJson;
    use streamer_sea_orm::ModelEvents;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "additionals")]
    #[model_events(custom)]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) name: String,
        pub(crate) qty: Option<i32>,
        pub(crate) updated_at: Option<DateTime>,
        pub(crate) created_at: Option<DateTime>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl ModelEvents for Entity {
        const NAME: &'static str = "product.with.additional";

        fn additional(_: &Model) -> Option<OrderedJson> {
            let members = [
                ("tenant", json!(7)),
                ("tags", json!(["a", "b"])),
                ("user", json!({"name": "é/x"})),
            ];
            Some(members.into_iter().collect())
        }

        fn format() -> streamer_sea_orm::PayloadFormat {
            streamer_sea_orm::PayloadFormat::Laravel
        }
    }
}

mod soft {
    use sea_orm::entity::prelude::*;
    use streamer_sea_orm::{ModelAction, ModelEvents};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "softs")]
    #[model_events(custom)]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) name: String,
        pub(crate) deleted_at: Option<DateTime>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl ModelEvents for Entity {
        const NAME: &'static str = "soft.product";

        fn can_stream(model: &Model, action: ModelAction) -> bool {
            // A soft delete is no update to Laravel, though it is one to the database.
            !(action == ModelAction::Updated && model.deleted_at.is_some())
        }

        fn format() -> streamer_sea_orm::PayloadFormat {
            streamer_sea_orm::PayloadFormat::Laravel
        }
    }
}

/// What PHP emitted in a capture: event and payload.
fn captured(id: &str) -> Vec<(String, String)> {
    let captures: Vec<Value> =
        serde_json::from_str(include_str!("../../../streamer/tests/golden/eloquent.json")).unwrap();
    let capture = captures.iter().find(|capture| capture["id"] == id).unwrap();
    let emitted = |entry: &Value| {
        let data = entry["fields"]
            .as_array()
            .unwrap()
            .iter()
            .find(|field| field[0] == "data")
            .unwrap();
        (
            entry["stream"].as_str().unwrap().to_owned(),
            data[1].as_str().unwrap().to_owned(),
        )
    };
    capture["emitted"].as_array().unwrap().iter().map(emitted).collect()
}

async fn emitted(db: &Db) -> Vec<(String, String)> {
    db.emitted()
        .await
        .into_iter()
        .map(|event| (event.event, event.data))
        .collect()
}

fn at(second: &str) -> Option<sea_orm::prelude::DateTime> {
    Some(second.parse().unwrap())
}

#[tokio::test]
async fn a_product_is_told_as_php_tells_it() {
    for db in databases().await {
        db.create_table(product::Entity).await;
        let created = product::ActiveModel {
            name: Set("Chair".to_owned()),
            qty: Set(Some(3)),
            price: Set(Some(9.99)),
            active: Set(Some(true)),
            updated_at: Set(at("2022-03-04T05:06:07")),
            created_at: Set(at("2022-03-04T05:06:07")),
            ..Default::default()
        };
        let created = created.insert(&db.connection).await.unwrap();
        assert_eq!(emitted(&db).await, captured("model-01"), "{:?}", db.backend());

        let mut renamed = created.into_active_model();
        renamed.name = Set("Stół / é".to_owned());
        renamed.updated_at = Set(at("2022-03-04T05:07:07"));
        let renamed = renamed.update(&db.connection).await.unwrap();
        assert_eq!(emitted(&db).await, captured("model-02"));

        let mut several = renamed.into_active_model();
        several.qty = Set(None);
        several.price = Set(Some(10.0));
        several.active = Set(Some(false));
        let several = several.update(&db.connection).await.unwrap();
        assert_eq!(emitted(&db).await, captured("model-03"));

        several.clone().into_active_model().save(&db.connection).await.unwrap();
        assert_eq!(emitted(&db).await, captured("model-05"));

        several.delete(&db.connection).await.unwrap();
        assert_eq!(emitted(&db).await, captured("model-06"));
    }
}

#[tokio::test]
async fn names_and_falsy_keys_are_told_as_php_tells_them() {
    for db in databases().await {
        db.create_table(plain::Entity).await;
        let plain = plain::ActiveModel {
            name: Set("x".to_owned()),
            ..Default::default()
        };
        plain.clone().insert(&db.connection).await.unwrap();
        db.emitted().await;
        plain.insert(&db.connection).await.unwrap();
        assert_eq!(emitted(&db).await, captured("model-07"));

        db.create_table(thing::Entity).await;
        let thing = thing::ActiveModel {
            code: Set("0".to_owned()),
            name: Set("n".to_owned()),
        };
        thing
            .insert(&db.connection)
            .await
            .unwrap()
            .delete(&db.connection)
            .await
            .unwrap();
        assert_eq!(emitted(&db).await, captured("model-09"));
    }
}

#[tokio::test]
async fn an_additional_payload_is_told_as_php_tells_it() {
    for db in databases().await {
        db.create_table(with_additional::Entity).await;
        let row = |id| with_additional::ActiveModel {
            id,
            name: Set("n".to_owned()),
            qty: Set(Some(1)),
            updated_at: Set(at("2026-11-23T04:26:21")),
            created_at: Set(at("2026-11-23T04:26:21")),
        };
        // The capture's row was the third of its table.
        for _ in 0..2 {
            row(sea_orm::ActiveValue::NotSet).insert(&db.connection).await.unwrap();
        }
        db.emitted().await;
        let created = row(sea_orm::ActiveValue::NotSet).insert(&db.connection).await.unwrap();
        let mut changed = created.into_active_model();
        changed.qty = Set(Some(2));
        changed
            .update(&db.connection)
            .await
            .unwrap()
            .delete(&db.connection)
            .await
            .unwrap();
        assert_eq!(emitted(&db).await, captured("model-11"));
    }
}

#[tokio::test]
async fn a_soft_delete_is_told_as_php_tells_it() {
    for db in databases().await {
        db.create_table(soft::Entity).await;
        let row = || soft::ActiveModel {
            name: Set("n".to_owned()),
            ..Default::default()
        };
        for _ in 0..4 {
            row().insert(&db.connection).await.unwrap();
        }
        db.emitted().await;
        let created = row().insert(&db.connection).await.unwrap();
        let mut hidden = created.clone().into_active_model();
        hidden.deleted_at = Set(at("2022-03-04T05:06:07"));
        let hidden = hidden.update(&db.connection).await.unwrap();
        let event =
            streamer::model::ModelSpec::new("soft.product").deleted(json!({"id": created.id}).as_object().unwrap());
        streamer_sea_orm::emit_replayable_in(&db.connection, &event, "")
            .await
            .unwrap();
        let mut shown = hidden.into_active_model();
        shown.deleted_at = Set(None);
        shown.update(&db.connection).await.unwrap();
        assert_eq!(emitted(&db).await, captured("model-13"));
    }
}
