//! Records and their details in the engine.
//!
//! Details are written before their record and removed after it, so that no record is seen without them, not even after
//! a crash in between: that is the contract of [`Failures`](crate::engine::Failures).

use bytes::Bytes;

use super::{DETAILS_KEY, Details, FailedMessage, Listed};
use crate::{
    engine::{Engine, EngineError, EngineErrorKind, EngineResult, FailureRecord, keys},
    entry::Fields,
};

/// Records failures. When it returns, they are in the store.
///
/// # Errors
///
/// The engine's. Some of the records may be written then; writing them again does no harm.
pub async fn record(engine: &dyn Engine, failures: &[FailedMessage]) -> EngineResult<()> {
    let record = |failure: &FailedMessage| FailureRecord {
        member: failure.to_member(),
        details: None,
    };
    engine
        .add_failures(&failures.iter().map(record).collect::<Vec<_>>())
        .await
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
    let record = |(failure, details): &(FailedMessage, Details)| FailureRecord {
        member: failure.to_member(),
        details: (!details.says_nothing()).then(|| details.to_text()),
    };
    engine
        .add_failures(&failures.iter().map(record).collect::<Vec<_>>())
        .await
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
    engine.remove_failures(members).await
}

/// What is kept beside a record; `None` where another program recorded it, or there is nothing to keep.
///
/// # Errors
///
/// The engine's; [`EngineErrorKind::Corrupt`] when what is kept makes no sense.
pub async fn details(engine: &dyn Engine, failed: &FailedMessage) -> EngineResult<Option<Details>> {
    let values = engine.failure_details(&[failed.to_member()]).await?;
    let groups = engine.failing_groups().await?;
    let Some(value) = values.into_iter().next().flatten() else {
        let details = Details::default().in_group(failed, &groups);
        return Ok((!details.says_nothing()).then_some(details));
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
    let details = Details::from_text(&value).ok_or_else(corrupt)?;
    Ok(Some(details.in_group(failed, &groups)))
}

/// Adds to each of these members what is kept beside it. Details that make no sense count as none: they must not keep a
/// failure from being listed or retried.
pub(super) async fn add_details(engine: &dyn Engine, page: &mut [Listed]) -> EngineResult<()> {
    let members = page.iter().map(|listed| listed.member.clone()).collect::<Vec<_>>();
    if members.is_empty() {
        return Ok(());
    }
    let (values, groups) = tokio::try_join!(engine.failure_details(&members), engine.failing_groups())?;
    for (listed, value) in page.iter_mut().zip(values) {
        let details = value.and_then(|value| {
            Details::from_text(&value).or_else(|| {
                tracing::warn!("'{DETAILS_KEY}' has a field that cannot be read; it counts as missing");
                None
            })
        });
        listed.details = details.unwrap_or_default();
        if let Ok(failed) = &listed.record {
            listed.details = std::mem::take(&mut listed.details).in_group(failed, &groups);
        }
    }
    Ok(())
}
