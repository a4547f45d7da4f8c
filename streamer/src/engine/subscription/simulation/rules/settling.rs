//! How deliveries are settled, where that fails too.

use super::*;

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
    let fail: Listener = Arc::new(|_, _, _| (Duration::ZERO, Verdict::Fail));
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
