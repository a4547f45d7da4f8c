//! The network is cut, silent, slow, narrow, and changes what it carries.

use anyhow::{Context as _, Result};
use rand::{RngExt as _, rngs::StdRng};
use streamer_test_servers::Proxy;

use super::{Fault, Happened, World, pause};
use crate::place::Topology;

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
    "net-cut" 2 Topology::SINGLE, "all connections are cut" |world, _| {
        network(world)?.cut();
        Ok(Happened::to_all(""))
    };
    "net-refuse" 1 Topology::SINGLE, "all connections are cut, and new ones too for a while" |world, chance| {
        for_a_while(world, chance, 2500, Proxy::refuse, Proxy::resume)
    };
    "net-silent" 2 Topology::SINGLE, "nothing passes, and nobody is told (half-open connections)" |world, chance| {
        for_a_while(world, chance, 3500, Proxy::stall, Proxy::resume)
    };
    "net-silent-cut" 1 Topology::SINGLE, "nothing passes, then all connections are cut: nobody knows what arrived" |world, chance| {
        for_a_while(world, chance, 1500, Proxy::stall, |proxy| {
            proxy.cut();
            proxy.resume();
        })
    };
    "net-slow" 1 Topology::SINGLE, "a round trip takes 400 ms" |world, chance| {
        let usual = match world.place.topology {
            Topology::Distant => 5,
            _ => 0,
        };
        for_a_while(world, chance, 4000, |proxy| proxy.set_round_trip(milliseconds(400)), |proxy| proxy.set_round_trip(milliseconds(usual)))
    };
    "net-narrow" 1 Topology::SINGLE, "each connection carries 30 KB a second" |world, chance| {
        for_a_while(world, chance, 3000, |proxy| proxy.set_rate(Some(30_000)), |proxy| proxy.set_rate(None))
    };
    "net-trickle" 1 Topology::SINGLE, "each connection carries 2 KB a second" |world, chance| {
        for_a_while(world, chance, 2500, |proxy| proxy.set_rate(Some(2_000)), |proxy| proxy.set_rate(None))
    };
    "net-corrupt" 2 &[Topology::Tls], "a bit changes on its way (TLS notices; plain TCP cannot)" |world, _| {
        network(world)?.corrupt();
        pause(300);
        Ok(Happened::to_all(""))
    };
}

fn milliseconds(count: u64) -> std::time::Duration {
    std::time::Duration::from_millis(count)
}

fn network(world: &World) -> Result<&Proxy> {
    world.place.network().context("there is no network")
}

fn for_a_while(
    world: &World,
    chance: &mut StdRng,
    longest: u64,
    begin: impl FnOnce(&Proxy),
    end: impl FnOnce(&Proxy),
) -> Result<Happened> {
    let time = chance.random_range(300..longest);
    let proxy = network(world)?;
    begin(proxy);
    pause(time);
    end(proxy);
    Ok(Happened::to_all(format!("for {time} ms")))
}
