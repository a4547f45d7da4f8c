//! The permissions that the guide to production asks for are enough for everything.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Listeners, Payload, Streamer,
    archive::{ArchiveStorage, MemoryArchive, OlderThan, Restore, Sweep},
    engine::GroupStart,
    failed::FailedFilter,
};
use streamer_test_servers::Options;

fn rules_of_the_guide() -> &'static str {
    let guide = include_str!("../../docs/production.md");
    guide.lines().find_map(|line| line.strip_prefix("    user ")).unwrap()
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
