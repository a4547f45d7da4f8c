//! The database file is taken away or replaced while processes have it open.

use std::{fs, path::Path, time::Duration};

use streamer::Streamer;

use crate::{Running, Seen, Told, emit, numbered, on, quick, store::Store, until};

on!(
    file,
    Embedded,
    a_removed_file_is_noticed_and_the_new_one_is_listened_to
    a_file_that_is_replaced_by_a_backup_is_noticed
    without_keep_alive_a_removed_file_ends_the_listening
);

fn remove(file: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{ending}", file.display()));
    }
}

/// Emits until it is told that the file is not there any more.
async fn emit_until_refused(streamer: &Streamer) {
    until("an emit is refused", async || {
        let emitted = streamer.emit(&numbered("e", 99)).await;
        emitted.is_err_and(|error| {
            let text = error.to_string();
            assert!(text.contains("store.db"), "which file it is about: {text}");
            true
        })
    })
    .await;
}

async fn a_removed_file_is_noticed_and_the_new_one_is_listened_to(store: Store) {
    let (streamer, emitter) = (store.connect().await, store.connect().await);
    let (seen, told) = (Seen::default(), Told::default());
    let listening = streamer.listen(seen.listener("e")).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening));
    emit(&emitter, "e", 0..10).await;
    until("it listens", async || seen.len() == 10).await;
    remove(&store.file().unwrap());
    emit_until_refused(&emitter).await;
    until("it is told", async || told.has("Interrupted")).await;
    // Whoever comes now makes a new one.
    let newcomer = store.connect().await;
    let ids = emit(&newcomer, "e", 100..110).await;
    until("the new file is listened to", async || {
        let seen = seen.ids();
        ids.iter().all(|id| seen.contains(id))
    })
    .await;
    running.stop().await;
}

async fn a_file_that_is_replaced_by_a_backup_is_noticed(store: Store) {
    let (streamer, emitter) = (store.connect().await, store.connect().await);
    let file = store.file().unwrap();
    let (seen, told) = (Seen::default(), Told::default());
    let listening = streamer.listen(seen.listener("e")).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening));
    emit(&emitter, "e", 0..10).await;
    until("it listens", async || {
        seen.len() == 10 && store.pending("e", "g").is_empty()
    })
    .await;
    let backup = file.with_extension("backup");
    let sql = rusqlite::Connection::open(&file).unwrap();
    sql.execute("VACUUM INTO ?", [backup.to_str().unwrap()]).unwrap();
    drop(sql);
    emit(&emitter, "e", 10..20).await;
    until("it listens", async || seen.len() == 20).await;
    remove(&file);
    fs::rename(&backup, &file).unwrap();
    emit_until_refused(&emitter).await;
    let newcomer = store.connect().await;
    let ids = emit(&newcomer, "e", 100..110).await;
    until("the new file is listened to", async || {
        let seen = seen.ids();
        ids.iter().all(|id| seen.contains(id))
    })
    .await;
    assert!(told.has("Interrupted"));
    running.stop().await;
}

async fn without_keep_alive_a_removed_file_ends_the_listening(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g");
    let running = Running::start(listening.read_wait(Duration::from_millis(100)));
    emit(&streamer, "e", 0..10).await;
    until("it listens", async || seen.len() == 10).await;
    remove(&store.file().unwrap());
    until("it ends", async || !running.is_running()).await;
    let error = running.task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("store.db"), "{error}");
}
