//! The permissions that the guide to production asks for are enough for everything.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Listeners, NewId, Payload, StreamName, Streamer,
    archive::{ArchiveStorage, MemoryArchive, OlderThan, Restore, Sweep},
    engine::{
        Append, AppendOptions, Deferral, DueEntries, EngineResult, EntryEnd, EntrySettlement, FailureChange,
        FailureRecord, GroupStart, Member, NameUser, Scan, TakeRequest, open,
    },
    failed::FailedFilter,
};
use streamer_test_servers::Options;

fn rules_of_the_guide() -> &'static str {
    let guide = include_str!("../../docs/production.md");
    guide.lines().find_map(|line| line.strip_prefix("user ")).unwrap()
}

#[tokio::test]
async fn a_script_runs_once_whether_or_not_the_server_knows_it_and_the_user_may_name_it() {
    let rules = rules_of_the_guide();
    for rules in [rules, &rules.replace(" +evalsha", "")] {
        let server = Options::default().user(rules).start();
        let url = format!("redis://streamer:secret@127.0.0.1:{}", server.port());
        let streamer = Streamer::connect(&url).await.unwrap();
        let user = DynamicEvent::new("user", json!({"city": "Oslo"}));
        for emitted in 1..=4 {
            if emitted % 2 == 1 {
                server.command(&["SCRIPT", "FLUSH"]);
            }
            let options = EmitOptions::new().identifier("u1");
            streamer.emit_with(&user, options).await.unwrap();
            assert_eq!(streamer.stream("user").len().await.unwrap(), emitted);
            assert_eq!(server.command(&["LLEN", "user-u1"]).trim(), emitted.to_string());
        }
    }
}

/// Also at moments that a listening rarely meets.
#[tokio::test]
async fn the_permissions_of_the_guide_are_enough_for_each_verb_of_a_delivery() {
    let server = Options::default().user(rules_of_the_guide()).start();
    let url = format!("redis://streamer:secret@127.0.0.1:{}", server.port());
    let engine = open(&url).await.unwrap();
    let stream = StreamName::from("a.b");
    let streams = std::slice::from_ref(&stream);
    let member = |consumer: &str| Member {
        group: "g".to_owned(),
        consumer: consumer.to_owned(),
    };
    let append = |id| Append {
        stream: stream.clone(),
        id,
        fields: vec![("name".into(), "value".into())],
        options: AppendOptions::default(),
    };
    fn fine<T>(answers: Vec<EngineResult<T>>) -> T {
        answers.into_iter().next().unwrap().unwrap()
    }
    let me = member("me");
    let joined = fine(engine.join(&me, &[(stream.clone(), GroupStart::Now)]).await);
    assert!(joined.created);
    let dead = member("g-Abcdefghijklmn01");
    fine(engine.join(&dead, &[(stream.clone(), GroupStart::Now)]).await);
    let appends = (1..=6).map(|ms| append(NewId::Explicit(EntryId::new(ms, 0)))).collect();
    let ids = engine.append_many(appends).await.unwrap();
    let adopted = ids.iter().map(|id| (*id, 1)).collect();
    fine(engine.adopt(&me, &[(stream.clone(), adopted)]).await);
    engine.delete(&stream, &ids[5..]).await.unwrap();
    assert_eq!(
        fine(engine.renew(&me, &[(stream.clone(), ids.clone())]).await)
            .missing
            .len(),
        1
    );
    assert_eq!(fine(engine.last_ids(streams).await), ids[5]);
    assert!(fine(engine.consumer_idle(&me, streams).await).is_some());
    fine(engine.heartbeat(&me, streams, Duration::ZERO).await);
    for (token, lease) in [("one", 60), ("two", 60), ("one", 0), ("two", 60)] {
        let user = NameUser {
            since_ms: 0,
            token: token.to_owned(),
        };
        fine(engine.use_name(&me, &user, streams, Duration::from_secs(lease)).await);
    }
    assert!(engine.begin(&me, &stream, ids[0], 2).await.unwrap());

    let change = FailureChange {
        add: vec![FailureRecord {
            member: "new".into(),
            details: Some("{\"groups\":[\"g\"]}".into()),
        }],
        remove: vec!["old".into()],
    };
    let end = |id: EntryId, end: EntryEnd, failures: bool| EntrySettlement {
        id,
        end,
        failures: failures.then(|| Box::new(change.clone())),
    };
    let deferral = Deferral {
        retry_state: "tried".into(),
        delay: Duration::ZERO,
        idle: Duration::ZERO,
        count: 1,
    };
    let acknowledge = EntryEnd::Acknowledge {
        delete: true,
        had_retry_state: true,
    };
    let ends = vec![
        end(ids[0], acknowledge.clone(), true),
        end(ids[1], acknowledge, false),
        end(ids[2], EntryEnd::Defer(Box::new(deferral)), true),
        end(ids[3], EntryEnd::Release { count: 0 }, false),
    ];
    for _ in 0..2 {
        fine(engine.settle(Some(&me), &[(stream.clone(), ends.clone())]).await);
    }
    let request = TakeRequest {
        stream: stream.clone(),
        from: EntryId::MIN,
    };
    engine.delete(&stream, &ids[4..5]).await.unwrap();
    let taken = fine(engine.take(&me, Scan::Own, std::slice::from_ref(&request), 10).await);
    assert_eq!((taken.entries.len(), taken.gone.len()), (2, 1));
    fine(engine.take(&me, Scan::Idle(Duration::ZERO), &[request], 10).await);
    let due = DueEntries {
        stream: stream.clone(),
        ids: ids.clone(),
    };
    assert_eq!(fine(engine.take_due(&me, &[due]).await).entries.len(), 2);
    engine.acknowledge(&stream, "g", &ids).await.unwrap();
    assert_eq!(fine(engine.sweep(&me, streams, Duration::ZERO).await), [dead.consumer]);
    assert_eq!(
        server.command(&["EXISTS", "{a.b}:retry:g"]),
        "0",
        "its only entry is not pending any more"
    );
    assert!(fine(engine.leave(&me, streams).await));
}

