//! Misuse that does not compile, and says what is wrong: each file in `misuse/` is one, with what the compiler must say
//! in its first lines (`// says: …`).
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use streamer_test_servers::cargo;

/// Everything the compiler says of each file.
fn compile(cases: &[PathBuf]) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = tempfile::tempdir().unwrap();
    let bins = package.path().join("src/bin");
    fs::create_dir_all(&bins).unwrap();
    for case in cases {
        fs::copy(case, bins.join(case.file_name().unwrap())).unwrap();
    }
    let manifest = format!(
        "[workspace]\n[package]\nname = \"misuse\"\nedition = \"2024\"\n[dependencies]\n\
         streamer-events = {{ path = {root:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n[profile.dev.package.\"*\"]\ndebug = false\n"
    );
    fs::write(package.path().join("Cargo.toml"), manifest).unwrap();
    // The same versions, and what is compiled already.
    fs::copy(root.join("../Cargo.lock"), package.path().join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let output = cargo()
        .args([
            "check",
            "--offline",
            "--quiet",
            "--bins",
            "--keep-going",
            "--message-format",
            "json",
        ])
        .current_dir(package.path())
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    let mut said = BTreeMap::<String, String>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let message = serde_json::from_str::<Value>(line).unwrap();
        if let Some(text) = message["message"]["rendered"].as_str() {
            said.entry(message["target"]["name"].as_str().unwrap().to_owned())
                .or_default()
                .push_str(text);
        }
    }
    assert!(
        !said.is_empty(),
        "cargo did not come to compile anything:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[test]
fn misuse_does_not_compile_and_the_compiler_says_what_is_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/misuse");
    let cases = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    assert!(cases.len() >= 8, "where are the cases?");
    let said = compile(&cases);
    // One line, so that the compiler's own line breaks do not matter.
    let flat = |text: &str| {
        text.split_whitespace()
            .filter(|word| *word != "|")
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&case).unwrap();
        let expected = text
            .lines()
            .filter_map(|line| line.strip_prefix("// says: "))
            .collect::<Vec<_>>();
        assert!(!expected.is_empty(), "{name} does not say what the compiler must say");
        let said = said
            .get(name)
            .unwrap_or_else(|| panic!("{name} compiles, or was not tried"));
        assert!(said.contains("error"), "{name} compiles, with this said:\n{said}");
        for expected in expected {
            if !flat(said).contains(&flat(expected)) {
                wrong.push(format!("{name}: the compiler does not say `{expected}`:\n{said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
