//! Removes entries from the pending entries list of a group, many at a time.
//!
//! A statement for each entry costs more than the removal itself. What a consumer acknowledges together nearly always lies
//! side by side in the list: one look at the list finds such runs, and one statement removes each of them.

use rusqlite::params;

use super::{entries::limit, failure::Step, group::Group, pending::forget, transaction::Transaction};
use crate::entry::EntryId;

/// So few entries are removed one by one.
const FEW: usize = 4;

/// Removes these entries; gives how many of them were pending.
pub(super) fn remove(transaction: &Transaction<'_>, group: Group, ids: &[EntryId]) -> Step<usize> {
    if ids.len() <= FEW {
        return one_by_one(transaction, group, ids);
    }
    let mut wanted = ids.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    // Where much else is pending in between, only the beginning is looked at.
    let most = 2 * wanted.len() + 100;
    let listed = listed(transaction, group, &wanted, most)?;
    let (runs, rest) = runs(&listed, &wanted, listed.len() == most);
    let mut removed = one_by_one(transaction, group, rest)?;
    let mut remove_run = transaction.sql("DELETE FROM streamer_pending WHERE group_id = ? AND id >= ? AND id <= ?")?;
    for run in runs {
        removed += match run {
            [first, .., last] if run.len() > FEW => {
                remove_run.execute(params![group.id, first.to_be_bytes(), last.to_be_bytes()])?
            }
            few => one_by_one(transaction, group, few)?,
        };
    }
    Ok(removed)
}

fn one_by_one(transaction: &Transaction<'_>, group: Group, ids: &[EntryId]) -> Step<usize> {
    let mut removed = 0;
    for id in ids {
        removed += usize::from(forget(transaction, group, *id)?);
    }
    Ok(removed)
}

/// What is pending between the first and the last of these IDs, which are sorted.
fn listed(transaction: &Transaction<'_>, group: Group, wanted: &[EntryId], most: usize) -> Step<Vec<EntryId>> {
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
        return Ok(Vec::new());
    };
    let mut statement = transaction
        .sql("SELECT id FROM streamer_pending WHERE group_id = ? AND id >= ? AND id <= ? ORDER BY id LIMIT ?")?;
    let mut rows = statement.query(params![group.id, first.to_be_bytes(), last.to_be_bytes(), limit(most)])?;
    let mut listed = Vec::with_capacity(wanted.len());
    while let Some(row) = rows.next()? {
        listed.push(EntryId::from_be_bytes(row.get(0)?));
    }
    Ok(listed)
}

/// The parts of the list that hold nothing but what is wanted, and what is wanted after the end of a list that was cut off.
/// All are sorted.
fn runs<'a>(listed: &'a [EntryId], wanted: &'a [EntryId], is_cut_off: bool) -> (Vec<&'a [EntryId]>, &'a [EntryId]) {
    let (mut runs, mut begin, mut at) = (Vec::new(), 0, 0);
    for (place, id) in listed.iter().enumerate() {
        while wanted.get(at).is_some_and(|wanted| wanted < id) {
            at += 1;
        }
        if wanted.get(at) == Some(id) {
            at += 1;
        } else {
            runs.push(&listed[begin..place]);
            begin = place + 1;
        }
    }
    runs.push(&listed[begin..]);
    (runs, if is_cut_off { &wanted[at..] } else { &[] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<EntryId> {
        numbers.iter().map(|number| EntryId::new(7, *number)).collect()
    }

    #[test]
    fn a_run_holds_nothing_that_is_not_to_be_removed() {
        let found = |listed: &[u64], wanted: &[u64], is_cut_off| {
            let (listed, wanted) = (ids(listed), ids(wanted));
            let (runs, rest) = runs(&listed, &wanted, is_cut_off);
            let numbers = |ids: &[EntryId]| ids.iter().map(|id| id.seq).collect::<Vec<_>>();
            let runs = runs.into_iter().filter(|run| !run.is_empty()).map(numbers);
            (runs.collect::<Vec<_>>(), numbers(rest))
        };
        assert_eq!(found(&[1, 2, 3], &[1, 2, 3], false), (vec![vec![1, 2, 3]], vec![]));
        // Those of others lie in between, and some of ours are not pending any more.
        assert_eq!(
            found(&[1, 2, 4, 5, 6], &[1, 3, 4, 6, 7], false),
            (vec![vec![1], vec![4], vec![6]], vec![])
        );
        assert_eq!(found(&[], &[1, 2], false), (vec![], vec![]));
        // What the list does not reach is not taken for missing.
        assert_eq!(
            found(&[1, 2, 3], &[1, 3, 8, 9], true),
            (vec![vec![1], vec![3]], vec![8, 9])
        );
    }
}
