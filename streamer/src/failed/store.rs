//! Records and their details in the engine.
//!
//! Details are written before their record and removed after it, so that no record is seen without them, not even after
//! a crash in between.

use bytes::Bytes;

use super::{DETAILS_KEY, Details, FAILED_KEY, FailedMessage};
use crate::{
    engine::{Engine, EngineError, EngineErrorKind, EngineResult, keys},
    entry::Fields,
};

/// Records failures. When it returns, they are in the store.
///
/// # Errors
///
/// The engine's. Some of the records may be written then; writing them again does no harm.
pub async fn record(engine: &dyn Engine, failures: &[FailedMessage]) -> EngineResult<()> {
    let members: Vec<_> = failures.iter().map(FailedMessage::to_member).collect();
    add(engine, &members).await
}

/// Records the failures of a message that could not be decoded, and keeps its raw fields beside them.
///
/// # Errors
///
/// As [`record`].
pub async fn record_undecodable(engine: &dyn Engine, failures: &[FailedMessage], fields: &Fields) -> EngineResult<()> {
    let details = Details {
        fields: fields.clone(),
        ..Details::default()
    };
    let failures: Vec<_> = failures
        .iter()
        .map(|failure| (failure.clone(), details.clone()))
        .collect();
    record_with(engine, &failures).await
}

/// Records failures with what is to be kept beside them.
///
/// # Errors
///
/// As [`record`].
pub async fn record_with(engine: &dyn Engine, failures: &[(FailedMessage, Details)]) -> EngineResult<()> {
    let members: Vec<_> = failures.iter().map(|(failure, _)| failure.to_member()).collect();
    let mut kept = Vec::new();
    for (member, (_, details)) in members.iter().zip(failures) {
        if details.says_nothing() {
            continue;
        }
        let mut details = details.clone();
        if !details.groups.is_empty() {
            // Two groups may fail in the same way in the same second; the record is one then.
            let earlier = details_of(engine, std::slice::from_ref(member)).await?;
            details.add_groups(earlier.into_iter().flatten().flat_map(|one| one.groups).collect());
        }
        kept.push((details_field(member), details.to_text()));
    }
    if !kept.is_empty() {
        engine.hash_put(DETAILS_KEY, &kept).await?;
    }
    add(engine, &members).await
}

async fn add(engine: &dyn Engine, members: &[Bytes]) -> EngineResult<()> {
    if !members.is_empty() {
        engine.set_add(FAILED_KEY, members).await?;
    }
    Ok(())
}

/// The field of [`DETAILS_KEY`] that belongs to a member of the failed list.
#[must_use]
pub fn details_field(member: &[u8]) -> Bytes {
    keys::details_field(member)
}

/// Removes records, with what is kept beside them; tells how many there were.
///
/// # Errors
///
/// The engine's. Some of the records may be gone then; removing them again does no harm.
pub async fn forget(engine: &dyn Engine, members: &[Bytes]) -> EngineResult<u64> {
    if members.is_empty() {
        return Ok(0);
    }
    let removed = engine.set_remove(FAILED_KEY, members).await?;
    let details = members.iter().map(|member| details_field(member)).collect::<Vec<_>>();
    engine.hash_remove(DETAILS_KEY, &details).await?;
    Ok(removed)
}

/// What is kept beside a record; `None` for nearly all.
///
/// # Errors
///
/// The engine's; [`EngineErrorKind::Corrupt`] when what is kept makes no sense.
pub async fn details(engine: &dyn Engine, failed: &FailedMessage) -> EngineResult<Option<Details>> {
    let field = details_field(&failed.to_member());
    let values = engine.hash_get(DETAILS_KEY, &[field]).await?;
    let Some(value) = values.into_iter().next().flatten() else {
        return Ok(None);
    };
    let corrupt = || {
        let attempted = format!(
            "read the details of failed message {} on '{}'",
            failed.id, failed.stream
        );
        EngineError::new(
            EngineErrorKind::Corrupt,
            attempted,
            format!("'{DETAILS_KEY}' holds something else"),
        )
    };
    Details::from_text(&value).map(Some).ok_or_else(corrupt)
}

/// What is kept beside each of these members. Details that make no sense count as none: they must not keep a failure
/// from being listed or retried.
pub(super) async fn details_of(engine: &dyn Engine, members: &[Bytes]) -> EngineResult<Vec<Option<Details>>> {
    let fields = members.iter().map(|member| details_field(member)).collect::<Vec<_>>();
    let values = engine.hash_get(DETAILS_KEY, &fields).await?;
    Ok(values
        .into_iter()
        .map(|value| {
            Details::from_text(&value?).or_else(|| {
                tracing::warn!("'{DETAILS_KEY}' has a field that cannot be read; it is passed over");
                None
            })
        })
        .collect())
}
