//! How deliveries end: failures are recorded before their message is acknowledged, all in one transaction.

use super::{
    acknowledge,
    consumers::find_consumer,
    deliveries::{field, retry_states_key, set_own},
    entries,
    failure::Step,
    group::{self, no_group},
    records,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{EntryEnd, EntrySettlement, FailureChange, Member, keys},
    entry::{EntryId, StreamName},
    message::{Node, OrderedJson},
};

/// An idle time past everybody's claim time: a day.
const RELEASED_IDLE_MS: u64 = 24 * 60 * 60 * 1000;

/// Settles deliveries of one stream. Whatever may be refused is looked at before anything is changed. Gives how many of the
/// entries that were to be acknowledged were pending with nobody.
pub(super) fn settle(
    transaction: &mut Transaction<'_>,
    member: Option<&Member>,
    stream: &StreamName,
    settlements: &[EntrySettlement],
) -> Step<usize> {
    if settlements.iter().any(|settlement| settlement.failures.is_some()) {
        transaction.key(keys::FAILED.as_bytes(), Kind::Set)?;
        transaction.key(keys::FAILED_DETAILS.as_bytes(), Kind::Hash)?;
    }
    transaction.stream(stream)?;
    let group = match member {
        Some(member) => {
            if settlements.iter().any(has_retry_state) {
                transaction.key(retry_states_key(member, stream).as_bytes(), Kind::Hash)?;
            }
            let group = group::find(transaction, stream, &member.group)?;
            let needs_group =
                |settlement: &EntrySettlement| matches!(settlement.end, EntryEnd::Defer(_) | EntryEnd::Release { .. });
            if group.is_none() && settlements.iter().any(needs_group) {
                return Err(no_group(stream, &member.group));
            }
            group
        }
        None => None,
    };

    // From here on nothing is refused.
    for change in settlements
        .iter()
        .filter_map(|settlement| settlement.failures.as_deref())
    {
        record(transaction, change)?;
    }
    let unowned = match member {
        Some(member) => end(transaction, member, group, stream, settlements)?,
        None => 0,
    };
    let delete = |settlement: &EntrySettlement| match settlement.end {
        EntryEnd::Acknowledge { delete: true, .. } => Some(settlement.id),
        _ => None,
    };
    let deleted: Vec<EntryId> = settlements.iter().filter_map(delete).collect();
    if !deleted.is_empty() {
        entries::delete(transaction, stream, &deleted)?;
    }
    Ok(unowned)
}

fn has_retry_state(settlement: &EntrySettlement) -> bool {
    match &settlement.end {
        EntryEnd::Acknowledge { had_retry_state, .. } => *had_retry_state,
        EntryEnd::Defer(deferral) => !deferral.retry_state.is_empty(),
        EntryEnd::Release { .. } | EntryEnd::Forget => false,
    }
}

/// Writes retry states, acknowledges, sets idle times and releases. Gives how many were to be acknowledged and not pending.
fn end(
    transaction: &mut Transaction<'_>,
    member: &Member,
    group: Option<group::Group>,
    stream: &StreamName,
    settlements: &[EntrySettlement],
) -> Step<usize> {
    let states = retry_states_key(member, stream);
    let owner = match group {
        Some(group) => find_consumer(transaction, group, &member.consumer)?,
        None => None,
    };
    let mut obsolete_states = Vec::new();
    let mut acknowledged = Vec::with_capacity(settlements.len());
    for EntrySettlement { id, end, .. } in settlements {
        match end {
            EntryEnd::Acknowledge { had_retry_state, .. } => {
                if *had_retry_state {
                    obsolete_states.push(field(*id));
                }
                acknowledged.push(*id);
            }
            EntryEnd::Defer(deferral) => {
                let (Some(group), Some(owner)) = (group, owner) else {
                    continue;
                };
                let idle_ms = u64::try_from(deferral.idle.as_millis()).unwrap_or(u64::MAX);
                let delivered_ms = transaction.now_ms.saturating_sub(idle_ms);
                let own = set_own(transaction, group, owner, *id, deferral.count, delivered_ms)?;
                // What another consumer has claimed has that consumer's retry state.
                if own && !deferral.retry_state.is_empty() {
                    records::hash_put(transaction, &states, &[(field(*id), deferral.retry_state.clone())])?;
                }
            }
            EntryEnd::Release { count } => {
                let (Some(group), Some(owner)) = (group, owner) else {
                    continue;
                };
                let delivered_ms = transaction.now_ms.saturating_sub(RELEASED_IDLE_MS);
                set_own(transaction, group, owner, *id, *count, delivered_ms)?;
            }
            EntryEnd::Forget => {}
        }
    }
    if !obsolete_states.is_empty() {
        records::hash_remove(transaction, &states, &obsolete_states)?;
    }
    let were_pending = match group {
        Some(group) => acknowledge::remove(transaction, group, &acknowledged)?,
        None => 0,
    };
    Ok(acknowledged.len() - were_pending)
}

