//! The stores beside the streams, each with a file: what its operations are in commands.

mod failures;
mod handled;
mod origins;
mod retry_states;
mod scheduled;
mod snapshots;

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

pub(super) use self::{failures::without_groups, scheduled::member as scheduled_member};

use super::{
    RedisEngine,
    command::at_least_one,
    reply::{self, Decoded, Unexpected},
};
use crate::{engine::EngineResult, entry::EntryId};

/// For how long keys of a group are kept after their last use at least: 30 days.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where the next page begins, and the fields of this one with their values.
type FieldsPage = (Option<Bytes>, Vec<(Bytes, Bytes)>);

/// `EVAL` of a script with these keys, which are in one slot.
fn eval(script: &str, keys: &[&[u8]]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script).arg(keys.len());
    for key in keys {
        command.arg(*key);
    }
    command
}

/// A command that takes a key and items.
fn with_items<'a>(name: &str, key: &str, items: impl IntoIterator<Item = &'a Bytes>) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    for item in items {
        command.arg(&item[..]);
    }
    command
}

fn texts(ids: &[EntryId]) -> Vec<Bytes> {
    ids.iter().map(|id| id.to_text()).collect()
}

impl RedisEngine {
    /// A page of the fields of a hash, as `HSCAN` gives them.
    async fn page_of_hash(
        &self,
        key: &str,
        cursor: Option<&Bytes>,
        count: usize,
        attempted: impl Fn() -> String,
    ) -> EngineResult<FieldsPage> {
        let mut command = cmd("HSCAN");
        command.arg(key).arg(cursor.map_or(&b"0"[..], |cursor| &cursor[..]));
        command.arg("COUNT").arg(at_least_one(count));
        self.ask(key.as_bytes(), &command, page_of_hash, attempted).await
    }
}

fn page_of_hash(answer: Value) -> Decoded<FieldsPage> {
    let (next, flat) = reply::scan_page(answer)?;
    let (pairs, rest) = flat.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Unexpected("fields with their values"));
    }
    let pairs = pairs.iter().map(|[field, value]| (field.clone(), value.clone()));
    Ok(((next != 0).then(|| next.to_string().into()), pairs.collect()))
}
