//! Columns of every kind, and keys of more than one column.

use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, IntoActiveModel};
use serde_json::json;

use crate::databases::databases;

mod sample {
    use sea_orm::entity::prelude::*;
    use streamer_sea_orm::ModelEvents;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
    #[sea_orm(table_name = "samples")]
    #[model_events(name = "sample", kind = "notification", domain = "lab")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) site: String,
        pub(crate) state: State,
        #[sea_orm(column_type = "Decimal(Some((16, 4)))")]
        pub(crate) price: Decimal,
        pub(crate) at: DateTime,
        pub(crate) day: Date,
        pub(crate) extra: Option<Json>,
        pub(crate) bytes: Vec<u8>,
        pub(crate) ratio: f32,
    }

    #[derive(Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
    pub(crate) enum State {
        #[sea_orm(string_value = "new")]
        New,
        #[sea_orm(string_value = "done")]
        Done,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[tokio::test]
async fn every_type_of_column_is_told_as_it_is_stored() {
    for db in databases().await {
        db.create_table(sample::Entity).await;
        let id = "0190a2b4-0000-7000-8000-000000000001";
        let model = sample::Model {
            id: id.parse().unwrap(),
            site: "eu:1".to_owned(),
            state: sample::State::New,
            price: "12.3456".parse().unwrap(),
            at: "2022-03-04T05:06:07".parse().unwrap(),
            day: "2022-03-04".parse().unwrap(),
            extra: Some(json!({"a": [1, null]})),
            bytes: vec![0, 255],
            ratio: 0.1,
        };
        let created = model
            .into_active_model()
            .reset_all()
            .insert(&db.connection)
            .await
            .unwrap();
        let emitted = db.emitted().await;
        assert_eq!(emitted[0].identifier.as_deref(), Some(&*format!("{id}:eu%3A1")));
        assert_eq!(
            emitted[0].payload()["after"],
            json!({
                "id": id, "site": "eu:1", "state": "new", "price": "12.3456", "at": "2022-03-04T05:06:07",
                "day": "2022-03-04", "extra": {"a": [1, null]}, "bytes": "AP8=", "ratio": 0.1,
            }),
            "{:?}",
            db.backend()
        );
        assert_eq!(emitted[0].payload()["id"], json!(id));
        assert_eq!(emitted[0].payload()["site"], json!("eu:1"));

        let mut change = created.into_active_model();
        change.state = Set(sample::State::Done);
        change.extra = Set(None);
        change.update(&db.connection).await.unwrap();
        let payload = db.emitted().await[0].payload();
        assert_eq!(payload["before"], json!({"state": "new", "extra": {"a": [1, null]}}));
        assert_eq!(payload["after"], json!({"state": "done", "extra": null}));
    }
}
