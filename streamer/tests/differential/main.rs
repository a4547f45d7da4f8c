//! The embedded engine answers as Redis does: the same random operations on both, and every answer compared.
//!
//! `PROPTEST_CASES` sets how many sequences are tried. Approximate trimming is not compared: there the engines may differ.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod compared;
mod operation;
mod subject;

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use proptest::{collection::vec, prelude::*, test_runner::Config};
use streamer::engine::open;
use streamer_test_servers::RedisServer;
use tokio::sync::OnceCell;

use self::{
    compared::Compared,
    operation::{Addition, End, Id, New, Operation, operation},
    subject::Subject,
};

/// Applies the operations to each engine, and tells the first answer that is not that of Redis.
async fn compare(operations: &[Operation]) -> Result<(), String> {
    static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
    static COMPARED: OnceCell<Compared> = OnceCell::const_new();
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("{}.", RUNS.fetch_add(1, Ordering::Relaxed));
    let directory = tempfile::TempDir::new().unwrap();
    let file = format!("sqlite://{}", directory.path().join("events.db").display());
    let redis = open(&SERVER.url()).await.unwrap();
    let compared = *COMPARED.get_or_init(|| Compared::with(&*redis)).await;
    let mut redis = Subject::new(redis, &prefix, compared);
    let mut embedded = [
        (
            "memory",
            Subject::new(open("memory:").await.unwrap(), &prefix, compared),
        ),
        ("file", Subject::new(open(&file).await.unwrap(), &prefix, compared)),
    ];
    for (n, operation) in operations.iter().enumerate() {
        let expected = redis.apply(operation).await;
        for (name, subject) in &mut embedded {
            let answer = subject.apply(operation).await;
            if answer != expected {
                return Err(format!(
                    "operation {n}, {operation:?}\n  redis: {expected}\n  {name}: {answer}"
                ));
            }
        }
    }
    let expected = redis.everything().await;
    for (name, subject) in &mut embedded {
        let everything = subject.everything().await;
        if everything != expected {
            return Err(format!("at the end\n  redis: {expected}\n  {name}: {everything}"));
        }
    }
    Ok(())
}

fn config() -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 16;
    }
    config.failure_persistence = None;
    if std::env::var_os("PROPTEST_MAX_SHRINK_ITERS").is_none() {
        config.max_shrink_iters = 300;
    }
    config
}

#[test]
fn random_operations_get_the_answers_of_redis() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Groups at first, so that most of what follows has something to work on.
    let begin: Vec<Operation> = (0..2)
        .map(|group| Operation::CreateGroup(0, group, Some(Id::Small(0, 0)), true))
        .collect();
    proptest!(config(), |(operations in vec(operation(), 200..400), with_groups in prop::bool::weighted(0.8))| {
        let mut all = if with_groups { begin.clone() } else { Vec::new() };
        all.extend(operations);
        runtime.block_on(compare(&all)).map_err(TestCaseError::fail)?;
    });
}

#[tokio::test]
async fn a_stream_that_gave_its_last_id_takes_no_more() {
    let append = |id| {
        Operation::Append(Addition {
            stream: 0,
            id,
            fields: 1,
            trim: None,
            create_stream: true,
        })
    };
    let operations = [
        append(New::Explicit(Id::Small(u64::MAX, u64::MAX - 1))),
        append(New::Sequence(u64::MAX)),
        append(New::Sequence(u64::MAX)),
        append(New::Auto),
        append(New::Explicit(Id::Small(u64::MAX, u64::MAX))),
        Operation::CreateGroup(0, 0, None, false),
        Operation::ReadGroup(vec![0], 0, 0, 5),
        Operation::CreateGroup(0, 1, Some(Id::Small(0, 0)), false),
        Operation::ReadGroup(vec![0], 1, 0, 5),
        Operation::Acknowledge(0, 1, vec![Id::Given(0), Id::Given(1)]),
    ];
    compare(&operations).await.unwrap();
}

#[tokio::test]
async fn a_sequence_that_is_full_does_not_run_over_into_the_next_millisecond() {
    let append = |id| {
        Operation::Append(Addition {
            stream: 0,
            id,
            fields: 1,
            trim: None,
            create_stream: true,
        })
    };
    let operations = [
        append(New::Explicit(Id::Small(5, u64::MAX))),
        append(New::Sequence(5)),
        append(New::Sequence(6)),
        append(New::Sequence(6)),
    ];
    compare(&operations).await.unwrap();
}

/// `XAUTOCLAIM` gives up after ten looks for each claim, and says where.
#[tokio::test]
async fn an_auto_claim_that_finds_little_goes_on_at_its_cursor() {
    let mut operations = vec![Operation::CreateGroup(0, 0, Some(Id::Small(0, 0)), true)];
    operations.extend((0..45).map(|_| {
        Operation::Append(Addition {
            stream: 0,
            id: New::Explicit(Id::Beyond(1, 0)),
            fields: 1,
            trim: None,
            create_stream: true,
        })
    }));
    operations.push(Operation::ReadGroup(vec![0], 0, 0, 45));
    let idle = |n| (Id::Given(n), End::Defer(None, true, 1), None);
    operations.push(Operation::Settle(
        Some((0, 0)),
        [[7, 30, 31].map(idle).to_vec(), Vec::new()],
    ));
    operations.push(Operation::Delete(0, vec![Id::Given(8), Id::Given(9), Id::Given(40)]));
    for count in 1..6 {
        for from in [0, 1, 8, 10, 25, 44] {
            operations.push(Operation::AutoClaim(0, 0, 1, true, Id::Given(from), count));
        }
    }
    compare(&operations).await.unwrap();
}
