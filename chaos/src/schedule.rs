//! Which fault comes when. It follows from the seed alone; how long each takes does not.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    faults::{Fault, all},
    options::Options,
    place::Topology,
};

/// An endless sequence of faults.
pub(crate) struct Schedule {
    chance: StdRng,
    faults: Vec<&'static Fault>,
}

/// The next one.
pub(crate) struct Next {
    pub(crate) fault: &'static Fault,
    /// The pause before.
    pub(crate) pause: Duration,
    /// What the fault's own choices follow from.
    pub(crate) chance: StdRng,
}

impl Schedule {
    /// # Errors
    ///
    /// When a fault is named that there is not.
    pub(crate) fn new(options: &Options, topology: Topology) -> Result<Self> {
        for name in options.fault.iter().chain(&options.without) {
            ensure!(
                all().any(|fault| fault.name == name),
                "there is no fault '{name}'; --list names them"
            );
        }
        let here = all().filter(|fault| fault.on.contains(&topology));
        let chosen = here.filter(|fault| {
            let named = |names: &[String]| names.iter().any(|name| name == fault.name);
            (options.fault.is_empty() || named(&options.fault)) && !named(&options.without)
        });
        let faults = chosen.collect::<Vec<_>>();
        ensure!(
            !faults.is_empty(),
            "none of the chosen faults can be made on {topology:?}"
        );
        Ok(Self {
            chance: StdRng::seed_from_u64(options.seed),
            faults,
        })
    }

    pub(crate) fn next(&mut self) -> Result<Next> {
        let fault = self.faults.choose_weighted(&mut self.chance, |fault| fault.weight)?;
        Ok(Next {
            fault,
            pause: Duration::from_millis(self.chance.random_range(500..3000)),
            chance: StdRng::seed_from_u64(self.chance.random()),
        })
    }
}
