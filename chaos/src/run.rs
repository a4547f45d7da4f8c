//! One run: servers and processes, faults, and what came of it.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use streamer::{
    Streamer,
    archive::{ArchiveStorage, SqliteArchive},
    stream::Range,
};
use streamer_test_servers::FailingDevice;

use crate::{
    child::{GROUPS, RECLAIM, Role, STREAMS, archive_url},
    clock,
    crew::Crew,
    faults::World,
    ledger::Written,
    options::Options,
    own_fail_overs,
    place::{Place, Topology},
    say,
    schedule::Schedule,
    verdict::{End, Made, Verdict},
};

/// How long after the last fault everything may take to be handled.
const PATIENCE: Duration = Duration::from_secs(90);
/// What goes on before the first fault.
const WARM_UP: Duration = Duration::from_secs(3);

/// Runs, prints what happened, and tells whether nothing was lost and nobody misbehaved.
pub(crate) fn run(options: &Options, topology: Topology) -> Result<bool> {
    let mut schedule = Schedule::new(options, topology)?;
    let directory = tempfile::Builder::new().prefix("chaos-").tempdir()?;
    let folder = directory.path().to_owned();
    let device = match topology {
        Topology::Embedded => FailingDevice::new(&folder),
        _ => None,
    };
    let place = Place::new(topology, &folder);
    let replicas = u32::from(matches!(topology, Topology::Cluster | Topology::Sentinel));
    let mut crew = Crew::new(place.url.clone(), &folder, device, replicas);
    if topology == Topology::Embedded {
        crew.share_clock()?;
    }
    let mut world = World { place, crew };
    let begin = clock::now();
    say!("{topology:?}, seed {}, {} min", options.seed, options.minutes);
    world.crew.start_all(Role::Archiver)?;
    thread::sleep(WARM_UP);

    let mut made = Vec::<Made>::new();
    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    while Instant::now() < until {
        let mut next = schedule.next()?;
        thread::sleep(next.pause);
        if next.fault.calm {
            // What is pending with a consumer that died is claimed by then.
            thread::sleep(RECLAIM * 2);
        }
        let from = clock::now();
        let happened = (next.fault.make)(&mut world, &mut next.chance)
            .with_context(|| format!("the fault {} could not be made", next.fault.name))?;
        let made_now = Made {
            name: next.fault.name,
            from,
            to: clock::now(),
            happened,
        };
        say!("  {}", made_now.line(begin));
        made.push(made_now);
        world.crew.look_after(begin)?;
    }

    world.crew.end_all(&["producer", "application"]);
    own_fail_overs::add(&world.place, &mut made);
    let end = settle(&mut world, &folder, begin, &made)?;
    world.crew.end_all(&["retrier", "relay", "consumer"]);
    own_fail_overs::add(&world.place, &mut made);
    for own in made.iter().filter(|made| made.name == own_fail_overs::NAME) {
        say!("  {}", own.line(begin));
    }
    let written = Written::read(&folder);
    let verdict = Verdict::of(&written, &made, end, std::mem::take(&mut world.crew.misbehaviour));
    verdict.print(topology, begin);
    if options.keep || verdict.is_worth_a_look() {
        keep(&world.place, directory);
    }
    Ok(verdict.is_good())
}

/// Waits until everything that must be handled is, or patience ends; tells what is where then.
fn settle(world: &mut World, folder: &Path, begin: u64, made: &[Made]) -> Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let since = Instant::now();
    // It would restore messages after they were counted, and nothing may be on its way between stream and archive.
    world.crew.end_all(&["archiver"]);
    let mut pending = u64::MAX;
    while since.elapsed() < PATIENCE {
        world.crew.look_after(begin)?;
        thread::sleep(Duration::from_millis(500));
        let written = Written::read(folder);
        if !Verdict::is_handled(&written, made) || !outbox_is_empty(folder) {
            continue;
        }
        pending = runtime.block_on(pending_entries(&world.place.url)).unwrap_or(u64::MAX);
        if pending == 0 {
            break;
        }
    }
    let settled_after = since.elapsed();
    // Servers may change places by themselves even now.
    let until = Instant::now() + PATIENCE;
    let mut end = loop {
        match runtime.block_on(end(&world.place.url, folder)) {
            Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(500)),
            end => break end?,
        }
    };
    end.settled_after = settled_after;
    end.pending = pending;
    Ok(end)
}

/// Whether the relay has published everything; true where there is none.
fn outbox_is_empty(folder: &Path) -> bool {
    let path = folder.join("application.db");
    if !path.exists() {
        return true;
    }
    let count = rusqlite::Connection::open(path).and_then(|connection| {
        connection.query_row("SELECT count(*) FROM streamer_outbox", [], |row| row.get::<_, i64>(0))
    });
    count.is_ok_and(|count| count == 0)
}

async fn pending_entries(url: &str) -> Result<u64> {
    let streamer = Streamer::connect(url).await?;
    let mut pending = 0;
    for stream in STREAMS {
        let handle = streamer.stream(stream);
        for group in GROUPS {
            if handle.group_exists(group).await? {
                pending += handle.pending_summary(group).await?.count;
            }
        }
    }
    Ok(pending)
}

/// Which numbers are on the streams or in the archive, and what the failed list still has.
async fn end(url: &str, folder: &Path) -> Result<End> {
    let streamer = Streamer::connect(url).await?;
    let mut end = End::default();
    let number = |data: &[u8]| serde_json::from_slice::<serde_json::Value>(data).ok()?["n"].as_u64();
    for stream in STREAMS {
        let mut entries = Box::pin(streamer.stream(stream).range(Range::all()).entries());
        while let Some(entry) = entries.try_next().await? {
            let data = entry.fields.iter().find(|(name, _)| name == "data");
            end.kept.extend(data.and_then(|(_, data)| number(data)));
        }
    }
    let archive: std::sync::Arc<dyn ArchiveStorage> =
        std::sync::Arc::new(SqliteArchive::open(&archive_url(folder)).await?);
    archive.migrate().await?;
    let mut messages = archive.all();
    while let Some(message) = messages.try_next().await? {
        let data = message.fields.iter().find(|(name, _)| name == "data");
        end.kept.extend(data.and_then(|(_, data)| number(data)));
        end.archived += 1;
    }
    end.failed = streamer.failed().count().await?;
    Ok(end)
}

/// Leaves the logs where somebody can read them.
fn keep(place: &Place, directory: tempfile::TempDir) {
    let folder = directory.keep();
    for (index, server) in place.servers().into_iter().enumerate() {
        let _ = std::fs::copy(server.file("log"), folder.join(format!("server-{index}.log")));
    }
    say!("  ledger and logs: {}", folder.display());
}
