//! A file is called damaged when it is, and not before a second look.

use std::{fs::OpenOptions, os::unix::fs::FileExt};

use streamer::{
    EntryId,
    engine::{EmbeddedEngine, Engine, EngineErrorKind, GroupAdmin, GroupStart, GroupStore, PendingFilter, ReadMode},
};

use crate::place::{Place, an_append, consumer, ids, stream};

#[tokio::test]
async fn a_damaged_file_is_called_so_and_a_backup_is_advised() {
    let place = Place::new();
    let engine = place.open().await;
    for _ in 0..20 {
        engine.append(an_append(1000)).await.unwrap();
    }
    drop(engine);
    place.closed().await;
    let file = OpenOptions::new().write(true).open(place.file()).unwrap();
    let size = file.metadata().unwrap().len();
    // All but the first page, which says what the file is.
    file.write_all_at(&vec![0xa5; size as usize - 4096], 4096).unwrap();
    drop(file);
    let error = match place_opened(&place).await {
        Ok(engine) => engine.append(an_append(10)).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), EngineErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("backup"), "{error}");
    assert!(error.to_string().contains("events.db"), "{error}");
}

async fn place_opened(place: &Place) -> Result<EmbeddedEngine, streamer::engine::EngineError> {
    EmbeddedEngine::open(&place.url()).await
}

/// A program wrote what makes no sense into one entry, and later what does.
#[tokio::test]
async fn damage_in_one_entry_harms_no_other_and_ends_when_it_is_gone() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append(an_append(10)).await.unwrap();
    let other = rusqlite::Connection::open(place.file()).unwrap();
    let sound: Vec<u8> = other
        .query_row("SELECT fields FROM streamer_entries", [], |row| row.get(0))
        .unwrap();
    other.execute("UPDATE streamer_entries SET fields = x'ff'", []).unwrap();
    let (start, end) = (streamer::RangeBound::Unbounded, streamer::RangeBound::Unbounded);
    let name = stream();
    let (read, appended, told) = tokio::join!(
        engine.range(&name, start, end, None, false),
        engine.append(an_append(10)),
        engine.last_ids(std::slice::from_ref(&name))
    );
    let error = read.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("backup"), "{error}");
    appended.unwrap();
    assert!(told.into_iter().all(|id| id.is_ok()));
    other
        .execute("UPDATE streamer_entries SET fields = ? WHERE fields = x'ff'", [sound])
        .unwrap();
    assert_eq!(ids(&engine).await.len(), 2);
}

/// The same for readers, which decode what the thread of the store has only copied.
#[tokio::test]
async fn a_reader_that_meets_a_damaged_entry_names_it_and_nothing_is_lost_when_it_is_mended() {
    let place = Place::new();
    let engine = place.open().await;
    let start = GroupStart::After(EntryId::MIN);
    engine.create_group(&stream(), "workers", start, true).await.unwrap();
    let from_the_start = ReadMode::Plain(vec![(stream(), EntryId::MIN)]);
    let mut plain = engine.reader(from_the_start).await.unwrap();
    let mut group = consumer(&engine, "a").await;
    let id = engine.append(an_append(10)).await.unwrap();
    let other = rusqlite::Connection::open(place.file()).unwrap();
    let sound: Vec<u8> = other
        .query_row("SELECT fields FROM streamer_entries", [], |row| row.get(0))
        .unwrap();
    other.execute("UPDATE streamer_entries SET fields = x'ff'", []).unwrap();
    for (reader, attempted) in [
        (&mut plain, "read from stream 'orders'"),
        (&mut group, "read from stream 'orders' in group 'workers'"),
    ] {
        let error = reader.next(10, None).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Corrupt, "{error}");
        let (text, entry) = (error.to_string(), format!("entry {id} "));
        for named in [attempted, "events.db", &entry, "damaged", "backup"] {
            assert!(text.contains(named), "{named}: {text}");
        }
    }
    other
        .execute("UPDATE streamer_entries SET fields = ?", [sound])
        .unwrap();
    // The plain reader has not passed it over, and it is pending with the consumer that it was delivered to.
    let read = plain.next(10, None).await.unwrap();
    assert_eq!(read[0].entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id]);
    let pending = engine
        .pending(&stream(), "workers", PendingFilter::default())
        .await
        .unwrap();
    let pending = pending.into_iter().map(|one| (one.id, one.consumer));
    assert_eq!(pending.collect::<Vec<_>>(), [(id, "a".to_owned())]);
}
