//! Who commits, and the thread that copies the log, in many schedules: see [`crate::schedules`].
#![allow(clippy::unwrap_used, reason = "tests")]

use tempfile::TempDir;

use super::*;
use crate::schedules::explore;

/// How many pages the log has after one commit and another: it grows, passes what may be, and has begun again.
const LOG: [i32; 9] = [
    DUE,
    DUE + STEP,
    2 * DUE,
    2 * DUE + STEP,
    TOO_MANY,
    TOO_MANY + STEP,
    2 * TOO_MANY,
    10,
    DUE + 10,
];

fn address(folder: &TempDir, name: &str) -> Address {
    Address {
        path: Some(folder.path().join(name)),
        full_sync: false,
        busy_timeout: Duration::from_secs(5),
        max_size: None,
        read_only: false,
    }
}

/// Commits and looks after the log each time that this is due, and at last rests; `of`: what the thread opens.
fn commit_and_rest(connection: &Connection, of: &Address) {
    let mut checkpoints = Checkpoints::of(connection, of);
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS numbers (n)")
        .unwrap();
    for pages in LOG {
        connection.execute("INSERT INTO numbers VALUES (?)", [pages]).unwrap();
        super::PAGES.set(Some(pages));
        checkpoints.committed();
        thread::yield_now();
        if !checkpoints.are_due() {
            continue;
        }
        checkpoints.look_after(connection);
        // While the thread copies, somebody looks again soon. Of too large a log it is waited for.
        let soon = pages.saturating_add(if checkpoints.copying { STEP } else { DUE });
        assert!(checkpoints.next_look <= soon);
        assert!(!checkpoints.copying || checkpoints.copier.is_some());
        // Otherwise all of the log was copied by now, where there is enough of it.
        assert!(checkpoints.copying || checkpoints.log_restarts() || pages < DUE);
    }
    super::PAGES.set(Some(TOO_MANY));
    checkpoints.committed();
    while checkpoints.rest(connection).is_some() {
        thread::yield_now();
    }
    assert!(checkpoints.pages == 0 && !checkpoints.copying);
    // The thread ends with this: otherwise this program would wait for ever.
}

#[test]
fn nobody_waits_for_ever_for_the_thread_that_copies_wherever_it_is() {
    let folder = TempDir::new().unwrap();
    let here = address(&folder, "here.db");
    drop(store::open_writer(&here).unwrap());
    explore(100, move || {
        let connection = store::open_writer(&here).unwrap();
        commit_and_rest(&connection, &here);
    });
}

#[test]
fn where_the_thread_cannot_open_the_file_who_commits_copies() {
    let folder = TempDir::new().unwrap();
    let (here, gone) = (address(&folder, "here.db"), address(&folder, "gone/gone.db"));
    drop(store::open_writer(&here).unwrap());
    explore(100, move || {
        let connection = store::open_writer(&here).unwrap();
        commit_and_rest(&connection, &gone);
    });
}
