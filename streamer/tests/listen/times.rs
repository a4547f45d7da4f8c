//! What reports tell about time: how long a message waited and took, and that the runtime was blocked.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use streamer::{ListenerError, Listeners, ReceivedMessage, Report, Timing, extract::State};

use crate::{Running, emit, number, on_each_engine, pending, quick, store::Store, until};

on_each_engine!(
    reports_tell_how_long_a_message_waited_and_took,
    a_lease_that_is_lost_because_a_listener_blocked_the_runtime_says_so,
);

const SLOW: Duration = Duration::from_millis(30);

async fn reports_tell_how_long_a_message_waited_and_took(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..3).await;
    let times = Arc::new(Mutex::new(Vec::<(u64, Timing)>::new()));
    async fn slow(message: ReceivedMessage) -> Result<(), ListenerError> {
        tokio::time::sleep(SLOW).await;
        match number(&message) {
            2 => Err(ListenerError::new("no paper")),
            _ => Ok(()),
        }
    }
    let told = Arc::clone(&times);
    let listening = streamer
        .listen(Listeners::new().on("e", "slow", slow))
        .group("g")
        .on_report(move |report| match report {
            Report::Processed { message, timing, .. } | Report::Failed { message, timing, .. } => {
                told.lock().unwrap().push((number(message), timing.unwrap()));
            }
            _ => {}
        });
    let running = Running::start(listening.keep_alive(quick()));
    until("all were handled", async || times.lock().unwrap().len() == 3).await;
    running.stop().await;
    let times = times.lock().unwrap();
    for (at, (n, timing)) in times.iter().enumerate() {
        assert_eq!(*n, at as u64);
        assert!(timing.took >= SLOW, "{timing:?}");
    }
    // They were delivered together, so that the last one waited for the first two.
    assert!(times[2].1.waited >= SLOW, "{times:?}");
}

/// Blocks its thread until it may go on.
#[derive(Clone, Debug, Default)]
struct Gate {
    blocks: Arc<AtomicBool>,
    goes_on: Arc<AtomicBool>,
}

async fn block(_: ReceivedMessage, State(gate): State<Gate>) {
    gate.blocks.store(true, Ordering::SeqCst);
    while !gate.goes_on.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process has one thread, which a listener blocks until another consumer has claimed its message.
async fn a_lease_that_is_lost_because_a_listener_blocked_the_runtime_says_so(store: Store) {
    const RECLAIM: Duration = Duration::from_millis(300);
    let streamer = store.connect().await;
    let reports = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate::default();
    let thread = {
        let (reports, gate, url) = (Arc::clone(&reports), gate.clone(), store.url());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let streamer = streamer::Streamer::connect(&url).await.unwrap();
                let listeners = Listeners::with_state(gate).on("e", "blocking", block);
                let listening = streamer.listen(listeners).group("g").reclaim(Some(RECLAIM));
                let stop = listening.stop_handle();
                let listening = listening.on_report(move |report| {
                    if let Report::LeaseLost { stood_still, .. } = report {
                        reports.lock().unwrap().push((*stood_still, report.to_string()));
                        stop.stop();
                    }
                });
                listening.keep_alive(quick()).run().await.unwrap();
            });
        })
    };
    let listens = async || {
        streamer
            .engine()
            .groups(&"e".into())
            .await
            .is_ok_and(|groups| !groups.is_empty())
    };
    until("it listens", listens).await;
    emit(&streamer, "e", 0..1).await;
    until("its thread is blocked", async || gate.blocks.load(Ordering::SeqCst)).await;
    let (listeners, seen, other) = pending::gate("e");
    let listening = streamer.listen(listeners).group("g").reclaim(Some(RECLAIM));
    let running = Running::start(listening.keep_alive(quick()));
    until("another consumer has claimed the message", async || seen.len() == 1).await;
    gate.goes_on.store(true, Ordering::SeqCst);
    until("the lost lease is told", async || !reports.lock().unwrap().is_empty()).await;
    let (stood_still, text) = reports.lock().unwrap()[0].clone();
    assert!(stood_still.unwrap() >= RECLAIM, "{stood_still:?}");
    assert!(
        text.contains("a listener blocked the runtime, or the process was halted"),
        "{text}"
    );
    thread.join().unwrap();
    other.add_permits(100);
    until("the other consumer has settled it", async || {
        store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
}
