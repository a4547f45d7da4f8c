//! The driver `object` on servers that speak the protocols of S3, of Azure and, in part, of Google Cloud Storage.

use std::{
    process::Command,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use futures_util::TryStreamExt as _;
use streamer::{
    DynamicEvent, Entry, ReceivedMessage, Streamer,
    archive::{
        ArchiveErrorKind, ArchiveManager, ArchiveStorage, ObjectArchive, OlderThan, Restore, Sweep, TransferError,
    },
    stream::Range,
};
use streamer_test_servers::{ObjectServer, Proxy};

use crate::{drivers::Opened, storage::storage_suite};

/// Each case on each service, and the suite that every driver passes.
macro_rules! on_each_service {
    ($($case:ident),* $(,)?) => {
        #[cfg(feature = "archive-s3")]
        mod on_s3 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::s3()).await;
            })*
        }
        #[cfg(feature = "archive-azure")]
        mod on_azure {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::azure()).await;
            })*
        }
        #[cfg(feature = "archive-gcs")]
        mod on_google {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::google()).await;
            })*
        }
    };
}

on_each_service! {
    what_is_archived_comes_back_as_it_was,
    an_outage_holds_up_archiving_and_restoring_and_nothing_is_lost,
    what_an_outage_ended_is_finished_by_the_next_run,
    settings_come_from_the_environment,
    a_bucket_that_is_not_there_is_told_without_its_secret,
}

#[cfg(feature = "archive-s3")]
storage_suite!(suite_on_s3, crate::object_services::open_s3);
#[cfg(feature = "archive-azure")]
storage_suite!(suite_on_azure, crate::object_services::open_azure);
#[cfg(feature = "archive-gcs")]
storage_suite!(suite_on_google, crate::object_services::open_google);

#[cfg(feature = "archive-s3")]
fn s3() -> &'static ObjectServer {
    static SERVER: LazyLock<ObjectServer> = LazyLock::new(ObjectServer::s3);
    &SERVER
}

#[cfg(feature = "archive-azure")]
fn azure() -> &'static ObjectServer {
    static SERVER: LazyLock<ObjectServer> = LazyLock::new(ObjectServer::azure);
    &SERVER
}

#[cfg(feature = "archive-gcs")]
fn google() -> &'static ObjectServer {
    static SERVER: LazyLock<ObjectServer> = LazyLock::new(ObjectServer::google);
    &SERVER
}

#[cfg(feature = "archive-s3")]
async fn open_s3() -> Opened {
    open_twice(s3()).await
}

#[cfg(feature = "archive-azure")]
async fn open_azure() -> Opened {
    open_twice(azure()).await
}

#[cfg(feature = "archive-gcs")]
async fn open_google() -> Opened {
    open_twice(google()).await
}

async fn open_twice(server: &ObjectServer) -> Opened {
    let url = server.new_bucket();
    let open = || open(server, &url, server.port());
    (open().await, open().await, Box::new(()))
}

async fn open(server: &ObjectServer, url: &str, port: u16) -> Arc<dyn ArchiveStorage> {
    Arc::new(ObjectArchive::open_with(url, server.settings(port)).unwrap())
}

/// A store in memory with messages on two streams.
async fn store() -> (Streamer, Vec<Entry>) {
    let streamer = Streamer::connect("memory:").await.unwrap();
    for stream in ["order.placed", "a/b"] {
        let text = "x".repeat(100);
        let events = (0..150).map(|number| DynamicEvent::new(stream, serde_json::json!({ "n": number, "text": text })));
        streamer.emit_all(events).await.unwrap();
    }
    let entries = on_streams(&streamer).await;
    assert_eq!(entries.len(), 300);
    (streamer, entries)
}

async fn on_streams(streamer: &Streamer) -> Vec<Entry> {
    let mut all = Vec::new();
    for stream in ["a/b", "order.placed"] {
        let entries = streamer.stream(stream).range(Range::all()).entries();
        all.extend(entries.try_collect::<Vec<_>>().await.unwrap());
    }
    all
}

async fn archive_all(streamer: &Streamer, archive: &Arc<dyn ArchiveStorage>) -> Result<u64, TransferError> {
    let mut removed = 0;
    for stream in ["a/b", "order.placed"] {
        let sweep = Sweep::archive(streamer, Arc::clone(archive));
        removed += sweep.run(&stream.into(), OlderThan::now()).await?.removed;
    }
    Ok(removed)
}

/// The payloads, in order, whatever became of the entries' IDs.
fn payloads(entries: &[Entry]) -> Vec<String> {
    let message = |entry: &Entry| ReceivedMessage::new("any".into(), entry.clone(), 1);
    let mut payloads = entries
        .iter()
        .map(|entry| format!("{}{}", message(entry).name(), message(entry).data().unwrap()))
        .collect::<Vec<_>>();
    payloads.sort();
    payloads
}

async fn archived(archive: &Arc<dyn ArchiveStorage>) -> Vec<Entry> {
    let all = archive.all().map_ok(|message| Entry {
        id: message.id,
        fields: message.fields,
    });
    all.try_collect().await.unwrap()
}

async fn what_is_archived_comes_back_as_it_was(server: &ObjectServer) {
    let (streamer, entries) = store().await;
    let archive = open(server, &server.new_bucket(), server.port()).await;
    assert_eq!(archive_all(&streamer, &archive).await.unwrap(), 300);
    assert_eq!(on_streams(&streamer).await, []);
    assert_eq!(archived(&archive).await, entries);
    let summary = Restore::new(&streamer, Arc::clone(&archive)).run(None).await.unwrap();
    assert_eq!((summary.restored, summary.failed), (300, 0));
    assert_eq!(payloads(&on_streams(&streamer).await), payloads(&entries));
    assert_eq!(archived(&archive).await, []);
}

