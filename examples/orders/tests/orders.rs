//! The shop's events are printed once each, in order, and an order is rebuilt from them.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{path::Path, process::Command};

use streamer_test_servers::{DatabaseServer, RedisServer};
use tempfile::TempDir;

fn orders(folder: &Path, environment: &[(&str, String)], arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .env_remove("STREAMER_URL")
        .envs(environment.iter().cloned());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn shows(environment: &[(&str, String)]) {
    let folder = TempDir::new().unwrap();
    let printed = orders(folder.path(), environment, &[]);
    let of = |id: &str| {
        let marks = [format!("\"id\":{id},"), format!("\"id\":{id}}}")];
        let lines = printed.lines().filter(|line| line.starts_with("order."));
        let lines = lines.filter(|line| marks.iter().any(|mark| line.contains(mark)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        of("1"),
        [
            "order.created {\"id\":1,\"fields\":[\"customer\",\"cents\",\"state\",\"id\"],\
             \"before\":{\"customer\":null,\"cents\":null,\"state\":null,\"id\":null},\
             \"after\":{\"customer\":\"Ann\",\"cents\":1990,\"state\":\"placed\",\"id\":1}}",
            "order.updated {\"id\":1,\"fields\":[\"state\"],\"before\":{\"state\":\"placed\"},\"after\":{\"state\":\"paid\"}}",
            "order.updated {\"id\":1,\"fields\":[\"cents\",\"state\"],\"before\":{\"cents\":1990,\"state\":\"paid\"},\
             \"after\":{\"cents\":1790,\"state\":\"sent\"}}",
        ]
    );
    assert_eq!(of("2")[1..], ["order.deleted {\"id\":2,\"deleted\":true}"]);
    assert_eq!(
        printed.lines().filter(|line| line.starts_with("order.")).count(),
        6,
        "{printed}"
    );
    assert!(!printed.contains("Dora") && !printed.contains("4111"), "{printed}");

    let tail = printed
        .lines()
        .filter(|line| line.starts_with("order 1 "))
        .collect::<Vec<_>>();
    assert_eq!(
        tail[0],
        "order 1 from its 3 events: {\"customer\":\"Ann\",\"cents\":1790,\"state\":\"sent\",\"id\":1}"
    );
    let row = tail[1].strip_prefix("order 1 in the database: ").unwrap();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(row), value(tail[0].split_once(": ").unwrap().1));

    assert_eq!(
        orders(folder.path(), environment, &["replay", "2"]),
        "order 2 is deleted\n"
    );
    assert_eq!(value(&orders(folder.path(), environment, &["replay", "1"])), value(row));
    assert_eq!(
        orders(folder.path(), environment, &["replay", "99"]),
        "there is no order 99\n"
    );

    // Once more: only the new orders are printed.
    let again = orders(folder.path(), environment, &[]);
    assert_eq!(
        again.lines().filter(|line| line.starts_with("order.")).count(),
        6,
        "{again}"
    );
}

#[test]
fn the_shop_runs_in_one_file() {
    shows(&[]);
}

#[test]
fn the_shop_runs_with_a_relay_between_two_files() {
    shows(&[("STREAMER_URL", "sqlite://events.db".to_owned())]);
}

#[test]
fn the_shop_runs_on_postgres_and_redis() {
    let (postgres, redis) = (DatabaseServer::postgres(), RedisServer::start());
    shows(&[("DATABASE_URL", postgres.new_database()), ("STREAMER_URL", redis.url())]);
}
