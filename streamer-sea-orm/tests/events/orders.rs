//! An entity as an application writes it.

use sea_orm::entity::prelude::*;
use streamer_sea_orm::ModelEvents;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
#[sea_orm(table_name = "orders")]
#[model_events(name = "Order", hidden("secret"))]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) customer: String,
    pub(crate) note: Option<String>,
    pub(crate) total: f64,
    #[sea_orm(column_name = "is_paid")]
    pub(crate) paid: bool,
    pub(crate) secret: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(crate) fn order(customer: &str) -> ActiveModel {
    use sea_orm::ActiveValue::Set;
    ActiveModel {
        customer: Set(customer.to_owned()),
        total: Set(9.5),
        paid: Set(false),
        secret: Set(Some("s3cret".to_owned())),
        ..<ActiveModel as ActiveModelTrait>::default()
    }
}
