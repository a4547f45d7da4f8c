//! A mixed load for hours, without faults. Everything that a process holds must stay as it is.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{
    child::{Role, tasks_file},
    clock,
    crew::Crew,
    ledger::Written,
    place::{Place, Topology},
    plot, say,
    verdict::Verdict,
};

/// Runs producers, consumers in groups, retriers, an outbox and somebody who archives, restores and purges, and samples
/// what they hold.
///
/// The exit code is 1 when the second half of the samples holds more than the first half, when a message is not handled at the
/// end, or when a process ended by itself.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask soak")]
struct Options {
    /// How long, in hours
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Where; one after the other
    #[arg(long, value_enum, default_values_t = [Topology::Redis, Topology::Embedded])]
    topology: Vec<Topology>,
    /// The folder for samples and plots
    #[arg(long, default_value = "target/soak")]
    out: PathBuf,
    /// How often a sample is taken, in seconds
    #[arg(long, default_value_t = 10.0)]
    every: f64,
}

/// What is measured, and how much more the second half may have: so many parts of the first, and so much.
pub(crate) const MEASURES: [(&str, f64, f64); 9] = [
    ("resident memory, MiB", 1.10, 20.0),
    ("file descriptors", 1.05, 10.0),
    ("threads", 1.05, 5.0),
    ("tasks", 1.05, 10.0),
    ("clients of the server", 1.05, 3.0),
    ("keys", 1.10, 100.0),
    ("store, MiB", 1.10, 5.0),
    ("log of the store, MiB", 1.10, 16.0),
    ("log lines, KiB a minute", 1.25, 10.0),
];

/// Where the last of them stands.
const LOG_LINES: usize = MEASURES.len() - 1;

/// A value for each of [`MEASURES`]; `None` where the store has no such thing.
pub(crate) type Sample = (f64, [Option<f64>; MEASURES.len()]);

pub(crate) fn main() -> ExitCode {
    let options = Options::parse_from(std::env::args_os().skip(1));
    let mut code = ExitCode::SUCCESS;
    for topology in &options.topology {
        match run(&options, *topology) {
            Ok(true) => {}
            Ok(false) => code = ExitCode::FAILURE,
            Err(error) => {
                say!("error: {error:#}");
                return ExitCode::from(2);
            }
        }
    }
    code
}

fn run(options: &Options, topology: Topology) -> Result<bool> {
    fs::create_dir_all(&options.out).with_context(|| format!("could not make {}", options.out.display()))?;
    let name = format!("{topology:?}").to_lowercase();
    let directory = tempfile::Builder::new().prefix("soak-").tempdir()?;
    let folder = directory.path().to_owned();
    let place = Place::new(topology, &folder);
    let mut crew = Crew::new(place.url.clone(), &folder, None, 0);
    let begin = clock::now();
    say!("{topology:?}, {} h", options.hours);
    crew.start_all(Role::Keeper)?;
    let mut lines = File::create(options.out.join(format!("{name}.jsonl")))?;
    let (start, mut samples) = (Instant::now(), Vec::<Sample>::new());
    let (mut logged, mut since) = (0, 0.0);
    while start.elapsed().as_secs_f64() < options.hours * 3600.0 {
        thread::sleep(Duration::from_secs_f64(options.every));
        crew.look_after(begin)?;
        let at = start.elapsed().as_secs_f64();
        let mut values = measure(&place, &crew, &folder);
        let log = log_bytes(&folder);
        values[LOG_LINES] = Some((log - logged) as f64 / 1024.0 / ((at - since) / 60.0));
        (logged, since) = (log, at);
        let named = MEASURES.iter().zip(values).map(|((name, ..), value)| (*name, value));
        let named = named.collect::<BTreeMap<_, _>>();
        writeln!(lines, "{}", serde_json::json!({ "seconds": at, "held": named }))?;
        samples.push((at, values));
    }
    // What was emitted and restored is handled: nobody adds to it any more.
    crew.end_all(&["producer", "application", "archiver"]);
    let until = Instant::now() + Duration::from_secs(120);
    let mut written = Written::read(&folder);
    while !Verdict::is_handled(&written, &[]) && Instant::now() < until {
        thread::sleep(Duration::from_secs(1));
        written = Written::read(&folder);
    }
    let handled = Verdict::is_handled(&written, &[]);
    crew.end_all(&["retrier", "relay", "consumer"]);
    say!(
        "  emitted {}, attempts {}, all handled: {handled}",
        written.acknowledged.len(),
        written.handled.len()
    );
    let mut good = handled;
    for said in crew
        .misbehaviour
        .iter()
        .chain(written.remarks.iter().map(|(_, text)| text))
    {
        if !["LEASE", "SKIPPED", "GONE"].iter().any(|kind| said.starts_with(kind)) {
            say!("  MISBEHAVIOUR: {said}");
            good = false;
        }
    }
    for (index, (measure, parts, more)) in MEASURES.iter().enumerate() {
        let Some((first, second)) = halves(&samples, index) else {
            continue;
        };
        let grows = grows(first, second, *parts, *more);
        let word = if grows { "GROWS" } else { "flat" };
        say!("  {measure:<24} {first:9.1} in the first half, {second:9.1} in the second: {word}");
        good &= !grows;
    }
    let plot = options.out.join(format!("{name}.svg"));
    fs::write(&plot, plot::svg(&format!("{topology:?}"), &samples))?;
    say!("  samples and plot: {}", plot.display());
    Ok(good)
}

