//! What the doctor finds.

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

on_all_stores! {
    a_sound_store_has_nothing_that_is_critical
    what_is_wrong_with_groups_is_found
    failures_and_undecodable_entries_are_found
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
    assert!(
        !forbidden.iter().any(|finding| finding.found.contains("XRANGE")),
        "{forbidden:?}"
    );
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
