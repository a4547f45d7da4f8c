//! `outbox`, with the application's database on SQLite, PostgreSQL and MariaDB.

use std::{sync::LazyLock, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _, Executor as _};
use streamer::{
    DynamicEvent, EntryId, RangeBound, ReceivedMessage, Streamer,
    model::{ModelSpec, Tracked},
    outbox::{Column, Dialect, Once, OutboxRow},
};
use streamer_test_servers::{DatabaseServer, Proxy};

use crate::bench::{Bench, Ended, Running, wait_until};

static POSTGRES: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::postgres);
static MARIA: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::maria);

/// A folder, and a new database of an application.
struct Application {
    bench: Bench,
    database: String,
}

fn applications() -> [Application; 3] {
    sqlx::any::install_default_drivers();
    let with = |database: String, bench: Bench| {
        bench.write("streamer.toml", &format!("outbox_url = '{database}'\n"));
        Application { bench, database }
    };
    let bench = Bench::new();
    let sqlite = format!("sqlite://{}?mode=rwc", bench.path("app.db").display());
    [
        with(sqlite, bench),
        with(POSTGRES.new_database(), Bench::new()),
        with(MARIA.new_database(), Bench::new()),
    ]
}

impl Application {
    fn dialect(&self) -> Dialect {
        Dialect::of_url(&self.database).unwrap()
    }

    async fn connect(&self) -> AnyConnection {
        AnyConnection::connect(&self.database).await.unwrap()
    }

    async fn write(&self, connection: &mut AnyConnection, row: OutboxRow) {
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(OutboxRow::insert(self.dialect())));
        for column in row.columns() {
            insert = match column {
                Column::Text(text) => insert.bind(text),
                Column::Bytes(bytes) => insert.bind(bytes),
                Column::Small(number) => insert.bind(number),
                Column::Big(number) => insert.bind(number),
            };
        }
        insert.execute(connection).await.unwrap();
    }

    /// The numbers of the events on a stream.
    async fn published(&self, event: &str) -> Vec<u64> {
        let streamer = Streamer::connect(&self.bench.url).await.unwrap();
        let all = RangeBound::Unbounded;
        let entries = streamer.engine().range(&event.into(), all, all, None, false).await;
        let number = |entry: streamer::Entry| {
            let data = entry.fields.into_iter().find(|(name, _)| name == "data").unwrap().1;
            serde_json::from_slice::<Value>(&data).unwrap()["n"].as_u64().unwrap()
        };
        entries.unwrap().into_iter().map(number).collect()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.bench.ok(&["outbox", "status", "--json"])).unwrap()
    }
}

fn row(event: &str, key: &str, number: u64) -> OutboxRow {
    let event = DynamicEvent::new(event, json!({ "n": number }));
    OutboxRow::new(&event, "shop").unwrap().ordered_by(key)
}

