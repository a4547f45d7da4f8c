//! All cases, one file for each kind of work.

pub(crate) mod drain;
mod embedded;
pub(crate) mod emit;
mod failing;
mod flat;
pub(crate) mod latency;
mod recorded;
mod streams;
mod transactions;
mod views;

use anyhow::Result;

use crate::case::{Case, Job};

/// In the order of the report.
pub(crate) fn all() -> Vec<Case> {
    let cases = [
        emit::cases(),
        drain::cases(),
        failing::cases(),
        streams::cases(),
        latency::cases(),
        embedded::cases(),
        transactions::cases(),
        recorded::cases(),
        views::cases(),
        flat::cases(),
    ];
    cases.into_iter().flatten().collect()
}

/// Most work begins with nothing on the server.
pub(crate) fn empty_server(job: &Job) -> Result<()> {
    job.raw()?.call(&["FLUSHALL"], 1)
}
