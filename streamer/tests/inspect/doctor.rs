//! What the doctor finds.

use std::time::Duration;

use bytes::Bytes;
use streamer::{
    Trim,
    inspect::{Finding, Importance, Known},
};

use crate::{Subject, on_all_stores};

async fn findings(subject: &Subject, known: &Known) -> Vec<Finding> {
    let diagnosis = subject.streamer.inspect().diagnose(known).await.unwrap();
    for finding in &diagnosis.findings {
        assert!(diagnosis.checks.contains(&finding.check), "{finding:?}");
        assert!(!finding.meaning.is_empty() && !finding.fix.is_empty(), "{finding:?}");
    }
    diagnosis.findings
}

fn about(findings: &[Finding], check: &str) -> Vec<(Importance, String)> {
    let about = findings.iter().filter(|finding| finding.check == check);
    about
        .map(|finding| (finding.importance, finding.subject.clone()))
        .collect()
}

async fn a_sound_store_has_nothing_that_is_critical(subject: Subject) {
    let found = findings(&subject, &Known::default()).await;
    assert!(
        found.iter().all(|finding| finding.importance < Importance::Critical),
        "{found:?}"
    );
}

async fn it_says_how_much_it_has_looked_at_and_what_not(subject: Subject) {
    subject.emit("a", 30).await;
    subject.emit("b", 3).await;
    subject.group("a", "g").await;
    subject.deliver("a", "g", "c", 25).await;
    let diagnosis = subject.streamer.inspect().diagnose(&Known::default()).await.unwrap();
    let looked_at = |what: &str| {
        let part = diagnosis.looked_at.iter().find(|part| part.what == what).unwrap();
        (part.looked_at, part.of)
    };
    assert_eq!(looked_at("streams"), (2, Some(2)));
    assert_eq!(looked_at("groups"), (1, Some(1)));
    // The newest 10 of a stream, the oldest 20 of a group.
    assert_eq!(looked_at("newest entries"), (13, Some(33)));
    assert_eq!(looked_at("oldest pending entries"), (20, Some(25)));
    assert_eq!(looked_at("failures"), (0, Some(0)));
    let scope = diagnosis.scope();
    assert!(
        scope.starts_with(
            "Looked at all 2 streams, all 1 group, 13 of 33 newest entries, 20 of 25 oldest pending entries, 0 failures, "
        ) && scope.ends_with("and may have trouble that is not told here."),
        "{scope}"
    );
    // Of the streams that are named.
    let inspect = subject.streamer.inspect().streams(["b"]);
    let diagnosis = inspect.diagnose(&Known::default()).await.unwrap();
    assert_eq!(
        diagnosis.scope(),
        "Looked at all there is: 1 stream, 0 groups, 3 newest entries, 0 oldest pending entries, 0 failures."
    );
}

async fn what_is_wrong_with_groups_is_found(subject: Subject) {
    subject.emit("a", 100).await;
    subject.emit("quiet", 1).await;
    subject.group("a", "nobody").await;
    subject.group("a", "late").await;
    subject.deliver("a", "late", "c", 10).await;
    subject
        .engine()
        .trim(&"a".into(), Trim::max_len(30).exactly())
        .await
        .unwrap();
    let known = Known {
        listened: vec!["a".to_owned(), "misspelled".to_owned()],
        ..Known::default()
    };
    let found = findings(&subject, &known).await;
    assert_eq!(
        about(&found, "group_abandoned"),
        [(Importance::Critical, "group nobody of stream a".to_owned())]
    );
    assert_eq!(
        about(&found, "messages_missed"),
        [(Importance::Critical, "group late of stream a".to_owned())]
    );
    assert_eq!(
        about(&found, "pending_without_entry"),
        [(Importance::Warning, "group late of stream a".to_owned())]
    );
    assert_eq!(
        about(&found, "nobody_listens"),
        [(Importance::Notice, "stream quiet".to_owned())]
    );
    assert_eq!(
        about(&found, "stream_missing"),
        [(Importance::Notice, "event misspelled".to_owned())]
    );
    // The most important first.
    assert!(found.is_sorted_by_key(|finding| std::cmp::Reverse(finding.importance)));
}

async fn failures_and_undecodable_entries_are_found(subject: Subject) {
    let fields = vec![("name".into(), "a".into()), ("data".into(), "{broken".into())];
    let append = streamer::engine::Append {
        stream: "a".into(),
        id: Default::default(),
        fields,
        options: Default::default(),
    };
    subject.engine().append(append).await.unwrap();
    let listeners = streamer::Listeners::new().on("a", "it", |_: streamer::Payload<serde_json::Value>| async {});
    let listening = subject
        .streamer
        .listen(listeners)
        .group("g")
        .listen_timeout(std::time::Duration::from_millis(50));
    listening.run().await.unwrap();
    let found = findings(&subject, &Known::default()).await;
    assert_eq!(
        about(&found, "undecodable_entries"),
        [(Importance::Warning, "stream a".to_owned())]
    );
    assert_eq!(
        about(&found, "failures_listed"),
        [(Importance::Warning, "failed list".to_owned())]
    );
}

