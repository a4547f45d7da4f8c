//! What vanishes under a running subscription: groups, consumers, entries, and time.

use super::*;

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

/// The reader waits for workers, the worker for the group in which it puts a retry off, and the group for the reader.
#[tokio::test(start_paused = true)]
async fn a_group_that_is_destroyed_is_joined_again_while_the_reader_waits_for_workers() {
    for is_cluster in [false, true] {
        let mut store = MemoryStore::new();
        store.is_cluster = is_cluster;
        let store = Arc::new(store);
        let journal = Arc::new(Journal::default());
        let ids = some(&store, "a", 60);
        let listener = |_, _, attempt| match attempt {
            1 => (SECOND, Verdict::RetryIn(3_000)),
            _ => (Duration::ZERO, Verdict::Succeed),
        };
        let mut spec = spec(&["a", "b"], "g-1");
        spec.batch = 4;
        let process = Process::start(&store, spec, Arc::new(listener), &journal);
        until("the third runs", || journal.begun(0, ids[2]) == 1).await;
        store.change(|state| state.streams.get_mut(&"a".into()).expect("a stream").groups.clear());
        until("all are tried again", || {
            ids.iter().all(|id| journal.begun(0, *id) >= 2)
        })
        .await;
        until("all are settled", || store.pending("a").is_empty()).await;
        assert_eq!(journal.told("GroupRecreated"), 1, "{:?}", locked(&journal.events));
        process.stop(Close::Orderly).await;
    }
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
async fn it_is_told_that_another_one_handled_a_message_also_where_the_listener_ends_before_the_next_renewal() {
    // How long the process stands still decides whether the listener's end or a renewal comes first.
    for tenths in 0..30 {
        let store = Arc::new(MemoryStore::new());
        let journal = Arc::new(Journal::default());
        let ids = some(&store, "a", 1);
        let one = Process::start(&store, spec(&["a"], "g-1"), takes(SECOND), &journal);
        until("it is delivered", || store.pending("a").len() == 1).await;
        one.freeze();
        let two = Process::start(&store, spec(&["a"], "g-2"), takes(SECOND / 10), &journal);
        until("the other handled it", || store.pending("a").is_empty()).await;
        sleep(tenths * SECOND / 10).await;
        one.thaw();
        sleep(20 * SECOND).await;
        assert_eq!(journal.begun(0, ids[0]), 2);
        assert_eq!(journal.told("LeaseLost"), 1, "{tenths}");
        one.stop(Close::Orderly).await;
        two.stop(Close::Orderly).await;
    }
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
