//! What is printed and written: medians, ranges, ratios within the same round, and how targets were met.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use streamer_test_servers::RedisServer;

use crate::case::{Bound, Case, Reading, Target};

/// All readings of a case.
pub(crate) struct Results {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    metrics: &'static [&'static str],
    contenders: Vec<(&'static str, Vec<Reading>)>,
    targets: Vec<Target>,
}

/// The middle of several numbers, and how far they lie apart.
#[derive(Clone, Copy, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let (least, most) = (*numbers.first()?, *numbers.last()?);
        let (lower, upper) = (numbers[(numbers.len() - 1) / 2], numbers[numbers.len() / 2]);
        Some(Self {
            median: f64::midpoint(lower, upper),
            least,
            most,
        })
    }
}

impl Results {
    pub(crate) fn new(case: &Case) -> Self {
        Self {
            name: case.name,
            title: case.title,
            about: case.about,
            metrics: case.metrics,
            contenders: case.contenders.iter().map(|one| (one.name, Vec::new())).collect(),
            targets: case.targets.clone(),
        }
    }

    pub(crate) fn add(&mut self, contender: usize, reading: Reading) {
        self.contenders[contender].1.push(reading);
    }

    /// With the readings that a page was written with; `None` where the case was not run then, or has other contenders.
    fn recorded(case: &Case, record: &Record) -> Option<Self> {
        let recorded = record.cases.iter().find(|one| one.case == case.name)?;
        let mut results = Self::new(case);
        for (name, readings) in &mut results.contenders {
            let found = recorded.rounds.iter().find(|one| one.contender == *name)?;
            readings.clone_from(&found.readings);
        }
        Some(results)
    }

    fn to_record(&self) -> RecordedCase {
        let contender = |(name, readings): &(&str, Vec<Reading>)| RecordedContender {
            contender: (*name).to_owned(),
            readings: readings.clone(),
        };
        RecordedCase {
            case: self.name.to_owned(),
            title: self.title.to_owned(),
            rounds: self.contenders.iter().map(contender).collect(),
        }
    }

    fn readings(&self, contender: &str) -> Option<&[Reading]> {
        let found = self.contenders.iter().find(|(name, _)| *name == contender);
        found.map(|(_, readings)| &readings[..])
    }

    fn spread(&self, contender: &str, metric: &str) -> Option<Spread> {
        Spread::of(
            self.readings(contender)?
                .iter()
                .filter_map(|reading| reading.get(metric))
                .collect(),
        )
    }

    /// The ratios of two contenders' readings, round by round.
    fn ratios(&self, contender: &str, against: &str, metric: &str) -> Option<Spread> {
        let pairs = self.readings(contender)?.iter().zip(self.readings(against)?);
        Spread::of(
            pairs
                .filter_map(|(one, other)| Some(one.get(metric)? / other.get(metric)?))
                .collect(),
        )
    }

    /// The contender that the others are compared with.
    fn measure(&self) -> Option<&'static str> {
        self.contenders.first().map(|(name, _)| *name)
    }

    /// A row for each contender: its name, its readings, its ratio.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut heading = vec![String::new()];
        heading.extend(self.metrics.iter().map(|metric| label(metric).to_owned()));
        heading.push(format!("ratio to {}", self.measure().unwrap_or_default()));
        let rows = self.contenders.iter().map(|(name, _)| {
            let mut row = vec![(*name).to_owned()];
            row.extend(
                self.metrics
                    .iter()
                    .map(|metric| self.spread(name, metric).map_or(String::new(), shown)),
            );
            let measure = self.measure().unwrap_or_default();
            let metric = self.metrics.first().copied().unwrap_or_default();
            row.push(match self.ratios(name, measure, metric) {
                Some(ratio) if *name != measure => {
                    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most)
                }
                _ => String::new(),
            });
            row
        });
        std::iter::once(heading).chain(rows).collect()
    }

    /// A row for each target: what, the bound, what was reached, whether that is enough.
    fn judged(&self) -> Vec<Vec<String>> {
        let judge = |target: &Target| {
            let reached = match target.against {
                Some(against) => self.ratios(target.contender, against, target.metric),
                None => self.spread(target.contender, target.metric),
            };
            let (bound, met) = match target.bound {
                Bound::AtLeast(least) => (
                    format!("at least {least}"),
                    reached.map(|reached| reached.median >= least),
                ),
                Bound::AtMost(most) => (format!("at most {most}"), reached.map(|reached| reached.median <= most)),
            };
            let what = match target.against {
                Some(against) => format!("{} / {against}: {}", target.contender, label(target.metric)),
                None => format!("{}: {}", target.contender, label(target.metric)),
            };
            vec![
                self.name.to_owned(),
                what,
                bound,
                reached.map_or("not run".to_owned(), |reached| format!("{:.2}", reached.median)),
                met.map_or("", |met| if met { "yes" } else { "**no**" }).to_owned(),
            ]
        };
        self.targets.iter().map(judge).collect()
    }
}

fn label(metric: &str) -> &str {
    match metric {
        "per_second" => "per second",
        "resident_mb" => "resident MB",
        "published_per_second" => "published per second",
        "p50_us" => "p50 µs",
        "p99_us" => "p99 µs",
        "p999_us" => "p99.9 µs",
        "bytes_per_message" => "bytes per message",
        "cpu_percent" => "CPU, % of one core",
        other => other,
    }
}

fn shown(spread: Spread) -> String {
    format!(
        "{} ({}–{})",
        number(spread.median),
        number(spread.least),
        number(spread.most)
    )
}

