//! What an operator looks at, on a large store.

use std::time::Instant;

use anyhow::{Result, ensure};
use streamer::Streamer;

use crate::{
    case::{Bound, Case, Contender, Job, RESIDENT, Reading, Target},
    cases,
};

/// Milliseconds: the median within a run.
const MS: &str = "ms";
const CONTENDER: &str = "streamer, multi-thread";
const REPEATED: usize = 20;

/// 100 streams with 10 groups, each of which has 100 of 150 entries pending.
const STREAMS: &str = "
    for stream = tonumber(ARGV[1]), tonumber(ARGV[1]) + 99 do
      local name = string.format('stream.%03d', stream)
      local add = function(from, to)
        for n = from, to do redis.call('XADD', name, '*', 'type', 'event', 'name', name, 'data', '{\"n\":' .. n .. '}') end
      end
      add(1, 100)
      for group = 0, 9 do
        redis.call('XGROUP', 'CREATE', name, 'group.' .. group, '0')
        redis.call('XREADGROUP', 'GROUP', 'group.' .. group, 'consumer', 'COUNT', 100, 'STREAMS', name, '>')
      end
      add(101, 150)
    end";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case {
        name: "overview",
        title: "An overview of 1,000 streams with 10 groups each and 1,000,000 pending entries",
        about: "What `streamer status`, `top` and the dashboard look at. Each run looks 20 times; its reading is the median.",
        metrics: &[MS, RESIDENT],
        amount: 1_000,
        contenders: vec![Contender::new(CONTENDER, overview).prepared(fill)],
        targets: vec![Target {
            contender: CONTENDER,
            against: None,
            metric: MS,
            bound: Bound::AtMost(300.0),
        }],
    }]
}

fn fill(job: &Job) -> Result<()> {
    cases::empty_server(job)?;
    let mut connection = job.raw()?;
    for part in 0..job.amount.div_ceil(100) {
        connection.call(&["EVAL", STREAMS, "0", &(part * 100).to_string()], 1)?;
    }
    Ok(())
}

fn overview(job: &Job) -> Result<Reading> {
    let (url, streams) = (job.url.clone(), job.amount.div_ceil(100) * 100);
    job.on_two_threads(async move {
        let streamer = Streamer::connect(&url).await?;
        let mut took = Vec::with_capacity(REPEATED);
        for _ in 0..REPEATED {
            let begun = Instant::now();
            let totals = streamer.inspect().overview().await?.totals;
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
            ensure!(
                (totals.streams, totals.pending) == (streams, streams * 1_000),
                "the overview shows {totals:?}"
            );
        }
        took.sort_by(f64::total_cmp);
        Ok(Reading::default().with(MS, took[took.len() / 2]))
    })
}
