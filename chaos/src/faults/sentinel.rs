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

/// The master, and the other one, once all Sentinels name it and the other is in step with it.
fn both(world: &World) -> Result<(usize, usize)> {
    let mut found = None;
    until(
        "there is one master with a replica in step, which all Sentinels name",
        || {
            found = match world.place.masters()[..] {
                [master] if world.place.masters_with_replica() == [master] => Some(master),
                _ => None,
            };
            found.is_some_and(|master| is_named(world, master))
        },
    )?;
    let master = found.unwrap_or_default();
    Ok((master, 1 - master))
}

fn is_named(world: &World, master: usize) -> bool {
    let port = world.place.servers()[master].port().to_string();
    setup(world).is_ok_and(|setup| {
        setup.sentinels().iter().all(|sentinel| {
            let address = sentinel.try_command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "events"]);
            address.is_ok_and(|address| address.lines().last() == Some(&*port))
        })
    })
}

fn until_promoted(world: &World, index: usize) -> Result<()> {
    until("the replica is a master", || {
        role(world.place.servers()[index]) == "master"
    })
}

fn master_kill(world: &mut World, _: &mut StdRng) -> Result<Happened> {
    let (master, replica) = both(world)?;
    world.place.server_mut(master).kill9();
    until_promoted(world, replica)?;
    until("the Sentinels name it", || is_named(world, replica))?;
    world.place.server_mut(master).restart();
    both(world)?;
    Ok(Happened::to_all("").at_the_cost_of(Cost::Latest(BEHIND)))
}

fn master_freeze(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let (master, replica) = both(world)?;
    world.place.servers()[master].freeze();
    let promoted = until_promoted(world, replica);
    pause(chance.random_range(0..500));
    world.place.servers()[master].thaw();
    promoted?;
    both(world)?;
    Ok(Happened::to_all("").at_the_cost_of(Cost::Latest(BEHIND)))
}

fn fail_over(world: &mut World, _: &mut StdRng) -> Result<Happened> {
    let (master, _) = both(world)?;
    setup(world)?.fail_over();
    // Sentinels may give it up, and the master stays one.
    pause(2000);
    let (now, _) = both(world)?;
    let detail = if now == master { "given up by the Sentinels" } else { "" };
    Ok(Happened::to_all(detail).at_the_cost_of(Cost::Latest(BEHIND)))
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
