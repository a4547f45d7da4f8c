//! Consumers come and go in every way, connections are cut, listeners fail: a ledger compares what was emitted with what
//! was handled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use streamer::{ListenerError, Listeners, ReceivedMessage, RetryPolicy, Workers, extract::State, failed::FailedFilter};

use crate::{Running, failed_list::list, number, numbered, on_each_engine, quick, store::Store, until};

on_each_engine!(whatever_happens_to_consumers_each_message_is_handled_or_listed);

const MESSAGES: u64 = 3_000;
const STREAMS: u64 = 5;

/// What was handled in the end, and how often each message was begun.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    handled: BTreeSet<u64>,
    begun: BTreeMap<u64, u64>,
}

/// Every 50th message fails for good, every seventh at its first attempt.
fn fails_always(number: u64) -> bool {
    number.is_multiple_of(50)
}

async fn note(message: ReceivedMessage, State(ledger): State<Ledger>) -> Result<(), ListenerError> {
    let number = number(&message);
    tokio::time::sleep(Duration::from_micros(number % 3 * 500)).await;
    let mut entries = ledger.0.lock().unwrap();
    let begun = entries.begun.entry(number).or_default();
    *begun += 1;
    let first = *begun == 1;
    match fails_always(number) || first && number.is_multiple_of(7) {
        true => Err(ListenerError::new("no")),
        false => {
            entries.handled.insert(number);
            Ok(())
        }
    }
}

/// Numbers that look random and are the same at each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn whatever_happens_to_consumers_each_message_is_handled_or_listed(store: Store) {
    let ledger = Ledger::default();
    let name = |stream: u64| format!("s{stream}");
    let mut listeners = Listeners::new();
    for stream in 0..STREAMS {
        // So many that attempts which are cut off here do not use them up.
        let policy = RetryPolicy::fixed(20, Duration::from_millis(10));
        listeners.add_many(
            Listeners::with_state(ledger.clone())
                .on(name(stream), "note", note)
                .retry(&policy),
        );
    }
    let mut dice = Dice(7);
    let mut started = 0;
    let mut start = async |dice: &mut Dice| {
        let streamer = store.connect().await;
        let workers = [Workers::InOrder, Workers::AtOnce(3)][dice.roll(2) as usize].clone();
        let listening = streamer.listen(listeners.clone()).group("g").workers(workers);
        let listening = listening.batch(1 + dice.roll(200) as usize).keep_alive(quick());
        let listening = listening.reclaim(Some(Duration::from_millis(400)));
        started += 1;
        let named = started % 3 == 0;
        Running::start(if named {
            listening.consumer(format!("named-{started}"))
        } else {
            listening
        })
    };
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(start(&mut dice).await);
    }
    let emitter = store.connect().await;
    for round in 0..30 {
        let numbers = round * MESSAGES / 30..(round + 1) * MESSAGES / 30;
        let events = numbers
            .map(|number| numbered(&name(number % STREAMS), number))
            .collect::<Vec<_>>();
        until("the messages are emitted", async || {
            emitter.emit_all(events.clone()).await.is_ok()
        })
        .await;
        let which = dice.roll(3) as usize;
        match dice.roll(4) {
            0 => {
                running.swap_remove(which).stop().await;
                running.push(start(&mut dice).await);
            }
            1 => {
                let gone = running.swap_remove(which);
                gone.stop.abort();
                gone.task.await.unwrap().unwrap();
                running.push(start(&mut dice).await);
            }
            2 => {
                for server in store.servers() {
                    let _ = server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                }
            }
            _ => tokio::time::sleep(Duration::from_millis(dice.roll(100))).await,
        }
    }
    let all = (0..MESSAGES)
        .filter(|number| !fails_always(*number))
        .collect::<BTreeSet<_>>();
    until("all are handled", async || {
        ledger.0.lock().unwrap().handled.len() == all.len()
    })
    .await;
    until("nothing is pending", async || {
        (0..STREAMS).all(|stream| store.pending(&name(stream), "g").is_empty())
    })
    .await;
    for running in running {
        running.stop().await;
    }
    assert_eq!(ledger.0.lock().unwrap().handled, all);
    let listed = list(&emitter, FailedFilter::all()).await;
    let mut ids = listed
        .iter()
        .filter_map(|failure| failure.record.as_ref().ok())
        .map(|record| (&record.stream, &record.id))
        .collect::<Vec<_>>();
    ids.sort();
    // A consumer that stands still for longer than the reclaim time lists a failure that another one lists too, with a later
    // date; on a Cluster also one that is killed between recording and acknowledging. Nothing may be listed that did not
    // fail, and nothing may be missing.
    ids.dedup();
    assert_eq!(ids.len() as u64, MESSAGES / 50, "each message that failed: {listed:#?}");
}
