//! Listening that archives or purges what was handled.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use streamer::{
    AfterSuccess, EntryId, KeepAlive, LeaveWhen, ListenerError, Listeners, ReceivedMessage, Report, Scope,
    archive::{ArchiveError, ArchiveErrorKind, ArchiveResult, ArchiveStorage, ArchivedMessage, Stored},
    engine::GroupStart,
};

use crate::{Place, name, on_each_engine};

on_each_engine! {
    handled_messages_are_archived_and_told,
    handled_messages_are_purged,
    without_a_group_too,
    a_message_that_a_listener_failed_on_stays,
    a_message_waits_for_all_groups_that_were_asked_for,
    what_waits_survives_the_end_of_the_listening,
    an_archive_that_fails_leaves_messages_pending,
    an_archive_that_fails_again_and_again_is_told_once,
}

async fn nothing() {}

async fn odd_ones_fail(message: ReceivedMessage) -> Result<(), ListenerError> {
    match message.get("n").and_then(serde_json::Value::as_u64) {
        Some(n) if n % 2 == 1 => Err(ListenerError::new("odd")),
        _ => Ok(()),
    }
}

fn listening(place: &Place, listeners: Listeners, after: AfterSuccess) -> streamer::Listening {
    let listening = place.streamer.listen(listeners).after_success(after);
    listening
        .listen_timeout(Duration::from_millis(200))
        .start(streamer::StartAt::Beginning)
}

fn succeeding() -> Listeners {
    Listeners::new().on("e", "first", nothing).on("e", "second", nothing)
}

async fn handled_messages_are_archived_and_told(place: Place) {
    let ids = place.emit("e", 1_000).await;
    let entries = place.on_stream("e").await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let listening = listening(&place, succeeding(), AfterSuccess::archive(place.archive.clone())).group("g");
    listening
        .on_report(move |report| {
            if let Report::Archived { id, .. } = report {
                telling.lock().unwrap().push((*id, report.to_string()));
            }
        })
        .run()
        .await
        .unwrap();
    assert_eq!(place.on_stream("e").await, []);
    let archived = place.in_archive().await;
    assert_eq!(archived.len(), 1_000);
    assert!(
        entries
            .iter()
            .zip(&archived)
            .all(|(entry, message)| entry.fields == message.fields)
    );
    let told = told.lock().unwrap().clone();
    assert_eq!(told.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert_eq!(
        told[0].1,
        format!("Message [{}] has been archived from the 'e' stream.", ids[0])
    );
    assert_eq!(place.streamer.stream("e").pending_summary("g").await.unwrap().count, 0);
}

async fn handled_messages_are_purged(place: Place) {
    place.emit("e", 10).await;
    listening(&place, succeeding(), AfterSuccess::purge())
        .group("g")
        .run()
        .await
        .unwrap();
    assert_eq!(place.on_stream("e").await, []);
    assert_eq!(place.in_archive().await, []);
    assert_eq!(place.streamer.stream("e").pending_summary("g").await.unwrap().count, 0);
}

async fn without_a_group_too(place: Place) {
    let ids = place.emit("e", 10).await;
    let after = AfterSuccess::archive(place.archive.clone());
    listening(&place, succeeding(), after).run().await.unwrap();
    assert_eq!(place.on_stream("e").await, []);
    assert_eq!(place.ids_in_archive().await, ids);
}

/// PHP deletes it although nobody handled it.
async fn a_message_that_a_listener_failed_on_stays(place: Place) {
    for (always_acknowledge, event) in [(true, "e"), (false, "f")] {
        let ids = place.emit(event, 10).await;
        let listeners = Listeners::new()
            .on(event, "one", nothing)
            .on(event, "two", odd_ones_fail);
        let after = AfterSuccess::archive(place.archive.clone());
        let listening = listening(&place, listeners, after).group("g");
        listening.always_acknowledge(always_acknowledge).run().await.unwrap();
        let (odd, even) = (ids.iter().copied().skip(1).step_by(2), ids.iter().copied().step_by(2));
        assert_eq!(place.ids_on_stream(event).await, odd.collect::<Vec<_>>());
        assert_eq!(place.ids_in_archive().await, even.collect::<Vec<_>>());
        place.archive.delete_stream(&name(event)).await.unwrap();
    }
}

async fn a_message_waits_for_all_groups_that_were_asked_for(place: Place) {
    let ids = place.emit("e", 600).await;
    let stream = place.streamer.stream("e");
    stream
        .create_group("other", GroupStart::After(EntryId::MIN), false)
        .await
        .unwrap();
    let after = || AfterSuccess::archive(place.archive.clone()).when(LeaveWhen::AllGroupsAcknowledged);
    listening(&place, succeeding(), after()).group("g").run().await.unwrap();
    assert_eq!(place.ids_on_stream("e").await, ids);

    let consumer = stream.consumer("other", "c");
    consumer.read_new(400, None).await.unwrap();
    consumer.acknowledge(&ids[..300]).await.unwrap();
    let listening = listening(&place, succeeding(), after()).group("g");
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.listen_timeout(Duration::from_secs(600)).run());
    until("what both acknowledged is archived", || async {
        place.ids_on_stream("e").await == ids[300..]
    })
    .await;
    assert_eq!(place.ids_in_archive().await, ids[..300]);
    consumer.acknowledge(&ids[300..400]).await.unwrap();
    consumer.read_new(400, None).await.unwrap();
    consumer.acknowledge(&ids[400..]).await.unwrap();
    until("the rest is too", || async { place.on_stream("e").await.is_empty() }).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(place.ids_in_archive().await, ids);
}

