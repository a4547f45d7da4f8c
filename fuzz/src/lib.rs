//! Mutated input for tests. A test names a corpus of examples and a check; the check gets the examples, and then mutations of
//! them: a fixed number by a fixed seed, so that each run of the tests sees the same inputs.
//!
//! A check returns what became of an input. An input with an outcome that no earlier one had is mutated further, so that the
//! search goes on from where it found something new. It needs no instrumented build, and so no other toolchain.
//!
//! With `STREAMER_FUZZ_SECONDS` a check gets new inputs for so long, by a seed of its own (`STREAMER_FUZZ_SEED` repeats one), and
//! a call that takes a minute is a hang: `cargo xtask fuzz` runs all in that way. An input that fails is written to
//! `target/fuzz`; copied into the corpus, it is a test from then on.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use this crate")]

mod mutate;
mod watch;

use std::{
    collections::HashSet,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::{mutate::mutated, watch::Watch};

/// How many inputs may be mutated further, besides the corpus.
const MOST_FOUND: usize = 4_096;

/// Examples, and what else inputs of their kind are made of.
#[derive(Debug)]
pub struct Corpus {
    name: String,
    examples: Vec<Vec<u8>>,
    tokens: Vec<Vec<u8>>,
}

impl Corpus {
    /// The examples at this path: each file of a folder, or each line of a file.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let examples = match path.is_dir() {
            true => files(path).iter().map(|file| fs::read(file).unwrap()).collect(),
            false => {
                let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.map(<[u8]>::to_vec).collect::<Vec<_>>()
            }
        };
        assert!(!examples.is_empty(), "{} has no examples", path.display());
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            examples,
            tokens: Vec::new(),
        }
    }

    /// Words that are put into inputs.
    #[must_use]
    pub fn with_tokens(mut self, tokens: &[&str]) -> Self {
        self.tokens = tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
        self
    }

    /// Gives `check` each example and then so many mutations.
    ///
    /// # Panics
    ///
    /// Where `check` does; the input is in `target/fuzz` then.
    pub fn check<O: Hash>(&self, mutations: u64, check: impl Fn(&[u8]) -> O) {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seconds = number("STREAMER_FUZZ_SECONDS").map(Duration::from_secs);
        let seed = number("STREAMER_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(1, |_| rand::random()));
        let watch = seconds.map(|_| Watch::start(&self.name));
        let tried = |input: &[u8]| {
            if let Some(watch) = &watch {
                watch.begin(input);
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
            outcome.unwrap_or_else(|panic| {
                let file = keep(&self.name, input);
                eprintln!(
                    "seed {seed}; the input is in {}: {}",
                    file.display(),
                    input.escape_ascii()
                );
                resume_unwind(panic)
            })
        };
        let mut outcomes = HashSet::new();
        let mut is_new = |outcome: O| {
            let mut hasher = DefaultHasher::new();
            outcome.hash(&mut hasher);
            outcomes.insert(hasher.finish())
        };
        for example in &self.examples {
            is_new(tried(example));
        }
        let mut random = StdRng::seed_from_u64(seed);
        let mut found = Vec::<Vec<u8>>::new();
        let (begin, mut count) = (Instant::now(), 0_u64);
        while seconds.map_or(count < mutations, |seconds| begin.elapsed() < seconds) {
            let known = self.examples.len() + found.len();
            let one = |at: usize| {
                self.examples
                    .get(at)
                    .unwrap_or_else(|| &found[at - self.examples.len()])
            };
            let base = one(random.random_range(0..known));
            let other = one(random.random_range(0..known));
            let input = mutated(base, other, &self.tokens, &mut random);
            count += 1;
            if is_new(tried(&input)) {
                match found.len() < MOST_FOUND {
                    true => found.push(input),
                    false => {
                        let at = random.random_range(0..MOST_FOUND);
                        found[at] = input;
                    }
                }
            }
        }
        if seconds.is_some() {
            eprintln!(
                "{}: {count} inputs, {} outcomes, seed {seed}",
                self.name,
                outcomes.len()
            );
        }
    }
}

/// In order, so that a seed gives the same inputs everywhere.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .collect::<Vec<_>>();
    files.sort();
    files
}

/// Writes an input to where its finder sees it.
fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    fs::create_dir_all(&folder).unwrap();
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let file = folder
        .canonicalize()
        .unwrap()
        .join(format!("{name}-{:016x}", hasher.finish()));
    fs::write(&file, input).unwrap();
    file
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    fn corpus() -> Corpus {
        Corpus {
            name: "own".to_owned(),
            examples: vec![b"abcdefgh".to_vec()],
            tokens: vec![b"TOKEN".to_vec()],
        }
    }

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let hashes = [(), ()].map(|()| {
            let all = AtomicU64::new(0);
            corpus().check(500, |input| {
                let mut hasher = DefaultHasher::new();
                (all.load(SeqCst), input).hash(&mut hasher);
                all.store(hasher.finish(), SeqCst);
            });
            all.load(SeqCst)
        });
        assert_eq!(hashes[0], hashes[1]);
    }

    /// Three bytes in their places by one mutation each: that is found only when each that is right is gone on from.
    #[test]
    fn what_is_found_by_steps_is_found() {
        let failed = catch_unwind(|| {
            corpus().check(200_000, |input| {
                let right = b"XYZ"
                    .iter()
                    .zip(input)
                    .take_while(|(wanted, byte)| wanted == byte)
                    .count();
                assert!(right < 3, "found");
                right
            });
        });
        assert!(failed.is_err());
    }
}
