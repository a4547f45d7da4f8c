//! What one message costs, counted rather than timed: instructions and allocations.
//!
//! A time depends on the machine and on who else is busy on it; these numbers hardly do, so that they can be compared
//! with a record, `benches/costs.json`, from one change to the next. `cargo xtask bench --check` compares, and fails when
//! instructions or allocations grew by more than 5 %, or the bytes allocated by more than 10 %; `cargo xtask bench
//! --record` writes the record anew.
//!
//! # How it counts
//!
//! Valgrind runs a contender and counts for all its threads: Cachegrind the instructions, DHAT the allocations. The
//! server runs outside. Each work is done with few messages and with many, and the difference is divided by the
//! difference in messages: what starting and connecting cost drops out. The server is much faster than a program under
//! Valgrind, so that answers arrive together and batches come out alike in every run.
//!
//! # How to read the record
//!
//! Each entry is what one message costs its process on a runtime with one thread: `instructions`, `allocations`, and how
//! many `bytes` those were. `recorded_with` says what else the numbers depend on: the kind of processor, the compiler,
//! Valgrind. Where the check runs with something else it says so, and a change may come from there.
//!
//! The processor that Valgrind imitates has no instructions for SHA-256, which most real ones have: the hash of a payload
//! is a far greater part of these numbers than of the time that an emit takes.
//!
//! # When to record
//!
//! When a change makes messages cheaper, so that the next one cannot take that back unseen; or when it makes them more
//! expensive for a good reason, which its commit message gives. The record is committed with the change.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use streamer_test_servers::{Options, RedisServer};

use crate::{
    case::{Case, Contender},
    cases, report, run,
};

/// The cases, and whom of their contenders is counted. All run on one thread, so that every run does the same.
const COUNTED: &[(&str, &str)] = &[
    // Nothing is pinned here: one case of emitting one at a time stands for both.
    ("emit-one-same-core", "streamer, current-thread"),
    ("emit-tasks", "streamer, current-thread"),
    ("emit-all", "streamer, current-thread"),
    ("emit-replayable", "streamer, current-thread"),
    ("drain", "streamer, current-thread"),
    ("drain-typed", "streamer, current-thread"),
    ("drain-plain", "streamer, current-thread"),
    ("embedded-emit-tasks", "streamer, current-thread"),
    ("embedded-drain", "streamer, current-thread"),
    // With nobody recording they are those above.
    ("emit-tasks-recorded", "streamer, Prometheus records"),
    ("drain-recorded", "streamer, Prometheus records"),
];

/// How many messages the two runs have.
const FEW: u64 = 2_000;
const MANY: u64 = 22_000;

/// By which part a cost may differ from the record: instructions and allocations are within 2 % of each other from run
/// to run, on a busy machine too.
const TOLERANCE: f64 = 0.05;
/// How often a buffer grows while a read is answered depends on the pieces in which the answer arrives.
const TOLERANCE_OF_BYTES: f64 = 0.10;

const CACHEGRIND: &[&str] = &["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"];
const DHAT: &[&str] = &["--tool=dhat", "--dhat-out-file=/dev/null"];

/// What was counted: of a run, or of one message.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cost {
    instructions: f64,
    allocations: f64,
    bytes: f64,
}

impl Cost {
    /// Each part's name, its number, and by which part that may differ from the record.
    fn parts(self) -> [(&'static str, f64, f64); 3] {
        [
            ("instructions", self.instructions, TOLERANCE),
            ("allocations", self.allocations, TOLERANCE),
            ("bytes", self.bytes, TOLERANCE_OF_BYTES),
        ]
    }
}

/// What `benches/costs.json` holds.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    recorded_with: Vec<String>,
    per_message: BTreeMap<String, Cost>,
}

impl Record {
    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("costs.json")
    }

    /// The one in the repository; nothing is recorded where there is none.
    fn read() -> Result<Self> {
        match std::fs::read(Self::path()) {
            Ok(json) => serde_json::from_slice(&json).context("benches/costs.json is not a record of costs"),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("read benches/costs.json"),
        }
    }

    fn write(&self) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(Self::path(), json).context("write benches/costs.json")
    }
}

/// Counts and compares with the record; says whether nothing costs more than that allows.
pub(crate) fn check(name: Option<&str>) -> Result<bool> {
    let (record, now) = (Record::read()?, count(name)?);
    print!("{}", table(&record, &now));
    Ok(is_within(&record, &now))
}

/// Counts everything and rewrites the record.
pub(crate) fn record() -> Result<()> {
    let (record, now) = (Record::read()?, count(None)?);
    print!("{}", table(&record, &now));
    now.write()?;
    println!("Recorded in benches/costs.json.");
    Ok(())
}

/// Counts the cases whose name contains `name`.
fn count(name: Option<&str>) -> Result<Record> {
    let cases = cases::all();
    let mut wanted = Vec::new();
    for (name, contender) in COUNTED {
        let case = cases.iter().find(|case| case.name == *name);
        let case = case.with_context(|| format!("costs.rs counts {name}, which is no case"))?;
        let found = case.contenders.iter().find(|one| one.name == *contender);
        let contender = found.with_context(|| format!("costs.rs counts {contender}, who has no part in {name}"))?;
        wanted.push((case, contender));
    }
    wanted.retain(|(case, _)| case.name.contains(name.unwrap_or_default()));
    ensure!(!wanted.is_empty(), "no costs are counted of such a case");

    let recorded_with = vec![
        std::env::consts::ARCH.to_owned(),
        version("rustc")?,
        version("valgrind")?,
    ];
    let server = Options::default().tls().start();
    let place = run::tempdir()?;
    let mut per_message = BTreeMap::new();
    for (case, contender) in wanted {
        eprintln!("{} …", case.name);
        let label = format!("{}: {}", case.name, contender.name);
        let cost = of_one_message(&server, case, contender, place.path()).with_context(|| label.clone())?;
        per_message.insert(label, cost);
    }
    Ok(Record {
        recorded_with,
        per_message,
    })
}

fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("start {program}; is it installed?"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn of_one_message(server: &RedisServer, case: &Case, contender: &Contender, place: &Path) -> Result<Cost> {
    let few = of_a_run(server, case, contender, FEW, place)?;
    let many = of_a_run(server, case, contender, MANY, place)?;
    // More digits would say nothing.
    let each = |many: f64, few: f64, digits: f64| ((many - few) / (MANY - FEW) as f64 * digits).round() / digits;
    Ok(Cost {
        instructions: each(many.instructions, few.instructions, 1.0),
        allocations: each(many.allocations, few.allocations, 100.0),
        bytes: each(many.bytes, few.bytes, 1.0),
    })
}

fn of_a_run(server: &RedisServer, case: &Case, contender: &Contender, amount: u64, place: &Path) -> Result<Cost> {
    let under = |tool| valgrind(tool, &run::prepared(server, case, contender, amount, place)?);
    // I   refs:      26,149,361
    let instructions = under(CACHEGRIND)?;
    let instructions = after(&instructions, "refs:").context("Cachegrind does not say how many instructions it saw")?;
    // Total:     4,020,620 bytes in 15,082 blocks
    let allocations = under(DHAT)?;
    let allocations = after(&allocations, "Total:").and_then(|total| total.split_once(" bytes in "));
    let (bytes, blocks) = allocations.context("DHAT does not say how many allocations it saw")?;
    Ok(Cost {
        instructions: number(instructions)?,
        allocations: number(blocks.trim_end_matches(" blocks"))?,
        bytes: number(bytes)?,
    })
}

/// Runs the program under a tool of Valgrind and gives what the tool says.
fn valgrind(tool: &[&str], program: &Command) -> Result<String> {
    let mut command = Command::new("valgrind");
    command.args(tool).arg(program.get_program()).args(program.get_args());
    let output = command.output().context("start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "the run under Valgrind failed ({}):\n{said}",
        output.status
    );
    Ok(said)
}

/// The rest of the first line that has `label`.
fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| Some(line.split_once(label)?.1))
        .map(str::trim)
}

fn number(text: &str) -> Result<f64> {
    let digits = text.replace(',', "");
    digits
        .parse()
        .with_context(|| format!("{text} is not what Valgrind used to say"))
}

/// A row for each case; of each part what it is now, what was recorded, and the change.
fn table(record: &Record, now: &Record) -> String {
    let mut heading = vec!["per message".to_owned()];
    for part in ["instructions", "allocations", "bytes"] {
        heading.extend([part, "recorded", "change"].map(str::to_owned));
    }
    let rows = now.per_message.iter().map(|(label, cost)| {
        let recorded = record.per_message.get(label).map(|recorded| recorded.parts());
        let mut row = vec![label.clone()];
        for (index, (_, now, _)) in cost.parts().into_iter().enumerate() {
            row.push(now.to_string());
            row.extend(match recorded.map(|recorded| recorded[index].1) {
                Some(recorded) => [recorded.to_string(), percent(recorded, now)],
                None => ["–", "–"].map(str::to_owned),
            });
        }
        row
    });
    report::aligned(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

/// Says what grew, what fell, and what is not recorded at all.
fn is_within(record: &Record, now: &Record) -> bool {
    let (mut grown, mut fallen, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (label, cost) in &now.per_message {
        let Some(recorded) = record.per_message.get(label) else {
            unknown.push(label.clone());
            continue;
        };
        for ((part, recorded, tolerance), (_, now, _)) in recorded.parts().into_iter().zip(cost.parts()) {
            let change = format!("{label}: {} {part} ({recorded} → {now})", percent(recorded, now));
            if now > recorded * (1.0 + tolerance) {
                grown.push(change);
            } else if now < recorded * (1.0 - tolerance) {
                fallen.push(change);
            }
        }
    }
    let list = |what: &str, which: &[String]| {
        if !which.is_empty() {
            println!("\n{what}:\n    {}", which.join("\n    "));
        }
    };
    list(
        "Less than recorded; `cargo xtask bench --record` would tighten the record",
        &fallen,
    );
    list(
        "Not in benches/costs.json; `cargo xtask bench --record` adds it",
        &unknown,
    );
    list(
        "TOO MUCH; if a message has to cost that, `cargo xtask bench --record` records it",
        &grown,
    );
    if record.recorded_with != now.recorded_with && !record.recorded_with.is_empty() {
        let (then, now) = (record.recorded_with.join(", "), now.recorded_with.join(", "));
        println!("\nThe record was made with {then}; this with {now}.");
    }
    let within = grown.is_empty() && unknown.is_empty();
    if within {
        println!("\nNothing costs more than the record allows.");
    }
    within
}

fn percent(recorded: f64, now: f64) -> String {
    format!("{:+.1} %", (now / recorded - 1.0) * 100.0)
}
