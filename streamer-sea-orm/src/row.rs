//! A row as JSON.

use base64::Engine as _;
use sea_orm::{EntityTrait, IdenStatic, Iterable, ModelTrait, Value, sea_query::OptionEnum};
use serde_json::{Number, Value as Json};

/// How dates and times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateFormat {
    /// ISO 8601, with as many digits of a second as there are: `2022-03-04T05:06:07`, with its offset where it has one. A
    /// time in UTC ends with `Z`.
    #[default]
    Iso,
    /// As Laravel writes a date that went through a cast: `2022-03-04T05:06:07.000000Z`. A time without a zone is taken as UTC.
    LaravelCast,
    /// `2022-03-04 05:06:07`, without a zone.
    Plain,
}

/// The columns of a row by their names in the database, in the order of their declaration.
///
/// Numbers, booleans, text and JSON stay what they are. Decimals, UUIDs and dates are text, bytes are base64, a database's
/// enum is its text. A floating point number that JSON cannot hold is null. The keys inside a column of JSON have the order
/// of the application's `serde_json`.
#[must_use]
pub fn row_fields<M: ModelTrait>(model: &M, dates: DateFormat) -> Vec<(String, Json)> {
    <M::Entity as EntityTrait>::Column::iter()
        .map(|column| (column.as_str().to_owned(), json(model.get(column), dates)))
        .collect()
}

/// One value.
#[allow(
    unreachable_patterns,
    reason = "which other values there are is for SeaORM's features, which an application may switch on by itself"
)]
pub(crate) fn json(value: Value, dates: DateFormat) -> Json {
    fn of<T: Into<Json>>(value: Option<T>) -> Json {
        value.map_or(Json::Null, Into::into)
    }
    let float = |number: f64| Number::from_f64(number).map_or(Json::Null, Json::Number);
    match value {
        Value::Bool(value) => of(value),
        Value::TinyInt(value) => of(value),
        Value::SmallInt(value) => of(value),
        Value::Int(value) => of(value),
        Value::BigInt(value) => of(value),
        Value::TinyUnsigned(value) => of(value),
        Value::SmallUnsigned(value) => of(value),
        Value::Unsigned(value) => of(value),
        Value::BigUnsigned(value) => of(value),
        // By way of its text: 0.1_f32 is not 0.10000000149011612 to a person.
        Value::Float(value) => value.map_or(Json::Null, |value| value.to_string().parse().map_or(Json::Null, float)),
        Value::Double(value) => value.map_or(Json::Null, float),
        Value::String(value) => of(value),
        Value::Enum(OptionEnum::Some(value)) => Json::String(value.value.into_owned()),
        Value::Enum(OptionEnum::None(_)) => Json::Null,
        Value::Char(value) => of(value.map(String::from)),
        Value::Bytes(value) => of(value.map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes))),
        #[cfg(feature = "with-json")]
        Value::Json(value) => value.map_or(Json::Null, |value| *value),
        #[cfg(feature = "with-uuid")]
        Value::Uuid(value) => of(value.map(|uuid| uuid.to_string())),
        #[cfg(feature = "with-rust_decimal")]
        Value::Decimal(value) => of(value.map(|decimal| decimal.to_string())),
        other => special(other, dates),
    }
}

