//! All cases, one file for each kind of work.

mod drain;
mod embedded;
mod emit;
mod flat;

use anyhow::Result;

use crate::case::{Case, Job};

/// In the order of the report.
pub(crate) fn all() -> Vec<Case> {
    [emit::cases(), drain::cases(), embedded::cases(), flat::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// Most work begins with nothing on the server.
pub(crate) fn empty_server(job: &Job) -> Result<()> {
    job.raw()?.call(&["FLUSHALL"], 1)
}
