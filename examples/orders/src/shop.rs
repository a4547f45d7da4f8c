//! What the shop does with orders. Nothing here emits: the orders do.

use sea_orm::{ActiveValue::Set, DatabaseConnection, DbErr, IntoActiveModel as _};
use streamer_sea_orm::begin;

use crate::order;

/// Takes three orders, changes one, deletes one. Gives the first.
pub(crate) async fn work(db: &DatabaseConnection) -> Result<order::Model, DbErr> {
    let ann = place("Ann", 1990).insert(db).await?;
    let bob = place("Bob", 500).insert(db).await?;

    // Two changes, committed together with their events.
    let transaction = begin(db).await?;
    let mut change = ann.into_active_model();
    change.state = Set("paid".to_owned());
    let ann = change.update(&transaction).await?;
    let cid = place("Cid", 70).insert(&transaction).await?;
    transaction.commit().await?;

    // Nothing of this is saved, and nothing of it is emitted.
    let transaction = begin(db).await?;
    cid.clone().delete(&transaction).await?;
    place("Dora", 1).insert(&transaction).await?;
    transaction.rollback().await?;

    bob.delete(db).await?;
    let mut change = ann.into_active_model();
    change.state = Set("sent".to_owned());
    change.cents = Set(1790);
    change.update(db).await
}

fn place(customer: &str, cents: i64) -> order::ActiveModel {
    order::ActiveModel {
        customer: Set(customer.to_owned()),
        cents: Set(cents),
        state: Set("placed".to_owned()),
        card: Set("4111 1111 1111 1111".to_owned()),
        ..Default::default()
    }
}
