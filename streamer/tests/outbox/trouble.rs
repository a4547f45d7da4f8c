//! What cannot be published keeps its own key waiting, and nothing else.

use std::time::Duration;

use streamer::{
    engine::Record,
    outbox::{Outbox, OutboxError, RelayReport},
};
use streamer_test_servers::Proxy;
use tokio::sync::mpsc;

use crate::databases::databases;

#[tokio::test]
async fn a_row_that_the_store_refuses_keeps_only_its_key_waiting() {
    for db in databases("poison").await {
        // The stream of event `bad` is a list.
        let scratch = db.row("scratch", "", 0);
        let record = Record::Push {
            list: format!("{}.bad", db.name).into(),
            before: "<".into(),
            after: ">".into(),
        };
        let append = streamer::engine::Append {
            stream: scratch.stream.clone().into(),
            id: Default::default(),
            fields: vec![("a".into(), "b".into())],
            options: Default::default(),
        };
        db.streamer.engine().append_recorded(append, record).await.unwrap();

        db.write(db.row("bad", "k", 1)).await;
        db.write(db.row("good", "k", 2)).await;
        db.write(db.row("good", "other", 3)).await;
        let relay = db.outbox.relay(&db.streamer).max_attempts(2).until_empty(true);
        let summary = relay.run().await.unwrap();
        assert_eq!((summary.published, summary.blocked), (1, 1), "{:?}", db.dialect());
        assert_eq!(db.numbers("good").await, [3]);

        let status = db.outbox.status().await.unwrap();
        assert_eq!((status.waiting, status.blocked_count), (2, 1));
        let [blocked] = &status.blocked[..] else {
            panic!("{status:?}")
        };
        assert_eq!((&*blocked.ordering_key, blocked.attempts), ("k", 2));
        assert!(
            blocked.error.contains("WRONGTYPE") || blocked.error.contains("kind of value"),
            "{}",
            blocked.error
        );
        assert!(status.oldest_ms.is_some());

        // Retried while the cause is still there, it is blocked again; skipped, its key goes on.
        assert_eq!(db.outbox.retry(None).await.unwrap(), 1);
        let relay = db.outbox.relay(&db.streamer).max_attempts(1).until_empty(true);
        assert_eq!(relay.run().await.unwrap().blocked, 1);
        db.outbox.skip(&blocked.event_id).await.unwrap();
        assert!(matches!(
            db.outbox.skip(&blocked.event_id).await,
            Err(OutboxError::NotBlocked(_))
        ));
        db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
        assert_eq!(db.numbers("good").await, [3, 2]);
    }
}

#[tokio::test]
async fn a_relay_without_tables_says_so_and_a_url_of_nothing_too() {
    for db in databases("missing").await {
        let mut connection = db.pool.acquire().await.unwrap();
        sqlx::query("DROP TABLE streamer_outbox")
            .execute(&mut *connection)
            .await
            .unwrap();
        let error = db.outbox.relay(&db.streamer).run().await.unwrap_err();
        assert!(error.to_string().contains("streamer_outbox"), "{error}");
    }
    let error = Outbox::connect("redis://127.0.0.1").await.unwrap_err();
    assert!(error.to_string().contains("postgres://"), "{error}");
}

#[tokio::test]
async fn a_silent_database_is_not_waited_for_without_a_limit() {
    for db in databases("silent").await {
        // A file is never silent.
        let Some((proxy, url)) = through_a_proxy(&db.url) else {
            continue;
        };
        let outbox = Outbox::connect(&url).await.unwrap();
        let outbox = outbox.answer_timeout(Duration::from_millis(300));
        db.write(db.row("placed", "k", 1)).await;
        proxy.stall();
        let error = outbox.status().await.unwrap_err();
        assert!(matches!(error, OutboxError::Silent("tell its status", _)), "{error}");
        let error = outbox.skip("none").await.unwrap_err();
        assert!(matches!(error, OutboxError::Silent("skip a row", _)), "{error}");
        let once = outbox.relay(&db.streamer).until_empty(true);
        let error = once.run().await.unwrap_err();
        assert!(error.is_unreachable(), "{error}");
        assert!(db.numbers("placed").await.is_empty());

        // One that goes on says so, and publishes once there are answers.
        let (tell, mut told) = mpsc::unbounded_channel();
        let relay = outbox.relay(&db.streamer).on_report(move |report| {
            let _ = tell.send(match report {
                RelayReport::Interrupted { .. } => "interrupted",
                RelayReport::Published { .. } => "published",
                _ => "other",
            });
        });
        let stop = relay.stop_token();
        let relay = tokio::spawn(relay.run());
        while told.recv().await.unwrap() != "interrupted" {}
        proxy.resume();
        while told.recv().await.unwrap() != "published" {}
        assert_eq!(db.numbers("placed").await, [1], "{:?}", db.dialect());

        // It may also become silent while the relay waits for rows.
        proxy.stall();
        while told.recv().await.unwrap() != "interrupted" {}
        db.write(db.row("placed", "k", 2)).await;
        proxy.resume();
        while told.recv().await.unwrap() != "published" {}
        assert_eq!(db.numbers("placed").await, [1, 2], "{:?}", db.dialect());
        stop.cancel();
        relay.await.unwrap().unwrap();
    }
}

fn through_a_proxy(url: &str) -> Option<(Proxy, String)> {
    let mut parts = url::Url::parse(url).unwrap();
    let proxy = Proxy::to(parts.port()?);
    parts.set_port(Some(proxy.port())).unwrap();
    Some((proxy, parts.into()))
}

/// SQLite waits for a lock for as long as its busy time-out; then the relay waits, and does not end.
#[tokio::test]
async fn a_database_that_others_keep_locked_is_tried_again() {
    let all = databases("locked").await;
    let db = all.iter().find(|db| db.url.starts_with("sqlite")).unwrap();
    db.write(db.row("placed", "k", 1)).await;
    let mut holder = db.pool.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *holder).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let relay = db.outbox.relay(&db.streamer).on_report(move |report| {
        let _ = tell.send(match report {
            RelayReport::Interrupted { error, .. } => (*error).to_owned(),
            _ => String::new(),
        });
    });
    let stop = relay.stop_token();
    let relay = tokio::spawn(relay.run());
    let error = loop {
        let report = told.recv().await.unwrap();
        if !report.is_empty() {
            break report;
        }
    };
    assert!(error.contains("busy") && error.contains("locked"), "{error}");
    sqlx::query("ROLLBACK").execute(&mut *holder).await.unwrap();
    // What it had published before it could remove the row is recognised.
    while db.outbox.status().await.unwrap().waiting > 0 {
        told.recv().await.unwrap();
    }
    assert_eq!(db.numbers("placed").await, [1]);
    stop.cancel();
    relay.await.unwrap().unwrap();
}