#[tokio::test]
async fn what_is_committed_is_published_and_the_status_tells_what_waits() {
    for application in applications() {
        let bench = &application.bench;
        let ended = bench.run(&["outbox", "status"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("streamer outbox migrate"), "{ended:?}");
        assert!(bench.ok(&["outbox", "migrate"]).ends_with("is ready.\n"));
        bench.ok(&["outbox", "migrate", "--json"]);
        assert_eq!(bench.ok(&["outbox", "status"]), "Waiting: 0 rows.\n");

        let mut connection = application.connect().await;
        for number in 0..6 {
            let mut transaction = connection.begin().await.unwrap();
            application
                .write(&mut transaction, row("order.paid", "7", number))
                .await;
            match number % 3 {
                2 => transaction.rollback().await.unwrap(),
                _ => transaction.commit().await.unwrap(),
            }
        }
        assert!(
            bench
                .ok(&["outbox", "status"])
                .starts_with("Waiting: 4 rows, the oldest for ")
        );
        assert_eq!(application.status()["waiting"], 4);

        let printed = bench.ok(&["outbox", "relay", "--once", "--keep", "1h"]);
        assert!(printed.contains("Published 4 events, 4 in all.\n"), "{printed}");
        assert!(
            printed.ends_with("Total of 4 events published, 0 rows blocked.\n"),
            "{printed}"
        );
        assert_eq!(application.published("order.paid").await, [0, 1, 3, 4]);
        assert_eq!(
            bench.ok(&["outbox", "status"]),
            "Waiting: 0 rows.\nKept: 4 published rows.\n"
        );
        assert!(
            bench
                .ok(&["outbox", "relay", "--once", "--json"])
                .ends_with("{\"report\":\"total\",\"published\":0,\"blocked\":0,\"blocked_now\":0}\n")
        );
    }
}

#[tokio::test]
async fn relays_run_side_by_side_and_a_signal_ends_them_in_good_order() {
    for application in applications() {
        let bench = &application.bench;
        bench.ok(&["outbox", "migrate"]);
        let mut relays = [0, 1].map(|_| bench.start(&["outbox", "relay", "--json", "--batch", "5", "--poll", "10"]));
        for relay in &mut relays {
            relay.wait_for("shards");
        }
        let mut connection = application.connect().await;
        for number in 0..200 {
            application
                .write(&mut connection, row("e", &format!("key {}", number % 10), number))
                .await;
        }
        wait_until(|| (application.status()["waiting"] == 0).then_some(()));
        let total = relays.into_iter().map(stopped).sum::<u64>();
        assert_eq!(total, 200, "{:?}", application.dialect());
        let published = application.published("e").await;
        assert_eq!(published.len(), 200);
        for key in 0..10 {
            assert!(published.iter().filter(|number| *number % 10 == key).is_sorted());
        }
    }
}

/// How many events a relay published that is stopped now.
fn stopped(relay: Running) -> u64 {
    relay.signal(Signal::INT);
    let ended = relay.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let total: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(total["report"], "total");
    total["published"].as_u64().unwrap()
}

#[tokio::test]
async fn a_row_that_cannot_be_published_is_shown_and_released() {
    for application in applications() {
        let bench = &application.bench;
        bench.ok(&["outbox", "migrate"]);
        let bad = row("e", "k", 1);
        let id = bad.event_id.clone();
        let mut connection = application.connect().await;
        application.write(&mut connection, bad).await;
        application.write(&mut connection, row("e", "k", 2)).await;
        application.write(&mut connection, row("e", "other", 3)).await;
        // Somebody wrote into our table.
        let damage = match application.dialect() {
            Dialect::Postgres => r"UPDATE streamer_outbox SET fields = '\x1b5b'::bytea",
            _ => "UPDATE streamer_outbox SET fields = x'1b5b'",
        };
        let damage = format!("{damage} WHERE event_id = '{id}'");
        connection.execute(sqlx::AssertSqlSafe(damage)).await.unwrap();

        let ended = bench.run(&["outbox", "relay", "--once", "--max-attempts", "1"]);
        assert!(
            ended.stderr.contains(&id) && ended.stderr.contains("It is blocked"),
            "{ended:?}"
        );
        is_told_as_blocked(
            &ended,
            "Total of 1 event published, 1 row blocked; in all 1 row is blocked now.\n",
        );
        assert_eq!(application.published("e").await, [3]);
        // By an earlier run, which is still to be told.
        let again = bench.run(&["outbox", "relay", "--once"]);
        is_told_as_blocked(
            &again,
            "Total of 0 events published, 0 rows blocked; in all 1 row is blocked now.\n",
        );
        let again = bench.run(&["outbox", "relay", "--once", "--json"]);
        is_told_as_blocked(
            &again,
            "{\"report\":\"total\",\"published\":0,\"blocked\":0,\"blocked_now\":1}\n",
        );

        let shown = bench.ok(&["outbox", "status"]);
        assert!(shown.starts_with("Waiting: 2 rows, the oldest for "), "{shown}");
        assert!(
            shown.contains("Blocked: 1 row of these.") && shown.contains(&id) && shown.contains("cannot be decoded"),
            "{shown}"
        );
        assert_eq!(application.status()["blocked"][0]["event_id"], *id);

        // The cause is still there.
        assert_eq!(
            bench.ok(&["outbox", "retry", &id]),
            "Released 1 row: a running relay tries it again (`streamer outbox relay`).\n"
        );
        assert_eq!(bench.ok(&["outbox", "retry", "--all"]), "No row is blocked.\n");
        assert_eq!(bench.run(&["outbox", "retry", &id]).code, Some(1));
        bench.run(&["outbox", "relay", "--once", "--max-attempts", "1"]);
        // One of two is blocked: what became of it is told, and the other one is named.
        let ended = bench.run(&["outbox", "retry", "none", &id]);
        assert!(
            ended.code == Some(1) && ended.stdout.starts_with("Released 1 row:") && ended.stderr.contains("'none'"),
            "{ended:?}"
        );
        bench.run(&["outbox", "relay", "--once", "--max-attempts", "1"]);

        let ended = bench.run(&["outbox", "skip", &id]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.stderr.contains("never published") && ended.stderr.contains("--yes"),
            "{ended:?}"
        );
        let told = bench.ok(&["outbox", "skip", &id, "--dry-run"]);
        assert!(
            told.starts_with("Would delete") && told.ends_with("\nIts payload cannot be decoded.\n"),
            "{told}"
        );
        assert_eq!(application.status()["blocked_count"], 1);
        assert!(bench.ok(&["outbox", "skip", &id, "--yes"]).contains("key 'k'"));
        let ended = bench.run(&["outbox", "skip", &id, "--yes"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        bench.ok(&["outbox", "relay", "--once"]);
        assert_eq!(application.published("e").await, [3, 2]);

        // One whose payload is sound: it is told before it is gone.
        let refused = row("e", "k", 4);
        let id = refused.event_id.clone();
        application.write(&mut connection, refused).await;
        let block = format!("UPDATE streamer_outbox SET blocked = TRUE WHERE event_id = '{id}'");
        connection.execute(sqlx::AssertSqlSafe(block)).await.unwrap();
        let told = bench.ok(&["outbox", "skip", &id, "--dry-run"]);
        assert!(told.ends_with("\nIts payload: {\"n\":4}\n"), "{told}");
        let told: Value = serde_json::from_str(&bench.ok(&["outbox", "skip", &id, "--yes", "--json"])).unwrap();
        assert_eq!(
            (&told["report"], &told["data"]),
            (&"skipped".into(), &serde_json::json!({"n": 4}))
        );
        assert_eq!(application.status()["blocked_count"], 0);
    }
}

fn is_told_as_blocked(ended: &Ended, last_line: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.ends_with(last_line), "{ended:?}");
    let told = ended.stderr.lines().last().unwrap_or_default();
    assert!(
        told.starts_with("error: 1 row is blocked")
            && ["outbox status`", "outbox retry --all`", "outbox skip ID`"]
                .iter()
                .all(|command| told.contains(command)),
        "{ended:?}"
    );
}

/// A relay that ends when everything is published, and has something to do for ever: a row that nobody can publish.
async fn a_relay_that_is_busy(application: &Application, database: &str) -> Running {
    let bench = &application.bench;
    bench.ok(&["outbox", "migrate"]);
    let mut connection = application.connect().await;
    application.write(&mut connection, row("e", "bad", 1)).await;
    let damage = match application.dialect() {
        Dialect::Postgres => r"UPDATE streamer_outbox SET fields = '\x1b5b'::bytea",
        _ => "UPDATE streamer_outbox SET fields = x'1b5b'",
    };
    connection.execute(damage).await.unwrap();
    let relay = ["outbox", "relay", "--once", "--json", "--max-attempts", "1000000"];
    let mut relay = bench.start(&[&relay[..], &["--database", database]].concat());
    relay.wait_for("refused");
    relay
}

#[tokio::test]
async fn a_relay_that_ends_when_all_is_published_does_not_wait_for_a_store_that_went_away() {
    for mut application in applications() {
        let bench = Bench::on_redis();
        bench.write("streamer.toml", &format!("outbox_url = '{}'\n", application.database));
        let _folder_of_the_database = std::mem::replace(&mut application.bench, bench);
        let relay = a_relay_that_is_busy(&application, &application.database).await;
        drop(application.bench.redis.take());
        let mut connection = application.connect().await;
        application.write(&mut connection, row("e", "k", 2)).await;
        let ended = relay.end();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            ended.stderr.contains("error: could not append to stream 'e'") && ended.stdout.contains("interrupted"),
            "{ended:?}"
        );
        // Nothing is lost.
        assert_eq!(application.status()["waiting"], 2);
    }
}

#[tokio::test]
async fn a_relay_that_ends_when_all_is_published_does_not_wait_for_a_database_that_went_away() {
    let [_, servers @ ..] = applications();
    for application in servers {
        let port = application
            .database
            .rsplit_once(':')
            .unwrap()
            .1
            .split('/')
            .next()
            .unwrap();
        let proxy = Proxy::to(port.parse().unwrap());
        let database = application
            .database
            .replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
        let relay = a_relay_that_is_busy(&application, &database).await;
        proxy.refuse();
        let ended = relay.end();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("error: could not reach the outbox's database to ")
                || ended
                    .stderr
                    .contains("error: the connection that holds this relay's locks broke"),
            "{ended:?}"
        );
        assert_eq!(application.status()["waiting"], 1);
    }
}

