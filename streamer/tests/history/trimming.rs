//! Removing snapshots whose messages are gone.

use serde_json::json;
use streamer::{EntryId, Trim, TrimmedHistory};

use crate::store::{archived, elements, emit, push, stores, take};

#[tokio::test]
async fn only_what_is_gone_everywhere_is_removed() {
    for store in stores().await {
        let streamer = &store.streamer;
        let mut ids = Vec::new();
        for n in 0..400 {
            ids.push(emit(streamer, "user", "7", json!({"n": n})).await);
        }
        let (kept, purged): (Vec<(usize, EntryId)>, Vec<_>) =
            ids[..300].iter().copied().enumerate().partition(|(n, _)| n % 3 == 0);
        let of = |numbered: &[(usize, EntryId)]| numbered.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        let fields = take(streamer, &"user".into(), &of(&kept)).await;
        let archive = archived("user", of(&kept).into_iter().zip(fields)).await;
        take(streamer, &"user".into(), &of(&purged)).await;

        let trimmed = streamer.trim_history("user", "7", Some(&archive)).await.unwrap();
        let expected = TrimmedHistory {
            snapshots: 400,
            removed: 200,
        };
        assert_eq!(trimmed, expected);
        let replayed = streamer
            .replay("user", "7")
            .archive(&archive)
            .run()
            .await
            .unwrap()
            .unwrap();
        assert!(replayed.is_whole());
        assert_eq!(replayed.messages, 200);
        let again = streamer.trim_history("user", "7", Some(&archive)).await.unwrap();
        assert_eq!((again.snapshots, again.removed), (200, 0));
        // Without the archive its messages are gone, too.
        assert_eq!(streamer.trim_history("user", "7", None).await.unwrap().removed, 100);
        assert_eq!(elements(streamer, "user-7").await.len(), 100);
    }
}

#[tokio::test]
async fn what_another_event_or_somebody_else_put_there_stays() {
    for store in stores().await {
        let streamer = &store.streamer;
        let ours = emit(streamer, "a-b", "c", json!({})).await;
        let theirs = emit(streamer, "a", "b-c", json!({})).await;
        push(streamer, "a-b-c", r#"{"id":"1-1"}"#, "scratch").await;
        take(streamer, &"a-b".into(), &[ours]).await;
        take(streamer, &"a".into(), &[theirs]).await;
        let trimmed = streamer.trim_history("a-b", "c", None).await.unwrap();
        assert_eq!((trimmed.snapshots, trimmed.removed), (1, 1));
        assert_eq!(elements(streamer, "a-b-c").await.len(), 2);
        let none = streamer.trim_history("nothing", "here", None).await.unwrap();
        assert_eq!(none, TrimmedHistory::default());
    }
}

#[tokio::test]
async fn emits_at_the_same_time_lose_nothing() {
    for store in stores().await {
        let streamer = store.streamer.clone();
        for n in 0..200 {
            emit(&streamer, "user", "7", json!({"old": n})).await;
        }
        streamer
            .engine()
            .trim(&"user".into(), Trim::max_len(0).exactly())
            .await
            .unwrap();
        let emitter = streamer.clone();
        let emitting = tokio::spawn(async move {
            let mut emitted = Vec::new();
            for n in 0..200 {
                emitted.push(emit(&emitter, "user", "7", json!({"n": n})).await);
            }
            emitted
        });
        let mut removed = 0;
        while !emitting.is_finished() {
            removed += streamer.trim_history("user", "7", None).await.unwrap().removed;
        }
        let emitted = emitting.await.unwrap();
        removed += streamer.trim_history("user", "7", None).await.unwrap().removed;
        assert_eq!(removed, 200);
        let replayed = streamer.replay("user", "7").run().await.unwrap().unwrap();
        assert!(replayed.is_whole());
        assert_eq!(replayed.messages, 200);
        let left = elements(&streamer, "user-7").await;
        assert!(
            left.iter()
                .zip(&emitted)
                .all(|(element, id)| element.contains(&id.to_string()))
        );
    }
}
