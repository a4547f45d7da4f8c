//! Which events an entity emits.

use std::borrow::Cow;

use sea_orm::{EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn};
use streamer::{
    OrderedJson,
    model::{ModelAction, ModelSpec, PayloadFormat},
};

use crate::DateFormat;

/// An entity whose rows emit events when they change.
///
/// `#[derive(ModelEvents)]` beside `DeriveEntityModel` writes this implementation, and inherent methods `insert`, `update`,
/// `save` and `delete` on the active model and `delete` on the model, which win over SeaORM's methods of the same names.
/// With `#[model_events(custom)]` it writes only the methods, and the implementation is yours.
pub trait ModelEvents: EntityTrait {
    /// The base name of the events, for example `order` for `order.created`. Events have it in lower case.
    const NAME: &'static str;

    /// Whether this change of this row is emitted. Default: yes. For a deletion `model` is the row as it was.
    fn can_stream(model: &Self::Model, action: ModelAction) -> bool {
        _ = (model, action);
        true
    }

    /// What each payload carries as `additional`, such as `Some(json!({"tenant": model.tenant}).into())`. Default: nothing.
    fn additional(model: &Self::Model) -> Option<OrderedJson> {
        _ = model;
        None
    }

    /// Columns that never appear in a payload, such as passwords, by their column names. Default: none.
    fn hidden() -> &'static [&'static str] {
        &[]
    }

    /// The type of the events. Default: `event`.
    fn kind() -> &'static str {
        "event"
    }

    /// The domain that the events carry. Default: none.
    fn domain() -> Cow<'static, str> {
        Cow::Borrowed("")
    }

    /// How payloads are written. [`PayloadFormat::Laravel`] also writes dates as Laravel does: earlier values in ISO 8601 with
    /// microseconds, later ones as `Y-m-d H:i:s`.
    fn format() -> PayloadFormat {
        PayloadFormat::default()
    }
}

/// The description of the events about one row.
pub(crate) fn spec<E: ModelEvents>(model: &E::Model) -> ModelSpec {
    let key = E::PrimaryKey::iter().map(|key| key.into_column().as_str().to_owned());
    ModelSpec::new(E::NAME)
        .key(key)
        .hidden(E::hidden().iter().copied())
        .additional(E::additional(model))
        .kind(E::kind())
        .format(E::format())
}

/// How dates of earlier and of later values are written.
pub(crate) fn date_formats<E: ModelEvents>() -> (DateFormat, DateFormat) {
    match E::format() {
        PayloadFormat::Complete => (DateFormat::Iso, DateFormat::Iso),
        PayloadFormat::Laravel => (DateFormat::LaravelCast, DateFormat::Plain),
    }
}
