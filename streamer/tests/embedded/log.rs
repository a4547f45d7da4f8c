//! How large the log beside the file is.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use streamer::engine::Engine as _;
use tokio::task::JoinSet;

use crate::place::{LONG, Place, an_append, length, stream};

/// What the documents say that a log has at rest.
const AT_REST: u64 = 16 << 20;

fn log(place: &Place) -> u64 {
    let mut name = place.file().into_os_string();
    name.push("-wal");
    fs::metadata(PathBuf::from(name)).map_or(0, |log| log.len())
}

async fn until_the_log_is_small(place: &Place) {
    let small = async {
        while log(place) > AT_REST {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, small).await;
    assert!(waited.is_ok(), "the log has {} bytes", log(place));
}

/// Whoever reads an old state keeps all that was written since in the log.
fn begin_to_read(reader: &rusqlite::Connection) {
    reader.execute_batch("BEGIN").unwrap();
    reader
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .unwrap();
}

#[tokio::test]
async fn the_log_of_an_open_store_grows_while_somebody_reads_and_is_cut_after_it() {
    let place = Place::new();
    let engine = place.open().await;
    let append_much = async || {
        for _ in 0..60 {
            engine.append(an_append(1 << 20)).await.unwrap();
        }
    };
    engine.append(an_append(1)).await.unwrap();
    let reader = rusqlite::Connection::open(place.file()).unwrap();
    begin_to_read(&reader);
    append_much().await;
    assert!(log(&place) > 50 << 20, "{} bytes", log(&place));
    reader.execute_batch("COMMIT").unwrap();
    // Without another commit.
    until_the_log_is_small(&place).await;
    // And where commits go on: the next ones begin the log again.
    begin_to_read(&reader);
    append_much().await;
    reader.execute_batch("COMMIT").unwrap();
    append_much().await;
    until_the_log_is_small(&place).await;
    assert_eq!(length(&engine, &stream()).await.unwrap(), 181);
}

#[tokio::test]
async fn one_large_append_leaves_no_large_log() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append(an_append(40 << 20)).await.unwrap();
    until_the_log_is_small(&place).await;
    assert_eq!(length(&engine, &stream()).await.unwrap(), 1);
}

/// Whoever looks after the log does not miss who comes in that time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_come_while_a_large_log_is_looked_after_are_answered() {
    let place = Place::new();
    let engine = Arc::new(place.open().await);
    let mut appends = JoinSet::new();
    for _ in 0..4 {
        let engine = Arc::clone(&engine);
        appends.spawn(async move {
            for _ in 0..10 {
                // Each makes the log large, and its thread idle.
                engine.append(an_append(5 << 20)).await.unwrap();
                engine.append(an_append(100)).await.unwrap();
            }
        });
    }
    let all = tokio::time::timeout(2 * LONG, appends.join_all()).await;
    assert!(all.is_ok(), "an append was not answered");
    until_the_log_is_small(&place).await;
    assert_eq!(length(&engine, &stream()).await.unwrap(), 80);
}
