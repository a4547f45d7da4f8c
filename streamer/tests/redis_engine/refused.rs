//! Where the server refuses a step, nothing is acknowledged that is not recorded, and what frees space still works.

use streamer::engine::{
    Deferral, EntryEnd, EntrySettlement, FailureChange, FailureRecord, Member, PendingFilter, Scan, TakeRequest,
};
use streamer_test_servers::Proxy;

use super::*;

/// One server or three, to do the same to each.
enum Servers {
    One(RedisServer),
    Cluster(RedisCluster),
}

impl Servers {
    fn both() -> [Self; 2] {
        [Self::One(RedisServer::start()), Self::Cluster(RedisCluster::start())]
    }

    fn url(&self) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    fn all(&self) -> &[RedisServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Runs a command on the server that has the key.
    fn command(&self, arguments: &[&str]) -> String {
        let mut answers = self.all().iter().map(|server| server.command(arguments));
        answers.find(|answer| !answer.starts_with("-MOVED")).unwrap()
    }

    fn everywhere(&self, arguments: &[&str]) {
        for server in self.all() {
            assert_eq!(server.command(arguments), "OK", "{arguments:?}");
        }
    }
}

const STREAM: &str = "orders";

fn member() -> Member {
    Member {
        group: "workers".to_owned(),
        consumer: "a".to_owned(),
    }
}

/// Entries that are pending with the member.
async fn pending_entries(engine: &RedisEngine, count: usize) -> Vec<EntryId> {
    let stream = StreamName::from(STREAM);
    let start = GroupStart::After(EntryId::MIN);
    engine
        .join(&member(), &[(stream.clone(), start)])
        .await
        .remove(0)
        .unwrap();
    let written = engine.append_many(vec![an_append(STREAM); count]).await.unwrap();
    let mode = ReadMode::Group {
        group: member().group,
        consumer: member().consumer,
        streams: vec![stream],
    };
    let mut reader = engine.reader(mode).await.unwrap();
    assert_eq!(reader.next(count, None).await.unwrap()[0].entries.len(), count);
    written
}

async fn pending(engine: &RedisEngine) -> Vec<EntryId> {
    let listed = engine
        .pending(&STREAM.into(), "workers", PendingFilter::default())
        .await;
    listed.unwrap().iter().map(|entry| entry.id).collect()
}

fn end(id: EntryId, end: EntryEnd) -> EntrySettlement {
    EntrySettlement {
        id,
        end,
        failures: None,
    }
}

fn acknowledge(delete: bool) -> EntryEnd {
    EntryEnd::Acknowledge {
        delete,
        had_retry_state: false,
    }
}

fn defer() -> EntryEnd {
    EntryEnd::Defer(Box::new(Deferral {
        retry_state: "tried".into(),
        delay: Duration::ZERO,
        idle: Duration::ZERO,
        count: 3,
    }))
}

fn failing(id: EntryId, what: EntryEnd, details: bool) -> EntrySettlement {
    let record = FailureRecord {
        member: format!("record of {id}").into(),
        details: details.then(|| Bytes::from("{\"attempts\":3}")),
    };
    EntrySettlement {
        id,
        end: what,
        failures: Some(Box::new(FailureChange {
            add: vec![record],
            remove: vec!["obsolete".into()],
        })),
    }
}

async fn settle(engine: &RedisEngine, ends: Vec<EntrySettlement>) -> EngineResult<usize> {
    engine.settle(Some(&member()), &[(STREAM.into(), ends)]).await.remove(0)
}

/// Acknowledges the first three entries, the third with its entry; fails the fourth; and fails the fifth with details.
fn ends(written: &[EntryId]) -> Vec<EntrySettlement> {
    vec![
        end(written[0], acknowledge(false)),
        failing(written[3], acknowledge(true), false),
        end(written[1], acknowledge(false)),
        failing(written[4], acknowledge(false), true),
        end(written[2], acknowledge(true)),
    ]
}

/// Everything is settled once the cause is gone.
async fn settles_now(servers: &Servers, engine: &RedisEngine, written: &[EntryId]) {
    settle(engine, ends(written)).await.unwrap();
    assert_eq!(pending(engine).await, written[5..]);
    assert_eq!(servers.command(&["SCARD", "failed_stream"]), "2");
    assert_eq!(servers.command(&["HLEN", "failed_stream:details"]), "1");
    assert_eq!(engine.len(&STREAM.into()).await.unwrap(), written.len() as u64 - 2);
}

#[tokio::test]
async fn when_memory_is_full_only_what_needs_no_record_is_settled() {
    for servers in Servers::both() {
        let engine = works(&servers.url()).await;
        let written = pending_entries(&engine, 7).await;
        servers.everywhere(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_kind(settle(&engine, ends(&written)).await, EngineErrorKind::Full);
        assert_eq!(pending(&engine).await, written[3..]);
        assert_eq!(engine.len(&STREAM.into()).await.unwrap(), 6);
        assert_eq!(servers.command(&["SCARD", "failed_stream"]), "0");
        assert_kind(
            settle(&engine, vec![end(written[5], defer())]).await,
            EngineErrorKind::Full,
        );

        servers.everywhere(&["CONFIG", "SET", "maxmemory", "0"]);
        settles_now(&servers, &engine, &written).await;
    }
}

#[tokio::test]
async fn all_that_needs_no_memory_works_when_memory_is_full() {
    for servers in Servers::both() {
        let engine = works(&servers.url()).await;
        let written = pending_entries(&engine, 4).await;
        let stream = || vec![StreamName::from(STREAM)];
        servers.everywhere(&["CONFIG", "SET", "maxmemory", "1"]);

        let start = GroupStart::After(EntryId::MIN);
        let b = Member {
            consumer: "b".to_owned(),
            ..member()
        };
        for who in [member(), b.clone()] {
            let joined = engine.join(&who, &[(STREAM.into(), start)]).await.remove(0).unwrap();
            assert_eq!((joined.created, joined.last_delivered_id), (false, written[3]));
        }
        let missing = engine.join(&member(), &[("missing".into(), start)]).await.remove(0);
        assert_kind(missing, EngineErrorKind::Full);
        engine
            .heartbeat(&member(), &stream(), Duration::ZERO)
            .await
            .remove(0)
            .unwrap();

        let request = TakeRequest {
            stream: STREAM.into(),
            from: EntryId::MIN,
        };
        let taken = engine
            .take(&b, Scan::Idle(Duration::ZERO), &[request], 2)
            .await
            .remove(0);
        assert_eq!(taken.unwrap().entries.len(), 2);
        let renewed = engine
            .renew(&b, &[(STREAM.into(), written[..2].to_vec())])
            .await
            .remove(0);
        assert_eq!(renewed.unwrap().missing, []);
        assert!(engine.begin(&b, &STREAM.into(), written[0], 3).await.unwrap());
        let release = EntryEnd::Release { count: 1 };
        let ends = vec![end(written[1], release), end(written[2], acknowledge(true))];
        engine
            .settle(Some(&b), &[(STREAM.into(), ends)])
            .await
            .remove(0)
            .unwrap();
        assert_eq!(pending(&engine).await, [written[0], written[1], written[3]]);

        // An operator removes the consumer. Redis 6.2 refuses that while memory is full.
        servers.everywhere(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(servers.command(&["XGROUP", "DELCONSUMER", STREAM, "workers", "a"]), "1");
        servers.everywhere(&["CONFIG", "SET", "maxmemory", "1"]);
        let renewed = engine
            .renew(&member(), &[(STREAM.into(), written[3..].to_vec())])
            .await
            .remove(0);
        assert!(renewed.unwrap().consumer_was_missing);
        let adopted = [(STREAM.into(), vec![(written[3], 2)])];
        engine.adopt(&member(), &adopted).await.remove(0).unwrap();
        assert_eq!(pending(&engine).await, [written[0], written[1], written[3]]);
        assert_eq!(
            engine
                .sweep(&member(), &stream(), Duration::ZERO)
                .await
                .remove(0)
                .unwrap(),
            Vec::<String>::new()
        );
        engine
            .settle(
                Some(&member()),
                &[(STREAM.into(), vec![end(written[3], acknowledge(false))])],
            )
            .await
            .remove(0)
            .unwrap();
        let left = engine.leave(&member(), &stream()).await.remove(0);
        match streamer_test_servers::is_7_0() {
            true => assert!(left.unwrap()),
            false => assert_kind(left, EngineErrorKind::Full),
        }
    }
}

#[tokio::test]
async fn a_failed_list_of_another_type_holds_up_its_own_messages_only() {
    for servers in Servers::both() {
        let engine = works(&servers.url()).await;
        let written = pending_entries(&engine, 5).await;
        assert_eq!(servers.command(&["SET", "failed_stream", "x"]), "OK");
        assert_kind(settle(&engine, ends(&written)).await, EngineErrorKind::WrongType);
        assert_eq!(pending(&engine).await, written[3..]);
        assert_eq!(servers.command(&["DEL", "failed_stream"]), "1");
        settles_now(&servers, &engine, &written).await;
    }
}

#[tokio::test]
async fn details_of_another_type_keep_their_messages_pending() {
    for servers in Servers::both() {
        let engine = works(&servers.url()).await;
        let written = pending_entries(&engine, 5).await;
        assert_eq!(servers.command(&["SET", "failed_stream:details", "x"]), "OK");
        assert_kind(settle(&engine, ends(&written)).await, EngineErrorKind::WrongType);
        assert!(
            pending(&engine).await.contains(&written[4]),
            "its details could not be written"
        );
        assert_eq!(
            servers.command(&["SISMEMBER", "failed_stream", &format!("record of {}", written[4])]),
            "0"
        );
        assert_eq!(servers.command(&["DEL", "failed_stream:details"]), "1");
        settles_now(&servers, &engine, &written).await;
    }
}

#[tokio::test]
async fn retry_states_of_another_type_keep_their_messages_pending_as_they_are() {
    for servers in Servers::both() {
        let engine = works(&servers.url()).await;
        let written = pending_entries(&engine, 2).await;
        assert_eq!(servers.command(&["SET", "{orders}:retry:workers", "x"]), "OK");
        let ends = vec![end(written[0], defer()), failing(written[1], defer(), false)];
        assert_kind(settle(&engine, ends).await, EngineErrorKind::WrongType);
        let listed = engine
            .pending(&STREAM.into(), "workers", PendingFilter::default())
            .await
            .unwrap();
        assert!(listed.iter().all(|entry| entry.deliveries == 1), "{listed:?}");
        assert_eq!(listed.len(), 2);
    }
}

/// An engine of a user with these rules.
async fn restricted(servers: &Servers, rules: &[&str]) -> RedisEngine {
    let user = [
        &[
            "ACL", "SETUSER", "limited", "reset", "on", ">secret", "+@all", "~*", "&*",
        ],
        rules,
    ]
    .concat();
    servers.everywhere(&user);
    let url = servers.url().replace("://", "://limited:secret@");
    RedisEngine::connect(&url).await.unwrap()
}

#[tokio::test]
async fn without_permission_for_the_failed_list_nothing_is_acknowledged_that_is_not_recorded() {
    for servers in Servers::both() {
        let engine = works(&servers.url()).await;
        let written = pending_entries(&engine, 5).await;
        // For the keys, and for the command; also in the midst of the steps.
        let rules: [&[&str]; 3] = [
            &["resetkeys", "~orders", "~{orders}*", "~failed_stream:details"],
            &["-sadd"],
            &["-srem"],
        ];
        for rules in rules {
            let limited = restricted(&servers, rules).await;
            assert_kind(settle(&limited, ends(&written)).await, EngineErrorKind::Permission);
            assert_eq!(pending(&engine).await, written[3..], "{rules:?}");
        }
        settles_now(&servers, &engine, &written).await;
    }
}

#[tokio::test]
async fn without_permission_to_acknowledge_nothing_is_deleted() {
    for servers in Servers::both() {
        let engine = works(&servers.url()).await;
        let written = pending_entries(&engine, 5).await;
        let limited = restricted(&servers, &["-xack"]).await;
        assert_kind(settle(&limited, ends(&written)).await, EngineErrorKind::Permission);
        assert_eq!(pending(&engine).await, written);
        assert_eq!(engine.len(&STREAM.into()).await.unwrap(), 5);
        settles_now(&servers, &engine, &written).await;
    }
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_also_when_a_script_meets_it() {
    let (server, master) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::to(server.port());
    let engine = works(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let written = pending_entries(&engine, 1).await;
    let port = master.port().to_string();
    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    let (before, begin) = (proxy.connections(), Instant::now());
    while proxy.connections() == before {
        assert!(begin.elapsed() < PATIENCE, "the connection is still used");
        let refused = settle(&engine, vec![failing(written[0], acknowledge(false), false)]).await;
        assert_kind(refused, EngineErrorKind::Unavailable);
    }
}