#[tokio::test]
async fn the_permissions_of_the_guide_are_enough() {
    let rules = rules_of_the_guide();
    let server = Options::default().user(rules).start();
    let url = format!("redis://streamer:secret@127.0.0.1:{}", server.port());
    let streamer = Streamer::connect(&url).await.unwrap();
    assert_eq!(streamer.engine().warnings().await.unwrap(), Vec::<String>::new());

    async fn fails(Payload(number): Payload<Value>) -> Result<(), String> {
        if number["n"] == 1 {
            Err("not the first".to_owned())
        } else {
            Ok(())
        }
    }
    async fn works() {}
    for n in 1..=3 {
        streamer
            .emit(&DynamicEvent::new("a.b", json!({ "n": n })))
            .await
            .unwrap();
    }
    let user = DynamicEvent::new("user", json!({"city": "Oslo"}));
    streamer
        .emit_with(&user, EmitOptions::new().identifier("u1"))
        .await
        .unwrap();
    assert!(streamer.replay("user", "u1").run().await.unwrap().unwrap().is_whole());
    let _ = streamer.trim_history("user", "u1", None).await.unwrap();

    let stream = streamer.stream("a.b");
    stream
        .create_group("g", GroupStart::After(EntryId::MIN), true)
        .await
        .unwrap();
    stream.consumer("g", "dead").read_new(1, None).await.unwrap();
    let listening = streamer.listen(Listeners::new().on("a.b", "numbers", fails)).group("g");
    let listening = listening.reclaim(Some(Duration::from_millis(20)));
    let summary = listening
        .listen_timeout(Duration::from_millis(500))
        .run()
        .await
        .unwrap();
    assert_eq!((summary.processed, summary.failed), (2, 1));
    let listeners = Listeners::new().on("a.b", "numbers", works);
    let retried = streamer
        .failed()
        .retry(FailedFilter::all(), listeners)
        .run()
        .await
        .unwrap();
    assert_eq!(retried.retried, 1);

    let archive: Arc<dyn ArchiveStorage> = Arc::new(MemoryArchive::default());
    let swept = Sweep::archive(&streamer, archive.clone())
        .run(&"a.b".into(), OlderThan::now())
        .await
        .unwrap();
    assert_eq!(swept.removed, 3);
    Restore::new(&streamer, archive).run(None).await.unwrap();
    assert_eq!(stream.len().await.unwrap(), 3);
    stream.full_info(10).await.unwrap();
}

#[tokio::test]
async fn events_that_are_due_later_need_the_permissions_of_the_guide_and_nothing_else_needs_those() {
    let rules = rules_of_the_guide();
    let later = || EmitOptions::new().deliver_after(Duration::from_millis(20));
    let event = DynamicEvent::new("a.b", json!({"n": 1}));
    let server = Options::default().user(rules).start();
    let url = format!("redis://streamer:secret@127.0.0.1:{}", server.port());
    let streamer = Streamer::connect(&url).await.unwrap();
    let scheduled = streamer.scheduled("a.b");
    streamer
        .emit_with(&event, later().idempotency_key("once"))
        .await
        .unwrap();
    let id = streamer.emit_with(&event, later()).await.unwrap();
    assert_eq!(scheduled.count().await.unwrap(), 2);
    assert_eq!(scheduled.page(None, 10).await.unwrap()[1].id, id);
    assert!(scheduled.cancel(id).await.unwrap());
    while scheduled.append_due().await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(streamer.stream("a.b").len().await.unwrap(), 1);

    // What an earlier version of the guide asked for.
    let rules = rules.replace(" +zadd +zrange +zrangebylex +zrem +zcard +zlexcount", "");
    assert!(!rules.contains("+z"));
    let server = Options::default().user(&rules).start();
    let url = format!("redis://streamer:secret@127.0.0.1:{}", server.port());
    let streamer = Streamer::connect(&url).await.unwrap();
    let refused = streamer.emit_with(&event, later()).await.unwrap_err();
    assert!(refused.to_string().contains("the user's ACL rules"), "{refused}");
    assert_eq!(server.command(&["DBSIZE"]), "0");
    streamer.emit(&event).await.unwrap();
    async fn works() {}
    let listening = streamer.listen(Listeners::new().on("a.b", "numbers", works)).group("g");
    let summary = listening.stop_after(1).run().await.unwrap();
    assert_eq!(summary.processed, 1);
}
