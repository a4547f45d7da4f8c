//! What a replay makes of a history.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use streamer::{
    Change, DynamicEvent, EmitOptions, EntryId, HistoryError, StreamName,
    archive::{ArchiveStorage, MemoryArchive, Restore, Sweep},
    engine::{Append, AppendOptions, EngineErrorKind},
};

use crate::store::{archived, elements, emit, push, second, stores, take};

/// PHP's defect d: an exception.
#[tokio::test]
async fn a_resource_without_history_is_none() {
    for store in stores().await {
        assert_eq!(store.streamer.replay("user", "nobody").run().await.unwrap(), None);
        emit(&store.streamer, "user", "7", json!({"name": "Ann"})).await;
        assert_eq!(store.streamer.replay("user", "8").run().await.unwrap(), None);
        assert_eq!(store.streamer.replay("", "").run().await.unwrap(), None);
    }
}

#[tokio::test]
async fn events_that_share_a_list_are_told_apart() {
    for store in stores().await {
        emit(&store.streamer, "a-b", "c", json!({"of": "a-b"})).await;
        emit(&store.streamer, "a", "b-c", json!({"of": "a"})).await;
        assert_eq!(elements(&store.streamer, "a-b-c").await.len(), 2);
        for (event, identifier) in [("a-b", "c"), ("a", "b-c")] {
            let replayed = store.streamer.replay(event, identifier).run().await.unwrap().unwrap();
            assert_eq!((replayed.data, replayed.messages), (json!({"of": event}).into(), 1));
        }
        assert_eq!(store.streamer.replay("a-b-c", "").run().await.unwrap(), None);
    }
}

#[tokio::test]
async fn changes_come_as_they_happened() {
    for store in stores().await {
        let before = SystemTime::now();
        let first = emit(&store.streamer, "user", "7", json!({"name": "Ann", "tags": []})).await;
        let second = emit(
            &store.streamer,
            "user",
            "7",
            json!({"name": "Ann", "tags": ["a"], "years": null}),
        )
        .await;
        let mut changes = Vec::new();
        let replay = store
            .streamer
            .replay("user", "7")
            .on_change(|change| changes.push(change));
        replay.run().await.unwrap().unwrap();
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(changes.iter().all(|change| seconds(change.when) >= seconds(before)));
        let what = |change: &Change| {
            (
                change.entry,
                change.field.clone(),
                change.from.clone(),
                change.to.clone(),
            )
        };
        assert_eq!(
            changes.iter().map(what).collect::<Vec<_>>(),
            [
                (first, "name".into(), None, json!("Ann").into()),
                (first, "tags".into(), None, json!([]).into()),
                (second, "tags".into(), Some(json!([]).into()), json!(["a"]).into()),
                (second, "years".into(), None, json!(null).into()),
            ]
        );
    }
}

