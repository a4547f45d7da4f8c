//! Saves many rows, and writes an event for each, in one transaction. SeaORM's own statements for many rows call no hooks.

use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait,
    IntoActiveModel, Iterable, ModelTrait, PrimaryKeyToColumn, QueryFilter, QuerySelect, TransactionSession,
    TransactionTrait, sea_query::IntoCondition,
};

use streamer::model::ModelEvent;

use crate::{
    ModelEvents,
    columns::created_columns,
    event::{created, deleted, updated, write},
    save::begin,
};

/// Inserts rows and emits `created` for each, in one transaction: one statement for each row, so that each event has the
/// row's generated key and defaults on every database. Calls the hooks of the active model.
///
/// # Errors
///
/// An error of the database; then no row and no event is there.
pub async fn insert_many<E, C>(
    rows: impl IntoIterator<Item = E::ActiveModel> + Send,
    db: &C,
) -> Result<Vec<E::Model>, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let rows = rows.into_iter().collect::<Vec<_>>();
    let txn = begin(db).await?;
    let mut models = Vec::with_capacity(rows.len());
    for active in rows {
        let active = E::ActiveModel::before_save(active, &txn, true).await?;
        let columns = created_columns::<E>(&active);
        let model = E::insert(active).exec_with_returning(&txn).await?;
        let event = created::<E>(&model, columns);
        write::<E, _>(&txn, event).await?;
        models.push(E::ActiveModel::after_save(model, &txn, true).await?);
    }
    txn.commit().await?;
    Ok(models)
}

/// Updates all rows that match, each with the columns that `set` has, and emits `updated` for each row that changed, in one
/// transaction: the rows are read and locked, changed by one statement, and read again. Calls no hooks, as SeaORM's
/// `update_many` does not. Gives the rows as they are now.
///
/// # Errors
///
/// [`DbErr::Custom`] when `set` sets a key column; an error of the database. Then nothing is changed or emitted.
pub async fn update_many<E, C>(
    matching: impl IntoCondition,
    set: E::ActiveModel,
    db: &C,
) -> Result<Vec<E::Model>, DbErr>
where
    E: ModelEvents,
    E::ActiveModel: Send,
    C: ConnectionTrait + TransactionTrait,
{
    let matching = matching.into_condition();
    if E::PrimaryKey::iter().any(|key| set.get(key.into_column()).is_set()) {
        let reason = "update_many cannot change a key: the events could not tell which row is which";
        return Err(DbErr::Custom(reason.to_owned()));
    }
    let txn = begin(db).await?;
    let mut before = E::find().filter(matching).lock_exclusive().all(&txn).await?;
    let mut after = Vec::with_capacity(before.len());
    while !before.is_empty() {
        let some = before.drain(..before.len().min(ROWS_AT_ONCE)).collect::<Vec<_>>();
        let keys = keys_of::<E>(&some);
        E::update_many()
            .set(set.clone())
            .filter(keys.clone())
            .exec(&txn)
            .await?;
        let found = E::find().filter(keys).all(&txn).await?;
        for event in updates::<E>(some, &found) {
            write::<E, _>(&txn, Some(event)).await?;
        }
        after.extend(found);
    }
    txn.commit().await?;
    Ok(after)
}

/// Deletes all rows that match, and emits `deleted` for each, in one transaction. Calls no hooks, as SeaORM's
/// `delete_many` does not. Gives the number of rows.
///
/// # Errors
///
/// An error of the database; then nothing is deleted and nothing emitted.
pub async fn delete_many<E, C>(matching: impl IntoCondition, db: &C) -> Result<u64, DbErr>
where
    E: ModelEvents,
    C: ConnectionTrait + TransactionTrait,
{
    let matching = matching.into_condition();
    let txn = begin(db).await?;
    let mut rows = E::find().filter(matching).lock_exclusive().all(&txn).await?;
    let mut affected = 0;
    while !rows.is_empty() {
        let some = rows.drain(..rows.len().min(ROWS_AT_ONCE)).collect::<Vec<_>>();
        let keys = keys_of::<E>(&some);
        let events = some.iter().filter_map(deleted::<E>).collect::<Vec<_>>();
        drop(some);
        affected += E::delete_many().filter(keys).exec(&txn).await?.rows_affected;
        for event in events {
            write::<E, _>(&txn, Some(event)).await?;
        }
    }
    txn.commit().await?;
    Ok(affected)
}

/// How many rows one statement names by their keys: databases bound the number of parameters (SQLite: 32,766).
const ROWS_AT_ONCE: usize = 500;

fn keys_of<E: EntityTrait>(rows: &[E::Model]) -> Condition {
    rows.iter().fold(Condition::any(), |any, row| {
        let key = E::PrimaryKey::iter().fold(Condition::all(), |all, key| {
            let column = key.into_column();
            all.add(column.eq(row.get(column)))
        });
        any.add(key)
    })
}

/// The events of rows that were updated.
fn updates<E: ModelEvents>(before: Vec<E::Model>, after: &[E::Model]) -> Vec<ModelEvent> {
    let event = |before: E::Model| {
        let after = after.iter().find(|after| is_same_row::<E>(&before, after))?;
        updated::<E>(&before, after)
    };
    before.into_iter().filter_map(event).collect()
}

fn is_same_row<E: EntityTrait>(one: &E::Model, other: &E::Model) -> bool {
    E::PrimaryKey::iter().all(|key| {
        let column = key.into_column();
        one.get(column) == other.get(column)
    })
}
