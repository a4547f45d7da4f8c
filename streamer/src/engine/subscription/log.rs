//! What is read, claimed and settled, for the log: one line for each batch at `debug`, one for each message at `trace`.

use tracing::{Level, debug, enabled, trace};

use super::Delivery;
use crate::{
    engine::{EntryEnd, EntrySettlement},
    entry::{Entry, EntryId, StreamName},
};

/// New messages came from a stream.
pub(super) fn read(stream: &StreamName, entries: &[Entry]) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    if let Some(which) = which(entries.iter().map(|entry| entry.id)) {
        debug!("Read {which} of '{stream}'.");
    }
    for entry in entries {
        trace!(
            "Read message {} of '{stream}': {} bytes.",
            entry.id,
            super::bytes_of(entry)
        );
    }
}

/// Pending messages were taken up: some had been pending with this consumer, some were claimed from others.
pub(super) fn taken(stream: &StreamName, deliveries: &[Delivery], own: usize, claimed: usize) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    let did = match (own, claimed) {
        (_, 0) => "Took up",
        (0, _) => "Claimed",
        _ => "Took up and claimed",
    };
    if let Some(which) = which(deliveries.iter().map(|delivery| delivery.entry.id)) {
        debug!("{did} {which} of '{stream}': {own} pending with this consumer, {claimed} left idle by others.");
    }
    for delivery in deliveries {
        let (id, before) = (delivery.entry.id, delivery.count_before);
        trace!("{did} message {id} of '{stream}', delivered {before} times before.");
    }
}

/// The store has the outcomes of messages.
pub(super) fn settled(stream: &StreamName, settlements: &[EntrySettlement], is_in_group: bool) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    let how = |end: &EntryEnd| match end {
        EntryEnd::Acknowledge { delete: true, .. } if is_in_group => "acknowledged and deleted",
        EntryEnd::Acknowledge { delete: true, .. } => "deleted",
        EntryEnd::Acknowledge { .. } if is_in_group => "acknowledged",
        EntryEnd::Acknowledge { .. } | EntryEnd::Forget if !is_in_group => "done",
        EntryEnd::Defer(_) => "kept pending",
        EntryEnd::Release { .. } => "released",
        _ => "left to another consumer",
    };
    if let Some(which) = which(settlements.iter().map(|settlement| settlement.id)) {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for settlement in settlements {
            let how = how(&settlement.end);
            match counts.iter_mut().find(|(known, _)| *known == how) {
                Some((_, count)) => *count += 1,
                None => counts.push((how, 1)),
            }
        }
        let counts = counts.iter().map(|(how, count)| format!("{count} {how}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        debug!("Settled {which} of '{stream}': {counts}.");
    }
    for EntrySettlement { id, end, failures } in settlements {
        let recorded = if failures.is_some() { ", failures recorded" } else { "" };
        trace!("Settled message {id} of '{stream}': {}{recorded}.", how(end));
    }
}

/// `message 5-0`, `3 messages (5-0 to 7-0)`; `None` for none.
fn which(ids: impl Iterator<Item = EntryId> + Clone) -> Option<String> {
    let (first, last) = (ids.clone().min()?, ids.clone().max()?);
    Some(match ids.count() {
        1 => format!("message {first}"),
        count => format!("{count} messages ({first} to {last})"),
    })
}
