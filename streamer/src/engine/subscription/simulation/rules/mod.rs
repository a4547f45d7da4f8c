//! One rule at a time.

mod consumers;
mod ending;
mod names;
mod retries;
mod settling;
mod trouble;
mod vanished;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        in_flight::{Arrival, locked},
        *,
    },
    process::{Journal, Listener, Process, Verdict, record, spec, succeed, takes},
    store::{Fault, MemoryStore},
};
use crate::{engine::EngineErrorKind, entry::EntryId};

const SECOND: Duration = Duration::from_secs(1);

/// Waits, on the test's clock, until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < 600 * SECOND, "never: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn some(store: &MemoryStore, stream: &str, count: usize) -> Vec<EntryId> {
    (0..count)
        .map(|number| store.append(stream, &number.to_string()))
        .collect()
}

fn all_begun_once(journal: &Journal, ids: &[EntryId]) {
    for id in ids {
        assert_eq!(journal.begun(0, *id), 1, "{id}: {:?}", locked(&journal.events));
    }
}
