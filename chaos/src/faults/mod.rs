//! What is done to processes, servers, the network and the database file. Each fault has a name, and says what it may
//! cost: what a store that was told to keep less, or an operator, takes away is no loss of Streamer's.

mod cluster;
mod file;
mod network;
mod operator;
mod process;
mod sentinel;
mod server;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rand::rngs::StdRng;

pub(crate) use self::server::BEHIND;
use crate::{
    crew::Crew,
    place::{Place, Topology},
    say,
};

/// What faults work on.
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) crew: Crew,
}

/// One kind of fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What it does, for people.
    pub(crate) what: &'static str,
    pub(crate) on: &'static [Topology],
    /// How often it comes, against the others.
    pub(crate) weight: u32,
    /// Whether everything must be calm before: what is pending with a dead consumer would be taken by the operator.
    pub(crate) calm: bool,
    pub(crate) make: fn(&mut World, &mut StdRng) -> Result<Happened>,
}

/// What happened.
#[derive(Debug)]
pub(crate) struct Happened {
    /// For people.
    pub(crate) detail: String,
    pub(crate) touched: Touched,
    pub(crate) cost: Cost,
}

/// Whose deliveries were interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Those of this process.
    Process(String),
    /// Those of all.
    All,
}

/// What of the acknowledged messages may be missing afterwards, if it was not handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Nothing,
    /// What was acknowledged during the fault, or so shortly before it.
    Latest(Duration),
    /// Everything that was acknowledged before its end.
    Everything,
    /// The same, of one stream.
    Stream(String),
}

impl Happened {
    fn to(process: &str, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            touched: Touched::Process(process.to_owned()),
            cost: Cost::Nothing,
        }
    }

    pub(crate) fn to_all(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            touched: Touched::All,
            cost: Cost::Nothing,
        }
    }

    pub(crate) fn at_the_cost_of(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }
}

const ALL: &[Topology] = &Topology::ALL;

/// Every fault.
pub(crate) fn all() -> impl Iterator<Item = &'static Fault> {
    let lists: [&'static [Fault]; 7] = [
        process::FAULTS,
        server::FAULTS,
        network::FAULTS,
        operator::FAULTS,
        cluster::FAULTS,
        sentinel::FAULTS,
        file::FAULTS,
    ];
    lists.into_iter().flatten()
}

/// Says which there are, and where.
pub(crate) fn print_list() {
    for fault in all() {
        let on = match fault.on.len() == Topology::ALL.len() {
            true => "everywhere".to_owned(),
            false => {
                let names = fault.on.iter().map(|topology| format!("{topology:?}").to_lowercase());
                names.collect::<Vec<_>>().join(", ")
            }
        };
        say!("{:<20} {} ({on})", fault.name, fault.what);
    }
}

fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// Waits until something is so, for a minute at most.
fn until(what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !so() {
        ensure!(
            begin.elapsed() < Duration::from_secs(60),
            "waited a minute in vain: {what}"
        );
        pause(20);
    }
    Ok(())
}

/// One of several, at random.
fn one_of<T: Copy>(chance: &mut StdRng, several: &[T]) -> Result<T> {
    use rand::seq::IndexedRandom as _;
    several
        .choose(chance)
        .copied()
        .ok_or_else(|| anyhow::anyhow!("there is nothing to choose from"))
}
