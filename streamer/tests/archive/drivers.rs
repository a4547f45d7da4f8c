//! The suite of `storage` on each driver, and what is special to one.

#[cfg(any(feature = "archive-postgres", feature = "archive-mysql"))]
use std::sync::LazyLock;
use std::{any::Any, sync::Arc};

use futures_util::TryStreamExt as _;
use streamer::archive::{
    ArchiveErrorKind, ArchiveManager, ArchiveStorage, ArchivedMessage, MemoryArchive, NullArchive, Stored,
};

#[cfg(any(feature = "archive-postgres", feature = "archive-mysql"))]
use streamer_test_servers::DatabaseServer;

use crate::storage::storage_suite;

pub(crate) type Opened = (Arc<dyn ArchiveStorage>, Arc<dyn ArchiveStorage>, Box<dyn Any>);

async fn open_memory() -> Opened {
    let archive = Arc::new(MemoryArchive::default());
    (archive.clone(), archive, Box::new(()))
}

async fn open_sqlite() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("archive.db").display());
    twice("sqlite", &url, folder).await
}

async fn twice(driver: &str, url: &str, keep: impl Any) -> Opened {
    let manager = ArchiveManager::new();
    let archive = manager.open(driver, url).await.unwrap();
    archive.migrate().await.unwrap();
    let other = manager.open(driver, url).await.unwrap();
    (archive, other, Box::new(keep))
}

storage_suite!(memory, crate::drivers::open_memory);
storage_suite!(sqlite, crate::drivers::open_sqlite);
#[cfg(feature = "archive-postgres")]
storage_suite!(postgres, crate::drivers::open_postgres);

#[cfg(feature = "archive-object")]
storage_suite!(object, crate::drivers::open_object);

#[cfg(feature = "archive-object")]
async fn open_object() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/an archive", folder.path().display());
    twice("object", &url, folder).await
}

#[cfg(feature = "archive-object")]
#[tokio::test]
async fn objects_lie_by_stream_and_day_and_go_with_their_last_message() {
    let folder = tempfile::tempdir().unwrap();
    let archive = ArchiveManager::new()
        .open("object", &format!("file://{}", folder.path().display()))
        .await
        .unwrap();
    let message = |id: &str| ArchivedMessage {
        stream: "order.placed".into(),
        id: id.parse().unwrap(),
        original_ids: Vec::new(),
        fields: vec![("data".into(), "{}".into())],
    };
    let messages = ["1795407980936-0", "1795407980936-1", "1795500000000-0"].map(message);
    archive.create(&messages).await.unwrap();
    let day = folder.path().join("order.placed/2026-11-23");
    let names = || {
        std::fs::read_dir(&day)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect::<Vec<_>>()
    };
    let packed = std::fs::read(&names()[0]).unwrap();
    let lines = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
    assert_eq!(lines, format!("{}\n{}\n", messages[0].to_json(), messages[1].to_json()));
    assert!(folder.path().join("order.placed/2026-11-24").is_dir());
    for (message, left) in messages.iter().zip([2, 0]) {
        assert!(archive.delete(&message.stream, message.id).await.unwrap());
        assert_eq!(names().len(), left);
    }
}

#[cfg(feature = "archive-mysql")]
storage_suite!(mysql, crate::drivers::open_mysql);

#[cfg(feature = "archive-mysql")]
async fn open_mysql() -> Opened {
    static SERVER: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::maria);
    twice("mysql", &SERVER.new_database(), ()).await
}

#[cfg(feature = "archive-postgres")]
async fn open_postgres() -> Opened {
    twice("postgres", &postgres_database(), ()).await
}

/// A new database of a server that all cases share.
#[cfg(feature = "archive-postgres")]
pub(crate) fn postgres_database() -> String {
    static SERVER: LazyLock<DatabaseServer> = LazyLock::new(DatabaseServer::postgres);
    SERVER.new_database()
}

#[cfg(feature = "archive-postgres")]
#[tokio::test]
async fn postgres_says_when_the_table_is_missing_and_when_it_is_away() {
    let archive = ArchiveManager::new()
        .open("postgres", &postgres_database())
        .await
        .unwrap();
    let error = archive.find(&"s".into(), "1-0".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::NotMigrated);
    assert!(error.to_string().ends_with("run `archive migrate`"), "{error}");

    let away = "postgres://user:secret@127.0.0.1:1/database";
    let archive = ArchiveManager::new().open("postgres", away).await.unwrap();
    let error = archive.find(&"s".into(), "1-0".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::Unavailable, "{error}");
    assert!(!format!("{error} {error:?} {}", archive.location()).contains("secret"));
    let error = ArchiveManager::new().open("postgres", "secret").await.unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::InvalidInput);
    assert!(!error.to_string().contains("secret"));
}

#[tokio::test]
async fn null_takes_everything_and_keeps_nothing() {
    let archive: Arc<dyn ArchiveStorage> = Arc::new(NullArchive);
    let message = ArchivedMessage {
        stream: "s".into(),
        id: "1-0".parse().unwrap(),
        original_ids: Vec::new(),
        fields: Vec::new(),
    };
    assert_eq!(
        archive.create(&[message.clone(), message.clone()]).await.unwrap(),
        [Stored::New; 2]
    );
    assert_eq!(archive.all().try_next().await.unwrap(), None);
    assert!(!archive.delete(&message.stream, message.id).await.unwrap());
}

#[tokio::test]
async fn a_driver_that_nobody_added_is_named_with_those_there_are() {
    let error = ArchiveManager::new().open("tape", "").await.unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("no driver 'tape'; there are: memory"),
        "{error}"
    );
}

#[tokio::test]
async fn a_sqlite_archive_outlives_its_handle() {
    let (archive, other, keep) = open_sqlite().await;
    let message = ArchivedMessage {
        stream: "s".into(),
        id: "1-0".parse().unwrap(),
        original_ids: Vec::new(),
        fields: vec![("a".into(), "b".into())],
    };
    archive.create(std::slice::from_ref(&message)).await.unwrap();
    let url = archive.location().to_owned();
    drop((archive, other));
    let archive = ArchiveManager::new().open("sqlite", &url).await.unwrap();
    assert_eq!(archive.find(&message.stream, message.id).await.unwrap(), Some(message));
    drop(keep);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "these are notes, not a database\n".repeat(200)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = ArchiveManager::new()
        .open("sqlite", path.to_str().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ArchiveErrorKind::Corrupt, "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// A process that closes any descriptor of a file loses all locks on it, and SQLite relies on them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn looking_into_an_archive_leaves_the_locks_of_a_store_in_the_same_file() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let url = format!("sqlite://{}", path.display());
    let store = streamer::Streamer::connect(&url).await.unwrap();
    drop(ArchiveManager::new().open("sqlite", &url).await.unwrap());
    store.stream("a").len().await.unwrap();
    let inode = format!(":{} ", std::fs::metadata(&path).unwrap().ino());
    let locked = || std::fs::read_to_string("/proc/locks").unwrap().contains(&inode);
    assert!(locked());
    streamer::archive::SqliteArchive::open_to_read(&url).await.unwrap();
    assert!(locked());
}
