//! What is printed and written: medians, ranges, ratios within the same round, and how targets were met.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;
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

/// Writes `docs/benchmarks.md` and the readings beside it.
pub(crate) fn write(all: &[Results], server: &RedisServer, rounds: usize) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let machine = Machine::ask(server)?;
    let document = markdown(all, &machine, rounds);
    std::fs::write(docs.join("benchmarks.md"), document).context("write docs/benchmarks.md")?;
    let cases = all.iter().map(|results| {
        let contenders = results
            .contenders
            .iter()
            .map(|(name, readings)| serde_json::json!({ "contender": name, "readings": readings }));
        serde_json::json!({ "case": results.name, "title": results.title, "rounds": contenders.collect::<Vec<_>>() })
    });
    let json = serde_json::json!({ "machine": machine, "cases": cases.collect::<Vec<_>>() });
    let json = serde_json::to_string_pretty(&json)? + "\n";
    std::fs::write(docs.join("benchmarks.json"), json).context("write docs/benchmarks.json")
}

/// What the figures were measured on.
#[derive(Serialize)]
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

fn markdown(all: &[Results], machine: &Machine, rounds: usize) -> String {
    let mut text = format!(
        "# How fast is it?\n\n\
        `cargo xtask bench` wrote this page; run it to measure your machine. Every contender of a case runs in a process \
        and a session of its own, in turn, for {rounds} rounds; so does the server, as services do. A cell is the median \
        with the range in parentheses, and a ratio is the median of the ratios within each round. [What was found on the \
        way](performance.md) says why the figures are what they are. All readings are in \
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
