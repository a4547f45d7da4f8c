//! The consumers of a group: joining, signs of life, removal.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use super::{
    failure::Step,
    group::{self, Group, group},
    transaction::Transaction,
};
use crate::{
    engine::{GroupStart, Joined, Member},
    entry::StreamName,
};

/// How many characters follow the group and a hyphen in a consumer's generated name.
const GENERATED: usize = 16;

pub(super) fn find_consumer(transaction: &Transaction<'_>, group: Group, name: &str) -> Step<Option<i64>> {
    let found = transaction
        .sql("SELECT id FROM streamer_consumers WHERE group_id = ? AND name = ?")?
        .query_row(params![group.id, name], |row| row.get(0))
        .optional()?;
    Ok(found)
}

/// The consumer, if it was ever delivered anything. One that was not has nothing pending, which nobody needs to look for.
pub(super) fn consumer_with_deliveries(transaction: &Transaction<'_>, group: Group, name: &str) -> Step<Option<i64>> {
    let found = transaction
        .sql("SELECT id FROM streamer_consumers WHERE group_id = ? AND name = ? AND active_ms IS NOT NULL")?
        .query_row(params![group.id, name], |row| row.get(0))
        .optional()?;
    Ok(found)
}

/// The consumer, made if it is missing, seen now. `active` says that it got something.
pub(super) fn touch_consumer(transaction: &Transaction<'_>, group: Group, name: &str, active: bool) -> Step<i64> {
    let now = transaction.now_ms as i64;
    let active = active.then_some(now);
    let known = transaction
        .sql(
            "UPDATE streamer_consumers SET seen_ms = ?, active_ms = coalesce(?, active_ms) \
             WHERE group_id = ? AND name = ? RETURNING id",
        )?
        .query_row(params![now, active, group.id, name], |row| row.get(0))
        .optional()?;
    if let Some(consumer) = known {
        return Ok(consumer);
    }
    transaction
        .sql("INSERT INTO streamer_consumers (group_id, name, seen_ms, active_ms) VALUES (?, ?, ?, ?)")?
        .execute(params![group.id, name, now, active])?;
    Ok(transaction.inserted())
}

/// Removes a consumer if it has nothing pending; tells whether it is gone, also when it was not there.
pub(super) fn remove_if_done(
    transaction: &mut Transaction<'_>,
    stream: &StreamName,
    group_name: &str,
    name: &str,
) -> Step<bool> {
    let group = group(transaction, stream, group_name)?;
    let Some(consumer) = find_consumer(transaction, group, name)? else {
        return Ok(true);
    };
    let has_pending = transaction
        .sql("SELECT 1 FROM streamer_pending WHERE group_id = ? AND consumer = ?")?
        .exists([group.id, consumer])?;
    if has_pending {
        return Ok(false);
    }
    transaction
        .sql("DELETE FROM streamer_consumers WHERE id = ?")?
        .execute([consumer])?;
    Ok(true)
}

// ----- joining and leaving --------------------------------------------------------------------------------------------

/// What [`join`] would find; `None` where the group is missing. The second part tells whether the consumer is there.
pub(super) fn look_up(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
) -> Step<Option<(Joined, bool)>> {
    let Some(group) = group::find(transaction, stream, &member.group)? else {
        return Ok(None);
    };
    let joined = Joined {
        created: false,
        last_delivered_id: group.last_delivered_id,
    };
    let consumer = find_consumer(transaction, group, &member.consumer)?;
    Ok(Some((joined, consumer.is_some())))
}

/// Makes the group and the consumer where they are missing.
pub(super) fn join(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    start: GroupStart,
) -> Step<Joined> {
    let (group, created) = group::find_or_create(transaction, stream, &member.group, start)?;
    if find_consumer(transaction, group, &member.consumer)?.is_none() {
        touch_consumer(transaction, group, &member.consumer, false)?;
    }
    Ok(Joined {
        created,
        last_delivered_id: group.last_delivered_id,
    })
}

/// For how long the consumer was not seen; `None` where there is no such consumer.
pub(super) fn idle(transaction: &mut Transaction<'_>, member: &Member, stream: &StreamName) -> Step<Option<Duration>> {
    let group = group(transaction, stream, &member.group)?;
    let seen_ms: Option<i64> = transaction
        .sql("SELECT seen_ms FROM streamer_consumers WHERE group_id = ? AND name = ?")?
        .query_row(params![group.id, member.consumer], |row| row.get(0))
        .optional()?;
    let idle = |seen_ms: i64| Duration::from_millis(transaction.now_ms.saturating_sub(seen_ms as u64));
    Ok(seen_ms.map(idle))
}

/// The consumer is seen now; made where it is missing.
pub(super) fn show(transaction: &mut Transaction<'_>, member: &Member, stream: &StreamName) -> Step<()> {
    let group = group(transaction, stream, &member.group)?;
    touch_consumer(transaction, group, &member.consumer, false)?;
    Ok(())
}

// ----- removing who is gone -------------------------------------------------------------------------------------------

/// Consumers other than `member` that [`sweep`] would remove.
pub(super) fn abandoned(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    idle: Duration,
) -> Step<Vec<String>> {
    let group = group(transaction, stream, &member.group)?;
    let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    let names = transaction
        .sql(
            "SELECT name FROM streamer_consumers WHERE group_id = ?1 AND seen_ms <= ?2 AND name <> ?3 \
             AND id NOT IN (SELECT consumer FROM streamer_pending WHERE group_id = ?1) ORDER BY name",
        )?
        .query_map(
            params![
                group.id,
                transaction.now_ms.saturating_sub(idle_ms) as i64,
                member.consumer
            ],
            |row| row.get(0),
        )?
        .collect::<Result<Vec<String>, _>>()?;
    let generated = |name: &String| is_generated(&member.group, name);
    Ok(names.into_iter().filter(generated).collect())
}

/// Removes consumers that nobody is behind any more, and gives their names.
pub(super) fn sweep(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    idle: Duration,
) -> Step<Vec<String>> {
    let names = abandoned(transaction, member, stream, idle)?;
    let group = group(transaction, stream, &member.group)?;
    let mut delete = transaction.sql("DELETE FROM streamer_consumers WHERE group_id = ? AND name = ?")?;
    for name in &names {
        delete.execute(params![group.id, name])?;
    }
    Ok(names)
}

/// Whether a consumer has a name of the default form: the group, a hyphen and 16 letters or digits.
fn is_generated(group: &str, name: &str) -> bool {
    let random = name.strip_prefix(group).and_then(|rest| rest.strip_prefix('-'));
    random.is_some_and(|random| random.len() == GENERATED && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::is_generated;

    #[test]
    fn names_of_the_default_form_are_told_from_others() {
        assert!(is_generated("mail", "mail-0123456789abcDEF"));
        for named in [
            "mail",
            "mail-",
            "mail-1",
            "mail-0123456789abcDEF0",
            "mail-0123456789abcDE-",
            "mail-0123456789abcdé",
            "post-0123456789abcDEF",
            "mail0123456789abcDEFG",
        ] {
            assert!(!is_generated("mail", named), "{named}");
        }
    }
}
