//! Which consumers stay in a group.

use super::*;

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

/// A sign of life that was under way while the group was left would make the consumer, or its mark, again.
#[tokio::test(start_paused = true)]
async fn who_leaves_is_gone_whatever_signs_of_life_were_under_way() {
    for (seed, is_named) in (0..50).flat_map(|seed| [(seed, false), (seed, true)]) {
        let store = Arc::new(MemoryStore::new());
        let mut fate = StdRng::seed_from_u64(seed);
        let until_stop = Duration::from_millis(fate.random_range(3_000..20_000));
        store.inject(move |verb, _| Fault {
            latency: match verb {
                "heartbeat" | "use name" => Duration::from_millis(fate.random_range(0..600)),
                _ => Duration::from_millis(1),
            },
            ..Fault::default()
        });
        let mut spec = spec(&["a"], "g-leaves");
        spec.consumer_is_named = is_named;
        spec.reclaim = Some(3 * SECOND);
        let process = Process::start(&store, spec, succeed(), &Arc::new(Journal::default()));
        sleep(until_stop).await;
        process.stop(Close::Orderly).await;
        sleep(10 * SECOND).await;
        store.change(|state| {
            let consumers = &state.streams[&StreamName::from("a")].groups["g"].consumers;
            assert!(consumers.is_empty(), "seed {seed}, named {is_named}: {consumers:?}");
            assert!(
                state.users.values().all(BTreeMap::is_empty),
                "seed {seed}: a mark stayed"
            );
        });
    }
}