async fn what_waits_survives_the_end_of_the_listening(place: Place) {
    let ids = place.emit("e", 20).await;
    let stream = place.streamer.stream("e");
    stream
        .create_group("other", GroupStart::After(EntryId::MIN), false)
        .await
        .unwrap();
    let after = || AfterSuccess::purge().when(LeaveWhen::AllGroupsAcknowledged);
    listening(&place, succeeding(), after()).group("g").run().await.unwrap();
    let consumer = stream.consumer("other", "c");
    consumer.read_new(20, None).await.unwrap();
    consumer.acknowledge(&ids[5..]).await.unwrap();
    // Nothing is left to handle; what was handled earlier goes all the same.
    listening(&place, succeeding(), after()).group("g").run().await.unwrap();
    assert_eq!(place.ids_on_stream("e").await, ids[..5]);
}

/// An archive whose disk is full.
#[derive(Debug)]
struct Full;

#[async_trait::async_trait]
impl ArchiveStorage for Full {
    fn location(&self) -> &str {
        "full"
    }
    async fn create(&self, _: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        Err(ArchiveError::new(
            ArchiveErrorKind::Other,
            "store messages",
            "the disk is full",
        ))
    }
    async fn find(&self, _: &streamer::StreamName, _: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        Ok(None)
    }
    async fn page(
        &self,
        _: Option<&streamer::StreamName>,
        _: Option<(&streamer::StreamName, EntryId)>,
        _: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: &streamer::StreamName, _: EntryId) -> ArchiveResult<bool> {
        Ok(false)
    }
    async fn delete_stream(&self, _: &streamer::StreamName) -> ArchiveResult<u64> {
        Ok(0)
    }
}

async fn an_archive_that_fails_leaves_messages_pending(place: Place) {
    let ids = place.emit("e", 5).await;
    let after = AfterSuccess::archive(Arc::new(Full));
    let error = listening(&place, succeeding(), after)
        .group("g")
        .run()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(place.ids_on_stream("e").await, ids);
    assert_eq!(place.streamer.stream("e").pending_summary("g").await.unwrap().count, 5);
}

/// An archive that is away until it was asked so often to store something.
#[derive(Debug)]
struct Away {
    left: AtomicU32,
    archive: Arc<dyn ArchiveStorage>,
}

#[async_trait::async_trait]
impl ArchiveStorage for Away {
    fn location(&self) -> &str {
        "away"
    }
    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(ArchiveError::new(
                ArchiveErrorKind::Unavailable,
                "store messages",
                "it is away",
            )),
            Err(_) => self.archive.create(messages).await,
        }
    }
    async fn find(&self, stream: &streamer::StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        self.archive.find(stream, id).await
    }
    async fn page(
        &self,
        stream: Option<&streamer::StreamName>,
        after: Option<(&streamer::StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        self.archive.page(stream, after, count).await
    }
    async fn delete(&self, stream: &streamer::StreamName, id: EntryId) -> ArchiveResult<bool> {
        self.archive.delete(stream, id).await
    }
    async fn delete_stream(&self, stream: &streamer::StreamName) -> ArchiveResult<u64> {
        self.archive.delete_stream(stream).await
    }
}

async fn an_archive_that_fails_again_and_again_is_told_once(place: Place) {
    for when in [LeaveWhen::AtOnce, LeaveWhen::AllGroupsAcknowledged] {
        let ids = place.emit("e", 20).await;
        let away = Arc::new(Away {
            left: AtomicU32::new(10),
            archive: place.archive.clone(),
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let after = AfterSuccess::archive(away.clone()).when(when);
        let listening = listening(&place, succeeding(), after).group("g").keep_alive(KeepAlive {
            max_attempts: None,
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(20),
        });
        listening
            .on_report(move |report| {
                let what = match report {
                    Report::Interrupted { scope, error, .. } if **scope == Scope::Retention => {
                        format!("interrupted: {error}")
                    }
                    Report::Resumed { scope } if **scope == Scope::Retention => "resumed".to_owned(),
                    _ => return,
                };
                telling.lock().unwrap().push(what);
            })
            .run()
            .await
            .unwrap();
        assert_eq!(away.left.load(Ordering::SeqCst), 0, "it was asked again and again");
        let told = told.lock().unwrap().clone();
        let [interrupted, resumed] = &told[..] else {
            panic!("{when:?}: {told:?}")
        };
        assert!(interrupted.contains("it is away"), "{interrupted}");
        assert_eq!(resumed, "resumed");
        assert_eq!(place.ids_in_archive().await, ids);
        place.archive.delete_stream(&name("e")).await.unwrap();
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited a minute for this: {what}");
}
