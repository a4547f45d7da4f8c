//! What an application decides by itself: whether to emit, what is added, what is hidden, name, type and domain.

use sea_orm::{ActiveValue::Set, IntoActiveModel as _, entity::prelude::*};
use serde_json::json;
use streamer::OrderedJson;
use streamer_sea_orm::{ModelAction, ModelEvents};

use crate::databases::databases;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
#[sea_orm(table_name = "accounts")]
#[model_events(custom)]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) tenant: i32,
    #[sea_orm(column_name = "pass_word")]
    pub(crate) password: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl ModelEvents for Entity {
    const NAME: &'static str = "Member.Account";

    fn can_stream(account: &Model, action: ModelAction) -> bool {
        // Tests are never told, and neither is that somebody left.
        account.name != "test" && action != ModelAction::Deleted
    }

    fn additional(account: &Model) -> Option<OrderedJson> {
        Some(json!({"tenant": account.tenant}).into())
    }

    fn hidden() -> &'static [&'static str] {
        &["pass_word"]
    }

    fn kind() -> &'static str {
        "notice"
    }

    fn domain() -> std::borrow::Cow<'static, str> {
        "members".into()
    }
}

fn account(name: &str) -> ActiveModel {
    ActiveModel {
        name: Set(name.to_owned()),
        tenant: Set(3),
        password: Set("Hunter2".to_owned()),
        ..<ActiveModel as ActiveModelTrait>::default()
    }
}

#[tokio::test]
async fn the_application_says_what_is_emitted_and_what_never_leaves_it() {
    for db in databases().await {
        db.create_table(Entity).await;
        let ann = account("Ann").insert(&db.connection).await.unwrap();
        let created = db.emitted().await;
        assert_eq!(created.len(), 1);
        assert_eq!(created[0].event, "member.account.created");
        assert_eq!(
            (created[0].kind(), created[0].domain()),
            ("notice".into(), "members".into())
        );
        assert_eq!(
            created[0].payload(),
            json!({
                "id": ann.id, "additional": {"tenant": 3}, "fields": ["name", "tenant", "id"],
                "before": {"name": null, "tenant": null, "id": null},
                "after": {"name": "Ann", "tenant": 3, "id": ann.id},
            })
        );
        let mut change = ann.clone().into_active_model();
        change.password = Set("Hunter3".to_owned());
        change.name = Set("Eve".to_owned());
        change.update(&db.connection).await.unwrap();
        let updated = db.emitted().await;
        assert_eq!(updated[0].payload()["fields"], json!(["name"]));
        assert!(
            created
                .iter()
                .chain(&updated)
                .all(|event| !event.data.contains("Hunter")),
            "{updated:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_streamed_is_saved_without_an_event() {
    for db in databases().await {
        db.create_table(Entity).await;
        let test = account("test").insert(&db.connection).await.unwrap();
        let ann = account("Ann").insert(&db.connection).await.unwrap();
        assert_eq!(db.emitted().await.len(), 1);
        let mut change = test.clone().into_active_model();
        change.tenant = Set(4);
        change.update(&db.connection).await.unwrap();
        // The row as it is after the change decides.
        let mut change = test.into_active_model();
        change.name = Set("Bob".to_owned());
        let bob = change.update(&db.connection).await.unwrap();
        assert_eq!(db.emitted().await.len(), 1);
        assert_eq!(bob.delete(&db.connection).await.unwrap().rows_affected, 1);
        streamer_sea_orm::insert_many::<Entity, _>([account("test"), account("Cid")], &db.connection)
            .await
            .unwrap();
        assert_eq!(db.emitted().await.len(), 1);
        let everybody = sea_orm::Condition::all();
        assert_eq!(
            streamer_sea_orm::delete_many::<Entity, _>(everybody, &db.connection)
                .await
                .unwrap(),
            3
        );
        assert_eq!(db.emitted().await, []);
        assert!(Entity::find_by_id(ann.id).one(&db.connection).await.unwrap().is_none());
    }
}