async fn what_is_kept_for_nobody_is_found(subject: Subject) {
    let ids = subject.emit("a", 2).await;
    subject.group("a", "quiet").await;
    let engine = subject.engine();
    let state = Bytes::from_static(b"{}");
    let keep = async |stream: &str, group: &str| {
        let stream = streamer::StreamName::from(stream);
        let kept = engine.replace_retry_state(&stream, group, ids[0], None, Some(&state));
        assert!(kept.await.unwrap());
    };
    let about_kept = async |subject: &Subject| {
        let found = findings(subject, &Known::default()).await;
        let of = |check: &str| {
            found
                .iter()
                .filter(|finding| finding.check == check)
                .cloned()
                .collect::<Vec<_>>()
        };
        (of("keys_without_owner"), of("retry_states_left"))
    };
    assert_eq!(about_kept(&subject).await, (vec![], vec![]));
    // The group is there, and its message is not pending.
    keep("a", "quiet").await;
    let (orphans, left) = about_kept(&subject).await;
    assert_eq!(orphans, []);
    assert_eq!((left.len(), left[0].subject.as_str()), (1, "group quiet of stream a"));
    assert_eq!(left[0].found, "1 retry state kept, and 0 messages pending");
    // It is pending.
    assert_eq!(subject.deliver("a", "quiet", "c", 1).await, ids[..1]);
    assert_eq!(about_kept(&subject).await, (vec![], vec![]));
    // Neither the group nor the stream is there.
    engine.add_handled(&"a".into(), Some("gone"), &ids).await.unwrap();
    engine.add_handled(&"a".into(), None, &ids).await.unwrap();
    engine.add_handled(&"vanished".into(), None, &ids).await.unwrap();
    let (orphans, _) = about_kept(&subject).await;
    assert_eq!(orphans.len(), 1);
    let expected =
        "2 keys beside streams belong to a stream or a group that is not there: {a}:handled:gone, {vanished}:handled";
    assert_eq!(orphans[0].found, expected);
    // With some streams only, nobody knows which others there are.
    let inspect = subject.streamer.inspect().streams(["a"]);
    let diagnosis = inspect.diagnose(&Known::default()).await.unwrap();
    assert!(
        diagnosis
            .findings
            .iter()
            .all(|finding| finding.check != "keys_without_owner")
    );
}

async fn a_lease_that_is_shorter_than_the_handling_is_found(subject: Subject) {
    let known = Known {
        reclaim: Some(Duration::from_secs(30)),
        ..Known::default()
    };
    let ids = subject.emit("a", 1).await;
    subject.group("a", "slow").await;
    assert_eq!(subject.deliver("a", "slow", "one", 1).await, ids);
    assert_eq!(about(&findings(&subject, &known).await, "attempts_cut_off"), []);
    // Another consumer takes over what the first one still handles.
    let two = subject.streamer.stream("a").consumer("slow", "two");
    two.claim(Duration::ZERO, &ids).await.unwrap();
    let found = findings(&subject, &known).await;
    let cut_off = found
        .iter()
        .find(|finding| finding.check == "attempts_cut_off")
        .unwrap();
    let expected = format!(
        "message {} was delivered 2 times and no attempt has ended; two has it, and the reclaim time is 30 s",
        ids[0]
    );
    assert_eq!((cut_off.importance, &cut_off.found), (Importance::Warning, &expected));
    // An attempt has ended, with a failure, and the message waits for its next one.
    let (stream, state) = (streamer::StreamName::from("a"), Bytes::from_static(b"{}"));
    let kept = subject
        .engine()
        .replace_retry_state(&stream, "slow", ids[0], None, Some(&state));
    assert!(kept.await.unwrap());
    assert_eq!(about(&findings(&subject, &known).await, "attempts_cut_off"), []);
}

async fn pending_messages_without_an_entry_are_found_among_the_oldest_and_the_rest_is_told(subject: Subject) {
    subject.emit("a", 30).await;
    subject.group("a", "g").await;
    let ids = subject.deliver("a", "g", "c", 30).await;
    let texts = async || {
        let found = findings(&subject, &Known::default()).await;
        let found = found.into_iter().filter(|one| one.check == "pending_without_entry");
        found.map(|one| one.found).collect::<Vec<_>>()
    };
    assert!(texts().await.is_empty());
    // Neither the first entry of the stream, nor among the oldest 20.
    subject.engine().delete(&"a".into(), &ids[25..26]).await.unwrap();
    assert!(texts().await.is_empty());
    subject.engine().delete(&"a".into(), &ids[3..5]).await.unwrap();
    let expected = format!(
        "2 messages of the oldest 20 pending have no entry on the stream, such as {}; 10 more were not looked at",
        ids[3]
    );
    assert_eq!(texts().await, [expected]);
}