#[tokio::test]
async fn the_printed_statements_make_the_tables() {
    for application in applications() {
        let kind = format!("{:?}", application.dialect()).to_lowercase();
        let empty = Bench::new();
        let printed = empty.ok(&["outbox", "migrate", "--print", "--dialect", &kind]);
        assert_eq!(printed, application.bench.ok(&["outbox", "migrate", "--print"]));
        // Printing connects to nothing.
        assert_eq!(
            application.bench.run(&["outbox", "status"]).code,
            Some(match application.dialect() {
                Dialect::Sqlite if !application.bench.path("app.db").exists() => 3,
                _ => 1,
            })
        );
        let mut connection = application.connect().await;
        for _ in 0..2 {
            sqlx::raw_sql(sqlx::AssertSqlSafe(printed.clone()))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        assert_eq!(application.bench.ok(&["outbox", "status"]), "Waiting: 0 rows.\n");
    }
}

#[test]
fn a_database_that_cannot_be_used_is_named_without_its_password() {
    let bench = Bench::new();
    let ended = bench.run(&["outbox", "status"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("outbox_url") && ended.stderr.contains("STREAMER_OUTBOX_URL"),
        "{ended:?}"
    );
    for (url, code) in [
        ("postgres://bob:Hunter2@127.0.0.1:1/shop", 3),
        ("mysql://bob:Hunter2@127.0.0.1:1/shop", 3),
        ("postgres://bob:Hunt/er2@127.0.0.1:1/shop", 2),
        ("postgres://bob:Hunter2@127.0.0.1:Hunter2/shop", 2),
        ("redis://:Hunter2@127.0.0.1:1", 2),
        ("Hunter2", 2),
        ("sqlite::memory:", 2),
        ("sqlite://nowhere.db", 3),
        ("sqlite://nowhere.db?Hunter2=1", 2),
    ] {
        for command in [&["status"][..], &["relay", "--once"], &["retry", "--all"], &["migrate"]] {
            let ended = bench.run(&[&["outbox"][..], command, &["--database", url]].concat());
            assert_eq!(ended.code, Some(code), "{url}: {ended:?}");
            let all = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!all.contains("unter") && !all.contains("er2"), "{url}: {all}");
            assert!(
                all.contains("error: ") && all.contains("from the flag --database"),
                "{url}: {all}"
            );
        }
    }
    assert!(!bench.path("nowhere.db").exists());
    // Whatever the command does with it.
    for (url, warns) in [
        ("postgres://bob:Hunter2@127.0.0.1:1/shop", true),
        ("postgres://bob@127.0.0.1:1/shop", false),
    ] {
        for command in [
            &["status"][..],
            &["migrate", "--print"],
            &["migrate", "--print", "--dialect", "sqlite"],
        ] {
            let ended = bench.run(&[&["outbox"][..], command, &["--database", url]].concat());
            let warning = "can see the password in --database";
            assert_eq!(
                ended.stderr.matches(warning).count(),
                usize::from(warns),
                "{command:?}: {ended:?}"
            );
        }
    }
    bench.write("streamer.toml", "outbox_url = 'mysql://bob:Hunter2@127.0.0.1:1/shop'\n");
    let config = bench.ok(&["config"]);
    assert!(
        config.contains("mysql://bob:***@127.0.0.1:1/shop") && !config.contains("Hunter2"),
        "{config}"
    );
}

/// The statements of the guide, for users of these names.
fn permissions() -> &'static str {
    let page = include_str!("../../../docs/transactions.md");
    let section = page.split("### Permissions\n").nth(1).unwrap();
    section.split("```sql\n").nth(1).unwrap().split("```").next().unwrap()
}

