//! The suites on the kinds of servers that the check does not try them on, and with stores of another runtime.

use anyhow::{Context, Result, ensure};

use crate::{
    cargo::{self, EVERYTHING},
    print,
};

/// Names the kind of servers, see `Topology::of_servers` in `test-servers`, or is `runtimes`, see `connected` there.
const VARIABLE: &str = "STREAMER_TEST_TOPOLOGY";

/// Suites, which of their cases run on the servers that are named, and on which.
const SUITES: [(&str, &[&str], &[&str]); 7] = [
    // These have columns of their own for the others, and the first one has one for another runtime.
    ("conformance", &["redis::"], &["distant"]),
    ("listen", &["::redis::"], &["sentinel"]),
    ("archive", &["::redis::"], &["tls", "cluster", "distant", "sentinel"]),
    // Not on a Cluster: see below.
    ("history", &[], &["tls", "distant", "sentinel", "runtimes"]),
    // Each command is a process of its own, which has one runtime.
    ("cli", &[], &["tls", "cluster", "distant", "sentinel"]),
    ("listen", &["::redis::", "::embedded::"], &["runtimes"]),
    ("archive", &["::redis::", "::embedded::"], &["runtimes"]),
];

/// On a Cluster an event and its snapshot need a hash tag, which the events of these commands do not have.
const WITH_SNAPSHOTS: [&str; 4] = [
    "replay::a_resource_is_replayed_whole_and_in_steps",
    "replay::archived_messages_are_replayed_and_purged_ones_are_named",
    "replay::until_is_before_an_instant_whatever_its_zone",
    "terminal::no_escape_sequence_reaches_the_terminal_through_payloads_names_and_errors",
];

/// Runs every suite, or those that are named, on each.
pub(crate) fn run(named: &[String]) -> Result<()> {
    for name in named {
        let mut names = SUITES.map(|(suite, ..)| suite).to_vec();
        names.sort_unstable();
        names.dedup();
        ensure!(
            names.contains(&&**name),
            "there is no suite '{name}' here; there are {}",
            names.join(", ")
        );
    }
    let mut failed = Vec::new();
    let wanted = |suite: &str| named.is_empty() || named.iter().any(|name| name == suite);
    for (suite, only, topologies) in SUITES.iter().filter(|(suite, ..)| wanted(suite)) {
        for topology in *topologies {
            print(&format!("--- {suite} suite, servers: {topology}\n"));
            let mut cargo = cargo::command();
            cargo.arg("test").args(EVERYTHING).args(["--test", suite, "--"]);
            if (*suite, *topology) == ("cli", "cluster") {
                cargo.args(WITH_SNAPSHOTS.iter().flat_map(|case| ["--skip", case]));
            }
            let status = cargo.args(*only).env(VARIABLE, topology).status();
            if !status.context("could not start cargo")?.success() {
                failed.push(format!("{suite} ({topology})"));
            }
        }
    }
    ensure!(failed.is_empty(), "these suites failed: {}", failed.join(", "));
    Ok(())
}
