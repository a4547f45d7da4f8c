//! Two processes with one consumer name.

use super::*;

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
async fn a_name_is_in_use_until_the_last_message_is_handled() {
    let store = Arc::new(MemoryStore::new());
    let (one, two) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
    let mut refuses = spec(&["a"], "same");
    refuses.on_name_in_use = OnNameInUse::Refuse;
    refuses.consumer_is_named = true;
    let ids = some(&store, "a", 1);
    let first = Process::start(&store, refuses.clone(), takes(120 * SECOND), &one);
    until("it has begun", || one.begun(0, ids[0]) == 1).await;
    let stopping = tokio::spawn(first.stop_within(Close::Orderly, 200 * SECOND));
    sleep(100 * SECOND).await;
    assert!(!stopping.is_finished());
    let mut second = Process::start(&store, refuses.clone(), succeed(), &two);
    let error = second.ended().await.expect_err("an error");
    assert!(matches!(error, SubscribeError::NameInUse { .. }), "{error}");
    second.crash();
    stopping.await.expect("a good end");
    assert_eq!((one.begun(0, ids[0]), two.begun(0, ids[0])), (1, 0));
    let again = Process::start(&store, refuses, succeed(), &two);
    until("it starts", || two.told("Started") >= 1).await;
    again.stop(Close::Orderly).await;
}

/// Neither could see the other one before it joined.
#[tokio::test(start_paused = true)]
async fn of_two_that_start_at_once_with_one_name_the_later_one_ends_and_nothing_is_lost() {
    for reclaim in [Some(6 * SECOND), None] {
        let store = Arc::new(MemoryStore::new());
        let (one, two) = (Arc::new(Journal::default()), Arc::new(Journal::default()));
        let mut refuses = spec(&["a", "b"], "same");
        refuses.on_name_in_use = OnNameInUse::Refuse;
        refuses.consumer_is_named = true;
        refuses.reclaim = reclaim;
        let first = Process::start(&store, refuses.clone(), takes(SECOND), &one);
        sleep(Duration::from_millis(1)).await;
        let mut second = Process::start(&store, refuses, takes(SECOND), &two);
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.extend(some(&store, "a", 1));
            sleep(SECOND / 20).await;
        }
        let error = second.ended().await.expect_err("an error");
        assert!(matches!(error, SubscribeError::NameInUse { .. }), "{error}");
        second.stop(Close::Failed).await;
        until("the first handles what is left", || store.pending("a").is_empty()).await;
        for id in ids {
            assert!(one.begun(0, id) + two.begun(0, id) > 0, "{id}");
        }
        first.stop(Close::Orderly).await;
        store.change(|state| assert!(state.users.values().all(BTreeMap::is_empty), "a mark stayed"));
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_only_wait_notice_that_they_have_one_name() {
    let store = Arc::new(MemoryStore::new());
    let journals = [Arc::new(Journal::default()), Arc::new(Journal::default())];
    let mut same = spec(&["a"], "same");
    same.consumer_is_named = true;
    let processes = journals
        .each_ref()
        .map(|journal| Process::start(&store, same.clone(), succeed(), journal));
    until("both tell", || {
        journals.iter().all(|journal| journal.told("NameInUse") == 1)
    })
    .await;
    for process in processes {
        process.stop(Close::Orderly).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_acknowledges_what_is_in_flight_is_not_taken_for_a_second_user() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let mut named = spec(&["a"], "named");
    named.consumer_is_named = true;
    // No renewal comes in between that would make it pending again.
    named.reclaim = None;
    let id = store.append("a", "1");
    let process = Process::start(&store, named, takes(3 * SECOND), &journal);
    until("it has begun", || journal.begun(0, id) == 1).await;
    store.change(|state| {
        let stream = state.streams.get_mut(&"a".into()).expect("a stream");
        stream.groups.get_mut("g").expect("a group").pending.clear();
    });
    let last = store.append("a", "2");
    until("the next is handled", || journal.begun(0, last) == 1).await;
    sleep(120 * SECOND).await;
    assert_eq!(journal.told("NameInUse"), 0);
    process.stop(Close::Orderly).await;
}
