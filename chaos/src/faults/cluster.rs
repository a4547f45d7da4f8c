//! Nodes of a cluster die, hand over, and give slots away.

use anyhow::{Result, bail};
use rand::{RngExt as _, rngs::StdRng};
use streamer_test_servers::RedisCluster;

use super::{Cost, Fault, Happened, World, one_of, pause, server::BEHIND, until};
use crate::{
    child::STREAMS,
    place::{Parts, Topology, role},
};

macro_rules! faults {
    ($($name:literal $weight:literal $what:literal $make:expr;)*) => {
        pub(super) const FAULTS: &[Fault] = &[$(Fault {
            name: $name,
            what: $what,
            on: &[Topology::Cluster],
            weight: $weight,
            calm: false,
            make: $make,
        }),*];
    };
}

faults! {
    "node-kill" 3 "a master is killed; its replica takes its place, and it comes back as a replica" node_kill;
    "node-restart" 2 "a master is killed and starts again before anybody takes its place" node_restart;
    "node-hand-over" 2 "a replica takes its master's place as planned (CLUSTER FAILOVER)" hand_over;
    "slot-move" 3 "a slot moves to another master with its stream" slot_move;
    "node-gone" 1 "a master is killed for good, and its replica takes its place; once" node_gone;
}

fn cluster(world: &World) -> Result<&RedisCluster> {
    match &world.place.parts {
        Parts::Cluster(cluster) => Ok(cluster),
        _ => bail!("this store is no cluster"),
    }
}

/// The replica of a master.
fn replica_of(world: &World, master: usize) -> Result<usize> {
    let nodes = cluster(world)?.nodes();
    let port = nodes[master].port().to_string();
    let is_replica = |index: &usize| {
        let answer = nodes[*index].try_command(&["ROLE"]).unwrap_or_default();
        let mut lines = answer.lines();
        lines.next() == Some("slave") && lines.nth(1) == Some(&port)
    };
    let mut up = (0..nodes.len()).filter(|index| nodes[*index].is_up());
    up.find(is_replica)
        .ok_or_else(|| anyhow::anyhow!("node {master} has no replica"))
}

fn until_taken_over(world: &World, replica: usize) -> Result<()> {
    until("the replica takes the master's place", || {
        world.place.masters().contains(&replica)
    })
}

fn killed_and_replaced(world: &mut World, chance: &mut StdRng) -> Result<usize> {
    let master = one_of(chance, &world.place.masters_with_replica())?;
    let replica = replica_of(world, master)?;
    world.place.server_mut(master).kill9();
    until_taken_over(world, replica)?;
    Ok(master)
}

fn node_kill(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let master = killed_and_replaced(world, chance)?;
    world.place.server_mut(master).restart();
    until("the node is a replica in step", || {
        let servers = world.place.servers();
        role(servers[master]) == "slave"
            && servers[master]
                .try_command(&["INFO", "replication"])
                .is_ok_and(|info| info.contains("master_link_status:up"))
    })?;
    Ok(Happened::to_all(format!("node {master}")).at_the_cost_of(Cost::Latest(BEHIND)))
}

fn node_gone(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let gone = cluster(world)?.nodes().iter().filter(|node| !node.is_up()).count();
    if gone > 0 {
        return node_kill(world, chance);
    }
    let master = killed_and_replaced(world, chance)?;
    Ok(Happened::to_all(format!("node {master}")).at_the_cost_of(Cost::Latest(BEHIND)))
}

fn node_restart(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let master = one_of(chance, &world.place.masters())?;
    let server = world.place.server_mut(master);
    server.kill9();
    pause(chance.random_range(0..300));
    server.restart();
    // A master that comes back refuses everything for two seconds: it may have been replaced.
    until("the node serves its slots", || {
        let servers = world.place.servers();
        let answer = servers[master].try_command(&["CLUSTER", "INFO"]);
        answer.is_ok_and(|info| info.contains("cluster_state:ok"))
    })?;
    Ok(Happened::to_all(format!("node {master}")).at_the_cost_of(Cost::Latest(BEHIND)))
}

fn hand_over(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let master = one_of(chance, &world.place.masters_with_replica())?;
    let replica = replica_of(world, master)?;
    let answer = world.place.servers()[replica].try_command(&["CLUSTER", "FAILOVER"])?;
    anyhow::ensure!(answer == "OK", "CLUSTER FAILOVER: {answer}");
    until_taken_over(world, replica)?;
    until("the old master is a replica", || {
        role(world.place.servers()[master]) == "slave"
    })?;
    Ok(Happened::to_all(format!("from node {master} to node {replica}")))
}

fn slot_move(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let stream = one_of(chance, &STREAMS)?;
    let cluster = cluster(world)?;
    let masters = world.place.masters();
    let moved = |index: &usize| {
        let answer = cluster.nodes()[*index].try_command(&["XLEN", stream]);
        answer.is_ok_and(|answer| !answer.starts_with('-'))
    };
    let Some(from) = masters.iter().copied().find(moved) else {
        bail!("nobody has {stream}");
    };
    let others = masters.into_iter().filter(|index| *index != from).collect::<Vec<_>>();
    let to = one_of(chance, &others)?;
    let slot = cluster.nodes()[from].try_command(&["CLUSTER", "KEYSLOT", stream])?;
    cluster.move_slot(slot.parse()?, from, to);
    until("all masters know where it is", || {
        world.place.masters().into_iter().all(|index| {
            let answer = cluster.nodes()[index]
                .try_command(&["XLEN", stream])
                .unwrap_or_default();
            let target = cluster.nodes()[to].port().to_string();
            if index == to {
                !answer.starts_with('-')
            } else {
                answer.ends_with(&target)
            }
        })
    })?;
    Ok(Happened::to_all(format!("{stream} from node {from} to node {to}")))
}