/// Refuses connections again and again, each time once a few more bytes have passed, until `done`.
async fn outages(proxy: &Proxy, done: &AtomicBool) {
    let wait = || tokio::time::sleep(std::time::Duration::from_millis(1));
    while !done.load(SeqCst) {
        let (passed, refused) = (proxy.bytes_up(), proxy.refused());
        while proxy.bytes_up() < passed + 5_000 && !done.load(SeqCst) {
            wait().await;
        }
        proxy.refuse();
        while proxy.refused() < refused + 2 && !done.load(SeqCst) {
            wait().await;
        }
        proxy.resume();
    }
}

async fn an_outage_holds_up_archiving_and_restoring_and_nothing_is_lost(server: &ObjectServer) {
    let (streamer, entries) = store().await;
    let url = server.new_bucket();
    let proxy = Proxy::to(server.port());
    let archive = open(server, &url, proxy.port()).await;
    let done = AtomicBool::new(false);
    let work = async {
        // What an outage ends is told as what may succeed later, and succeeds then.
        while let Err(error) = archive_all(&streamer, &archive).await {
            assert!(error.is_transient(), "{error}");
        }
        assert_eq!(on_streams(&streamer).await, []);
        let direct = open(server, &url, server.port()).await;
        assert_eq!(archived(&direct).await, entries);
        while let Err(error) = Restore::new(&streamer, Arc::clone(&archive)).run(None).await {
            assert!(error.is_transient(), "{error}");
        }
        assert_eq!(payloads(&on_streams(&streamer).await), payloads(&entries));
        assert_eq!(archived(&direct).await, []);
        done.store(true, SeqCst);
    };
    tokio::join!(work, outages(&proxy, &done));
    assert!(proxy.refused() > 2, "{} connections were refused", proxy.refused());
}

async fn what_an_outage_ended_is_finished_by_the_next_run(server: &ObjectServer) {
    let (streamer, entries) = store().await;
    let url = server.new_bucket();
    let proxy = Proxy::to(server.port());
    let through = open(server, &url, proxy.port()).await;
    let direct = open(server, &url, server.port()).await;
    for restoring in [false, true] {
        let (passed, refused) = (proxy.bytes_up(), proxy.refused());
        let (running, archive) = (streamer.clone(), Arc::clone(&through));
        let run = tokio::spawn(async move {
            match restoring {
                false => archive_all(&running, &archive).await.map(drop),
                true => Restore::new(&running, archive).run(None).await.map(drop),
            }
        });
        let wait = || tokio::time::sleep(std::time::Duration::from_millis(1));
        while proxy.bytes_up() < passed + 3_000 {
            wait().await;
        }
        proxy.refuse();
        // It tries again, or has ended: with an error, or because all had passed.
        while proxy.refused() == refused && !run.is_finished() {
            wait().await;
        }
        run.abort();
        let _ = run.await;
        let everywhere = [on_streams(&streamer).await, archived(&direct).await].concat();
        let mut there = payloads(&everywhere);
        there.dedup();
        assert_eq!(there, payloads(&entries));
        proxy.resume();
        match restoring {
            false => {
                archive_all(&streamer, &through).await.unwrap();
                assert_eq!(on_streams(&streamer).await, []);
                assert_eq!(archived(&direct).await, entries);
            }
            true => {
                Restore::new(&streamer, Arc::clone(&through)).run(None).await.unwrap();
                assert_eq!(payloads(&on_streams(&streamer).await), payloads(&entries));
                assert_eq!(archived(&direct).await, []);
            }
        }
    }
}

async fn settings_come_from_the_environment(server: &ObjectServer) {
    let url = server.new_bucket();
    let (streamer, entries) = store().await;
    archive_all(&streamer, &open(server, &url, server.port()).await)
        .await
        .unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["object_services::child", "--exact", "--ignored", "--nocapture"]);
    child.env("ARCHIVE", &url).envs(server.settings(server.port()));
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let ids = text.lines().filter_map(|line| line.strip_prefix("found "));
    let expected = entries.iter().map(|entry| entry.id.to_string());
    assert!(ids.eq(expected), "{text}");
}

/// Not a test of its own: what a process with settings in its environment does.
#[tokio::test]
#[ignore = "run by another test in a process of its own"]
async fn child() {
    let archive = ArchiveManager::new();
    let archive = archive
        .open("object", &std::env::var("ARCHIVE").unwrap())
        .await
        .unwrap();
    for entry in archived(&archive).await {
        println!("found {}", entry.id);
    }
}

async fn a_bucket_that_is_not_there_is_told_without_its_secret(server: &ObjectServer) {
    let url = server.new_bucket().replace("test", "nowhere");
    let archive = open(server, &url, server.port()).await;
    let (streamer, entries) = store().await;
    let error = archive_all(&streamer, &archive).await.unwrap_err();
    let TransferError::Archive(inner) = &error else {
        panic!("{error}")
    };
    assert_eq!(inner.kind(), ArchiveErrorKind::Other, "{error}");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("there is no such bucket or container; make it first"),
        "{text}"
    );
    assert!(text.contains("the archive") && text.contains("nowhere"), "{text}");
    for (name, value) in server.settings(server.port()) {
        assert!(
            !["SECRET", "_KEY", "TOKEN"].iter().any(|word| name.contains(word)) || !text.contains(&value),
            "{text}"
        );
    }
    assert_eq!(on_streams(&streamer).await, entries);
}
