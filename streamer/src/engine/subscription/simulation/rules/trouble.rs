//! Trouble with the store: it stays where it is, and passes.

use super::*;

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
