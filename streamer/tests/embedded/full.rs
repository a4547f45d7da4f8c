//! A full store: what frees space still works.

use std::{fs::File, io::Write, path::PathBuf, process::Command};

use futures_util::future::join_all;
use streamer::{
    EntryId, StreamName, Trim,
    engine::{
        EmbeddedEngine, Engine, EngineErrorKind, EntryEnd, EntrySettlement, FailureChange, FailureRecord, Failures,
        GroupAdmin, GroupStart, GroupStore, Member,
    },
};

use crate::{
    other_process::{another_process, said, start},
    place::{LONG, Place, an_append, assert_intact, consumer, ids, length, stream},
};

fn member(consumer: &str) -> Member {
    Member {
        group: "workers".to_owned(),
        consumer: consumer.to_owned(),
    }
}

/// A store with a group into which nothing can be appended any more.
async fn a_full_store(place: &Place) -> EmbeddedEngine {
    let url = format!("{}?max_size=400000", place.url());
    let engine = EmbeddedEngine::open(&url).await.unwrap();
    let streams = [(stream(), GroupStart::After(EntryId::MIN))];
    engine.join(&member("ann"), &streams).await.remove(0).unwrap();
    // Many of them: what is pending needs far more room than a page that happens not to be full.
    for size in [100, 1] {
        while engine.append(an_append(size)).await.is_ok() {}
    }
    assert_full(&engine).await;
    engine
}

async fn assert_full(engine: &EmbeddedEngine) {
    let error = engine.append(an_append(1)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Full, "{error}");
    assert!(error.to_string().contains("max_size"), "{error}");
}

fn failing(id: EntryId) -> EntrySettlement {
    EntrySettlement {
        id,
        end: EntryEnd::Acknowledge {
            delete: true,
            had_retry_state: false,
        },
        failures: Some(Box::new(FailureChange {
            add: vec![FailureRecord {
                member: format!("{{\"id\":\"{id}\"}}").into(),
                details: None,
            }],
            remove: Vec::new(),
        })),
    }
}

#[tokio::test]
async fn a_full_store_is_joined_read_settled_and_emptied() {
    let place = Place::new();
    let engine = a_full_store(&place).await;
    let streams = [(stream(), GroupStart::After(EntryId::MIN))];
    for consumer in ["ann", "ben"] {
        let joined = engine.join(&member(consumer), &streams).await.remove(0).unwrap();
        assert!(!joined.created);
    }
    let mut reader = consumer(&engine, "ben").await;
    let (mut delivered, mut handled) = (Vec::new(), 0);
    while let Some(read) = reader.next(500, None).await.unwrap().pop() {
        let ids: Vec<EntryId> = read.entries.iter().map(|entry| entry.id).collect();
        delivered.push(ids);
    }
    for ids in delivered {
        let renewed = engine.renew(&member("ben"), &[(stream(), ids.clone())]).await;
        assert_eq!(renewed[0].as_ref().unwrap().missing, []);
        let settlements: Vec<_> = ids.iter().map(|id| failing(*id)).collect();
        let settled = engine.settle(Some(&member("ben")), &[(stream(), settlements)]).await;
        settled.into_iter().next().unwrap().unwrap();
        handled += ids.len() as u64;
    }
    assert!(handled > 1000, "{handled}");
    assert_eq!(engine.count_failures().await.unwrap(), handled);
    assert_eq!(length(&engine, &stream()).await.unwrap(), 0);
    engine.append(an_append(100_000)).await.unwrap();
    assert_intact(&place.file());
}

#[tokio::test]
async fn a_full_store_is_trimmed_and_its_streams_are_removed() {
    let place = Place::new();
    let engine = a_full_store(&place).await;
    let before = length(&engine, &stream()).await.unwrap();
    let trimmed = engine.trim(&stream(), Trim::max_len(10).exactly()).await.unwrap();
    assert_eq!(trimmed, before - 10);
    engine.append(an_append(100_000)).await.unwrap();
    assert!(engine.remove_stream(&stream()).await.unwrap());
    assert_eq!(ids(&engine).await, []);
}

