//! The work of other cases while Prometheus records, as `streamer listen --metrics` does.

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{
    case::{Case, Contender, RATE, RESIDENT},
    cases::{drain, emit},
};

const METRICS: &[&str] = &[RATE, RESIDENT];
const NOBODY: &str = "streamer, nobody records";
const PROMETHEUS: &str = "streamer, Prometheus records";

/// Those of `streamer listen --metrics`.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "drain-recorded",
            title: "Drain 500,000 while Prometheus records",
            about: "One thread, one worker in order; the handler does nothing.",
            metrics: METRICS,
            amount: drain::BACKLOG,
            contenders: vec![
                Contender::new(NOBODY, |job| {
                    job.on_one_thread(drain::ours_in_order(job.url.clone(), job.amount))
                })
                .prepared(drain::backlog),
                Contender::new(PROMETHEUS, |job| {
                    record()?;
                    job.on_one_thread(drain::ours_in_order(job.url.clone(), job.amount))
                })
                .prepared(drain::backlog),
            ],
            targets: Vec::new(),
        },
        Case {
            name: "emit-tasks-recorded",
            title: "Emit from 64 tasks while Prometheus records",
            about: "One thread; each task awaits every emit.",
            metrics: METRICS,
            amount: 300_000,
            contenders: vec![
                Contender::new(NOBODY, |job| {
                    job.on_one_thread(emit::ours_from_tasks(job.url.clone(), job.amount))
                }),
                Contender::new(PROMETHEUS, |job| {
                    record()?;
                    job.on_one_thread(emit::ours_from_tasks(job.url.clone(), job.amount))
                }),
            ],
            targets: Vec::new(),
        },
    ]
}

fn record() -> Result<()> {
    PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets(BUCKETS)?
        .install_recorder()
        .context("install a recorder")?;
    streamer::metrics::enable();
    Ok(())
}
