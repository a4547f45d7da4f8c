//! Each verb of a delivery is one round trip to each server, however many streams and messages it is about.

use streamer::engine::{
    Deferral, DueEntries, EntryEnd, EntrySettlement, FailureChange, FailureRecord, Member, Scan, TakeRequest,
};
use streamer_test_servers::Proxy;

use super::*;

const STREAMS: usize = 20;
const MESSAGES: usize = 30;

fn member() -> Member {
    Member {
        group: "workers".to_owned(),
        consumer: "a".to_owned(),
    }
}

fn streams() -> Vec<StreamName> {
    (0..STREAMS).map(|n| StreamName::from(format!("orders.{n}"))).collect()
}

/// Streams whose messages are pending with the member.
async fn pending_entries(engine: &RedisEngine) -> Vec<(StreamName, Vec<EntryId>)> {
    let mut pending = Vec::new();
    for stream in streams() {
        let append = an_append(stream.as_str().unwrap());
        let ids = engine.append_many(vec![append; MESSAGES]).await.unwrap();
        pending.push((stream, ids));
    }
    let start = GroupStart::After(EntryId::MIN);
    let wanted: Vec<_> = streams().into_iter().map(|stream| (stream, start)).collect();
    for joined in engine.join(&member(), &wanted).await {
        assert!(joined.unwrap().created);
    }
    for (stream, ids) in &pending {
        let adopt = ids.iter().map(|id| (*id, 1)).collect();
        engine
            .adopt(&member(), &[(stream.clone(), adopt)])
            .await
            .remove(0)
            .unwrap();
    }
    pending
}

/// Every way in which a delivery ends, in turn.
fn settlements(pending: &[(StreamName, Vec<EntryId>)], failures: bool) -> Vec<(StreamName, Vec<EntrySettlement>)> {
    let one = |stream: &StreamName, (n, id): (usize, &EntryId)| {
        let end = match n % 4 {
            0 => EntryEnd::Acknowledge {
                delete: n % 8 == 0,
                had_retry_state: n % 3 == 0,
            },
            1 => EntryEnd::Defer(Box::new(Deferral {
                retry_state: "tried".into(),
                delay: Duration::ZERO,
                idle: Duration::ZERO,
                count: n as u64,
            })),
            2 => EntryEnd::Release { count: 0 },
            _ => EntryEnd::Forget,
        };
        let record = |text: &str| Bytes::from(format!("{text} {stream} {id}"));
        let change = FailureChange {
            add: vec![FailureRecord {
                member: record("new"),
                details: (n % 2 == 0).then(|| "{\"attempts\":2}".into()),
            }],
            remove: vec![record("old")],
        };
        EntrySettlement {
            id: *id,
            end,
            failures: (failures && n % 3 == 0).then(|| Box::new(change)),
        }
    };
    let of_stream = |(stream, ids): &(StreamName, Vec<EntryId>)| {
        let ends = ids.iter().enumerate().map(|numbered| one(stream, numbered));
        (stream.clone(), ends.collect())
    };
    pending.iter().map(of_stream).collect()
}