/// Also where even the part that is kept back was used up by records.
#[tokio::test]
async fn messages_without_failures_are_acknowledged_where_no_record_can_be_written() {
    let place = Place::new();
    let engine = a_full_store(&place).await;
    let mut reader = consumer(&engine, "ann").await;
    let read = reader.next(10, None).await.unwrap().remove(0);
    let read: Vec<EntryId> = read.entries.iter().map(|entry| entry.id).collect();
    // Records until not even a small one finds room.
    let record = |n: usize, size: usize| FailureRecord {
        member: [format!("{n}-{size}-").into_bytes(), vec![b'x'; size]].concat().into(),
        details: None,
    };
    for size in [50_000, 5_000, 100] {
        let mut n = 0;
        while engine.add_failures(&[record(n, size)]).await.is_ok() {
            n += 1;
        }
    }
    let large = EntrySettlement {
        failures: Some(Box::new(FailureChange {
            add: vec![FailureRecord {
                member: vec![b'y'; 100_000].into(),
                details: None,
            }],
            remove: Vec::new(),
        })),
        ..failing(read[0])
    };
    let plain = |id: &EntryId| EntrySettlement {
        failures: None,
        ..failing(*id)
    };
    let mut settlements = vec![large];
    settlements.extend(read[1..].iter().map(plain));
    let others = vec![(StreamName::from("others"), Vec::new()), (stream(), settlements)];
    let settled = engine.settle(Some(&member("ann")), &others).await;
    assert!(settled[0].is_ok(), "{settled:?}");
    assert_eq!(settled[1].as_ref().unwrap_err().kind(), EngineErrorKind::Full);
    let pending = engine.pending_summary(&stream(), "workers").await.unwrap();
    assert_eq!((pending.count, pending.range), (1, Some((read[0], read[0]))));
    assert_intact(&place.file());
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_refused_where_it_begins_not_to() {
    let place = Place::new();
    // The tables themselves take about a quarter.
    let url = format!("{}?max_size=500000", place.url());
    let engine = EmbeddedEngine::open(&url).await.unwrap();
    let error = engine.append_many(vec![an_append(1000); 1000]).await.unwrap_err();
    let fitted = error.results.iter().filter(|result| result.is_ok()).count();
    assert!((100..400).contains(&fitted), "{fitted} fitted");
    let refused = error.results.into_iter().filter_map(Result::err);
    let refused: Vec<_> = refused.map(|error| error.kind()).collect();
    assert_eq!(refused, vec![EngineErrorKind::Full; 1000 - fitted]);
    assert_eq!(ids(&engine).await.len(), fitted);
    let again = join_all((0..20).map(|_| engine.append(an_append(100_000)))).await;
    assert!(again.iter().all(Result::is_err));
}

/// The system lets the files of a process grow no further, then lets them grow: nothing was acknowledged in between, and
/// the process goes on.
#[tokio::test]
async fn a_process_that_cannot_write_says_so_and_goes_on_when_it_can() {
    let place = Place::new();
    let (mut child, output) = start(another_process("append at a limit", &place.url()));
    let told = std::io::BufRead::lines(output).map_while(Result::ok);
    let told: Vec<String> = told.filter_map(|line| said(&line).map(str::to_owned)).collect();
    assert!(child.wait().unwrap().success());
    let (errors, acknowledged): (Vec<_>, Vec<_>) = told.into_iter().partition(|line| line.starts_with("error"));
    assert_eq!(errors.len(), 3, "{errors:?}");
    for error in errors {
        assert!(error.contains("events.db"), "{error}");
        assert!(error.contains("Unavailable") || error.contains("Full"), "{error}");
    }
    assert!(acknowledged.len() > 1);
    let engine = tokio::time::timeout(LONG, place.open()).await.unwrap();
    let kept: Vec<_> = ids(&engine).await.iter().map(ToString::to_string).collect();
    assert_eq!(kept, acknowledged);
    assert_intact(&place.file());
}

// ----- a full device --------------------------------------------------------------------------------------------------

/// A file system of its own, so small that it is soon full.
struct Device(Place);

impl Device {
    fn new() -> Self {
        let place = Place::new();
        let mount = ["-t", "tmpfs", "-o", "size=32m", "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(place.directory.path()).status();
        assert!(mounted.unwrap().success(), "only root may mount a file system");
        Self(place)
    }

    fn ballast(&self) -> PathBuf {
        self.0.directory.path().join("ballast")
    }

    /// Another program uses up what is left.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.0.directory.path()).status();
    }
}

#[tokio::test]
#[ignore = "mounts a file system, which only root may do"]
async fn a_full_device_is_told_and_loses_nothing() {
    let device = Device::new();
    let engine = device.0.open().await;
    let streams = [(stream(), GroupStart::After(EntryId::MIN))];
    engine.join(&member("ann"), &streams).await.remove(0).unwrap();
    engine.append_many(vec![an_append(1000); 100]).await.unwrap();
    device.fill();
    let mut acknowledged = ids(&engine).await;
    let error = loop {
        match engine.append(an_append(1000)).await {
            Ok(id) => acknowledged.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), EngineErrorKind::Full, "{error}");
    assert!(error.to_string().contains("free space on the device"), "{error}");
    assert_eq!(ids(&engine).await, acknowledged, "it can be read");
    device.empty();
    acknowledged.push(engine.append(an_append(1000)).await.unwrap());
    assert_eq!(ids(&engine).await, acknowledged);
    assert_intact(&device.0.file());
}

/// The database has free pages, as in a store that was larger before.
#[tokio::test]
#[ignore = "mounts a file system, which only root may do"]
async fn a_store_with_free_pages_works_on_where_the_device_is_full() {
    let device = Device::new();
    let engine = device.0.open().await;
    let streams = [(stream(), GroupStart::After(EntryId::MIN))];
    engine.join(&member("ann"), &streams).await.remove(0).unwrap();
    engine.append_many(vec![an_append(1000); 1000]).await.unwrap();
    engine.trim(&stream(), Trim::max_len(100).exactly()).await.unwrap();
    device.fill();
    for _ in 0..20 {
        engine.append_many(vec![an_append(1000); 50]).await.unwrap();
        let read = consumer(&engine, "ann").await.next(50, None).await.unwrap().remove(0);
        let end = EntryEnd::Acknowledge {
            delete: true,
            had_retry_state: false,
        };
        let settle = |id| EntrySettlement {
            id,
            end: end.clone(),
            failures: None,
        };
        let settlements = read.entries.iter().map(|entry| settle(entry.id)).collect();
        let settled = engine.settle(Some(&member("ann")), &[(stream(), settlements)]).await;
        settled.into_iter().next().unwrap().unwrap();
    }
    assert_eq!(engine.pending_summary(&stream(), "workers").await.unwrap().count, 0);
    assert_intact(&device.0.file());
}
