//! What the engines' cargo features bring into a program, and what the compiler says without them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

fn cargo(arguments: &[&str]) -> (bool, String) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let output = streamer_test_servers::cargo()
        .args(arguments)
        .args(["--offline", "--locked", "--no-default-features"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.success(), text.concat())
}

/// The crates that a program compiles for the library with this feature alone.
fn crates(feature: &str) -> Vec<String> {
    tree(&["-p", "streamer-events", "--features", feature])
}

fn tree(of: &[&str]) -> Vec<String> {
    let (done, text) = cargo(&[&["tree", "--edges", "normal,build", "--prefix", "none"], of].concat());
    assert!(done, "{text}");
    let mut names: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    assert!(names.iter().any(|name| name == "streamer-events"), "{names:?}");
    names
}

#[test]
fn an_engine_brings_nothing_of_the_other_one() {
    let (redis, embedded) = (crates("redis"), crates("embedded"));
    let has = |crates: &[String], name: &str| crates.iter().any(|one| one == name);
    assert!(
        has(&redis, "redis") && has(&embedded, "rusqlite"),
        "{redis:?} {embedded:?}"
    );
    for name in ["rusqlite", "libsqlite3-sys", "sqlx", "cc"] {
        assert!(
            !has(&redis, name) || name == "cc" && has(&redis, "ring"),
            "{name} is in {redis:?}"
        );
    }
    for name in ["redis", "rustls", "tokio-rustls", "socket2", "url", "sqlx", "ring"] {
        assert!(!has(&embedded, name), "{name} is in {embedded:?}");
    }
}

#[test]
fn the_first_command_of_the_readme_compiles_nothing_that_the_demo_does_not_need() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let first = readme.lines().find(|line| line.starts_with("cargo run")).unwrap();
    assert!(
        first.starts_with("cargo run --release --no-default-features -- demo "),
        "{first}"
    );
    let crates = tree(&["-p", "streamer-cli"]);
    assert!(crates.iter().any(|name| name == "rusqlite"), "{crates:?}");
    for name in [
        "axum", "hyper", "ratatui", "redis", "reqwest", "ring", "rustls", "sqlx", "url",
    ] {
        assert!(!crates.iter().any(|one| one == name), "{name} is in {crates:?}");
    }
}

#[test]
fn without_an_engine_the_compiler_names_the_features() {
    let (done, text) = cargo(&["check", "--quiet", "--lib", "-p", "streamer-events"]);
    assert!(!done);
    assert!(
        text.contains("streamer-events has no engine: give it the feature \"redis\""),
        "{text}"
    );
}

/// A cargo feature holds for the whole program. These change what `serde_json` does in the code of an application, too.
#[test]
fn nothing_that_we_publish_changes_what_serde_json_does() {
    const CRATES: [&[&str]; 4] = [
        &[
            "-p",
            "streamer-events",
            "--features",
            "redis,embedded,outbox-sqlite,opentelemetry",
        ],
        &["-p", "streamer-cli", "--features", "default"],
        &["-p", "streamer-dashboard", "--features", "default"],
        &["-p", "streamer-sea-orm", "--features", "default"],
    ];
    for of in CRATES {
        let (done, text) = cargo(&[&["tree", "--edges", "normal,features", "--invert", "serde_json"], of].concat());
        assert!(done && text.contains("serde_json feature \"std\""), "{text}");
        for feature in [
            "arbitrary_precision",
            "float_roundtrip",
            "preserve_order",
            "unbounded_depth",
        ] {
            assert!(!text.contains(&format!("\"{feature}\"")), "{feature}: {text}");
        }
    }
}