/// Three digits that count.
fn number(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if value >= 1000.0 {
        format!("{:.1}k", value / 1000.0)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A case for people at a terminal.
pub(crate) fn text(results: &Results) -> String {
    format!(
        "{} ({})\n{}{}",
        results.title,
        results.name,
        aligned(&results.rows()),
        aligned(&results.judged())
    )
}

/// Rows with their columns below each other.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for row in rows {
        text.push_str("   ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, " {cell:width$} ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// What `docs/benchmarks.json` holds.
#[derive(Serialize, Deserialize)]
struct Record {
    machine: Machine,
    cases: Vec<RecordedCase>,
}

#[derive(Serialize, Deserialize)]
struct RecordedCase {
    case: String,
    title: String,
    rounds: Vec<RecordedContender>,
}

#[derive(Serialize, Deserialize)]
struct RecordedContender {
    contender: String,
    readings: Vec<Reading>,
}

/// Writes `docs/benchmarks.md` and the readings beside it.
pub(crate) fn write(all: &[Results], server: &RedisServer) -> Result<()> {
    write_documents(all, &Machine::ask(server)?)
}

/// Writes these cases into the documents and leaves the others as they were measured.
///
/// # Errors
///
/// When the others were measured on another machine, or with other versions: such figures do not belong on one page.
pub(crate) fn write_into(measured: Vec<Results>, server: &RedisServer) -> Result<()> {
    let machine = Machine::ask(server)?;
    let record = std::fs::read(documents().join("benchmarks.json")).context("read docs/benchmarks.json")?;
    let record: Record = serde_json::from_slice(&record).context("docs/benchmarks.json is no record of readings")?;
    ensure!(
        record.machine == machine,
        "docs/benchmarks.md was measured with something else than this machine has, so that single cases cannot be \
         replaced; `cargo xtask bench` measures all of them\n  there: {:?}\n  here:  {machine:?}",
        record.machine
    );
    let mut measured: BTreeMap<_, _> = measured.into_iter().map(|results| (results.name, results)).collect();
    let all = crate::cases::all();
    let of_case = |case: &Case| measured.remove(case.name).or_else(|| Results::recorded(case, &record));
    let all: Vec<_> = all.iter().filter_map(of_case).collect();
    write_documents(&all, &machine)
}

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn write_documents(all: &[Results], machine: &Machine) -> Result<()> {
    std::fs::write(documents().join("benchmarks.md"), markdown(all, machine)).context("write docs/benchmarks.md")?;
    let record = Record {
        machine: machine.clone(),
        cases: all.iter().map(Results::to_record).collect(),
    };
    let json = serde_json::to_string_pretty(&record)? + "\n";
    std::fs::write(documents().join("benchmarks.json"), json).context("write docs/benchmarks.json")
}

/// What the figures were measured on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Machine {
    processors: usize,
    model: String,
    system: String,
    server: String,
    compiler: String,
    packages: Vec<String>,
}

impl Machine {
    fn ask(server: &RedisServer) -> Result<Self> {
        let info = server.command(&["INFO", "server"]);
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"))
            .unwrap_or("unknown");
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let compiler = std::process::Command::new("rustc")
            .arg("--version")
            .output()
            .context("ask for the compiler's version")?;
        Ok(Self {
            processors: std::thread::available_parallelism()?.get(),
            model: model.map_or("unknown", |(_, model)| model).to_owned(),
            system: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            server: format!("Redis {}", version.trim()),
            compiler: String::from_utf8_lossy(&compiler.stdout).trim().to_owned(),
            packages: packages(),
        })
    }
}

/// The versions of those that are compared, from the lock file.
fn packages() -> Vec<String> {
    const COMPARED: [&str; 5] = [
        "redis",
        "sea-streamer-redis",
        "ruststream-fred",
        "apalis-redis",
        "rusqlite",
    ];
    let lock = include_str!("../Cargo.lock");
    let named = lock.split("[[package]]").filter_map(|package| {
        let value = |key: &str| {
            package.lines().find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(" = ")
                    .map(|value| value.trim_matches('"'))
            })
        };
        let name = value("name")?;
        COMPARED
            .contains(&name)
            .then(|| format!("{name} {}", value("version").unwrap_or_default()))
    });
    named.collect()
}

fn markdown(all: &[Results], machine: &Machine) -> String {
    let readings = all.iter().flat_map(|results| &results.contenders);
    let rounds = readings.map(|(_, readings)| readings.len()).max().unwrap_or(0);
    let mut text = format!(
        "# How fast is it?\n\n\
        `cargo xtask bench` wrote this page; run it to measure your machine. In each of {rounds} rounds every \
        contender of a case runs once, in its own process and session; the server has its own session, too, as services \
        have. A cell has the median of the rounds, with the range in parentheses. A ratio is the median of the ratios \
        within each round. [Why it is as fast as it is](performance.md) explains the figures. All readings are in \
        [benchmarks.json](benchmarks.json).\n\n\
        Measured with {} on {} processors ({}), Linux {}, {}; {}. Default settings everywhere.\n\n",
        machine.server,
        machine.processors,
        machine.model,
        machine.system,
        machine.compiler,
        machine.packages.join(", ")
    );
    text.push_str("## Targets\n\n");
    let mut judged = vec![["case", "what", "target", "reached", "met"].map(str::to_owned).to_vec()];
    judged.extend(all.iter().flat_map(Results::judged));
    table(&mut text, &judged);
    for results in all {
        let _ = write!(
            text,
            "\n## {}\n\n{} (`cargo xtask bench {}`)\n\n",
            results.title, results.about, results.name
        );
        table(&mut text, &results.rows());
    }
    text
}

fn table(text: &mut String, rows: &[Vec<String>]) {
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
        }
    }
}
