//! Sources, workers and the task of the leases at one table, in many schedules: see [`crate::schedules`].
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, atomic};

use shuttle::{
    future::block_on,
    thread::{self, JoinHandle},
};
use tokio::sync::mpsc;

use super::*;
use crate::schedules::{clock, explore};

/// How many batches come from a source, of how many deliveries, with how many bytes.
const BATCHES: u64 = 3;
const SIZE: u64 = 2;
const BYTES: usize = 10;

fn insert(table: &InFlight, stream: u32, from: u64) -> Vec<DeliveryRef> {
    let arrivals = (from..from + SIZE).map(|ms| Arrival {
        id: EntryId::new(ms, 0),
        count_before: 0,
        mark: false,
        has_retry_state: false,
    });
    let arrivals = arrivals.collect::<Vec<_>>();
    let batch = table.insert(stream, None, BYTES, arrivals.into_iter()).batch;
    let at = |slot| DeliveryRef { stream, batch, slot };
    (0..SIZE as _).map(at).collect()
}

/// A source in a thread of its own, which waits for room before each batch, and the deliveries that it hands on.
fn source(table: &Arc<InFlight>, stream: u32) -> (JoinHandle<()>, mpsc::UnboundedReceiver<DeliveryRef>) {
    let (hand_on, handed_on) = mpsc::unbounded_channel();
    let table = Arc::clone(table);
    let source = thread::spawn(move || {
        block_on(async {
            for batch in 0..BATCHES {
                table.room(2, 2 * BYTES).await;
                for at in insert(&table, stream, 1 + batch * SIZE) {
                    hand_on.send(at).unwrap();
                }
            }
        });
    });
    (source, handed_on)
}

/// How a worker is done with a delivery.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It begins, and its outcome is stored.
    Settled,
    /// It is given back before it begins.
    Released,
    /// It is to be given back, and the store does not take that yet.
    Refused,
}

fn settling(table: &InFlight, at: DeliveryRef) -> bool {
    let mut taken = false;
    let one = std::iter::once(at);
    table.settling(at.stream, one, |at| (*at, true), |_, ending| taken = ending.is_some());
    taken
}

fn is_empty(table: &InFlight) -> bool {
    let numbers = [&table.open, &table.waiting, &table.bytes];
    numbers.map(|number| number.load(Ordering::SeqCst)) == [0; 3]
}

#[test]
fn whoever_waits_for_room_gets_it_in_whatever_way_it_is_made() {
    let clock = clock();
    let _entered = clock.enter();
    for way in [Way::Settled, Way::Released, Way::Refused] {
        explore(200, move || {
            let table = Arc::new(InFlight::new(2, None));
            let (sources, handed_on): (Vec<_>, Vec<_>) = (0..2).map(|stream| source(&table, stream)).unzip();
            let workers = handed_on.into_iter().map(|mut handed_on| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let mut refused = Vec::new();
                    while let Some(at) = block_on(handed_on.recv()) {
                        if let Way::Settled = way {
                            assert_eq!(table.begin(at), MayBegin::Yes);
                        }
                        assert!(settling(&table, at));
                        match way {
                            Way::Settled | Way::Released => table.settled(at.stream, [at], true),
                            Way::Refused => {
                                table.refused(at.stream, [at]);
                                refused.push(at);
                            }
                        }
                    }
                    // Once the store takes it.
                    for at in refused {
                        assert!(settling(&table, at));
                        table.settled(at.stream, [at], true);
                    }
                })
            });
            let workers = workers.collect::<Vec<_>>();
            sources
                .into_iter()
                .chain(workers)
                .for_each(|thread| thread.join().unwrap());
            assert!(is_empty(&table), "{table:?}");
        });
    }
}

#[test]
fn a_batch_that_leaves_makes_room_while_a_delivery_of_another_one_waits() {
    let clock = clock();
    let _entered = clock.enter();
    explore(200, || {
        let table = Arc::new(InFlight::new(2, None));
        let waits = insert(&table, 1, 1);
        assert_eq!(table.begin(waits[0]), MayBegin::Yes);
        let (source, mut handed_on) = source(&table, 0);
        while let Some(at) = block_on(handed_on.recv()) {
            assert_eq!(table.begin(at), MayBegin::Yes);
            assert!(settling(&table, at));
            table.settled(0, [at], true);
        }
        source.join().unwrap();
        assert_eq!(table.begin(waits[1]), MayBegin::Yes);
        for at in waits {
            assert!(settling(&table, at));
            table.settled(1, [at], true);
        }
        assert!(is_empty(&table), "{table:?}");
    });
}

#[test]
fn a_delivery_begins_once_and_leaves_once_whoever_is_first() {
    let clock = clock();
    let _entered = clock.enter();
    explore(500, || {
        let table = Arc::new(InFlight::new(1, None));
        let all = insert(&table, 0, 1);
        let begun = Arc::<atomic::AtomicUsize>::default();
        // Two workers that have the same deliveries, of which one gives them back where they have not begun.
        let workers = [true, false].map(|begins| {
            let (table, all, begun) = (Arc::clone(&table), all.clone(), Arc::clone(&begun));
            thread::spawn(move || {
                for at in all {
                    if begins && table.begin(at) != MayBegin::Yes {
                        continue;
                    }
                    if settling(&table, at) {
                        begun.fetch_add(1, Ordering::Relaxed);
                        table.settled(0, [at], true);
                    }
                }
            })
        });
        // And a renewal, which finds that another consumer has them.
        let lease = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let asked = table.leased(0);
                thread::yield_now();
                let missing = asked.ids.iter().map(|id| (*id, Missing::Claimed)).collect();
                let renewal = Renewal {
                    missing,
                    ..Renewal::default()
                };
                let judged = table.judge(0, &asked, &renewal, false);
                judged.lost.len()
            })
        };
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let lost = lease.join().unwrap();
        let ended = begun.load(Ordering::Relaxed);
        assert!(ended <= all.len() && ended + lost >= all.len(), "{ended} and {lost}");
        assert!(is_empty(&table), "{table:?}");
    });
}
