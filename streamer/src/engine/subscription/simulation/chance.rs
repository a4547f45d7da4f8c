//! Long runs of random misfortune. A seed replays the same faults; the branch that a `select!` polls first still differs from run to
//! run, so a rare failure needs several runs of its seed.
//!
//! Two or three processes listen to two streams. They crash at any await, stand still for any time, stop, and start again;
//! requests fail before or after their effect; groups are destroyed, consumers deleted, entries trimmed, and consumers of
//! older versions hand entries over. At the end everything works again for a while.
//!
//! Checked: nothing is acknowledged before a listener decided about it and its failure is recorded; nothing begins that is
//! pending with another consumer; and at the end every message is handled or listed, unless nobody could know it any more:
//! it was deleted, or its group or consumer was removed while the process that had it was gone, or before that process had
//! the reply that named it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{
    super::{in_flight::locked, *},
    process::{Journal, Listener, Process, Verdict, record, spec},
    store::{Fault, MemoryStore},
};
use crate::{engine::EngineErrorKind, entry::EntryId};

const STREAMS: [&str; 2] = ["a", "b"];

/// What may not be known to anybody any more.
#[derive(Default)]
struct Forgiven {
    deleted: BTreeSet<(u32, EntryId)>,
    /// Pending with a consumer that was never told of it, because the reply was lost, when its group or consumer was removed.
    untold: BTreeSet<(u32, EntryId)>,
    /// Pending with this consumer when its group or consumer was removed.
    removed: BTreeMap<(u32, EntryId), String>,
    /// Consumers whose process was gone, or stood still, at or after a removal.
    gone: BTreeSet<String>,
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(misfortune(seed));
}

