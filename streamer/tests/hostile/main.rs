//! Input that nobody of good will sends: mutated examples of everything that is read, and sizes at which something gives way.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod archived;
mod entries;
mod json;
mod moments;
mod php_model;
mod sizes;

use streamer_fuzz::Corpus;

fn corpus(name: &str) -> Corpus {
    Corpus::at(format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR")))
}

/// What an error says, without the numbers that differ from input to input.
fn kind(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.chars().filter(char::is_ascii_lowercase).take(60).collect()
}
