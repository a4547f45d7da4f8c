//! The database file is locked, replaced, and on a device that fails or is full.

use anyhow::{Context as _, Result};
use rand::{RngExt as _, rngs::StdRng};
use rusqlite::Connection;
use streamer_test_servers::DeviceMode;

use super::{Cost, Fault, Happened, World, one_of, pause};
use crate::place::Topology;

macro_rules! faults {
    ($($name:literal $weight:literal $what:literal $make:expr;)*) => {
        pub(super) const FAULTS: &[Fault] = &[$(Fault {
            name: $name,
            what: $what,
            on: &[Topology::Embedded],
            weight: $weight,
            calm: false,
            make: $make,
        }),*];
    };
}

faults! {
    "file-lock" 3 "another program holds the write lock for up to four seconds" lock;
    "file-replaced" 1 "the file is deleted while all have it open" replaced;
    "device-error" 2 "writes and flushes of the file fail (EIO) for a while" |world, chance| device(world, chance, DeviceMode::Writes);
    "device-full" 2 "the device has no room (ENOSPC) for a while" |world, chance| device(world, chance, DeviceMode::Full);
    "clock-jump" 1 "the clock of the machine jumps, back or forth by a minute" clock_jump;
    "writers-kill" 2 "all processes that write are killed at once" writers_kill;
}

fn lock(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let time = chance.random_range(300..4000);
    let connection = Connection::open(world.place.file()?)?;
    connection.busy_timeout(std::time::Duration::from_secs(20))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    pause(time);
    connection.execute_batch("ROLLBACK")?;
    Ok(Happened::to_all(format!("for {time} ms")))
}

fn replaced(world: &mut World, _: &mut StdRng) -> Result<Happened> {
    let file = world.place.file()?;
    for suffix in ["", "-wal", "-shm"] {
        let path = file.with_file_name(format!("store.db{suffix}"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(Happened::to_all("").at_the_cost_of(Cost::Everything))
}

fn device(world: &mut World, chance: &mut StdRng, mode: DeviceMode) -> Result<Happened> {
    let time = chance.random_range(200..2500);
    let device = world
        .crew
        .device()
        .context("there is no C compiler to build a failing device with")?;
    device.fails(mode);
    pause(time);
    device.works();
    Ok(Happened::to_all(format!("for {time} ms")))
}

/// All processes that share a file share a clock.
fn clock_jump(world: &mut World, chance: &mut StdRng) -> Result<Happened> {
    let offset = one_of(chance, &["-60", "+60", "+0"])?;
    world.crew.set_shared_clock(offset)?;
    Ok(Happened::to_all(format!("it is {offset} s off now")))
}

fn writers_kill(world: &mut World, _: &mut StdRng) -> Result<Happened> {
    let kinds = ["consumer", "producer", "archiver", "retrier", "relay"];
    let indexes = kinds
        .iter()
        .flat_map(|kind| world.crew.of_kind(kind))
        .collect::<Vec<_>>();
    for index in &indexes {
        world.crew.kill(*index);
    }
    for index in indexes {
        world.crew.start(index)?;
    }
    Ok(Happened::to_all("all at once"))
}