/// Whether the second half has more than chance explains.
fn grows(first: f64, second: f64, parts: f64, more: f64) -> bool {
    second > first * parts + more
}

/// The median of each half, without the first tenth, in which everything begins.
fn halves(samples: &[Sample], index: usize) -> Option<(f64, f64)> {
    let values = samples
        .iter()
        .skip(samples.len() / 10)
        .filter_map(|(_, values)| values[index]);
    let values = values.collect::<Vec<_>>();
    let (first, second) = values.split_at(values.len() / 2);
    Some((median(first)?, median(second)?))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn measure(place: &Place, crew: &Crew, folder: &Path) -> [Option<f64>; MEASURES.len()] {
    let mut values = [None; MEASURES.len()];
    let mut add = |index: usize, value: Option<f64>| {
        if let Some(value) = value {
            *values[index].get_or_insert(0.0) += value;
        }
    };
    for (who, process) in crew.processes() {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        add(0, field("VmRSS:").map(|kib| kib / 1024.0));
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"));
        add(1, descriptors.ok().map(|all| all.count() as f64));
        add(2, field("Threads:"));
        let tasks = fs::read_to_string(folder.join(tasks_file(who)));
        add(3, tasks.ok().and_then(|tasks| tasks.parse().ok()));
    }
    for server in place.servers() {
        let info = server.try_command(&["INFO"]).unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<f64>().ok()
        };
        add(4, field("connected_clients:"));
        add(
            5,
            server.try_command(&["DBSIZE"]).ok().and_then(|keys| keys.parse().ok()),
        );
        add(6, field("used_memory:").map(|bytes| bytes / 1024.0 / 1024.0));
    }
    if let Ok(file) = place.file() {
        for (index, suffix) in [(6, ""), (7, "-wal")] {
            let mut path = file.as_os_str().to_owned();
            path.push(suffix);
            let length = fs::metadata(path).ok().map(|file| file.len());
            add(index, length.map(|bytes| bytes as f64 / 1024.0 / 1024.0));
        }
        add(5, keys(file));
    }
    values
}

/// How many keys a file has, and how much lies beside its streams.
fn keys(file: &Path) -> Option<f64> {
    let file = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let sql = "SELECT (SELECT count(*) FROM streamer_keys) + (SELECT count(*) FROM streamer_hash_fields) \
               + (SELECT count(*) FROM streamer_members) + (SELECT count(*) FROM streamer_elements)";
    file.query_row(sql, [], |row| row.get::<_, f64>(0)).ok()
}

/// How much all processes have logged and printed.
fn log_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let logs = files.filter(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.ends_with(".log") || name.ends_with(".err")
    });
    logs.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(value: impl Fn(f64) -> f64) -> Vec<Sample> {
        let sample = |minute: i32| {
            let mut values = [None; MEASURES.len()];
            values[0] = Some(value(f64::from(minute)));
            (f64::from(minute) * 60.0, values)
        };
        (0..60).map(sample).collect()
    }

    fn memory_grows(value: impl Fn(f64) -> f64) -> bool {
        let (first, second) = halves(&samples(value), 0).unwrap_or_default();
        let (_, parts, more) = MEASURES[0];
        grows(first, second, parts, more)
    }

    #[test]
    fn what_grows_all_the_time_is_told_from_what_only_begins_or_swings() {
        assert!(memory_grows(|minute| 200.0 + 3.0 * minute));
        assert!(!memory_grows(|minute| 200.0 + if minute < 5.0 { 0.0 } else { 150.0 }));
        assert!(!memory_grows(|minute| 200.0 + 30.0 * (minute % 4.0)));
        assert!(halves(&samples(|_| 1.0), 1).is_none());
    }
}
