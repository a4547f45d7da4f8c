//! Every program does what it shows, on the embedded engine and on Redis.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

use streamer_test_servers::RedisServer;

/// Runs a program on each engine and compares all that it prints.
fn shows(program: &str, expected: &str) {
    let redis = RedisServer::start();
    for url in [None, Some(redis.url())] {
        let output = Command::new(program).args(&url).output().unwrap();
        let (printed, complaint) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{url:?}: {complaint}");
        assert_eq!(printed, expected, "{url:?}: {complaint}");
    }
}

#[test]
fn events_are_emitted() {
    shows(
        env!("CARGO_BIN_EXE_emit_an_event"),
        r#"order.placed (event, shop): {"id":1,"total":9.99}
order.placed (event, web): {"id":2,"total":5}
order.placed (event, shop): {"id":3,"total":1.5}
order.placed (event, shop): {"id":4,"total":1.5}
order.placed (event, shop): {"id":5,"total":1.5}
receipt.wanted (command, shop): {"order":1}
"#,
    );
}

#[test]
fn events_are_listened_to() {
    shows(
        env!("CARGO_BIN_EXE_listen_to_events"),
        "plainly, from now on:
receipt for order 1
plainly, after the first order:
receipt for order 3
2 messages, 1 failures
in a group, from the beginning:
receipt for order 1
receipt for order 3
3 messages, 1 failures
0 pending
",
    );
}

#[test]
fn entries_are_written_and_deleted() {
    shows(
        env!("CARGO_BIN_EXE_write_and_delete_entries"),
        "1-0 is before the one that was given: true
again: IdTooSmall
deleted: 1
deleted again: 0
left: 1
written: 2
",
    );
}

#[test]
fn entries_are_read() {
    shows(
        env!("CARGO_BIN_EXE_read_entries"),
        "from the beginning: 1 2 3 4 5
two after the first: 2 3
a range: 2 3 4
newest first: 5 4 3
numbers: 1 2
letters: a
",
    );
}

#[test]
fn entries_are_waited_for() {
    shows(
        env!("CARGO_BIN_EXE_wait_for_entries"),
        "at first: 0
from now on: 1
in the group: 2
acknowledged: 1
still pending: 1, delivered 2 times
acknowledged: 1
",
    );
}

#[test]
fn a_stream_is_looked_at() {
    shows(
        env!("CARGO_BIN_EXE_look_at_a_stream"),
        "there is a group: true
3 entries, 1 groups
group office: 1 consumers, 2 pending
consumer ann: 2 pending
pending with ann, delivered 1 times
pending with ann, delivered 1 times
bob has 'hello' now
bob: 1 pending
",
    );
}

#[test]
fn an_archive_of_ones_own_is_kept() {
    shows(
        env!("CARGO_BIN_EXE_keep_an_archive"),
        r#"archived: 3, on the stream: 0
in the drawer: {"id":1}
in the drawer: {"id":2}
in the drawer: {"id":3}
restored: true
in the archive: 2, on the stream: 1
"#,
    );
}
