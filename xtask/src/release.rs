//! What is checked before a release only, because it takes longer than a change can wait, or needs what is outside of the project.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, test, tools};

/// The crates that are published, in the order of their dependencies.
const PUBLISHED: [&str; 5] = [
    "streamer-macros",
    "streamer-events",
    "streamer-sea-orm",
    "streamer-dashboard",
    "streamer-cli",
];

/// Begins each name of a tag of a release.
const TAG: &str = "v";

pub(crate) const HELP: &str = "\
What a release needs beside the tests

Usage: cargo xtask release-check [PART]...

Without a name all parts run, in this order, and the first that fails ends the command:
  advisories  look for advisories about dependencies (cargo-deny). Their database is on the network; where it cannot be
              reached, the command prints NOT CHECKED and goes on. Named alone, the part fails then
  features    compile each feature and each pair of features of the published crates without warnings (cargo-hack)
  semver      compare the API with that of the last release's tag (cargo-semver-checks); nothing before the first release
  packages    build each package from the files that would be published (cargo package). Needs a checkout without changes.
              Compiles every dependency a second time, apart from other builds, which takes minutes
";

/// A part by its name. It is told whether somebody asked for it by name.
type Part = (&'static str, fn(bool) -> Result<()>);

const PARTS: [Part; 4] = [
    ("advisories", advisories),
    ("features", |_| features()),
    ("semver", |_| semver()),
    ("packages", |_| packages()),
];

/// The parts of these names, or all of them without a name.
pub(crate) fn check(names: &[String]) -> Result<()> {
    let chosen = chosen(names)?;
    for (name, part) in chosen {
        crate::print(&format!("--- {name}\n"));
        part(!names.is_empty()).with_context(|| format!("the part `{name}` of the release check did not pass"))?;
    }
    Ok(())
}

/// In the order that they run in, whatever the order of the names is.
fn chosen(names: &[String]) -> Result<Vec<Part>> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        bail!("the release check has no part `{unknown}`\n\n{HELP}");
    }
    let is_chosen = |(part, _): &Part| names.is_empty() || names.iter().any(|name| name == part);
    Ok(PARTS.into_iter().filter(is_chosen).collect())
}

/// The database of advisories is in a repository of its own on the network. Without it the other parts are still worth
/// running; one who `named` this part alone must not take the silence for a result.
fn advisories(named: bool) -> Result<()> {
    let Some(deny) = tools::DENY.find()? else {
        return Ok(());
    };
    crate::print("$ cargo deny check advisories\n");
    let output = Command::new(deny)
        .args(["check", "advisories"])
        .stdout(Stdio::inherit())
        .output()
        .context("could not start cargo-deny")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    crate::complain(&stderr);
    if stderr.contains("failed to fetch advisory database") {
        const NOT_CHECKED: &str = "NOT CHECKED: advisories about dependencies. Their database cannot be reached from this \
                                   machine; run `cargo xtask release-check advisories` on one that reaches it";
        ensure!(!named, "{NOT_CHECKED}");
        crate::print(&format!("{NOT_CHECKED}.\n"));
        return Ok(());
    }
    ensure!(output.status.success(), "a dependency has an advisory");
    Ok(())
}

const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../streamer");

const FEATURES_TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/features");

/// How combinations of features are built: with other flags than a developer's build, whose results stay where they are.
const FEATURES_BUILD: [(&str, &str); 3] = [
    ("CARGO_TARGET_DIR", FEATURES_TARGET),
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
];

/// Each feature of each crate, and of the library each two of them, without warnings: a build of an application has any
/// combination. Three services of object stores stand or fall together, as does what is for three databases: each is a feature of
/// a dependency, and no code of ours. And the tests of what features of `serde_json` may change.
fn features() -> Result<()> {
    let Some(hack) = tools::HACK.find()? else {
        return Ok(());
    };
    let pairs = ["--feature-powerset", "--depth", "2", "--exclude-features", "default"];
    // Without an engine it does not compile, and says so.
    let engines = ["--at-least-one-of", "redis,embedded"];
    let combinations: [(&str, Vec<&str>); 6] = [
        (
            "streamer-events",
            [
                &pairs[..],
                &engines,
                &["--group-features", "archive-s3,archive-gcs,archive-azure"],
                &["--group-features", "archive-postgres,archive-mysql"],
                &["--group-features", "outbox-postgres,outbox-mysql,outbox-sqlite"],
            ]
            .concat(),
        ),
        (
            "streamer-events",
            vec![
                "--each-feature",
                "--features",
                "embedded",
                "--exclude-no-default-features",
            ],
        ),
        ("streamer-dashboard", [&pairs[..], &engines].concat()),
        ("streamer-sea-orm", [&pairs[..], &engines].concat()),
        ("streamer-cli", vec!["--each-feature"]),
        ("streamer-macros", vec![]),
    ];
    for (name, how) in combinations {
        let arguments = [&["hack", "check", "-p", name, "--lib", "--no-dev-deps"], &how[..]].concat();
        crate::print(&format!("$ cargo {}\n", arguments.join(" ")));
        let status = Command::new(&hack)
            .args(&arguments)
            .env("RUSTFLAGS", "--deny warnings")
            .envs(FEATURES_BUILD)
            .status()
            .context("could not start cargo-hack")?;
        ensure!(status.success(), "`cargo {}` failed ({status})", arguments.join(" "));
    }
    without_embedded()?;
    // As an application may have them; all other tests run without these features.
    for feature in ["serde_json/preserve_order", "serde_json/arbitrary_precision"] {
        let alone = ["test", "-p", "streamer-events", "--features", feature, "--lib"];
        let tests = ["golden", "message", "model", "php_json"].map(|name| ["--test", name]);
        test::cargo(&[&alone[..], &tests.concat()].concat(), &[])?;
    }
    Ok(())
}

