//! Processes that die in the midst of archiving or restoring, and one that must stay small: real children, started from
//! this test's own binary.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use streamer::{
    ReceivedMessage, Streamer,
    archive::{ArchiveManager, OlderThan, Restore, Sweep},
};

use crate::{Place, name, on_each_engine};

/// How often a child is killed, in each direction.
const KILLS: u32 = 30;
const MESSAGES: u64 = 400;

on_each_engine! {
    killed_at_random_moments_no_message_is_lost_or_doubled,
}

#[cfg(target_os = "linux")]
mod memory {
    use super::*;

    on_each_engine! {
        a_large_stream_is_archived_in_bounded_memory,
    }

    /// A million in a release build; a debug build takes too long for so many.
    const MANY: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

    #[cfg(feature = "archive-postgres")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_stream_is_archived_to_postgres_in_bounded_memory() {
        let mut place = Place::redis().await;
        place.archive_driver = "postgres";
        place.archive_url = crate::drivers::postgres_database();
        let archive = ArchiveManager::new()
            .open("postgres", &place.archive_url)
            .await
            .unwrap();
        archive.migrate().await.unwrap();
        a_large_stream_is_archived_in_bounded_memory(place).await;
    }

    async fn a_large_stream_is_archived_in_bounded_memory(place: Place) {
        for _ in 0..10 {
            place.emit("e", MANY / 10).await;
        }
        assert!(start_child(&place, "archive").wait().unwrap().success());
        let note = fs::read(place.folder.path().join("note")).unwrap();
        let note = serde_json::from_slice::<Value>(&note).unwrap();
        assert_eq!(note["removed"], MANY);
        assert!(note["peak_kib"].as_u64().unwrap() < 150 * 1024, "{note}");
        assert_eq!(place.streamer.stream("e").len().await.unwrap(), 0);
    }
}

fn start_child(place: &Place, what: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["killed::child", "--exact", "--ignored", "--nocapture"]);
    command
        .env("CHILD", what)
        .env("STORE", &place.url)
        .env("ARCHIVE", &place.archive_url)
        .env("DRIVER", place.archive_driver)
        .env("NOTE", place.folder.path().join("note"));
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Not a test of its own: what a child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests in a process of its own"]
async fn child() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let streamer = Streamer::connect(&variable("STORE")).await.unwrap();
    let archive = ArchiveManager::new()
        .open(&variable("DRIVER"), &variable("ARCHIVE"))
        .await
        .unwrap();
    match variable("CHILD").as_str() {
        "archive" => {
            let sweep = Sweep::archive(&streamer, archive);
            let summary = sweep.run(&name("e"), OlderThan::now()).await.unwrap();
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
            let note = json!({ "removed": summary.removed, "peak_kib": peak });
            fs::write(variable("NOTE"), note.to_string()).unwrap();
        }
        "restore" => {
            Restore::new(&streamer, archive).run(None).await.unwrap();
        }
        other => panic!("no such child: {other}"),
    }
}

/// Where each message is, by its number: how often on the stream, and how often in the archive.
async fn whereabouts(place: &Place) -> BTreeMap<u64, (u32, u32)> {
    let number = |message: &ReceivedMessage| message.get("n").and_then(Value::as_u64).unwrap();
    let mut places = BTreeMap::<u64, (u32, u32)>::new();
    // The archive last: a child that is dead moves nothing meanwhile.
    for entry in place.on_stream("e").await {
        places
            .entry(number(&ReceivedMessage::new(name("e"), entry, 1)))
            .or_default()
            .0 += 1;
    }
    for message in place.in_archive().await {
        places.entry(number(&message.message())).or_default().1 += 1;
    }
    places
}

async fn killed_at_random_moments_no_message_is_lost_or_doubled(place: Place) {
    place.emit("e", MESSAGES).await;
    let sweep = || Sweep::archive(&place.streamer, Arc::clone(&place.archive));
    let restore = || Restore::new(&place.streamer, Arc::clone(&place.archive));
    let mut killed_in_the_midst = 0;
    for kill in 0..2 * KILLS {
        let archiving = kill % 2 == 0;
        let mut child = start_child(&place, if archiving { "archive" } else { "restore" });
        // From the first message that it moved on, at a random moment.
        let began = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let moved = match archiving {
                    true => place.archive.page(None, None, 1).await.unwrap().len() as u64,
                    false => place.streamer.stream("e").len().await.unwrap(),
                };
                if moved > 0 || child.try_wait().unwrap().is_some() {
                    break;
                }
            }
        });
        began.await.unwrap();
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..20_000))).await;
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed_in_the_midst += u32::from(!status.success());

        let places = whereabouts(&place).await;
        assert_eq!(places.len() as u64, MESSAGES, "some are in neither place");
        for (number, (on_stream, in_archive)) in &places {
            assert!(
                *on_stream <= 1 && *in_archive <= 1,
                "message {number} is doubled: {places:?}"
            );
        }
        // Running again, here to the end, heals it.
        if archiving {
            sweep().run(&name("e"), OlderThan::now()).await.unwrap();
        } else {
            restore().run(None).await.unwrap();
        }
        let healed = if archiving { (0, 1) } else { (1, 0) };
        let places = whereabouts(&place).await;
        assert_eq!(places.len() as u64, MESSAGES);
        assert!(places.values().all(|place| *place == healed), "{places:?}");
    }
    assert!(
        killed_in_the_midst > KILLS / 2,
        "{killed_in_the_midst} kills came in time to prove something"
    );
}