// ----- the failed list ------------------------------------------------------------------------------------------------

/// Details before their record, obsolete records last.
pub(super) fn record(transaction: &Transaction<'_>, change: &FailureChange) -> Step<()> {
    for added in &change.add {
        if let Some(details) = &added.details {
            let field = keys::details_field(&added.member);
            let earlier = records::hash_get(transaction, keys::FAILED_DETAILS, std::slice::from_ref(&field))?;
            let details = match earlier.into_iter().flatten().next() {
                Some(earlier) => with_groups_of(details, &earlier).map_or_else(|| details.clone(), Into::into),
                None => details.clone(),
            };
            records::hash_put(transaction, keys::FAILED_DETAILS, &[(field, details)])?;
        }
    }
    let members: Vec<_> = change.add.iter().map(|added| added.member.clone()).collect();
    if !members.is_empty() {
        records::set_add(transaction, keys::FAILED, &members)?;
    }
    if !change.remove.is_empty() {
        records::set_remove(transaction, keys::FAILED, &change.remove)?;
        let details: Vec<_> = change.remove.iter().map(|member| keys::details_field(member)).collect();
        records::hash_remove(transaction, keys::FAILED_DETAILS, &details)?;
    }
    Ok(())
}

/// Details with the groups that earlier details name, too; `None` where nothing is to be added, also where either makes
/// no sense.
fn with_groups_of(details: &[u8], earlier: &[u8]) -> Option<Vec<u8>> {
    let members = |text: &[u8]| match serde_json::from_slice::<OrderedJson>(text).ok()?.0 {
        Node::Object(members) => Some(members),
        _ => None,
    };
    let (mut details, mut earlier) = (members(details)?, members(earlier)?);
    let Some(Node::List(earlier)) = earlier.swap_remove("groups").map(|groups| groups.0) else {
        return None;
    };
    let groups = details
        .entry("groups".to_owned())
        .or_insert_with(|| OrderedJson::list(Vec::new()));
    let Node::List(groups) = &mut groups.0 else {
        return None;
    };
    for group in earlier {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    serde_json::to_vec(&OrderedJson::object(details)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_with_the_groups_of_earlier_ones_keep_their_order() {
        let with = |details: &str, earlier: &str| {
            let both = with_groups_of(details.as_bytes(), earlier.as_bytes())?;
            String::from_utf8(both).ok()
        };
        let both = with(
            r#"{"fields":[["z","1"]],"attempts":2,"groups":["b"]}"#,
            r#"{"groups":["a","b"]}"#,
        );
        assert_eq!(
            both.as_deref(),
            Some(r#"{"fields":[["z","1"]],"attempts":2,"groups":["b","a"]}"#)
        );
        let added = with(
            r#"{"first_failure":"d","attempts":2}"#,
            r#"{"attempts":1,"groups":["a"]}"#,
        );
        assert_eq!(
            added.as_deref(),
            Some(r#"{"first_failure":"d","attempts":2,"groups":["a"]}"#)
        );
        assert_eq!(with(r#"{"groups":"a"}"#, r#"{"groups":["a"]}"#), None);
        assert_eq!(with(r#"{"attempts":2}"#, r#"{"attempts":2}"#), None);
    }
}
