//! Servers are killed, frozen, busy, full, demoted, and change what they accept.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::{RngExt as _, rngs::StdRng};

use super::{Cost, Fault, Happened, World, one_of, pause, until};
use crate::place::{PASSWORD, Topology, USER, role};

macro_rules! faults {
    ($($name:literal $weight:literal $on:ident $what:literal $make:expr;)*) => {
        pub(super) const FAULTS: &[Fault] = &[$(Fault {
            name: $name,
            what: $what,
            on: Topology::$on,
            weight: $weight,
            calm: false,
            make: $make,
        }),*];
    };
}

faults! {
    "server-kill" 2 SINGLE "the server is killed and starts again from its log, which is flushed at each write" kill;
    "server-kill-everysec" 1 SINGLE "the same while its log is flushed once a second" kill_everysec;
    "server-kill-empty" 1 SINGLE "the same while it keeps no log: it starts empty" kill_empty;
    "server-freeze" 2 SERVERS "a server stands still for up to three seconds" freeze;
    "client-kill" 2 SERVERS "all connections are closed by the server (CLIENT KILL)" client_kill;
    "client-pause" 1 SERVERS "the server answers nobody (CLIENT PAUSE)" client_pause;
    "busy-script" 1 SERVERS "somebody's script keeps the server busy for a second and a half" busy_script;
    "script-flush" 1 SERVERS "the server forgets its scripts (SCRIPT FLUSH)" script_flush;
    "password" 1 SINGLE "the user's password changes, and connections are closed; then it is the old one again" password;
    "maxmemory" 2 SERVERS "the server is full and refuses writes; then it has room again" maxmemory;
    "demote" 1 SINGLE "the server becomes a replica, which refuses writes, and a master again" demote;
}

fn any_master(world: &World, chance: &mut StdRng) -> Result<usize> {
    one_of(chance, &world.place.masters())
}

fn command(world: &World, index: usize, arguments: &[&str]) -> Result<String> {
    let answer = world.place.servers()[index].try_command(arguments)?;
    ensure!(!answer.starts_with('-'), "{arguments:?}: {answer}");
    Ok(answer)
}

fn kill(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let away = chance.random_range(0..2500);
    let server = world.place.server_mut(0);
    server.kill9();
    pause(away);
    server.restart();
    Ok(Happened::to_all(format!("away for {away} ms")))
}

fn kill_everysec(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    command(world, 0, &["CONFIG", "SET", "appendfsync", "everysec"])?;
    pause(chance.random_range(300..1500));
    // While a flush takes long, what was answered may not be written to the log yet, for two seconds at most.
    Ok(kill(world, chance)?.at_the_cost_of(Cost::Latest(Duration::from_secs(2))))
}

fn kill_empty(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let away = chance.random_range(0..1500);
    let server = world.place.server_mut(0);
    server.kill9();
    pause(away);
    std::fs::remove_dir_all(server.file("appendonlydir"))?;
    server.restart();
    Ok(Happened::to_all(format!("away for {away} ms")).at_the_cost_of(Cost::Everything))
}

fn freeze(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let index = any_master(world, chance)?;
    // Where others would take its place, less than they wait for.
    let longest = match world.place.topology {
        Topology::Sentinel => 300,
        Topology::Cluster => 1200,
        _ => 3000,
    };
    let still = chance.random_range(100..longest);
    world.place.servers()[index].freeze();
    pause(still);
    world.place.servers()[index].thaw();
    Ok(Happened::to_all(format!("for {still} ms")))
}

fn client_kill(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let index = any_master(world, chance)?;
    command(world, index, &["CLIENT", "KILL", "TYPE", "normal"])?;
    Ok(Happened::to_all(""))
}

fn client_pause(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let index = any_master(world, chance)?;
    let time = chance.random_range(200..1500);
    command(world, index, &["CLIENT", "PAUSE", &time.to_string(), "ALL"])?;
    pause(time);
    Ok(Happened::to_all(format!("for {time} ms")))
}

fn busy_script(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let index = any_master(world, chance)?;
    // Below what Sentinels and other nodes wait for.
    let time = match world.place.topology {
        Topology::Sentinel => 300,
        Topology::Cluster => 1000,
        _ => 1500,
    };
    let now = "local function now() local t = redis.call('TIME'); return t[1] * 1000 + t[2] / 1000 end";
    let script = format!(
        "redis.replicate_commands() {now} local until_ms = now() + {time} while now() < until_ms do end return 1"
    );
    command(world, index, &["EVAL", &script, "0"])?;
    Ok(Happened::to_all(format!("for {time} ms")))
}

fn script_flush(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let index = any_master(world, chance)?;
    command(world, index, &["SCRIPT", "FLUSH"])?;
    Ok(Happened::to_all(""))
}

fn password(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let time = chance.random_range(300..2500);
    command(world, 0, &["ACL", "SETUSER", USER, "resetpass", ">another"])?;
    command(world, 0, &["CLIENT", "KILL", "USER", USER])?;
    pause(time);
    command(
        world,
        0,
        &["ACL", "SETUSER", USER, "resetpass", &format!(">{PASSWORD}")],
    )?;
    Ok(Happened::to_all(format!("for {time} ms")))
}

fn maxmemory(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let index = any_master(world, chance)?;
    let time = chance.random_range(500..3000);
    command(world, index, &["CONFIG", "SET", "maxmemory", "1"])?;
    pause(time);
    command(world, index, &["CONFIG", "SET", "maxmemory", "0"])?;
    Ok(Happened::to_all(format!("for {time} ms")))
}

fn demote(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let time = chance.random_range(300..2500);
    // A master that is not there: it keeps its data.
    command(world, 0, &["REPLICAOF", "127.0.0.1", "1"])?;
    pause(time);
    command(world, 0, &["REPLICAOF", "NO", "ONE"])?;
    let server = world.place.servers()[0];
    until("the server is a master again", || role(server) == "master")?;
    Ok(Happened::to_all(format!("for {time} ms")))
}

/// Replication is asynchronous: this is more than a replica is behind on any machine that is not broken.
pub(crate) const BEHIND: Duration = Duration::from_secs(1);
