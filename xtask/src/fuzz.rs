//! Mutated input by the clock. The tests give each target a fixed number of inputs by a fixed seed; this gives it new ones.

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, print};

/// What gets mutated input: a test, by where it is.
struct Target {
    name: &'static str,
    package: &'static str,
    binary: &'static [&'static str],
    test: &'static str,
}

const fn target(
    name: &'static str,
    package: &'static str,
    binary: &'static [&'static str],
    test: &'static str,
) -> Target {
    Target {
        name,
        package,
        binary,
        test,
    }
}

const LIBRARY: &str = "streamer-events";
const COMMANDS: &str = "streamer-cli";
const HOSTILE: &[&str] = &["--test", "hostile"];
const UNIT: &[&str] = &["--lib"];

const TARGETS: [Target; 10] = [
    target("replies", LIBRARY, UNIT, "engine::redis::resp::fuzz"),
    target("addresses", LIBRARY, UNIT, "address::fuzz::a_url"),
    target("entries", LIBRARY, HOSTILE, "entries::"),
    target("json", LIBRARY, HOSTILE, "json::"),
    target("archive", LIBRARY, HOSTILE, "archived::"),
    target("moments", LIBRARY, HOSTILE, "moments::"),
    target("urls", LIBRARY, HOSTILE, "urls::"),
    target("config", COMMANDS, UNIT, "config::fuzz::a_configuration"),
    target("durations", COMMANDS, UNIT, "config::fuzz::times"),
    target("answers", COMMANDS, UNIT, "program::child::tests::an_answer"),
];

/// Runs the targets that are named, or all, one after the other.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut seconds, mut named) = (60, Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let text = words.next().context("`--seconds` needs a number")?;
                seconds = text
                    .parse::<u32>()
                    .with_context(|| format!("`--seconds` needs a number, not {text}"))?;
            }
            name if TARGETS.iter().any(|target| target.name == name) => named.push(name),
            other => bail!(
                "there is no target '{other}'; there are {}",
                TARGETS.map(|target| target.name).join(", ")
            ),
        }
    }
    let mut failed = Vec::new();
    for target in TARGETS
        .iter()
        .filter(|target| named.is_empty() || named.contains(&target.name))
    {
        print(&format!("--- {}\n", target.name));
        let mut cargo = cargo::command();
        cargo
            .args(["test", "--quiet", "-p", target.package])
            .args(target.binary);
        cargo.args(["--", "--nocapture", "--test-threads=1", target.test]);
        cargo.env("STREAMER_FUZZ_SECONDS", seconds.to_string());
        let status = cargo.status().context("could not start cargo")?;
        if !status.success() {
            failed.push(target.name);
        }
    }
    ensure!(
        failed.is_empty(),
        "failed: {}; the inputs are in target/fuzz",
        failed.join(", ")
    );
    Ok(())
}
