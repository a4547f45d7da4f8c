//! Somebody removes groups, consumers, entries and streams under those that read them.

use anyhow::{Result, ensure};
use rand::rngs::StdRng;

use super::{Cost, Fault, Happened, World, one_of};
use crate::{
    child::{GROUPS, STREAMS},
    place::Topology,
};

macro_rules! faults {
    ($($name:literal $weight:literal $calm:literal $what:literal $make:expr;)*) => {
        pub(super) const FAULTS: &[Fault] = &[$(Fault {
            name: $name,
            what: $what,
            on: Topology::SERVERS,
            weight: $weight,
            calm: $calm,
            make: $make,
        }),*];
    };
}

faults! {
    "group-destroy" 2 true "a group is destroyed under its consumers (XGROUP DESTROY)" group_destroy;
    "consumer-delete" 2 true "a consumer that runs is deleted from its group (XGROUP DELCONSUMER)" consumer_delete;
    "trim" 1 false "a stream is emptied (XTRIM); what was not delivered is gone" trim;
    "stream-delete" 1 true "a stream is deleted with its groups (DEL); what was not delivered is gone" stream_delete;
    "flush" 1 true "everything is deleted (FLUSHALL); what was not delivered is gone" flush;
}

fn group_destroy(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let (stream, group) = (one_of(chance, &STREAMS)?, one_of(chance, &GROUPS)?);
    world.place.command(&["XGROUP", "DESTROY", stream, group])?;
    Ok(Happened::to_all(format!("{group} of {stream}")))
}

fn consumer_delete(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let (stream, group) = (one_of(chance, &STREAMS)?, one_of(chance, &GROUPS)?);
    let consumers = world.place.command(&["XINFO", "CONSUMERS", stream, group])?;
    let lines = consumers.lines().collect::<Vec<_>>();
    // Those that have read within the last seconds live.
    let names = lines
        .chunks_exact(2)
        .filter(|pair| pair[0] == "name")
        .map(|pair| pair[1]);
    let idle = lines
        .chunks_exact(2)
        .filter(|pair| pair[0] == "idle")
        .map(|pair| pair[1]);
    let living = names
        .zip(idle)
        .filter(|(_, idle)| idle.parse::<u64>().is_ok_and(|idle| idle < 2500));
    let living = living.map(|(name, _)| name).collect::<Vec<_>>();
    if living.is_empty() {
        return Ok(Happened::to_all("nobody was there"));
    }
    let consumer = one_of(chance, &living)?;
    world
        .place
        .command(&["XGROUP", "DELCONSUMER", stream, group, consumer])?;
    Ok(Happened::to_all(format!("{consumer} of {stream}")))
}

fn trim(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let stream = one_of(chance, &STREAMS)?;
    let trimmed = world.place.command(&["XTRIM", stream, "MAXLEN", "0"])?;
    let cost = Cost::Stream(stream.to_owned());
    Ok(Happened::to_all(format!("{stream}, {trimmed} entries")).at_the_cost_of(cost))
}

fn stream_delete(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let stream = one_of(chance, &STREAMS)?;
    world.place.command(&["DEL", stream])?;
    let cost = Cost::Stream(stream.to_owned());
    Ok(Happened::to_all(stream).at_the_cost_of(cost))
}

fn flush(world: &mut World, _: &mut StdRng) -> Result<Happened> {
    for index in world.place.masters() {
        let answer = world.place.servers()[index].try_command(&["FLUSHALL"])?;
        ensure!(answer == "OK", "FLUSHALL: {answer}");
    }
    Ok(Happened::to_all("").at_the_cost_of(Cost::Everything))
}
