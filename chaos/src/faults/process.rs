//! Processes are killed, frozen, asked to end, and get another clock.

use anyhow::Result;
use rand::{RngExt as _, rngs::StdRng};

use super::{ALL, Fault, Happened, World, one_of, pause};
use crate::{child::RECLAIM, crew::faketime, place::Topology};

macro_rules! faults {
    ($($name:literal $weight:literal $on:expr, $what:literal $make:expr;)*) => {
        pub(super) const FAULTS: &[Fault] = &[$(Fault {
            name: $name,
            what: $what,
            on: $on,
            weight: $weight,
            calm: false,
            make: $make,
        }),*];
    };
}

faults! {
    "consumer-kill" 4 ALL, "a consumer is killed (SIGKILL) and starts again a moment later" |world, chance| kill(world, chance, "consumer");
    "consumer-term" 3 ALL, "a consumer is asked to end (SIGTERM) and starts again" |world, chance| term(world, chance, "consumer");
    "consumer-freeze" 3 ALL, "a consumer stands still (SIGSTOP) for longer than the reclaim time" |world, chance| freeze(world, chance, "consumer");
    "consumers-kill" 1 ALL, "all consumers are killed at once" consumers_kill;
    "consumer-clock" 1 Topology::SERVERS, "a consumer starts again with a clock that is an hour off" clock;
    "producer-kill" 2 ALL, "a producer is killed and starts again" |world, chance| kill(world, chance, "producer");
    "producer-freeze" 1 ALL, "a producer stands still for some seconds" |world, chance| freeze(world, chance, "producer");
    "archiver-kill" 2 ALL, "the archiver is killed and starts again" |world, chance| kill(world, chance, "archiver");
    "archiver-freeze" 1 ALL, "the archiver stands still for some seconds" |world, chance| freeze(world, chance, "archiver");
    "retrier-kill" 2 ALL, "the one that retries the failed list is killed and starts again" |world, chance| kill(world, chance, "retrier");
    "retrier-freeze" 1 ALL, "the one that retries the failed list stands still for some seconds" |world, chance| freeze(world, chance, "retrier");
    "relay-kill" 1 ALL, "the relay of the outbox, or the application, is killed and starts again" relay_kill;
}

fn kill(world: &mut World, chance: &mut StdRng, kind: &str) -> Result<Happened> {
    let index = one_of(chance, &world.crew.of_kind(kind))?;
    let away = chance.random_range(0..1500);
    let who = world.crew.who(index).to_owned();
    world.crew.kill(index);
    pause(away);
    world.crew.start(index)?;
    Ok(Happened::to(&who, format!("{who}, back after {away} ms")))
}

fn term(world: &mut World, chance: &mut StdRng, kind: &str) -> Result<Happened> {
    let index = one_of(chance, &world.crew.of_kind(kind))?;
    let who = world.crew.who(index).to_owned();
    world.crew.end(index);
    world.crew.start(index)?;
    Ok(Happened::to(&who, who.clone()))
}

fn freeze(world: &mut World, chance: &mut StdRng, kind: &str) -> Result<Happened> {
    let index = one_of(chance, &world.crew.of_kind(kind))?;
    let still = RECLAIM.as_millis() as u64 * 3 / 2 + chance.random_range(0..2000);
    let who = world.crew.who(index).to_owned();
    world.crew.freeze(index, true);
    pause(still);
    world.crew.freeze(index, false);
    Ok(Happened::to(&who, format!("{who} for {still} ms")))
}

fn consumers_kill(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let indexes = world.crew.of_kind("consumer");
    let away = chance.random_range(0..1500);
    for index in &indexes {
        world.crew.kill(*index);
    }
    pause(away);
    for index in indexes {
        world.crew.start(index)?;
    }
    Ok(Happened::to_all(format!("all, back after {away} ms")))
}

fn clock(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let index = one_of(chance, &world.crew.of_kind("consumer"))?;
    let offset = one_of(chance, &[Some("-3600"), Some("+3600"), None])?;
    let who = world.crew.who(index).to_owned();
    world.crew.kill(index);
    let offset = offset.filter(|_| faketime().is_some());
    world.crew.set_clock(index, offset);
    world.crew.start(index)?;
    Ok(Happened::to(&who, format!("{who}: {} s", offset.unwrap_or("0"))))
}

fn relay_kill(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let kinds = ["relay", "application"].map(|kind| world.crew.of_kind(kind));
    let both = kinds.concat();
    if both.is_empty() {
        return kill(world, chance, "producer");
    }
    let kind = one_of(chance, &["relay", "application"])?;
    kill(world, chance, kind)
}
