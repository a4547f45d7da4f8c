//! From a saved row to its event, and into the outbox.
//!
//! Events are made before anything is awaited: a model need not be `Sync`.

use sea_orm::{ConnectionTrait, DbErr, Iterable, ModelTrait, PrimaryKeyToColumn};
use serde_json::Value;
use streamer::model::{ModelAction, ModelEvent};

use crate::{
    DateFormat, ModelEvents,
    columns::name,
    emit::emit_replayable_in,
    entity::{date_formats, spec},
    row::{json, row_fields},
};

pub(crate) fn created<E: ModelEvents>(model: &E::Model, columns: Vec<E::Column>) -> Option<ModelEvent> {
    if !E::can_stream(model, ModelAction::Created) {
        return None;
    }
    let (_, dates) = date_formats::<E>();
    let columns = columns.into_iter();
    let fields = columns.map(|column| (name(column), json(model.get(column), dates)));
    Some(spec::<E>(model).created_with(fields, key_fields::<E>(model, dates)))
}

pub(crate) fn updated<E: ModelEvents>(before: &E::Model, after: &E::Model) -> Option<ModelEvent> {
    if !E::can_stream(after, ModelAction::Updated) {
        return None;
    }
    let (earlier, later) = date_formats::<E>();
    // Which columns changed is told by their values, not by how dates are written.
    let changed = E::Column::iter().filter(|column| before.get(*column) != after.get(*column));
    let changed = changed.collect::<Vec<_>>();
    let from = changed
        .iter()
        .map(|column| (name(*column), json(before.get(*column), earlier)));
    let to = changed
        .iter()
        .map(|column| (name(*column), json(after.get(*column), later)));
    spec::<E>(after).updated_with(from, to, key_fields::<E>(after, later))
}

pub(crate) fn deleted<E: ModelEvents>(model: &E::Model) -> Option<ModelEvent> {
    if !E::can_stream(model, ModelAction::Deleted) {
        return None;
    }
    let (_, dates) = date_formats::<E>();
    Some(spec::<E>(model).deleted(row_fields(model, dates)))
}

/// Writes an event in the transaction of its row.
pub(crate) async fn write<E: ModelEvents, C: ConnectionTrait>(txn: &C, event: Option<ModelEvent>) -> Result<(), DbErr> {
    if let Some(event) = event {
        emit_replayable_in(txn, &event, &E::domain()).await?;
    }
    Ok(())
}

fn key_fields<E: ModelEvents>(model: &E::Model, dates: DateFormat) -> impl Iterator<Item = (String, Value)> {
    let column = move |key: E::PrimaryKey| {
        let column = key.into_column();
        (name(column), json(model.get(column), dates))
    };
    E::PrimaryKey::iter().map(column)
}
