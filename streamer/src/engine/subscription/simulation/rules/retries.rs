//! When a message comes again, and what counts as an attempt.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_stays_pending_comes_less_and_less_often_is_our_own_and_lets_it_be_quiet() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let keep: Listener = Arc::new(|_, _, attempt| (Duration::ZERO, Verdict::KeepFor(6_000 << (attempt - 1))));
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
    let often: Listener = Arc::new(|_, _, _| (Duration::ZERO, Verdict::KeepFor(0)));
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
async fn a_retry_comes_when_it_is_due_and_from_another_consumer_after_a_crash() {
    for delay in [2_000, 20_000] {
        let store = Arc::new(MemoryStore::new());
        let journal = Arc::new(Journal::default());
        let id = store.append("a", "1");
        let listener = move |_, _, attempt| match attempt {
            1 | 2 => (Duration::ZERO, Verdict::RetryIn(delay)),
            _ => (Duration::ZERO, Verdict::Succeed),
        };
        let listener: Listener = Arc::new(listener);
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
async fn without_a_group_retries_are_kept_here_up_to_a_bound_and_listed_at_the_end() {
    let store = Arc::new(MemoryStore::new());
    let journal = Arc::new(Journal::default());
    let ids = some(&store, "a", 500);
    let mut plain = spec(&["a"], "");
    plain.member = None;
    plain.deferred_bound.bytes = 2000;
    let always: Listener = Arc::new(|_, _, _| (Duration::ZERO, Verdict::RetryIn(60_000)));
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
