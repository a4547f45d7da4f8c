//! What a relay publishes, and in which order.

use std::time::Duration;

use serde_json::json;
use sqlx::Acquire as _;
use streamer::{
    DynamicEvent, Event, Replayable,
    model::{ModelSpec, Tracked},
    outbox::{Once, OutboxRow},
};

use crate::databases::{databases, payload, write};

#[tokio::test]
async fn what_is_committed_is_published_as_it_would_have_been_emitted() {
    for db in databases("published").await {
        let event = DynamicEvent::new(format!("{}.e", db.name), json!({"total": 1.0, "ł": "/"})).with_kind("command");
        db.write(OutboxRow::new(&event, "shop").unwrap()).await;
        let summary = db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
        assert_eq!((summary.published, summary.blocked), (1, 0));
        db.streamer.clone().with_domain("shop").emit(&event).await.unwrap();
        let entries = db.entries("e").await;
        let without_time = |entry: &streamer::Entry| {
            let fields = entry.fields.iter().filter(|(name, _)| name != "created");
            fields.cloned().collect::<Vec<_>>()
        };
        assert_eq!(
            without_time(&entries[0]),
            without_time(&entries[1]),
            "{:?}",
            db.dialect()
        );
        let status = db.outbox.status().await.unwrap();
        assert_eq!((status.waiting, status.oldest_ms, status.published), (0, None, 0));
    }
}

#[tokio::test]
async fn an_event_for_later_is_kept_by_the_store_and_comes_when_it_is_due() {
    for db in databases("later").await {
        let scheduled = db.streamer.scheduled(format!("{}.e", db.name));
        let tomorrow = Duration::from_secs(86_400);
        let row = db.row("e", "k", 1).deliver_after(tomorrow).unwrap();
        // A relay that was killed before it removed the row publishes it again.
        for _ in 0..2 {
            db.write(row.clone()).await;
            let summary = db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
            assert_eq!((summary.published, summary.blocked), (1, 0), "{:?}", db.dialect());
        }
        db.write(db.row("e", "k", 2)).await;
        let soon = db.row("e", "k", 3).deliver_after(Duration::from_millis(50)).unwrap();
        db.write(soon).await;
        db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
        let moved = async {
            while db.numbers("e").await.len() < 2 {
                scheduled.append_due().await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), moved).await.unwrap();
        assert_eq!(db.numbers("e").await, [2, 3]);
        let waiting = scheduled.page(None, 10).await.unwrap();
        assert_eq!(waiting.len(), 1);
        let has_moment = |fields: &streamer::Fields| fields.iter().any(|(name, _)| name == "due_ms");
        assert!(
            !has_moment(&waiting[0].fields) && !db.entries("e").await.iter().any(|entry| has_moment(&entry.fields))
        );
        assert_eq!(db.outbox.status().await.unwrap().waiting, 0);
    }
}

#[tokio::test]
async fn a_backlog_is_counted_up_to_a_bound() {
    for db in databases("backlog").await {
        let backlog = async |most| {
            let backlog = db.outbox.backlog(most).await.unwrap();
            (
                backlog.waiting,
                backlog.blocked,
                backlog.oldest_ms.is_some(),
                backlog.exact,
            )
        };
        assert_eq!(backlog(10).await, (0, 0, false, true), "{:?}", db.dialect());
        for number in 0..4 {
            db.write(db.row("e", "k", number)).await;
        }
        assert_eq!(backlog(10).await, (4, 0, true, true));
        assert_eq!(backlog(4).await, (4, 0, true, true));
        assert_eq!(backlog(3).await, (3, 0, true, false));
    }
}

