//! The page of promises: each line names what shows it, and that exists.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::Path};

#[test]
fn every_promise_names_a_test_or_a_fault_that_exists() {
    let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"));
    let page = fs::read_to_string(docs.join("reliability.md")).unwrap();
    let faults = fs::read_dir(docs.join("../chaos/src/faults")).unwrap();
    let faults = faults.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let faults = faults.collect::<String>();
    let mut lines = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cell = line
            .trim_end_matches('|')
            .trim_end()
            .rsplit(" | ")
            .next()
            .unwrap()
            .trim();
        if cell == "shown by" || cell.starts_with("---") {
            continue;
        }
        lines += 1;
        let mut named = 0;
        for one in cell.split(", ") {
            if let Some(fault) = one.strip_prefix('`').and_then(|one| one.strip_suffix('`')) {
                assert!(
                    faults.contains(&format!("\"{fault}\" ")),
                    "there is no fault {fault}: {line}"
                );
            } else {
                let link = one.strip_prefix('[').and_then(|one| one.strip_suffix(')'));
                let (test, file) = link.and_then(|link| link.split_once("](")).unwrap_or_else(|| {
                    panic!("'{one}' is neither a test with its file nor a fault: {line}");
                });
                let source = fs::read_to_string(docs.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
                assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
            }
            named += 1;
        }
        assert!(named > 0, "nothing shows this: {line}");
    }
    assert!(lines >= 40, "{lines} lines: is the page read at all?");
}
