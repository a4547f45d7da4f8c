//! Input that nobody of good will sends: mutated examples of everything that is read, and sizes at which something gives way.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

/// Each of these cases on a store of each engine.
macro_rules! on_each_engine {
    ($($case:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(streamer_test_servers::Place::redis()).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(streamer_test_servers::Place::embedded()).await;
            })*
        }
    };
}

mod archived;
mod deep;
mod entries;
mod json;
mod moments;
mod php_model;
mod sizes;
mod urls;

use streamer_fuzz::Corpus;

fn corpus(name: &str) -> Corpus {
    Corpus::at(format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR")))
}

/// What an error says, without the numbers that differ from input to input.
fn kind(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.chars().filter(char::is_ascii_lowercase).take(60).collect()
}