#[tokio::test]
async fn each_verb_is_one_round_trip() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let engine = RedisEngine::connect(&format!("redis://127.0.0.1:{}", proxy.port()))
        .await
        .unwrap();
    let pending = pending_entries(&engine).await;
    let all = streams();
    let requests: Vec<_> = all
        .iter()
        .map(|stream| TakeRequest {
            stream: stream.clone(),
            from: EntryId::MIN,
        })
        .collect();
    let due: Vec<_> = pending
        .iter()
        .map(|(stream, ids)| DueEntries {
            stream: stream.clone(),
            ids: ids.clone(),
        })
        .collect();
    let wanted: Vec<_> = all.iter().map(|stream| (stream.clone(), GroupStart::Now)).collect();
    let adopted: Vec<_> = pending
        .iter()
        .map(|(stream, ids)| (stream.clone(), ids.iter().map(|id| (*id, 1)).collect()))
        .collect();
    let idle = Scan::Idle(Duration::ZERO);
    let (me, nobody) = (member(), Vec::new());
    let (with_failures, without) = (settlements(&pending, true), settlements(&pending, false));

    // All that a verb sends is sent while nothing is answered.
    macro_rules! one_round_trip {
        ($verb:literal, $answers:expr) => {
            let before = proxy.bytes_up();
            for answer in $answers {
                answer.unwrap();
            }
            let sent = proxy.bytes_up() - before;
            server.freeze();
            let before = proxy.bytes_up();
            let all_is_sent = async {
                let begin = Instant::now();
                while proxy.bytes_up() - before < sent {
                    let now = proxy.bytes_up() - before;
                    assert!(
                        begin.elapsed() < PATIENCE,
                        "{}: only {now} of {sent} bytes are sent",
                        $verb
                    );
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                server.thaw();
            };
            let (answers, ()) = tokio::join!(async { $answers }, all_is_sent);
            for answer in answers {
                answer.unwrap();
            }
            assert_eq!(proxy.bytes_up() - before, sent, $verb);
        };
    }
    one_round_trip!("last_ids", engine.last_ids(&all).await);
    // A second one looks for retry states of earlier versions.
    engine.join(&me, &wanted).await.remove(0).unwrap();
    one_round_trip!("consumer_idle", engine.consumer_idle(&me, &all).await);
    one_round_trip!("take", engine.take(&me, Scan::Own, &requests, 10).await);
    one_round_trip!("take", engine.take(&me, idle, &requests, 100).await);
    one_round_trip!("take_due", engine.take_due(&me, &due).await);
    one_round_trip!("renew", engine.renew(&me, &pending).await);
    one_round_trip!("adopt", engine.adopt(&me, &adopted).await);
    one_round_trip!("begin", [engine.begin(&me, &all[0], pending[0].1[0], 3).await]);
    one_round_trip!("settle", engine.settle(Some(&me), &without).await);
    one_round_trip!("settle", engine.settle(Some(&me), &with_failures).await);
    one_round_trip!("settle", engine.settle(None, &with_failures).await);
    one_round_trip!("sweep", engine.sweep(&me, &all, Duration::ZERO).await);
    one_round_trip!("heartbeat", engine.heartbeat(&me, &all, Duration::ZERO).await);
    one_round_trip!("leave", engine.leave(&me, &all).await);
    let before = proxy.bytes_up();
    assert!(engine.settle(Some(&me), &nobody).await.is_empty());
    let ends: Vec<_> = pending.iter().map(|(stream, _)| (stream.clone(), Vec::new())).collect();
    assert!(engine.settle(Some(&me), &ends).await.iter().all(Result::is_ok));
    assert_eq!(proxy.bytes_up(), before, "there is nothing to settle");
}

/// How many times each command was called on the nodes of a cluster.
fn calls(cluster: &RedisCluster, command: &str) -> u64 {
    let prefix = format!("cmdstat_{command}:calls=");
    let one = |node: &RedisServer| -> u64 {
        let stats = node.command(&["INFO", "commandstats"]);
        let calls = stats
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.split_once(','));
        calls.map_or(0, |(calls, _)| calls.parse().unwrap())
    };
    cluster.nodes().iter().map(one).sum()
}

/// The records of a batch lie elsewhere than its streams: one command for each stream and step.
#[tokio::test]
async fn on_a_cluster_settling_is_a_few_commands_for_each_stream() {
    let cluster = RedisCluster::start();
    let engine = works(&cluster.url()).await;
    let pending = pending_entries(&engine).await;
    let streams = STREAMS as u64;
    for node in cluster.nodes() {
        assert_eq!(node.command(&["CONFIG", "RESETSTAT"]), "OK");
    }
    for settled in engine.settle(Some(&member()), &settlements(&pending, false)).await {
        settled.unwrap();
    }
    assert_eq!((calls(&cluster, "eval"), calls(&cluster, "sadd")), (streams, 0));
    for settled in engine.settle(Some(&member()), &settlements(&pending, true)).await {
        settled.unwrap();
    }
    // Details, those without failures, those with failures.
    assert_eq!(calls(&cluster, "eval"), streams * 4);
    for command in ["sadd", "srem"] {
        assert_eq!(calls(&cluster, command), streams, "{command}");
    }
    let acknowledged: Vec<_> = pending
        .iter()
        .map(|(stream, ids)| {
            let one = |id: &EntryId| EntrySettlement {
                id: *id,
                end: EntryEnd::Acknowledge {
                    delete: false,
                    had_retry_state: false,
                },
                failures: None,
            };
            (stream.clone(), ids.iter().map(one).collect::<Vec<_>>())
        })
        .collect();
    for node in cluster.nodes() {
        assert_eq!(node.command(&["CONFIG", "RESETSTAT"]), "OK");
    }
    for settled in engine.settle(Some(&member()), &acknowledged).await {
        settled.unwrap();
    }
    assert_eq!((calls(&cluster, "eval"), calls(&cluster, "xack")), (0, streams));
}