/// PHP's defect h3: dates without a zone.
#[tokio::test]
async fn until_is_an_instant_and_dates_are_utc() {
    for store in stores().await {
        // 2021-12-12 12:00:00 UTC, and a minute later.
        for (n, date) in ["2021-12-12 12:00:00", "2021-12-12 12:01:00"].iter().enumerate() {
            let element = format!(r#"{{"id":"{n}-1","name":"user","identifier":"7","date":"{date}"}}"#);
            push(&store.streamer, "user-7", &element, &format!("scratch{n}")).await;
            let append = Append {
                stream: "user".into(),
                id: EntryId::new(n as u64, 1).into(),
                fields: vec![("data".into(), format!(r#"{{"n":{n}}}"#).into())],
                options: AppendOptions::default(),
            };
            store.streamer.engine().append(append).await.unwrap();
        }
        let noon = 1_639_310_400.0;
        for (until, expected) in [
            (second(noon - 1.0), json!([])),
            (second(noon), json!([])),
            (second(noon + 0.5), json!({"n": 0})),
            (second(noon + 60.0), json!({"n": 0})),
            (second(noon + 60.000_001), json!({"n": 1})),
        ] {
            let replayed = store.streamer.replay("user", "7").until(until).run().await.unwrap();
            assert_eq!(replayed.unwrap().data, expected, "{until:?}");
        }
    }
}

/// PHP's defect f: silently partial after a purge.
#[tokio::test]
async fn what_is_gone_is_reported_and_found_in_the_archive() {
    for store in stores().await {
        let streamer = &store.streamer;
        let first = emit(streamer, "user", "7", json!({"name": "Ann", "age": 1})).await;
        let second = emit(streamer, "user", "7", json!({"age": 2})).await;
        emit(streamer, "user", "7", json!({"city": "Oslo"})).await;
        let taken = take(streamer, &"user".into(), &[first, second]).await;
        let replayed = streamer.replay("user", "7").run().await.unwrap().unwrap();
        assert_eq!(replayed.missing, [first, second]);
        assert_eq!((replayed.data, replayed.messages), (json!({"city": "Oslo"}).into(), 1));

        let archive = archived("user", [(first, taken[0].clone())]).await;
        let replayed = streamer
            .replay("user", "7")
            .archive(&archive)
            .run()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(replayed.missing, [second]);
        let archive = archived("user", [first, second].into_iter().zip(taken)).await;
        let replayed = streamer
            .replay("user", "7")
            .archive(&archive)
            .run()
            .await
            .unwrap()
            .unwrap();
        assert!(replayed.is_whole());
        assert_eq!(replayed.data, json!({"name": "Ann", "age": 2, "city": "Oslo"}));
    }
}

/// PHP's defect f: empty after archive and restore.
#[tokio::test]
async fn a_message_that_was_archived_and_restored_is_found_each_time() {
    for store in stores().await {
        let streamer = &store.streamer;
        let stream = StreamName::from("user");
        let first = emit(streamer, "user", "7", json!({"name": "Ann"})).await;
        let second = emit(streamer, "user", "7", json!({"name": "Bob"})).await;
        let archive: Arc<dyn ArchiveStorage> = Arc::new(MemoryArchive::default());
        for _ in 0..3 {
            // Something is older than nothing from its next millisecond on.
            while streamer.engine().len(&stream).await.unwrap() > 0 {
                let older_than = "0 seconds".parse().unwrap();
                let sweep = Sweep::archive(streamer, archive.clone());
                sweep.run(&stream, older_than).await.unwrap();
            }
            for restored in [false, true] {
                if restored {
                    Restore::new(streamer, archive.clone()).run(None).await.unwrap();
                    assert_eq!(streamer.engine().len(&stream).await.unwrap(), 2);
                }
                let mut order = Vec::new();
                let replay = streamer
                    .replay("user", "7")
                    .on_change(|change| order.push(change.entry));
                let replayed = replay.archive(archive.as_ref()).run().await.unwrap().unwrap();
                assert!(replayed.is_whole(), "{replayed:?}");
                assert_eq!(replayed.data, json!({"name": "Bob"}));
                assert_eq!(order, [first, second]);
            }
            // Back on the stream, no archive is needed.
            let replayed = streamer.replay("user", "7").run().await.unwrap().unwrap();
            assert!(replayed.is_whole());
            assert_eq!(streamer.trim_history("user", "7", None).await.unwrap().removed, 0);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_reported_and_the_rest_replayed() {
    for store in stores().await {
        let streamer = &store.streamer;
        emit(streamer, "user", "7", json!({"name": "Ann"})).await;
        emit(streamer, "user", "7", json!("only text")).await;
        push(streamer, "user-7", r#"{"id":"1-1","noname":1}"#, "scratch").await;
        let append = Append {
            stream: "user".into(),
            id: Default::default(),
            fields: vec![("data".into(), "{broken".into())],
            options: AppendOptions::default(),
        };
        let broken = streamer.engine().append(append).await.unwrap();
        let element = format!(r#"{{"id":"{broken}","name":"user","identifier":"7","date":"2021-12-12 12:00:00"}}"#);
        push(streamer, "user-7", &element, "scratch").await;
        emit(streamer, "user", "7", json!({"age": 1})).await;
        let replayed = streamer.replay("user", "7").run().await.unwrap().unwrap();
        assert_eq!(replayed.data, json!({"name": "Ann", "age": 1}));
        let told = replayed.unreadable.join("\n");
        for part in ["neither an object nor a list", "noname", &broken.to_string()] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(replayed.unreadable.len(), 3);
    }
}

#[tokio::test]
async fn a_history_of_many_pages_is_replayed_whole() {
    for store in stores().await {
        for n in 0..300 {
            emit(&store.streamer, "doc", "7", json!({"n": n, format!("k{n}"): n})).await;
        }
        let replayed = store.streamer.replay("doc", "7").run().await.unwrap().unwrap();
        assert!(replayed.is_whole());
        assert_eq!(replayed.messages, 300);
        assert_eq!(replayed.data["n"], json!(299));
        let data = serde_json::Value::from(replayed.data);
        assert_eq!(data.as_object().unwrap().len(), 301);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_during_a_replay_is_an_error_and_not_a_gap() {
    for store in stores().await {
        let streamer = &store.streamer;
        for n in 0..300 {
            emit(streamer, "doc", "7", json!({"n": n})).await;
        }
        // While the first page is told, the second not yet read.
        let oldest = elements(streamer, "doc-7").await[0].clone();
        let (trim, mut trimmed) = tokio::sync::oneshot::channel::<()>();
        let mut trim = Some(trim);
        let engine = streamer.engine().clone();
        let runtime = tokio::runtime::Handle::current();
        let replay = streamer.replay("doc", "7").on_change(move |_| {
            if let Some(trim) = trim.take() {
                let (engine, oldest) = (engine.clone(), oldest.clone());
                let remove = async move {
                    engine
                        .remove_snapshots(&"doc-7".into(), &[oldest.into()])
                        .await
                        .unwrap()
                };
                let removed = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(remove)).join().unwrap());
                assert_eq!(removed, 1);
                trim.send(()).unwrap();
            }
        });
        let error = replay.run().await.unwrap_err();
        assert!(matches!(error, HistoryError::TrimmedMeanwhile { .. }), "{error}");
        trimmed.try_recv().unwrap();
    }
}

#[tokio::test]
async fn a_list_that_is_none_is_an_error() {
    for store in stores().await {
        store
            .streamer
            .emit(&DynamicEvent::new("user-7", json!({})))
            .await
            .unwrap();
        let error = store.streamer.replay("user", "7").run().await.unwrap_err();
        let HistoryError::Engine(error) = error else {
            panic!("{error}")
        };
        assert_eq!(error.kind(), EngineErrorKind::WrongType);
        assert!(error.to_string().contains("user-7"), "{error}");
        let event = DynamicEvent::new("user", json!({}));
        let options = EmitOptions::new().identifier("7");
        store.streamer.emit_with(&event, options).await.unwrap_err();
    }
}