async fn misfortune(seed: u64) {
    super::begin();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut store = MemoryStore::new();
    store.is_cluster = chance.random_bool(0.3);
    let store = Arc::new(store);
    let journal = Arc::new(Journal::default());
    let mut forgiven = Forgiven::default();
    let mut appended = Vec::<(u32, EntryId)>::new();

    // Nothing is acknowledged before it is decided, and listed if it failed.
    let decided = journal.clone();
    store.on_acknowledge(move |stream, id, state| {
        let stream = STREAMS
            .iter()
            .position(|name| *stream == StreamName::from(*name))
            .expect("known") as u32;
        let verdict = locked(&decided.decided).get(&(stream, id)).copied();
        let fine = match verdict {
            Some(Verdict::Fail) => state.failed.contains(&record(stream, id)),
            verdict => verdict.is_some(),
        };
        assert!(fine, "seed {seed}: {stream}/{id} was acknowledged: {verdict:?}");
    });

    if std::env::var_os("STREAMER_SIMULATION_NOTES").is_some() {
        store.change(|state| state.notes = Some(Vec::new()));
    }
    let shaky = Arc::new(Mutex::new(true));
    let mut fate = StdRng::seed_from_u64(seed ^ 0xfa7e);
    let is_shaky = shaky.clone();
    let trouble = chance.random_range(0.0..0.1);
    store.inject(move |_, _| {
        let latency = Duration::from_millis(fate.random_range(0..30));
        if !*locked(&is_shaky) || !fate.random_bool(trouble) {
            return Fault {
                latency,
                ..Fault::default()
            };
        }
        let kinds = [
            EngineErrorKind::Connection,
            EngineErrorKind::Unavailable,
            EngineErrorKind::Full,
        ];
        let kind = Some(kinds[fate.random_range(0..kinds.len())]);
        let before = fate.random_bool(0.5);
        Fault {
            latency,
            before: kind.filter(|_| before),
            after: kind.filter(|_| !before),
        }
    });

    // The same message fares the same in every process, by its ID and attempt.
    let listener: Listener = Arc::new(move |stream, id, attempt| {
        let mut fate =
            StdRng::seed_from_u64(seed ^ id.ms ^ (u64::from(stream) << 40) ^ (u64::from(attempt) << 50) ^ id.seq);
        let time = Duration::from_millis(fate.random_range(0..400));
        let verdict = match fate.random_range(0..10) {
            0 => Verdict::Fail,
            1 if attempt < 5 => Verdict::RetryIn(fate.random_range(0..12_000)),
            _ => Verdict::Succeed,
        };
        (time, verdict)
    });

    let mut names = 0;
    let mut start = |chance: &mut StdRng| {
        names += 1;
        let name = format!("g-{names}");
        let mut spec = spec(&STREAMS, &name);
        spec.batch = chance.random_range(1..20);
        (name, Process::start(&store, spec, listener.clone(), &journal))
    };
    let mut processes = vec![start(&mut chance), start(&mut chance)];
    let mut frozen = BTreeSet::<String>::new();
    let destroys = chance.random_bool(0.5);
    for _ in 0..chance.random_range(20..80) {
        sleep(Duration::from_millis(chance.random_range(0..1500))).await;
        let who = chance.random_range(0..processes.len());
        match chance.random_range(0..20) {
            0..=9 => {
                let stream = chance.random_range(0..STREAMS.len());
                for _ in 0..chance.random_range(1..15) {
                    appended.push((stream as u32, store.append(STREAMS[stream], "x")));
                }
            }
            10 | 11 => {
                let (name, process) = processes.swap_remove(who);
                process.thaw();
                forgiven.gone.insert(name);
                process.crash();
                processes.push(start(&mut chance));
            }
            12 => {
                let (name, process) = processes.swap_remove(who);
                process.thaw();
                forgiven.gone.insert(name);
                let how = match chance.random_bool(0.5) {
                    true => Close::Orderly,
                    false => Close::Failed,
                };
                process.stop(how).await;
                processes.push(start(&mut chance));
            }
            13 | 14 => {
                let (name, process) = &processes[who];
                process.freeze();
                frozen.insert(name.clone());
                forgiven.gone.insert(name.clone());
            }
            15 | 16 => {
                for (name, process) in &processes {
                    process.thaw();
                    frozen.remove(name);
                }
            }
            17 if destroys => {
                let stream = chance.random_range(0..STREAMS.len());
                let consumer = chance.random_bool(0.5).then(|| processes[who].0.clone());
                store.change(|state| {
                    let Some(stored) = state.streams.get_mut(&STREAMS[stream].into()) else {
                        return;
                    };
                    let Some(group) = stored.groups.get_mut("g") else {
                        return;
                    };
                    group.pending.retain(|id, pending| {
                        let goes = consumer.as_ref().is_none_or(|name| *name == pending.consumer);
                        let message = (stream as u32, *id);
                        if goes && pending.told {
                            forgiven.removed.insert(message, pending.consumer.clone());
                        } else if goes {
                            forgiven.untold.insert(message);
                        }
                        !goes
                    });
                    match &consumer {
                        Some(name) => _ = group.consumers.remove(name),
                        None => stored.groups.clear(),
                    }
                });
            }
            18 if destroys => {
                let stream = chance.random_range(0..STREAMS.len());
                store.change(|state| {
                    let Some(stored) = state.streams.get_mut(&STREAMS[stream].into()) else {
                        return;
                    };
                    let keys = stored.entries.keys().copied().collect::<Vec<_>>();
                    for id in keys {
                        if chance.random_bool(0.2) {
                            stored.entries.remove(&id);
                            forgiven.deleted.insert((stream as u32, id));
                        }
                    }
                });
            }
            _ => {}
        }
    }
    *locked(&shaky) = false;
    for (_, process) in &processes {
        process.thaw();
    }
    let is_accounted = |message: &(u32, EntryId)| {
        let decided = locked(&journal.decided).get(message).copied();
        let (stream, id) = *message;
        let pending = store.pending(STREAMS[stream as usize]).contains_key(&id);
        let removed = forgiven.removed.get(message);
        !pending && matches!(decided, Some(Verdict::Succeed | Verdict::Fail))
            || forgiven.deleted.contains(message)
            || !pending && forgiven.untold.contains(message)
            || !pending && removed.is_some_and(|owner| forgiven.gone.contains(owner))
    };
    for _ in 0..2000 {
        if appended.iter().all(is_accounted) {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    if let Some(notes) = store.change(|state| state.notes.take())
        && let Some((_, id)) = appended.iter().find(|message| !is_accounted(message))
    {
        let (plain, debug) = (id.to_string(), format!("{id:?}"));
        let notes = notes
            .iter()
            .filter(|note| note.contains(&plain) || note.contains(&debug));
        let notes = notes.cloned().collect::<Vec<_>>().join("\n");
        panic!("seed {seed}: {id} is lost\n{notes}");
    }
    for message in &appended {
        assert!(
            is_accounted(message),
            "seed {seed}: {message:?} is lost; begun {:?}, decided {:?}, removed {:?}, pending {:?}\n{}",
            locked(&journal.begun).get(message),
            locked(&journal.decided).get(message),
            forgiven.removed.get(message),
            store.pending(STREAMS[message.0 as usize]).get(&message.1),
            locked(&journal.events).join("\n"),
        );
    }
    for (_, process) in processes {
        process.stop(Close::Orderly).await;
    }
}

/// A few seeds each time; as many as the variable `STREAMER_SIMULATION_SEEDS` says, `FROM..TO`, to look for more.
#[test]
fn whatever_happens_nothing_is_lost() {
    let seeds = std::env::var("STREAMER_SIMULATION_SEEDS").unwrap_or_else(|_| "0..25".into());
    let (from, to) = seeds.split_once("..").expect("FROM..TO");
    for seed in from.parse().expect("a number")..to.parse::<u64>().expect("a number") {
        run(seed);
    }
}