/// Dates, and what only some features of SeaORM have.
#[cfg_attr(
    not(any(feature = "with-chrono", feature = "with-time")),
    allow(unused_variables, reason = "there are no dates")
)]
fn special(value: Value, dates: DateFormat) -> Json {
    match value {
        #[cfg(feature = "with-chrono")]
        Value::ChronoDate(value) => text(value, |date| match dates {
            DateFormat::LaravelCast => format!("{}T00:00:00.000000Z", date.format("%Y-%m-%d")),
            _ => date.format("%Y-%m-%d").to_string(),
        }),
        #[cfg(feature = "with-chrono")]
        Value::ChronoTime(value) => text(value, |time| time.format("%H:%M:%S%.f").to_string()),
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTime(value) => text(value, |date| match dates {
            DateFormat::Iso => date.format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
            DateFormat::LaravelCast => date.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            DateFormat::Plain => date.format("%Y-%m-%d %H:%M:%S").to_string(),
        }),
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTimeUtc(value) => zoned(value.map(|date| date.fixed_offset()), dates),
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTimeLocal(value) => zoned(value.map(|date| date.fixed_offset()), dates),
        #[cfg(feature = "with-chrono")]
        Value::ChronoDateTimeWithTimeZone(value) => zoned(value, dates),
        #[cfg(feature = "with-time")]
        Value::TimeDate(value) => time_text(value, dates, date_only(dates)),
        #[cfg(feature = "with-time")]
        Value::TimeTime(value) => text(value, |time| time.to_string()),
        #[cfg(feature = "with-time")]
        Value::TimeDateTime(value) => time_text(value.map(time::PrimitiveDateTime::assume_utc), dates, unzoned(dates)),
        #[cfg(feature = "with-time")]
        Value::TimeDateTimeWithTimeZone(value) => match dates {
            DateFormat::Iso => text(value, |date| {
                date.format(&time::format_description::well_known::Rfc3339)
                    .unwrap_or_else(|_| date.to_string())
            }),
            _ => time_text(
                value.map(|date| date.to_offset(time::UtcOffset::UTC)),
                dates,
                unzoned(dates),
            ),
        },
        // Whatever else an application's own features add, as SQL would write it.
        other => match other.to_string() {
            null if null == "NULL" => Json::Null,
            sql => Json::String(sql.trim_matches('\'').to_owned()),
        },
    }
}

#[cfg(any(feature = "with-chrono", feature = "with-time"))]
fn text<T>(value: Option<T>, write: impl FnOnce(T) -> String) -> Json {
    value.map_or(Json::Null, |value| Json::String(write(value)))
}

#[cfg(feature = "with-chrono")]
fn zoned(value: Option<chrono::DateTime<chrono::FixedOffset>>, dates: DateFormat) -> Json {
    text(value, |date| match dates {
        DateFormat::Iso => date.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        DateFormat::LaravelCast => date.to_utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        DateFormat::Plain => date.to_utc().format("%Y-%m-%d %H:%M:%S").to_string(),
    })
}

#[cfg(feature = "with-time")]
type Description = &'static [time::format_description::BorrowedFormatItem<'static>];

#[cfg(feature = "with-time")]
fn date_only(dates: DateFormat) -> Description {
    use time::macros::format_description as form;
    match dates {
        DateFormat::LaravelCast => form!("[year]-[month]-[day]T00:00:00.000000Z"),
        _ => form!("[year]-[month]-[day]"),
    }
}

#[cfg(feature = "with-time")]
fn unzoned(dates: DateFormat) -> Description {
    use time::macros::format_description as form;
    match dates {
        DateFormat::Iso => form!("[year]-[month]-[day]T[hour]:[minute]:[second]"),
        DateFormat::LaravelCast => form!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"),
        DateFormat::Plain => form!("[year]-[month]-[day] [hour]:[minute]:[second]"),
    }
}

#[cfg(feature = "with-time")]
trait TimeFormat {
    fn written(&self, form: Description) -> Option<String>;
    fn nanosecond(&self) -> u32;
}

#[cfg(feature = "with-time")]
impl TimeFormat for time::Date {
    fn written(&self, form: Description) -> Option<String> {
        self.format(form).ok()
    }

    fn nanosecond(&self) -> u32 {
        0
    }
}

#[cfg(feature = "with-time")]
impl TimeFormat for time::OffsetDateTime {
    fn written(&self, form: Description) -> Option<String> {
        self.format(form).ok()
    }

    fn nanosecond(&self) -> u32 {
        self.time().nanosecond()
    }
}

#[cfg(feature = "with-time")]
fn time_text<T: TimeFormat>(value: Option<T>, dates: DateFormat, form: Description) -> Json {
    text(value, |date| {
        let mut written = date.written(form).unwrap_or_default();
        if dates == DateFormat::Iso && date.nanosecond() > 0 {
            written.push_str(format!(".{:09}", date.nanosecond()).trim_end_matches('0'));
        }
        written
    })
}
