//! Saves one row, and writes its event in the same transaction.

use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, ConnectionTrait, DbBackend, DbErr, DeleteResult, EntityTrait,
    IntoActiveModel, QueryFilter, QuerySelect, SqliteTransactionMode, TransactionOptions, TransactionSession,
    TransactionTrait,
};

use streamer::model::ModelEvent;

use crate::{
    ModelEvents,
    columns::{by_key, created_columns},
    event::{created, updated, write},
};

/// Inserts a row and emits `created`, in one transaction.
///
/// # Errors
///
/// An error of the database; then neither the row nor the event is there.
pub async fn insert<E, C>(active: E::ActiveModel, db: &C) -> Result<E::Model, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let txn = begin(db).await?;
    let (model, event) = insert_row::<E, _>(active, &txn).await?;
    write::<E, _>(&txn, event).await?;
    let model = E::ActiveModel::after_save(model, &txn, true).await?;
    txn.commit().await?;
    Ok(model)
}

/// Updates a row and emits `updated` if it changed, in one transaction. The earlier values are read in that transaction,
/// and the row is locked against concurrent changes (on SQLite the transaction is the only writer).
///
/// # Errors
///
/// [`DbErr::RecordNotUpdated`] for a row that is not there, or an error of the database; then nothing is changed or emitted.
pub async fn update<E, C>(active: E::ActiveModel, db: &C) -> Result<E::Model, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let txn = begin(db).await?;
    let before = locked::<E, _>(&active, &txn).await?.ok_or(DbErr::RecordNotUpdated)?;
    update_from::<E, _>(active, before, txn).await
}

/// [`update`] without reading the row first: `before` holds the earlier values. Only for a model that is current; with a
/// stale one the event tells wrong earlier values, and misses changes of others.
///
/// # Errors
///
/// As [`update`].
pub async fn update_known<E, C>(active: E::ActiveModel, before: E::Model, db: &C) -> Result<E::Model, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let txn = begin(db).await?;
    update_from::<E, _>(active, before, txn).await
}

/// Changes a model that is current, and emits `updated` if it changed: [`update_known`] with the model as the earlier values.
///
/// # Errors
///
/// As [`update`].
pub async fn change<E, C>(
    model: E::Model,
    db: &C,
    change: impl FnOnce(&mut E::ActiveModel) + Send,
) -> Result<E::Model, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let before = model.clone();
    let mut active = model.into_active_model();
    change(&mut active);
    update_known::<E, _>(active, before, db).await
}

/// Inserts a row without a complete key, updates one with it, as SeaORM's `save` does.
///
/// # Errors
///
/// As [`insert`] and [`update`].
pub async fn save<E, C>(active: E::ActiveModel, db: &C) -> Result<E::ActiveModel, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let model = match active.get_primary_key_value() {
        Some(_) => update::<E, _>(active, db).await?,
        None => insert::<E, _>(active, db).await?,
    };
    Ok(model.into_active_model())
}

/// Deletes a row and emits `deleted`, in one transaction. A row that is not there emits nothing.
///
/// # Errors
///
/// An error of the database; then the row is still there and nothing is emitted.
pub async fn delete<E, C>(active: E::ActiveModel, db: &C) -> Result<DeleteResult, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let txn = begin(db).await?;
    let before = locked::<E, _>(&active, &txn).await?;
    delete_from::<E, _>(active, before, txn).await
}

/// [`delete`] of a model that is current, without reading its row first.
///
/// # Errors
///
/// As [`delete`].
pub async fn delete_known<E, C>(model: E::Model, db: &C) -> Result<DeleteResult, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait + TransactionTrait,
{
    let txn = begin(db).await?;
    delete_from::<E, _>(model.clone().into_active_model(), Some(model), txn).await
}

/// Begins a transaction for rows and their events; within a transaction a savepoint.
///
/// On SQLite it takes the write lock at once (`BEGIN IMMEDIATE`), which SeaORM's own `begin` does not: a deferred transaction
/// that reads first cannot write any more when somebody else has written since, and fails with `database is locked`.
///
/// # Errors
///
/// An error of the database.
pub async fn begin<C: ConnectionTrait + TransactionTrait>(db: &C) -> Result<C::Transaction, DbErr> {
    let sqlite_transaction_mode =
        (db.get_database_backend() == DbBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
    let options = TransactionOptions {
        sqlite_transaction_mode,
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}

/// The row of an active model, locked against changes of others until the transaction ends.
pub(crate) async fn locked<E, C>(active: &E::ActiveModel, txn: &C) -> Result<Option<E::Model>, DbErr>
where
    E: EntityTrait,
    C: ConnectionTrait,
{
    E::find().filter(by_key::<E>(active)?).lock_exclusive().one(txn).await
}

/// Inserts a row; the caller writes its event and calls `after_save`.
pub(crate) async fn insert_row<E, C>(active: E::ActiveModel, txn: &C) -> Result<(E::Model, Option<ModelEvent>), DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait,
{
    let active = E::ActiveModel::before_save(active, txn, true).await?;
    let columns = created_columns::<E>(&active);
    let model = E::insert(active).exec_with_returning(txn).await?;
    let event = created::<E>(&model, columns);
    Ok((model, event))
}

/// Updates a row; the caller writes its event and calls `after_save`.
pub(crate) async fn update_row<E, C>(
    active: E::ActiveModel,
    before: E::Model,
    txn: &C,
) -> Result<(E::Model, Option<ModelEvent>), DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait,
{
    let active = E::ActiveModel::before_save(active, txn, false).await?;
    let after = E::update(active).validate()?.exec(txn).await?;
    let event = updated::<E>(&before, &after);
    Ok((after, event))
}

/// Deletes a row; the caller writes its event and calls `after_delete`.
pub(crate) async fn delete_row<E, C>(
    active: E::ActiveModel,
    before: Option<E::Model>,
    txn: &C,
) -> Result<(DeleteResult, E::ActiveModel, Option<ModelEvent>), DbErr>
where
    E: ModelEvents,
    E::ActiveModel: ActiveModelBehavior + Send,
    C: ConnectionTrait,
{
    let active = E::ActiveModel::before_delete(active, txn).await?;
    let deleted = E::delete(active.clone()).validate()?.exec(txn).await?;
    let before = before.filter(|_| deleted.rows_affected > 0);
    let event = before.and_then(|before| crate::event::deleted::<E>(&before));
    Ok((deleted, active, event))
}

async fn update_from<E, T>(active: E::ActiveModel, before: E::Model, txn: T) -> Result<E::Model, DbErr>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
    T: ConnectionTrait + TransactionSession,
{
    let (after, event) = update_row::<E, _>(active, before, &txn).await?;
    write::<E, _>(&txn, event).await?;
    let after = E::ActiveModel::after_save(after, &txn, false).await?;
    txn.commit().await?;
    Ok(after)
}

async fn delete_from<E, T>(active: E::ActiveModel, before: Option<E::Model>, txn: T) -> Result<DeleteResult, DbErr>
where
    E: ModelEvents,
    E::ActiveModel: ActiveModelBehavior + Send,
    T: ConnectionTrait + TransactionSession,
{
    let (deleted, active, event) = delete_row::<E, _>(active, before, &txn).await?;
    write::<E, _>(&txn, event).await?;
    E::ActiveModel::after_delete(active, &txn).await?;
    txn.commit().await?;
    Ok(deleted)
}