#[tokio::test]
async fn the_permissions_of_the_guide_are_enough_and_a_missing_one_is_explained() {
    let [_, servers @ ..] = applications();
    for application in servers {
        let bench = &application.bench;
        bench.ok(&["outbox", "migrate"]);
        let mut administrator = application.connect().await;
        let create = match application.dialect() {
            Dialect::Postgres => "CREATE ROLE application LOGIN; CREATE ROLE relay LOGIN",
            _ => "CREATE USER application; CREATE USER relay",
        };
        sqlx::raw_sql(create).execute(&mut administrator).await.unwrap();
        let url_of = |user: &str| {
            let place = application.database.split_once('@').unwrap().1;
            let scheme = application.database.split_once(':').unwrap().0;
            format!("{scheme}://{user}@{place}")
        };
        let relay = url_of("relay");
        let as_relay = |arguments: &[&str]| bench.run(&[&["outbox"], arguments, &["--database", &relay]].concat());

        if application.dialect() == Dialect::Postgres {
            for command in [&["status"][..], &["relay", "--once"], &["migrate"]] {
                let refused = as_relay(command);
                assert_eq!(refused.code, Some(1), "{refused:?}");
                assert!(
                    refused.stderr.contains("permission denied for ")
                        && refused.stderr.contains("docs/transactions.md says, under Permissions")
                        && !refused.stderr.contains(" at line "),
                    "{refused:?}"
                );
            }
        }
        sqlx::raw_sql(permissions()).execute(&mut administrator).await.unwrap();
        if application.dialect() == Dialect::MySql {
            let refused = as_relay(&["migrate"]);
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(
                refused.stderr.contains(" denied to user ")
                    && refused.stderr.contains("docs/transactions.md says, under Permissions"),
                "{refused:?}"
            );
        }

        let mut connection = AnyConnection::connect(&url_of("application")).await.unwrap();
        let bad = row("e", "bad", 1);
        let bad_id = bad.event_id.clone();
        application.write(&mut connection, bad).await;
        application.write(&mut connection, row("e", "good", 2)).await;
        let damage = match application.dialect() {
            Dialect::Postgres => r"UPDATE streamer_outbox SET fields = '\x1b5b'::bytea",
            _ => "UPDATE streamer_outbox SET fields = x'1b5b'",
        };
        let damage = format!("{damage} WHERE event_id = '{bad_id}'");
        administrator.execute(sqlx::AssertSqlSafe(damage)).await.unwrap();
        let done = as_relay(&["relay", "--once", "--keep", "1h", "--max-attempts", "1"]);
        assert!(
            done.stdout.contains("Total of 1 event published, 1 row blocked;") && !done.stderr.contains("password"),
            "{done:?}"
        );
        assert_eq!(application.published("e").await, [2]);
        for (arguments, code, expected) in [
            (&["retry", &bad_id][..], 0, "Released 1 row"),
            (&["relay", "--once", "--max-attempts", "1"], 1, "1 row blocked"),
            (&["skip", &bad_id, "--yes"], 0, "key 'bad'"),
            (&["status"], 0, "Waiting: 0 rows.\nKept: 1 published row.\n"),
        ] {
            let done = as_relay(arguments);
            assert!(done.code == Some(code) && done.stdout.contains(expected), "{done:?}");
        }

        let streamer = Streamer::connect(&bench.url).await.unwrap();
        let entry = streamer.stream("e").read(EntryId::MIN, 1).await.unwrap().remove(0);
        let message = ReceivedMessage::new("e".into(), entry, 1);
        for is_new in [true, false] {
            let mut insert = sqlx::query(sqlx::AssertSqlSafe(Once::statement(application.dialect())));
            for column in Once::new(&message, "billing").columns() {
                insert = match column {
                    Column::Text(text) => insert.bind(text),
                    Column::Bytes(bytes) => insert.bind(bytes),
                    Column::Small(number) => insert.bind(number),
                    Column::Big(number) => insert.bind(number),
                };
            }
            let noted = insert.execute(&mut connection).await.unwrap().rows_affected();
            assert_eq!(noted == 1, is_new);
        }
    }
}

