//! One rule at a time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        in_flight::{Arrival, locked},
        *,
    },
    process::{Journal, Process, Verdict, record, spec, succeed, takes},
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

#[tokio::test(start_paused = true)]
async fn everything_is_handled_once_and_nothing_is_left_behind() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let first = some(&store, "a", 100);
    let process = Process::start(&store, spec(&["a", "b"], "g-1"), succeed(), &journal);
    until("the first", || first.iter().all(|id| journal.begun(0, *id) > 0)).await;
    let later = some(&store, "b", 100);
    until("the later", || later.iter().all(|id| journal.begun(1, *id) > 0)).await;
    process.stop(Close::Orderly).await;
    all_begun_once(&journal, &first);
    assert!(store.pending("a").is_empty() && store.pending("b").is_empty());
    store.change(|state| {
        for stream in state.streams.values() {
            assert!(stream.groups["g"].consumers.is_empty(), "a consumer stayed");
        }
    });
    assert_eq!(journal.told("Started"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_group_loses_nothing_that_live_consumers_have() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 40);
    let one = Process::start(&store, spec(&["a"], "g-1"), takes(SECOND / 2), &journal);
    sleep(SECOND / 10).await;
    let two = Process::start(&store, spec(&["a"], "g-2"), takes(SECOND / 2), &journal);
    until("both have some", || {
        let pending = store.pending("a");
        let of = |name: &str| pending.values().filter(|pending| pending.consumer == name).count();
        of("g-1") > 2 && of("g-2") > 2
    })
    .await;
    store.change(|state| state.streams.get_mut(&"a".into()).expect("a stream").groups.clear());
    until("all are handled", || ids.iter().all(|id| journal.begun(0, *id) > 0)).await;
    until("all are settled", || store.pending("a").is_empty()).await;
    assert_eq!(journal.told("GroupRecreated"), 1, "{:?}", locked(&journal.events));
    assert!(journal.told("Orphaned") >= 1, "{:?}", locked(&journal.events));
    one.stop(Close::Orderly).await;
    two.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_consumer_that_lives_loses_nothing_and_has_its_leases_again() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 8);
    let process = Process::start(&store, spec(&["a"], "g-1"), takes(4 * SECOND), &journal);
    until("they are delivered", || store.pending("a").len() == 8).await;
    store.change(|state| {
        let group = state
            .streams
            .get_mut(&"a".into())
            .expect("a stream")
            .groups
            .get_mut("g")
            .expect("a group");
        group.consumers.clear();
        group.pending.clear();
    });
    until("they are pending again", || store.pending("a").len() == 8).await;
    assert_eq!(journal.told("Orphaned"), 1);
    until("all are handled", || ids.iter().all(|id| journal.begun(0, *id) > 0)).await;
    until("all are settled", || store.pending("a").is_empty()).await;
    all_begun_once(&journal, &ids);
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_trimmed_while_its_payload_waits_here_is_handled() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 8);
    let process = Process::start(&store, spec(&["a"], "g-1"), takes(4 * SECOND), &journal);
    until("they are delivered", || store.pending("a").len() == 8).await;
    store.change(|state| state.streams.get_mut(&"a".into()).expect("a stream").entries.clear());
    until("all are handled", || ids.iter().all(|id| journal.begun(0, *id) > 0)).await;
    assert_eq!(journal.told("Detached"), 1);
    assert_eq!(journal.told("LeaseLost") + journal.told("Gone"), 0);
    all_begun_once(&journal, &ids);
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_nothing_is_handled_twice_that_others_have_handled() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 8);
    let one = Process::start(&store, spec(&["a"], "g-1"), takes(SECOND), &journal);
    until("they are delivered", || store.pending("a").len() == 8).await;
    one.freeze();
    let two = Process::start(&store, spec(&["a"], "g-2"), takes(SECOND / 10), &journal);
    until("the other handled them", || store.pending("a").is_empty()).await;
    one.thaw();
    sleep(20 * SECOND).await;
    // The one that was being handled when the process stood still.
    all_begun_once(&journal, &ids[1..]);
    assert_eq!(journal.begun(0, ids[0]), 2);
    assert!(journal.told("LeaseLost") >= 1);
    assert!(store.pending("a").is_empty());
    one.stop(Close::Orderly).await;
    two.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_was_on_its_way_while_the_process_stood_still_does_not_begin_unseen() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let one = Process::start(&store, spec(&["a"], "g-1"), succeed(), &journal);
    sleep(SECOND).await;
    // The server delivers in the middle of a read, and the process does not run.
    one.freeze();
    let id = store.append("a", "1");
    store.change(|state| {
        let stream = state.streams.get_mut(&"a".into()).expect("a stream");
        let group = stream.groups.get_mut("g").expect("a group");
        group.last_delivered = id;
    });
    let two = Process::start(&store, spec(&["a"], "g-2"), succeed(), &journal);
    sleep(30 * SECOND).await;
    one.thaw();
    sleep(30 * SECOND).await;
    assert!(journal.begun(0, id) <= 1);
    one.stop(Close::Orderly).await;
    two.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_what_was_not_begun_and_counts_no_attempt() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 8);
    for name in ["g-1", "g-2", "g-3"] {
        let process = Process::start(&store, spec(&["a"], name), takes(3600 * SECOND), &journal);
        until("they are delivered", || {
            store
                .pending("a")
                .values()
                .filter(|pending| pending.consumer == name)
                .count()
                >= 7
        })
        .await;
        process.stop(Close::Orderly).await;
    }
    let pending = store.pending("a");
    for id in &ids[3..] {
        assert_eq!(pending[id].count, 0, "{id}: {pending:?}");
    }
    let process = Process::start(&store, spec(&["a"], "g-4"), succeed(), &journal);
    until("all are handled", || store.pending("a").is_empty()).await;
    for id in &ids[3..] {
        assert_eq!(journal.attempts(0, *id), [1]);
    }
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_everything_can_be_claimed_at_once() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 8);
    let mut hour = spec(&["a"], "g-1");
    hour.reclaim = Some(3600 * SECOND);
    let process = Process::start(&store, hour.clone(), takes(3600 * SECOND), &journal);
    until("one runs", || journal.begun(0, ids[0]) == 1).await;
    process.stop(Close::Failed).await;
    hour.member.as_mut().expect("a member").consumer = "g-2".into();
    let begun = Instant::now();
    let process = Process::start(&store, hour, succeed(), &journal);
    until("all are handled", || store.pending("a").is_empty()).await;
    assert!(begun.elapsed() < 2 * SECOND);
    assert_eq!(journal.attempts(0, ids[0]), [1, 2], "the one that ran counts");
    assert_eq!(journal.attempts(0, ids[1]), [1]);
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_quiet_only_when_nothing_is_left() {
    for latency in [Duration::ZERO, Duration::from_millis(200)] {
        for is_cluster in [false, true] {
            let mut store = MemoryStore::new();
            store.is_cluster = is_cluster;
            let store = Arc::new(store);
            store.inject(move |_, _| Fault {
                latency,
                ..Fault::default()
            });
            let journal = Arc::new(Journal::default());
            let ids = some(&store, "a", 30);
            let others = some(&store, "b", 30);
            let mut spec = spec(&["a", "b"], "g-1");
            spec.quiet_after = Some(SECOND / 10);
            // Slower than the time after which it is quiet; the first is tried again after a while.
            let first = ids[0];
            let listener = move |stream, id, attempt| match (stream == 0 && id == first, attempt) {
                (true, 1) => (SECOND / 4, Verdict::RetryIn(45_000)),
                _ => (SECOND / 4, Verdict::Succeed),
            };
            let mut process = Process::start(&store, spec, Arc::new(listener), &journal);
            let ended = process.ended().await.expect("no error");
            assert_eq!(ended, Some(WhyEnded::Quiet));
            assert_eq!(journal.attempts(0, first), [1, 2]);
            all_begun_once(&journal, &ids[1..]);
            for id in others {
                assert_eq!(
                    journal.begun(1, id),
                    1,
                    "{id} {latency:?} {is_cluster}: {:?}",
                    locked(&journal.events)
                );
            }
            process.stop(Close::Orderly).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_pending_comes_less_and_less_often_is_our_own_and_lets_it_be_quiet() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let keep: super::process::Listener =
        Arc::new(|_, _, attempt| (Duration::ZERO, Verdict::KeepFor(6_000 << (attempt - 1))));
    let id = store.append("a", "1");
    let process = Process::start(&store, spec(&["a"], "g-1"), keep.clone(), &journal);
    sleep(300 * SECOND).await;
    // After 6, 12, 24, 48, 96 and 192 seconds, each up to a claim later.
    let attempts = journal.attempts(0, id);
    assert!((4..=6).contains(&attempts.len()), "{attempts:?}");
    assert!(attempts.iter().copied().eq(1..=attempts.len() as u32), "{attempts:?}");
    assert_eq!(journal.told("claimed: true"), 0, "{:?}", locked(&journal.events));
    assert_eq!(journal.told("claimed: false"), attempts.len() - 1);
    process.stop(Close::Orderly).await;

    // Without any backoff it comes once in a reclaim time, and is no reason to go on.
    let often: super::process::Listener = Arc::new(|_, _, _| (Duration::ZERO, Verdict::KeepFor(0)));
    let mut quiet = spec(&["a"], "g-1");
    quiet.quiet_after = Some(20 * SECOND);
    let before = journal.begun(0, id);
    let mut process = Process::start(&store, quiet, often, &journal);
    let ended = tokio::time::timeout(600 * SECOND, process.ended())
        .await
        .expect("an end");
    assert_eq!(ended.expect("no error"), Some(WhyEnded::Quiet));
    assert!(journal.begun(0, id) > before + 1, "it did not come again");
    assert_eq!(store.pending("a").len(), 1);
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_time_out_fewer_are_requested() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 40);
    let mut spec = spec(&["a"], "g-1");
    spec.batch = 512;
    // Whatever brings more than two messages is lost on its way: each costs a second, and nobody waits for three.
    let looked_at = store.clone();
    let mut before = 0;
    store.inject(move |verb, _| {
        let pending = looked_at.pending("a").len();
        let is_large = pending.saturating_sub(before) > 2;
        before = pending;
        Fault {
            after: (verb == "connect" && is_large).then_some(EngineErrorKind::Connection),
            ..Fault::default()
        }
    });
    let process = Process::start(&store, spec, succeed(), &journal);
    until("all are handled", || ids.iter().all(|id| journal.begun(0, *id) > 0)).await;
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn trouble_with_one_stream_stays_there() {
    for kind in [EngineErrorKind::WrongType, EngineErrorKind::Permission] {
        let store = Arc::new(MemoryStore::new());
        let journal = Arc::new(Journal::default());
        store.append("b", "0");
        store.change(|state| state.streams.get_mut(&"b".into()).expect("a stream").broken = Some(kind));
        let process = Process::start(&store, spec(&["a", "b", "c"], "g-1"), succeed(), &journal);
        let ids = some(&store, "a", 20);
        until("the others are handled", || {
            ids.iter().all(|id| journal.begun(0, *id) > 0)
        })
        .await;
        sleep(10 * SECOND).await;
        let later = some(&store, "c", 20);
        until("the others are handled", || {
            later.iter().all(|id| journal.begun(2, *id) > 0)
        })
        .await;
        let events = locked(&journal.events).clone();
        let interrupted = events.iter().filter(|event| event.contains("Interrupted"));
        assert!(interrupted.clone().count() > 2, "it is tried again: {events:?}");
        assert!(
            interrupted.clone().all(|event| event.contains("Streams([1])")),
            "{events:?}"
        );
        store.change(|state| state.streams.get_mut(&"b".into()).expect("a stream").broken = None);
        until("it is read again", || journal.told("Resumed") == 1).await;
        let last = some(&store, "b", 3);
        until("all are handled", || last.iter().all(|id| journal.begun(1, *id) > 0)).await;
        assert!(store.pending("b").is_empty() || !last.is_empty());
        process.stop(Close::Orderly).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_while_it_is_read_is_found_and_left_out() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let process = Process::start(&store, spec(&["a", "b"], "g-1"), succeed(), &journal);
    until("it started", || journal.told("Started") == 1).await;
    // It can be looked at and joined, and not be read.
    store.inject(|verb, streams| Fault {
        before: (verb == "read" && streams.contains(&"b".into())).then_some(EngineErrorKind::Permission),
        ..Fault::default()
    });
    sleep(5 * SECOND).await;
    let ids = some(&store, "a", 20);
    until("the other is handled", || {
        ids.iter().all(|id| journal.begun(0, *id) > 0)
    })
    .await;
    sleep(20 * SECOND).await;
    let events = locked(&journal.events).clone();
    let interrupted = events
        .iter()
        .filter(|event| event.contains("Interrupted"))
        .collect::<Vec<_>>();
    assert!(!interrupted.is_empty() && interrupted.len() < 60, "{events:?}");
    assert!(
        interrupted.iter().all(|event| event.contains("Streams([1])")),
        "{events:?}"
    );
    store.inject_nothing();
    let later = some(&store, "b", 3);
    until("all are handled", || later.iter().all(|id| journal.begun(1, *id) > 0)).await;
    until("it is told", || journal.told("Resumed") == 1).await;
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn trouble_with_every_stream_that_does_not_pass_is_the_end() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    for stream in ["a", "b"] {
        store.append(stream, "0");
        store.change(|state| {
            state.streams.get_mut(&stream.into()).expect("a stream").broken = Some(EngineErrorKind::WrongType);
        });
    }
    let mut process = Process::start(&store, spec(&["a", "b"], "g-1"), succeed(), &journal);
    let error = process.ended().await.expect_err("an error");
    assert!(
        matches!(&error, SubscribeError::Engine(error) if error.kind() == EngineErrorKind::WrongType),
        "{error}"
    );
    process.stop(Close::Failed).await;
}

#[tokio::test(start_paused = true)]
async fn without_keep_alive_a_failure_is_the_end_and_with_it_a_start_is_patient() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let refused = || {
        move |_: &'static str, _: &[StreamName]| Fault {
            before: Some(EngineErrorKind::Connection),
            ..Fault::default()
        }
    };
    store.inject(refused());
    let mut ends = spec(&["a"], "g-1");
    ends.keep_alive = None;
    let mut process = Process::start(&store, ends.clone(), succeed(), &journal);
    let error = process.ended().await.expect_err("an error");
    assert!(matches!(error, SubscribeError::Engine(_)), "{error}");

    ends.keep_alive = Some(KeepAlive {
        max_attempts: Some(3),
        ..KeepAlive::default()
    });
    let mut process = Process::start(&store, ends, succeed(), &journal);
    let error = process.ended().await.expect_err("an error");
    assert!(matches!(error, SubscribeError::GaveUp { attempts: 3, .. }), "{error}");
    assert_eq!(journal.told("Interrupted"), 3);

    let process = Process::start(&store, spec(&["a"], "g-1"), succeed(), &journal);
    sleep(60 * SECOND).await;
    assert_eq!(journal.told("Started"), 0);
    store.inject_nothing();
    let ids = some(&store, "a", 3);
    until("all are handled", || ids.iter().all(|id| journal.begun(0, *id) > 0)).await;
    assert_eq!((journal.told("Started"), journal.told("Resumed")), (1, 1));
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_away_holds_up_nobody_elses_streams() {
    let mut store = MemoryStore::new();
    store.is_cluster = true;
    let store = Arc::new(store);
    store.inject(|_, streams| Fault {
        before: streams.contains(&"b".into()).then_some(EngineErrorKind::Connection),
        ..Fault::default()
    });
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 200);
    let process = Process::start(&store, spec(&["a", "b"], "g-1"), succeed(), &journal);
    until("the others are handled", || {
        ids.iter().all(|id| journal.begun(0, *id) > 0)
    })
    .await;
    assert_eq!(journal.told("Started"), 1);
    until("it is told", || journal.told("Interrupted { scope: Streams([1])") > 1).await;
    store.inject_nothing();
    let later = some(&store, "b", 20);
    until("all are handled", || later.iter().all(|id| journal.begun(1, *id) > 0)).await;
    process.stop(Close::Orderly).await;
    assert!(store.pending("a").is_empty() && store.pending("b").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_shards_read_ahead_is_renewed_and_given_back() {
    let mut store = MemoryStore::new();
    store.is_cluster = true;
    let store = Arc::new(store);
    let journal = Arc::new(Journal::default());
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        some(&store, name, 100);
    }
    let process = Process::start(&store, spec(&names, "g-1"), takes(20 * SECOND), &journal);
    let pending = || names.iter().map(|name| store.pending(name).len()).sum::<usize>();
    until("some are delivered", || pending() > 8).await;
    for _ in 0..20 {
        sleep(SECOND).await;
        for name in names {
            let now = store.now();
            assert!(store.pending(name).values().all(|pending| now - pending.since < 6000));
        }
    }
    // Four batches that have not begun, and one more for each shard that was reading.
    assert!(pending() <= 4 * 8 + 6 * 8, "{}", pending());
    process.stop(Close::Orderly).await;
    for name in names {
        let now = store.now();
        for (id, pending) in store.pending(name) {
            let runs = pending.count == 1 && journal.attempts(0, id).len() + journal.attempts(1, id).len() > 0;
            assert!(runs || now - pending.since > 3_600_000, "{name} {id}: {pending:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_taken_up_again() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let process = Process::start(&store, spec(&["a"], "g-1"), succeed(), &journal);
    until("it started", || journal.told("Started") == 1).await;
    let mut lost = false;
    store.inject(move |verb, _| Fault {
        after: (verb == "read" && !std::mem::replace(&mut lost, true)).then_some(EngineErrorKind::Connection),
        ..Fault::default()
    });
    sleep(2 * SECOND).await;
    let ids = some(&store, "a", 5);
    until("all are handled", || ids.iter().all(|id| journal.begun(0, *id) > 0)).await;
    until("all are settled", || store.pending("a").is_empty()).await;
    all_begun_once(&journal, &ids);
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_comes_when_it_is_due_and_from_another_consumer_after_a_crash() {
    for delay in [2_000, 20_000] {
        let store = Arc::new(MemoryStore::new());
        let journal = Arc::new(Journal::default());
        let id = store.append("a", "1");
        let listener = move |_, _, attempt| match attempt {
            1 | 2 => (Duration::ZERO, Verdict::RetryIn(delay)),
            _ => (Duration::ZERO, Verdict::Succeed),
        };
        let listener: super::process::Listener = Arc::new(listener);
        let process = Process::start(&store, spec(&["a"], "g-1"), listener.clone(), &journal);
        let begun = Instant::now();
        until("the second attempt", || journal.begun(0, id) == 2).await;
        let waited = begun.elapsed().as_millis() as u64;
        assert!((delay..delay + 500).contains(&waited), "{waited}");
        process.crash();
        let process = Process::start(&store, spec(&["a"], "g-2"), listener, &journal);
        until("the third attempt", || journal.begun(0, id) == 3).await;
        assert_eq!(journal.attempts(0, id), [1, 2, 3]);
        until("it is settled", || store.pending("a").is_empty()).await;
        process.stop(Close::Orderly).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retries_beyond_the_bound_leave_memory_and_come_by_the_ordinary_claim() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 30);
    let mut spec = spec(&["a"], "g-1");
    spec.deferred_bound.entries = 5;
    let listener = move |_, _, attempt| match attempt {
        1 => (Duration::ZERO, Verdict::RetryIn(10_000)),
        _ => (Duration::ZERO, Verdict::Succeed),
    };
    let process = Process::start(&store, spec, Arc::new(listener), &journal);
    until("all are handled", || {
        store.pending("a").is_empty() && journal.begun(0, ids[29]) > 0
    })
    .await;
    for id in ids {
        assert_eq!(journal.attempts(0, id), [1, 2]);
    }
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_survives_that_its_group_is_destroyed() {
    for delay in [3_000, 30_000] {
        let store = Arc::new(MemoryStore::new());
        let journal = Arc::new(Journal::default());
        let id = store.append("a", "1");
        let listener = move |_, _, attempt| match attempt {
            1 => (Duration::ZERO, Verdict::RetryIn(delay)),
            _ => (Duration::ZERO, Verdict::Succeed),
        };
        let process = Process::start(&store, spec(&["a"], "g-1"), Arc::new(listener), &journal);
        until("the first attempt", || journal.begun(0, id) == 1).await;
        sleep(SECOND).await;
        store.change(|state| state.streams.get_mut(&"a".into()).expect("a stream").groups.clear());
        until("the second attempt", || journal.begun(0, id) == 2).await;
        until("it is settled", || store.pending("a").is_empty()).await;
        process.stop(Close::Orderly).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_counts_for_the_message_that_ran() {
    let store = Arc::new(MemoryStore::new());
    let ids = some(&store, "a", 6);
    let poison = ids[2];
    for crash in 1..=6 {
        let journal = Arc::new(Journal::default());
        let name = format!("g-{crash}");
        let listener = move |_, id, _| match id == poison {
            true => (3600 * SECOND, Verdict::Succeed),
            // Nothing is settled before the crash.
            false => (Duration::ZERO, Verdict::RetryIn(0)),
        };
        let process = Process::start(&store, spec(&["a"], &name), Arc::new(listener), &journal);
        until("it runs", || journal.begun(0, poison) == 1).await;
        process.crash();
        sleep(7 * SECOND).await;
    }
    let pending = store.pending("a");
    assert_eq!(pending[&poison].count, 6, "{pending:?}");
    for id in &ids[3..] {
        assert!(pending[id].count <= 2, "it never ran: {pending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn settling_is_patient_with_a_full_store_and_ends_soon_after_a_stop() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let id = store.append("a", "1");
    let full = || {
        |verb: &'static str, _: &[StreamName]| Fault {
            before: (verb == "settle").then_some(EngineErrorKind::Full),
            ..Fault::default()
        }
    };
    store.inject(full());
    let fail: super::process::Listener = Arc::new(|_, _, _| (Duration::ZERO, Verdict::Fail));
    let process = Process::start(&store, spec(&["a"], "g-1"), fail.clone(), &journal);
    until("it is told", || journal.told("Settling([0])") > 0).await;
    sleep(20 * SECOND).await;
    assert_eq!(journal.told("Interrupted"), 1, "{:?}", locked(&journal.events));
    assert_eq!(store.pending("a").len(), 1);
    store.inject_nothing();
    until("it is settled", || store.pending("a").is_empty()).await;
    assert_eq!(journal.told("Resumed"), 1);
    store.change(|state| assert!(state.failed.contains(&record(0, id))));

    store.inject(full());
    let later = store.append("a", "2");
    until("it is tried", || journal.begun(0, later) == 1).await;
    sleep(20 * SECOND).await;
    let begun = Instant::now();
    process.stop(Close::Orderly).await;
    assert!(begun.elapsed() < 8 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(
        store.pending("a").len(),
        1,
        "nothing was acknowledged that is not recorded"
    );
}

/// Many calls settle at once while failures cannot be recorded, and what succeeds is still acknowledged.
#[tokio::test(start_paused = true)]
async fn trouble_with_settling_is_shared_by_all_calls_and_told_once() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    store.inject(|verb, streams| Fault {
        before: (verb == "settle" && streams[0] == "b".into()).then_some(EngineErrorKind::Full),
        ..Fault::default()
    });
    let process = Process::start(&store, spec(&["a", "b"], "g-1"), succeed(), &journal);
    until("it started", || journal.told("Started") == 1).await;
    // Each message is settled by a call of its own.
    let core = process.settler.core.clone();
    let mut calls = Vec::new();
    for number in 1..=200 {
        let arrival = Arrival {
            id: EntryId::new(number, 0),
            count_before: 0,
            mark: false,
            has_retry_state: false,
        };
        let arrivals = std::iter::once(arrival);
        let inserted = core.in_flight.insert(1, Some(Instant::now()), 0, arrivals);
        let (stream, batch, slot) = (1, inserted.batch, 0);
        let at = DeliveryRef { stream, batch, slot };
        let settler = process.settler.clone();
        calls.push(tokio::spawn(async move {
            let end = End::Acknowledge { delete: false };
            let failures = None;
            settler.settle(vec![Settlement { at, end, failures }]).await
        }));
        sleep(Duration::from_millis(20)).await;
    }
    sleep(60 * SECOND).await;
    assert_eq!(journal.told("Interrupted"), 1, "{:?}", locked(&journal.events));
    let ids = some(&store, "a", 20);
    until("the other stream goes on", || {
        ids.iter().all(|id| journal.begun(0, *id) == 1)
    })
    .await;
    store.inject_nothing();
    for call in calls {
        let settled = call.await.expect("no panic");
        assert!(matches!(settled[..], [Settled::Done]), "{settled:?}");
    }
    assert_eq!(journal.told("Interrupted"), 1, "{:?}", locked(&journal.events));
    assert_eq!(journal.told("Resumed"), 1, "{:?}", locked(&journal.events));
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_consumer_is_removed_and_a_quiet_one_stays() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let quiet = Process::start(&store, spec(&["a"], "g-quiet"), succeed(), &journal);
    sleep(SECOND).await;
    let id = store.append("a", "1");
    until("it is handled", || journal.begun(0, id) == 1).await;
    let dies = Process::start(&store, spec(&["a"], "g-dies"), takes(3600 * SECOND), &journal);
    sleep(SECOND).await;
    dies.crash();
    until("it is removed", || {
        journal.told(r#"ConsumersRemoved { stream: 0, names: ["g-dies"] }"#) == 1
    })
    .await;
    sleep(1000 * SECOND).await;
    store.change(|state| {
        let consumers = state.streams[&StreamName::from("a")].groups["g"]
            .consumers
            .keys()
            .cloned();
        assert_eq!(consumers.collect::<Vec<_>>(), ["g-quiet"]);
    });
    quiet.stop(Close::Orderly).await;
}

/// Requests of live consumers fail and take their time, and messages are rare: idle times say little.
#[tokio::test(start_paused = true)]
async fn quiet_consumers_are_not_taken_for_dead_and_dead_ones_go_soon() {
    for seed in 0..20 {
        let store = Arc::new(MemoryStore::new());
        let mut fate = StdRng::seed_from_u64(seed);
        store.inject(move |_, _| Fault {
            latency: Duration::from_millis(fate.random_range(0..300)),
            before: fate.random_bool(0.1).then_some(EngineErrorKind::Unavailable),
            ..Fault::default()
        });
        let journal = Arc::new(Journal::default());
        let start = |name: &str| Process::start(&store, spec(&["a"], name), succeed(), &journal);
        let live = [start("g-1"), start("g-2"), start("g-3")];
        let dies = start("g-dies");
        until("all are there", || journal.told("Started") == 4).await;
        dies.crash();
        // Two reclaim times, and two more until the next sweep, each of which may fail.
        let begun = Instant::now();
        until("the dead one is removed", || journal.told("ConsumersRemoved") == 1).await;
        assert!(
            begun.elapsed() < 10 * spec(&[], "").reclaim.expect("one"),
            "{:?}",
            begun.elapsed()
        );
        for _ in 0..20 {
            sleep(100 * SECOND).await;
            let id = store.append("a", "1");
            until("it is handled", || journal.begun(0, id) > 0).await;
        }
        let removed = locked(&journal.events)
            .iter()
            .filter(|event| event.contains("Removed"))
            .cloned()
            .collect::<Vec<_>>();
        assert_eq!(
            removed,
            [r#"ConsumersRemoved { stream: 0, names: ["g-dies"] }"#],
            "seed {seed}"
        );
        for process in live {
            process.stop(Close::Orderly).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_stood_still_and_was_removed_goes_on() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let stands = Process::start(&store, spec(&["a"], "g-stands"), succeed(), &journal);
    let other = Process::start(&store, spec(&["a"], "g-other"), succeed(), &journal);
    until("both are there", || journal.told("Started") == 2).await;
    stands.freeze();
    until("it is removed", || journal.told("ConsumersRemoved") == 1).await;
    stands.thaw();
    other.stop(Close::Orderly).await;
    let ids = some(&store, "a", 20);
    until("all are handled", || ids.iter().all(|id| journal.begun(0, *id) > 0)).await;
    until("all are settled", || store.pending("a").is_empty()).await;
    all_begun_once(&journal, &ids);
    stands.stop(Close::Orderly).await;
}

/// It takes up everything that the first one has, and both handle it.
#[tokio::test(start_paused = true)]
async fn a_second_user_of_a_name_that_takes_up_everything_is_noticed_by_both() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
    let mut same = spec(&["a"], "same");
    same.consumer_is_named = true;
    same.reclaim = Some(60 * SECOND);
    let ids = some(&store, "a", 6);
    let first = Process::start(&store, same.clone(), takes(3 * SECOND), &one);
    until("it has begun", || one.begun(0, ids[0]) == 1).await;
    let second = Process::start(&store, same, takes(3 * SECOND), &two);
    until("both tell", || one.told("NameInUse") == 1 && two.told("NameInUse") == 1).await;
    // While the messages are handled, not when it is too late.
    assert_eq!(two.begun(0, ids[5]), 0);
    first.crash();
    second.crash();
}

/// Nothing is pending any more when the first renewal comes.
#[tokio::test(start_paused = true)]
async fn a_second_user_of_a_name_is_noticed_when_it_acknowledges_first() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
    let mut same = spec(&["a"], "same");
    same.consumer_is_named = true;
    same.reclaim = None;
    let id = store.append("a", "1");
    let first = Process::start(&store, same.clone(), takes(3 * SECOND), &one);
    until("it has begun", || one.begun(0, id) == 1).await;
    let second = Process::start(&store, same, takes(SECOND), &two);
    until("it has begun there too", || two.begun(0, id) == 1).await;
    until("the first tells", || one.told("NameInUse") == 1).await;
    first.stop(Close::Orderly).await;
    second.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_user_of_a_name_is_noticed() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
    let mut same = spec(&["a"], "same");
    same.consumer_is_named = true;
    let first = Process::start(&store, same.clone(), takes(60 * SECOND), &one);
    until("it started", || one.told("Started") == 1).await;
    let second = Process::start(&store, same, takes(60 * SECOND), &two);
    until("it started", || two.told("Started") == 1).await;
    // Each takes some in turn.
    for _ in 0..10 {
        store.append("a", "1");
        sleep(SECOND / 10).await;
    }
    until("it is told", || one.told("NameInUse") + two.told("NameInUse") > 0).await;
    first.crash();
    second.crash();
}

#[tokio::test(start_paused = true)]
async fn nobody_suspects_a_second_user_where_there_is_none() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let listener = |_, id: EntryId, attempt| match (id.ms % 3, attempt) {
        (0, 1) => (SECOND, Verdict::RetryIn(15_000)),
        _ => (SECOND, Verdict::Succeed),
    };
    let mut named = spec(&["a"], "named");
    named.consumer_is_named = true;
    let process = Process::start(&store, named.clone(), Arc::new(listener), &journal);
    for _ in 0..100 {
        store.append("a", "1");
        sleep(SECOND).await;
    }
    assert_eq!(journal.told("NameInUse"), 0);
    // Nor where replies take longer than several renewals.
    store.inject(|verb, _| Fault {
        latency: match verb {
            "read" | "take idle" | "take own" => 11 * SECOND,
            _ => Duration::ZERO,
        },
        ..Fault::default()
    });
    for _ in 0..100 {
        store.append("a", "1");
        sleep(SECOND).await;
    }
    assert_eq!(journal.told("NameInUse"), 0, "{:?}", locked(&journal.events));
    // Nor where replies are lost, and after a crash.
    let mut fate = StdRng::seed_from_u64(7);
    store.inject(move |verb, _| Fault {
        latency: Duration::from_millis(fate.random_range(0..100)),
        after: (verb != "settle" && fate.random_bool(0.1)).then_some(EngineErrorKind::Connection),
        ..Fault::default()
    });
    for round in 0..100 {
        store.append("a", &round.to_string());
        sleep(SECOND).await;
    }
    process.crash();
    let process = Process::start(&store, named, Arc::new(listener), &journal);
    for _ in 0..100 {
        store.append("a", "1");
        sleep(SECOND).await;
    }
    assert_eq!(journal.told("NameInUse"), 0, "{:?}", locked(&journal.events));
    store.inject_nothing();
    until("all are settled", || store.pending("a").is_empty()).await;
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_name_by_two_is_refused_where_that_is_asked_for() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let mut refuses = spec(&["a"], "same");
    refuses.on_name_in_use = OnNameInUse::Refuse;
    refuses.consumer_is_named = true;
    let first = Process::start(&store, refuses.clone(), succeed(), &journal);
    sleep(10 * SECOND).await;
    let mut second = Process::start(&store, refuses.clone(), succeed(), &journal);
    let error = second.ended().await.expect_err("an error");
    assert!(matches!(error, SubscribeError::NameInUse { .. }), "{error}");
    second.crash();
    // A quick restart is none.
    first.crash();
    let again = Process::start(&store, refuses, succeed(), &journal);
    let id = store.append("a", "1");
    until("it is handled", || journal.begun(0, id) == 1).await;
    again.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_group_retries_are_kept_here_up_to_a_bound_and_listed_at_the_end() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 500);
    let mut plain = spec(&["a"], "");
    plain.member = None;
    plain.deferred_bound.bytes = 2000;
    let always: super::process::Listener = Arc::new(|_, _, _| (Duration::ZERO, Verdict::RetryIn(60_000)));
    let process = Process::start(&store, plain.clone(), always, &journal);
    sleep(30 * SECOND).await;
    let read = ids.iter().filter(|id| journal.begun(0, **id) > 0).count();
    // About 55 bytes each, and a batch that was under way.
    assert!((30..100).contains(&read), "{read}");
    process.stop(Close::Orderly).await;
    store.change(|state| assert_eq!(state.failed.len(), read));

    let journal = Arc::new(Journal::default());
    let twice = |_, _, attempt| match attempt {
        1 => (Duration::ZERO, Verdict::RetryIn(100)),
        _ => (Duration::ZERO, Verdict::Succeed),
    };
    plain.quiet_after = Some(SECOND);
    let mut process = Process::start(&store, plain, Arc::new(twice), &journal);
    assert_eq!(process.ended().await.expect("no error"), Some(WhyEnded::Quiet));
    for id in ids {
        assert_eq!(journal.attempts(0, id), [1, 2]);
    }
    process.stop(Close::Orderly).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_takes_the_reading_end_leaves_nothing_behind() {
    let store = Arc::new(MemoryStore::new());
    some(&store, "a", 8);
    let events: EventSink = Arc::new(|_| {});
    let subscription = subscribe(Arc::new(store.clone()), spec(&["a"], "g-1"), events);
    let mut deliveries = subscription.deliveries;
    let reading = tokio::spawn(async move {
        let _batch = deliveries.next().await;
        panic!("as an application's report may");
    });
    assert!(reading.await.is_err());
    assert_eq!(store.pending("a").len(), 8);
    subscription.settler.close(Close::Failed).await.expect("closed");
    let now = store.now();
    for (id, pending) in store.pending("a") {
        assert!(
            pending.count == 0 && now - pending.since > 3_600_000,
            "{id}: {pending:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_waits_for_the_lease_that_expired() {
    let store = Arc::new(MemoryStore::new());
    let events: EventSink = Arc::new(|_| {});
    let id = store.append("a", "1");
    let subscription = subscribe(Arc::new(store.clone()), spec(&["a"], "g-1"), events);
    let (mut deliveries, settler) = (subscription.deliveries, subscription.settler);
    let Next::Batch(batch) = deliveries.next().await.expect("no error") else {
        panic!("a batch");
    };
    assert_eq!(settler.begin(batch[0].at).await, Begin::Run);
    // No task renews here, and another consumer claims.
    sleep(10 * SECOND).await;
    store.change(|state| {
        let group = state
            .streams
            .get_mut(&"a".into())
            .expect("a stream")
            .groups
            .get_mut("g")
            .expect("a group");
        group.pending.get_mut(&id).expect("pending").consumer = "other".into();
    });
    let failures = FailureChange {
        add: vec![crate::engine::FailureRecord {
            member: Bytes::from_static(b"m"),
            details: None,
        }],
        remove: Vec::new(),
    };
    let settlement = Settlement {
        at: batch[0].at,
        end: End::Acknowledge { delete: true },
        failures: Some(Box::new(failures)),
    };
    let settled = settler.settle(vec![settlement]).await;
    assert!(matches!(settled[..], [Settled::NotOurs]), "{settled:?}");
    assert_eq!(store.pending("a")[&id].consumer, "other");
    store.change(|state| assert_eq!(state.failed.len(), 1, "its failure is listed all the same"));
    settler.close(Close::Orderly).await.expect("closed");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_could_not_be_stored_is_given_back_with_its_attempt() {
    let store = Arc::new(MemoryStore::new());
    let events: EventSink = Arc::new(|_| {});
    let id = store.append("a", "1");
    let mut spec = spec(&["a"], "g-1");
    spec.keep_alive = None;
    let subscription = subscribe(Arc::new(store.clone()), spec, events);
    let (mut deliveries, settler) = (subscription.deliveries, subscription.settler);
    let Next::Batch(batch) = deliveries.next().await.expect("no error") else {
        panic!("a batch");
    };
    assert_eq!(settler.begin(batch[0].at).await, Begin::Run);
    store.inject(|verb, _| Fault {
        before: (verb == "settle").then_some(EngineErrorKind::Full),
        ..Fault::default()
    });
    let settlement = Settlement {
        at: batch[0].at,
        end: End::Acknowledge { delete: false },
        failures: None,
    };
    let settled = settler.settle(vec![settlement]).await;
    assert!(matches!(&settled[..], [Settled::Refused(error)] if error.kind() == EngineErrorKind::Full));
    store.inject_nothing();
    settler.close(Close::Orderly).await.expect("closed");
    let pending = &store.pending("a")[&id];
    assert!(
        pending.count == 1 && store.now() - pending.since > 3_600_000,
        "{pending:?}"
    );
}

#[test]
fn a_settlement_is_small() {
    assert!(size_of::<Settlement>() <= 40, "{}", size_of::<Settlement>());
    assert_eq!(size_of::<DeliveryRef>(), 12);
}