on_all_stores! {
    it_says_how_much_it_has_looked_at_and_what_not
    pending_messages_without_an_entry_are_found_among_the_oldest_and_the_rest_is_told
    a_sound_store_has_nothing_that_is_critical
    what_is_wrong_with_groups_is_found
    failures_and_undecodable_entries_are_found
    what_is_kept_for_nobody_is_found
    a_lease_that_is_shorter_than_the_handling_is_found
}

#[tokio::test]
async fn the_settings_of_a_server_are_judged() {
    let subject = crate::open(streamer_test_servers::Topology::Redis).await;
    for (setting, value) in [("maxmemory-policy", "allkeys-lru"), ("appendonly", "no"), ("save", "")] {
        assert_eq!(subject.store.command(&["CONFIG", "SET", setting, value]), "OK");
    }
    let found = findings(&subject, &Known::default()).await;
    assert_eq!(about(&found, "eviction_policy").len(), 1, "{found:?}");
    assert_eq!(about(&found, "persistence_off")[0].0, Importance::Warning);
    assert_eq!(about(&found, "no_replica").len(), 1);
    assert_eq!(
        subject
            .store
            .command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]),
        "OK"
    );
}

#[tokio::test]
async fn a_user_who_may_not_do_everything_is_told() {
    let mut subject = crate::open(streamer_test_servers::Topology::Redis).await;
    subject.emit("a", 1).await;
    let port = subject.store.server().unwrap().port();
    let rule = [
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">pass",
        "~*",
        "+@read",
        "+@connection",
        "+info",
        "+config|get",
        "+time",
        "+acl|whoami",
        "+acl|dryrun",
        "+command|info",
    ];
    assert_eq!(subject.store.command(&rule), "OK");
    let url = format!("redis://reader:pass@127.0.0.1:{port}");
    let reader = streamer::Streamer::connect(&url).await.unwrap();
    let diagnosis = reader.inspect().diagnose(&Known::default()).await.unwrap();
    let forbidden: Vec<_> = diagnosis
        .findings
        .iter()
        .filter(|finding| finding.check == "command_forbidden")
        .collect();
    assert!(
        forbidden.iter().any(|finding| finding.found.contains("XADD")),
        "{forbidden:?}"
    );
    for allowed in ["XRANGE", "XINFO"] {
        assert!(
            !forbidden.iter().any(|finding| finding.found.contains(allowed)),
            "{forbidden:?}"
        );
    }
    assert!(
        forbidden.iter().all(|finding| !finding.subject.contains("pass")),
        "{forbidden:?}"
    );
    // Scripts are forbidden; a group that is behind is seen all the same.
    subject.group("a", "g").await;
    let overview = reader.inspect().overview().await.unwrap();
    assert_eq!(overview.streams[0].groups[0].lag, streamer::inspect::Lag::Exact(1));
    assert!(overview.streams[0].groups[0].lag_ms.is_some());
}

#[tokio::test]
async fn a_user_of_a_cluster_is_told_of_the_permissions_that_only_a_cluster_needs() {
    let cluster = streamer_test_servers::RedisCluster::start();
    let url = cluster.url().replace("://", "://app:secret@");
    for (rule, expected) in [
        ("+@all", &[][..]),
        ("-multi", &["MULTI"]),
        ("-exec", &["EXEC"]),
        ("-@transaction", &["MULTI", "EXEC"]),
        ("-asking", &["ASKING"]),
        // A user who may not ask what is permitted.
        ("-acl -multi", &["MULTI"]),
    ] {
        for node in cluster.nodes() {
            let all = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"];
            let rules = all.into_iter().chain(rule.split(' ')).collect::<Vec<_>>();
            assert_eq!(node.command(&rules), "OK");
        }
        let streamer = streamer::Streamer::connect(&url).await.unwrap();
        let diagnosis = streamer.inspect().diagnose(&Known::default()).await.unwrap();
        let forbidden = diagnosis
            .findings
            .iter()
            .filter(|finding| finding.fix.contains("+multi +exec +asking"));
        let mut found = forbidden.map(|finding| &*finding.found).collect::<Vec<_>>();
        found.sort_unstable();
        assert_eq!(found.len(), 3 * expected.len(), "{rule}: {found:?}");
        for name in expected {
            let start = format!("this user may not run {name}: ");
            let nodes = found.iter().filter(|found| found.starts_with(&start)).count();
            assert_eq!(nodes, 3, "{rule}: {found:?}");
        }
        // What was tried has left nothing on the connections.
        let event = streamer::DynamicEvent::new("a", serde_json::json!({}));
        streamer.emit(&event).await.unwrap();
    }
}