#[tokio::test]
async fn a_row_of_a_model_is_rebuilt_as_it_is_and_as_it_was() {
    let bench = Bench::new();
    let streamer = Streamer::connect(&bench.url).await.unwrap();
    let orders = ModelSpec::new("Order");
    let mut order = Tracked::unsaved(json!({"id": 7, "total": 1}));
    let replay = |more: &[&str]| bench.ok(&[&["replay", "--model", "order", "7"], more].concat());
    streamer
        .emit_replayable(&order.change(&orders).unwrap().unwrap())
        .await
        .unwrap();
    assert_eq!(
        replay(&["--json"]),
        "{\"data\":{\"id\":7,\"total\":1},\"deleted\":false,\"messages\":1,\"missing\":[],\"unreadable\":[]}\n"
    );
    order.mark_saved().unwrap();
    order["total"] = json!(2);
    // The dates of a history have whole seconds.
    let created = jiff::Timestamp::now().as_second();
    while jiff::Timestamp::now().as_second() <= created {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = jiff::Timestamp::from_second(created + 1).unwrap().to_string();
    streamer
        .emit_replayable(&order.change(&orders).unwrap().unwrap())
        .await
        .unwrap();
    assert!(replay(&[]).contains("\"total\": 2"));
    assert!(replay(&["--until", &before]).contains("\"total\": 1"));
    assert_eq!(replay(&["--steps", "--json"]).lines().count(), 3);
    streamer
        .emit_replayable(&order.deleted(&orders).unwrap())
        .await
        .unwrap();
    assert_eq!(replay(&[]), "order 7 is deleted.\n");
    assert!(replay(&["--json"]).contains("\"deleted\":true"));
    let none = bench.ok(&["replay", "--model", "order", "8"]);
    assert_eq!(none, "There is no history of 'order' with the key '8'.\n");

    let trim = ["history", "trim", "--model", "order", "7", "--json"];
    let trimmed = |more: &[&str]| serde_json::from_str::<Value>(&bench.ok(&[&trim[..], more].concat())).unwrap();
    assert_eq!(trimmed(&["--yes"])["removed"], 0);
    bench.ok(&[
        "purge",
        "--streams",
        "order.created,order.updated",
        "--older-than",
        "0s",
        "--yes",
    ]);
    assert_eq!(bench.run(&trim).code, Some(2));
    assert_eq!(trimmed(&["--dry-run"])["removed"], 2);
    assert_eq!(trimmed(&["--yes"])["removed"], 2);
    assert_eq!(trimmed(&["--yes"])["snapshots"], 1);
}
