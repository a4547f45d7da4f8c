//! Saves a row and emits its event at once, without the outbox and a relay.
//!
//! Use it where a lost event does little harm: the row is committed first, and an application that is killed before the event is
//! stored loses the event. [`insert`](crate::insert) and the functions beside it lose none.
//!
//! These functions take a connection, not a transaction: an event that is emitted before its transaction commits would tell of a
//! row that may never exist.

use sea_orm::{ActiveModelBehavior, ActiveModelTrait, DatabaseConnection, DbErr, DeleteResult, IntoActiveModel};
use streamer::{EmitError, Streamer, model::ModelEvent};

use crate::{
    ModelEvents,
    save::{begin, delete_row, insert_row, locked, update_row},
};

/// What went wrong with a row or with its event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// The database refused. Nothing is changed and nothing emitted.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// The row is saved. Its event was not emitted, or the outcome of the emit is unknown.
    #[error("the row is saved, but its event was not emitted: {0}")]
    Emit(#[from] EmitError),
}

/// Inserts a row, commits it, and emits `created`.
///
/// ```no_run
/// # mod order {
/// #     use sea_orm::entity::prelude::*;
/// #     #[derive(Clone, Debug, PartialEq, DeriveEntityModel, streamer_sea_orm::ModelEvents)]
/// #     #[sea_orm(table_name = "orders")]
/// #     #[model_events(name = "order")]
/// #     pub struct Model { #[sea_orm(primary_key)] pub id: i64, pub total: f64 }
/// #     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
/// #     pub enum Relation {}
/// #     impl ActiveModelBehavior for ActiveModel {}
/// # }
/// # async fn example(db: sea_orm::DatabaseConnection, order: order::ActiveModel) -> Result<(), Box<dyn std::error::Error>> {
/// let streamer = streamer::Streamer::connect("redis://127.0.0.1:6379").await?;
/// let order = streamer_sea_orm::direct::insert::<order::Entity>(order, &db, &streamer).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`DirectError`]
pub async fn insert<E>(
    active: E::ActiveModel,
    db: &DatabaseConnection,
    streamer: &Streamer,
) -> Result<E::Model, DirectError>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
{
    let txn = begin(db).await?;
    let (model, event) = insert_row::<E, _>(active, &txn).await?;
    let model = E::ActiveModel::after_save(model, &txn, true).await?;
    txn.commit().await?;
    emit::<E>(streamer, event).await?;
    Ok(model)
}

/// Updates a row, commits it, and emits `updated` if it changed. Two updates of one row at once may be emitted in another
/// order than they were committed.
///
/// # Errors
///
/// [`DirectError`]; [`DbErr::RecordNotUpdated`] for a row that is not there.
pub async fn update<E>(
    active: E::ActiveModel,
    db: &DatabaseConnection,
    streamer: &Streamer,
) -> Result<E::Model, DirectError>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
{
    let txn = begin(db).await?;
    let before = locked::<E, _>(&active, &txn).await?.ok_or(DbErr::RecordNotUpdated)?;
    let (model, event) = update_row::<E, _>(active, before, &txn).await?;
    let model = E::ActiveModel::after_save(model, &txn, false).await?;
    txn.commit().await?;
    emit::<E>(streamer, event).await?;
    Ok(model)
}

/// Inserts a row without a complete key, updates one with it, as SeaORM's `save` does.
///
/// # Errors
///
/// As [`insert`] and [`update`].
pub async fn save<E>(
    active: E::ActiveModel,
    db: &DatabaseConnection,
    streamer: &Streamer,
) -> Result<E::ActiveModel, DirectError>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
{
    let model = match active.get_primary_key_value() {
        Some(_) => update::<E>(active, db, streamer).await?,
        None => insert::<E>(active, db, streamer).await?,
    };
    Ok(model.into_active_model())
}

/// Deletes a row, commits that, and emits `deleted`. A row that is not there emits nothing.
///
/// # Errors
///
/// [`DirectError`]
pub async fn delete<E>(
    active: E::ActiveModel,
    db: &DatabaseConnection,
    streamer: &Streamer,
) -> Result<DeleteResult, DirectError>
where
    E: ModelEvents,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: ActiveModelBehavior + Send,
{
    let txn = begin(db).await?;
    let before = locked::<E, _>(&active, &txn).await?;
    let (deleted, active, event) = delete_row::<E, _>(active, before, &txn).await?;
    E::ActiveModel::after_delete(active, &txn).await?;
    txn.commit().await?;
    emit::<E>(streamer, event).await?;
    Ok(deleted)
}

async fn emit<E: ModelEvents>(streamer: &Streamer, event: Option<ModelEvent>) -> Result<(), EmitError> {
    let Some(event) = event else { return Ok(()) };
    let domain = E::domain();
    match domain.is_empty() {
        true => streamer.emit_replayable(&event).await?,
        false => streamer.clone().with_domain(&domain).emit_replayable(&event).await?,
    };
    Ok(())
}