/// A program with the engine for Redis alone names the feature that it needs for a file. That a program with the other engine does
/// so for Redis is in the checks of every change.
fn without_embedded() -> Result<()> {
    const PROGRAM: &str = "\
#[tokio::main(flavor = \"current_thread\")]
async fn main() {
    if let Err(error) = streamer::Streamer::connect(\"sqlite://shop.db\").await {
        eprintln!(\"{error}\");
    }
}
";
    const EXPECTED: &str = "build it with the cargo feature `embedded`";
    let folder = Path::new(FEATURES_TARGET).join("redis-alone");
    let manifest = format!(
        "[package]\nname = \"redis-alone\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         streamer-events = {{ path = \"{LIBRARY}\", default-features = false, features = [\"redis\"] }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt\"] }}\n"
    );
    fs::create_dir_all(folder.join("src")).and_then(|()| fs::write(folder.join("Cargo.toml"), manifest))?;
    fs::write(folder.join("src/main.rs"), PROGRAM)?;
    // The versions that everything else is checked with.
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"),
        folder.join("Cargo.lock"),
    )?;
    crate::print("--- a program with the feature `redis` alone opens a file\n");
    let output = cargo::command()
        .args(["run", "--quiet"])
        .current_dir(&folder)
        .envs(FEATURES_BUILD)
        .output()
        .context("could not start cargo")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && stderr.contains(EXPECTED),
        "the program had to say {EXPECTED:?}, and said ({}): {stderr}",
        output.status
    );
    Ok(())
}

/// Whether a change of the API has the version that it needs. The last release is the baseline.
fn semver() -> Result<()> {
    let output = Command::new("git")
        .args(["describe", "--tags", "--abbrev=0", "--match", &format!("{TAG}[0-9]*")])
        .output()
        .context("could not start git")?;
    let tag = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || tag.is_empty() {
        crate::print("No release has a tag yet: there is nothing that the API could be compared with.\n");
        return Ok(());
    }
    let installed = cargo::command().args(["semver-checks", "--version"]).output()?;
    if !installed.status.success() {
        bail!(
            "`cargo semver-checks` compares the API with that of {tag}, and is not here; install it with `cargo install --locked \
             cargo-semver-checks`"
        );
    }
    for name in PUBLISHED.iter().filter(|name| **name != "streamer-macros") {
        test::cargo(&["semver-checks", "-p", name, "--baseline-rev", &tag], &[])?;
    }
    Ok(())
}

/// Files that a package may have beside its source: what is generated by Cargo, and what somebody reads.
const FILES: [&str; 8] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "build.rs",
];

/// Builds every package that is published from the files that it would have.
fn packages() -> Result<()> {
    for name in PUBLISHED {
        let output = cargo::command()
            .args(["package", "--list", "--allow-dirty", "-p", name])
            .stderr(Stdio::inherit())
            .output()
            .context("could not start cargo")?;
        ensure!(output.status.success(), "`cargo package --list -p {name}` failed");
        let text = String::from_utf8_lossy(&output.stdout);
        let files: BTreeSet<&str> = text.lines().collect();
        for needed in ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            ensure!(files.contains(needed), "the package of {name} lacks {needed}");
        }
        let junk: Vec<_> = files.into_iter().filter(|file| !belongs(file)).collect();
        ensure!(
            junk.is_empty(),
            "the package of {name} has files that nobody needs: {}",
            junk.join(", ")
        );
    }
    let names = PUBLISHED.iter().flat_map(|name| ["-p", name]);
    let arguments: Vec<&str> = ["package", "--locked"].into_iter().chain(names).collect();
    test::cargo(&arguments, &[])
}

/// Tests stay out: they need servers and crates that are not published.
fn belongs(file: &str) -> bool {
    FILES.contains(&file) || file.starts_with("src/") || file.starts_with("assets/")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_help_names_each_part_and_an_unknown_one_is_told_with_it() {
        for (name, _) in PARTS {
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
        }
        let error = chosen(&names(&["packages", "no-such"])).unwrap_err().to_string();
        assert!(error.contains("no part `no-such`") && error.contains(HELP), "{error}");
    }

    #[test]
    fn parts_run_in_their_order_and_all_without_a_name() {
        let chosen = |of: &[&str]| {
            let parts = chosen(&names(of)).unwrap().into_iter();
            parts.map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&[]), ["advisories", "features", "semver", "packages"]);
        assert_eq!(chosen(&["packages", "semver"]), ["semver", "packages"]);
    }
}
