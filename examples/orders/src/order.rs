//! An order. The derive `ModelEvents` is all that it takes to emit `order.created`, `order.updated` and `order.deleted`.

use sea_orm::entity::prelude::*;
use streamer_sea_orm::ModelEvents;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel, ModelEvents)]
#[sea_orm(table_name = "orders")]
#[model_events(name = "order", domain = "shop", hidden("card"))]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) customer: String,
    pub(crate) cents: i64,
    pub(crate) state: String,
    /// Never told to anybody.
    pub(crate) card: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
