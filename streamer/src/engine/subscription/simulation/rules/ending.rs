//! How a subscription ends, and what it leaves.

use super::*;

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
