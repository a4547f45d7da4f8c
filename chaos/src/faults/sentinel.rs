//! The master dies, stands still or hands over, and Sentinels die.

use anyhow::{Result, bail};
use rand::{RngExt as _, rngs::StdRng};
use streamer_test_servers::SentinelSetup;

use super::{Cost, Fault, Happened, World, one_of, pause, server::BEHIND, until};
use crate::place::{Parts, Topology, role};

macro_rules! faults {
    ($($name:literal $weight:literal $what:literal $make:expr;)*) => {
        pub(super) const FAULTS: &[Fault] = &[$(Fault {
            name: $name,
            what: $what,
            on: &[Topology::Sentinel],
            weight: $weight,
            calm: false,
            make: $make,
        }),*];
    };
}

faults! {
    "master-kill" 3 "the master is killed; the replica takes its place, and it comes back as a replica" master_kill;
    "master-freeze" 2 "the master stands still until the replica has its place, and then goes on" master_freeze;
    "fail-over" 2 "the replica takes the master's place as planned (SENTINEL FAILOVER)" fail_over;
    "sentinel-kill" 2 "a Sentinel is killed and starts again" sentinel_kill;
}

fn setup(world: &World) -> Result<&SentinelSetup> {
    match &world.place.parts {
        Parts::Sentinel(setup) => Ok(setup),
        _ => bail!("this store has no Sentinels"),
    }
}

/// The master, and the other one.
fn both(world: &World) -> Result<(usize, usize)> {
    until("there is one master with a replica in step", || {
        world.place.masters_with_replica().len() == 1 && world.place.masters().len() == 1
    })?;
    let master = world.place.masters_with_replica()[0];
    Ok((master, 1 - master))
}

fn until_in_step(world: &World, index: usize) -> Result<()> {
    until("the old master is a replica in step", || {
        let server = world.place.servers()[index];
        role(server) == "slave"
            && server
                .try_command(&["INFO", "replication"])
                .is_ok_and(|info| info.contains("master_link_status:up"))
    })
}

fn until_announced(world: &World, index: usize) -> Result<()> {
    until("the replica is a master", || {
        role(world.place.servers()[index]) == "master"
    })?;
    setup(world)?.wait_for_master(world.place.servers()[index].port());
    Ok(())
}

fn master_kill(world: &mut World, _: &mut StdRng) -> Result<Happened> {
    let (master, replica) = both(world)?;
    world.place.server_mut(master).kill9();
    until_announced(world, replica)?;
    world.place.server_mut(master).restart();
    until_in_step(world, master)?;
    Ok(Happened::to_all("").at_the_cost_of(Cost::Latest(BEHIND)))
}

fn master_freeze(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let (master, replica) = both(world)?;
    world.place.servers()[master].freeze();
    let announced = until_announced(world, replica);
    pause(chance.random_range(0..500));
    world.place.servers()[master].thaw();
    announced?;
    until_in_step(world, master)?;
    Ok(Happened::to_all("").at_the_cost_of(Cost::Latest(BEHIND)))
}

fn fail_over(world: &mut World, _: &mut StdRng) -> Result<Happened> {
    let (master, replica) = both(world)?;
    setup(world)?.fail_over();
    until_announced(world, replica)?;
    until_in_step(world, master)?;
    Ok(Happened::to_all("").at_the_cost_of(Cost::Latest(BEHIND)))
}

fn sentinel_kill(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let away = chance.random_range(0..2000);
    let Parts::Sentinel(setup) = &mut world.place.parts else {
        bail!("this store has no Sentinels");
    };
    let index = one_of(chance, &[0, 1, 2])?;
    let sentinel: &mut streamer_test_servers::RedisServer = &mut setup.sentinels_mut()[index];
    sentinel.kill9();
    pause(away);
    sentinel.restart();
    Ok(Happened::to_all(format!("Sentinel {index}, back after {away} ms")))
}