#[tokio::test]
async fn a_rolled_back_event_is_never_published() {
    for db in databases("rollback").await {
        let mut connection = db.pool.acquire().await.unwrap();
        for number in 0..4 {
            let mut transaction = connection.begin().await.unwrap();
            write(&mut transaction, db.dialect(), db.row("e", "k", number)).await;
            match number % 2 {
                0 => transaction.commit().await.unwrap(),
                _ => transaction.rollback().await.unwrap(),
            }
        }
        db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
        assert_eq!(db.numbers("e").await, [0, 2]);
    }
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_skipped() {
    for db in databases("late").await {
        // SQLite has one writer: nothing commits out of order there.
        if db.url.starts_with("sqlite") {
            continue;
        }
        let mut early = db.pool.begin().await.unwrap();
        write(&mut early, db.dialect(), db.row("e", "a", 1)).await;
        db.write(db.row("e", "b", 2)).await;
        db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
        assert_eq!(db.numbers("e").await, [2]);
        early.commit().await.unwrap();
        db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
        assert_eq!(db.numbers("e").await, [2, 1]);
    }
}

#[tokio::test]
async fn several_relays_keep_the_order_of_each_key() {
    for db in databases("several").await {
        let relays = (0..3)
            .map(|_| db.outbox.relay(&db.streamer).batch(7))
            .collect::<Vec<_>>();
        let stops = relays
            .iter()
            .map(streamer::outbox::OutboxRelay::stop_token)
            .collect::<Vec<_>>();
        let relays = relays
            .into_iter()
            .map(|relay| tokio::spawn(relay.run()))
            .collect::<Vec<_>>();
        for number in 0..300 {
            db.write(db.row("e", &format!("key{}", number % 20), number)).await;
        }
        let all_published = async {
            while db.entries("e").await.len() < 300 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all_published)
            .await
            .unwrap();
        for stop in stops {
            stop.cancel();
        }
        let mut published = 0;
        for relay in relays {
            published += relay.await.unwrap().unwrap().published;
        }
        assert_eq!(published, 300);
        let entries = db.entries("e").await;
        assert_eq!(entries.len(), 300);
        for key in 0..20 {
            let of_key = entries
                .iter()
                .map(payload)
                .filter(|payload| payload["key"] == format!("key{key}"));
            let numbers = of_key.map(|payload| payload["n"].as_u64().unwrap()).collect::<Vec<_>>();
            assert!(
                numbers.is_sorted() && numbers.len() == 15,
                "{:?} {key}: {numbers:?}",
                db.dialect()
            );
        }
    }
}

#[tokio::test]
async fn a_published_row_is_kept_for_as_long_as_asked() {
    for db in databases("kept").await {
        db.write(db.row("e", "k", 1)).await;
        let relay = db.outbox.relay(&db.streamer).until_empty(true);
        relay.keep(Some(Duration::from_secs(3600))).run().await.unwrap();
        let status = db.outbox.status().await.unwrap();
        assert_eq!((status.waiting, status.published), (0, 1), "{:?}", db.dialect());
        // A relay that keeps them for less removes it.
        let relay = db.outbox.relay(&db.streamer).keep(Some(Duration::ZERO));
        let stop = relay.stop_token();
        let relay = tokio::spawn(relay.run());
        let removed = async {
            while db.outbox.status().await.unwrap().published > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), removed).await.unwrap();
        stop.cancel();
        relay.await.unwrap().unwrap();
    }
}

#[derive(serde::Serialize)]
struct User {
    id: u64,
    name: &'static str,
}

#[tokio::test]
async fn a_record_is_replayed_from_what_the_outbox_published() {
    for db in databases("replayed").await {
        let users = ModelSpec::new(format!("{}.user", db.name));
        let mut user = Tracked::unsaved(User { id: 7, name: "Ann" });
        let created = user.change(&users).unwrap().unwrap();
        assert_eq!(created.history(), created.name().trim_end_matches(".created"));
        db.write(OutboxRow::replayable(&created, "shop").unwrap()).await;
        user.mark_saved().unwrap();
        user.name = "Eve";
        let updated = user.change(&users).unwrap().unwrap();
        db.write(OutboxRow::replayable(&updated, "shop").unwrap()).await;
        db.outbox.relay(&db.streamer).until_empty(true).run().await.unwrap();
        let replayed = db
            .streamer
            .replay_model(users.name(), "7")
            .run()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(replayed.data, json!({"id": 7, "name": "Eve"}));
    }
}

#[tokio::test]
async fn the_inbox_recognises_a_message_that_was_handled() {
    for db in databases("inbox").await {
        let stream = streamer::StreamName::from("e");
        let message = |ms| {
            let entry = streamer::Entry {
                id: streamer::EntryId::new(ms, 0),
                fields: Vec::new(),
            };
            streamer::ReceivedMessage::new(stream.clone(), entry, 1)
        };
        let (first, second) = (message(1), message(2));
        let firsts = match db.dialect() {
            streamer::outbox::Dialect::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&db.url).await.unwrap();
                let mut rolled_back = pool.begin().await.unwrap();
                assert!(Once::in_transaction(&mut *rolled_back, &first, "g").await.unwrap());
                rolled_back.rollback().await.unwrap();
                let mut connection = pool.acquire().await.unwrap();
                in_order(&mut *connection, &first, &second).await
            }
            streamer::outbox::Dialect::Postgres => {
                let mut connection = sqlx::PgPool::connect(&db.url).await.unwrap().acquire().await.unwrap();
                in_order(&mut *connection, &first, &second).await
            }
            streamer::outbox::Dialect::MySql => {
                let mut connection = sqlx::MySqlPool::connect(&db.url)
                    .await
                    .unwrap()
                    .acquire()
                    .await
                    .unwrap();
                in_order(&mut *connection, &first, &second).await
            }
        };
        assert_eq!(firsts, [true, false, true, true], "{:?}", db.dialect());
    }
}

async fn in_order<C: streamer::outbox::OutboxConnection>(
    connection: &mut C,
    first: &streamer::ReceivedMessage,
    second: &streamer::ReceivedMessage,
) -> [bool; 4] {
    [
        Once::in_transaction(connection, first, "g").await.unwrap(),
        Once::in_transaction(connection, first, "g").await.unwrap(),
        Once::in_transaction(connection, first, "h").await.unwrap(),
        Once::in_transaction(connection, second, "g").await.unwrap(),
    ]
}
