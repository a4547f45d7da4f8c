//! What cannot be published keeps its own key waiting, and nothing else.

use streamer::{
    engine::Record,
    outbox::{Outbox, OutboxError},
};

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
