//! Streams and groups at one moment.

use std::{sync::Arc, time::Duration};

use streamer::{
    DynamicEvent, EmitOptions, EntryId, Trim,
    archive::{ArchiveStorage as _, ArchivedMessage, MemoryArchive, SqliteArchive},
    inspect::{Collector, Importance, Known, Lag, Overview},
};

use crate::{Subject, on_all_stores};

async fn an_overview_tells_who_is_behind_and_what_is_pending_with_whom(subject: Subject) {
    let ids = subject.emit("order.placed", 10).await;
    subject.emit("order.paid", 2).await;
    subject.group("order.placed", "billing").await;
    subject.group("order.placed", "mail").await;
    let delivered = subject.deliver("order.placed", "billing", "b-1", 4).await;
    let stream = "order.placed".into();
    subject
        .engine()
        .acknowledge(&stream, "billing", &delivered[..1])
        .await
        .unwrap();

    let overview = subject.streamer.inspect().overview().await.unwrap();
    assert!(overview.complete && overview.refused.is_empty(), "{overview:?}");
    let names: Vec<_> = overview.streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["order.paid", "order.placed"]);
    let stream = overview.stream("order.placed").unwrap();
    assert_eq!((stream.length, stream.entries_added), (10, Some(10)));
    assert_eq!((stream.first_id, stream.last_id), (Some(ids[0]), ids[9]));
    assert!(stream.first_age_ms.is_some() && stream.last_age_ms <= stream.first_age_ms);
    assert_eq!(stream.bytes.is_some(), subject.store.file().is_none());

    let [billing, mail] = &stream.groups[..] else {
        panic!("{stream:?}")
    };
    assert_eq!(
        (billing.lag, billing.pending, billing.missed),
        (Lag::Exact(6), 3, Some(0))
    );
    assert!(billing.lag_ms.is_some());
    let oldest = billing.oldest_pending.as_ref().unwrap();
    assert_eq!(
        (oldest.id, oldest.consumer.as_str(), oldest.deliveries),
        (delivered[1], "b-1", 1)
    );
    assert!(oldest.age_ms.is_some());
    let [consumer] = &billing.consumers[..] else {
        panic!("{billing:?}")
    };
    assert_eq!(
        (consumer.name.as_str(), consumer.pending, consumer.alive),
        ("b-1", 3, true)
    );
    assert!(!billing.is_abandoned());
    assert_eq!((mail.lag, mail.pending, mail.alive), (Lag::Exact(10), 0, 0));
    assert!(mail.is_abandoned(), "messages wait and nobody reads");
    assert_eq!((overview.totals.lag, overview.totals.pending), (Lag::Exact(16), 3));
    assert_eq!(
        (overview.totals.streams, overview.totals.groups, overview.failures),
        (2, 2, Some(0))
    );
}

async fn a_consumer_that_did_nothing_for_long_is_stale(subject: Subject) {
    subject.emit("a", 1).await;
    subject.group("a", "g").await;
    subject.deliver("a", "g", "c", 1).await;
    let inspect = subject.streamer.inspect().stale_after(Duration::ZERO);
    loop {
        let overview = inspect.overview().await.unwrap();
        let group = &overview.streams[0].groups[0];
        if group.stale == 1 {
            assert!(group.alive == 0 && group.is_abandoned() && !group.consumers[0].alive);
            return;
        }
    }
}

async fn a_lag_that_the_store_does_not_know_is_counted_or_unknown_and_never_zero(subject: Subject) {
    let ids = subject.emit("a", 600).await;
    let stream = "a".into();
    subject.group("a", "g").await;
    subject.deliver("a", "g", "c", 10).await;
    // A deletion ahead of the group: Redis 7 knows no lag any more.
    subject.engine().delete(&stream, &ids[300..301]).await.unwrap();
    let lag = |overview: &streamer::inspect::Overview| overview.streams[0].groups[0].lag;
    let overview = subject.streamer.inspect().overview().await.unwrap();
    assert_eq!(lag(&overview), Lag::AtLeast(256));
    assert!(overview.streams[0].groups[0].lag_ms.is_some());
    subject.deliver("a", "g", "c", 400).await;
    let overview = subject.streamer.inspect().overview().await.unwrap();
    // Beyond the deletion it is known again; before that it is counted.
    assert_eq!(lag(&overview), Lag::Exact(189));
    subject.engine().delete(&stream, &ids[500..501]).await.unwrap();
    let overview = subject.streamer.inspect().overview().await.unwrap();
    assert_eq!(lag(&overview), Lag::Exact(188));
}

async fn a_trim_ahead_of_a_group_is_told_apart_from_its_lag(subject: Subject) {
    subject.emit("a", 100).await;
    subject.group("a", "g").await;
    subject.deliver("a", "g", "c", 10).await;
    subject
        .engine()
        .trim(&"a".into(), Trim::max_len(30).exactly())
        .await
        .unwrap();
    let overview = subject.streamer.inspect().overview().await.unwrap();
    let group = &overview.streams[0].groups[0];
    assert_eq!((group.lag, group.missed), (Lag::Exact(30), Some(60)));
    // Its pending entries are gone, too.
    assert!(overview.streams[0].first_id.unwrap() > group.oldest_pending.as_ref().unwrap().id);
}

async fn named_streams_are_looked_at_and_what_is_missing_is_told(subject: Subject) {
    subject.emit("a", 1).await;
    subject.emit("b", 1).await;
    let overview = subject
        .streamer
        .inspect()
        .streams(["b", "nothing", "b"])
        .overview()
        .await
        .unwrap();
    assert_eq!(overview.streams.len(), 1);
    assert_eq!(overview.missing, ["nothing"]);
    subject.store.occupy("other");
    let overview = subject
        .streamer
        .inspect()
        .streams(["other", "a"])
        .overview()
        .await
        .unwrap();
    assert_eq!(overview.refused[0].stream.as_deref(), Some("other"));
    assert_eq!(overview.streams[0].name, "a");
    let overview = subject.streamer.inspect().most_streams(1).overview().await.unwrap();
    assert_eq!((overview.streams.len(), overview.complete), (1, false));
    subject.store.vacate("other");
}

async fn an_id_that_is_no_time_has_no_age(subject: Subject) {
    let event = streamer::DynamicEvent::new("a", serde_json::json!({}));
    let options = streamer::EmitOptions::new().id(EntryId::new(5, 1));
    subject.streamer.emit_with(&event, options).await.unwrap();
    subject.group("a", "g").await;
    let overview = subject.streamer.inspect().overview().await.unwrap();
    let stream = &overview.streams[0];
    assert_eq!((stream.first_age_ms, stream.groups[0].lag_ms), (None, None));
    assert_eq!(stream.groups[0].lag, Lag::Exact(1));
}

async fn rates_come_from_two_overviews(subject: Subject) {
    let mut collector = Collector::new();
    subject.emit("a", 10).await;
    subject.group("a", "g").await;
    subject.deliver("a", "g", "c", 4).await;
    let first = subject.streamer.inspect().overview().await.unwrap();
    let at_ms = first.at_ms;
    collector.observe(first);
    subject.emit("a", 20).await;
    let delivered = subject.deliver("a", "g", "c", 16).await;
    subject
        .engine()
        .acknowledge(&"a".into(), "g", &delivered)
        .await
        .unwrap();
    let mut second = subject.streamer.inspect().overview().await.unwrap();
    // As if two seconds had passed.
    second.at_ms = at_ms + 2_000;
    collector.observe(second);
    assert_eq!(collector.stream_rates("a").incoming, Some(10.0));
    let rates = collector.group_rates("a", "g");
    assert_eq!((rates.delivered, rates.acknowledged), (Some(8.0), Some(8.0)));
}

async fn an_archive_is_counted_and_its_trouble_hides_nothing(subject: Subject) {
    let ids = subject.emit("a", 3).await;
    let archive = Arc::new(MemoryArchive::default());
    let stored = ids.iter().map(|id| ArchivedMessage {
        stream: "a".into(),
        id: *id,
        original_ids: Vec::new(),
        fields: vec![("name".into(), "a".into())],
    });
    archive.create(&stored.collect::<Vec<_>>()).await.unwrap();
    let inspect = subject.streamer.inspect();
    assert_eq!(inspect.overview().await.unwrap().archive, None);
    let overview = inspect.archive(archive).overview().await.unwrap();
    let counted = overview.archive.unwrap();
    assert_eq!((counted.messages, counted.exact), (Some(3), true));
    // It has no table, and the streams are seen all the same.
    let file = tempfile::NamedTempFile::new().unwrap();
    let sqlite = SqliteArchive::open(&format!("sqlite://{}", file.path().display()))
        .await
        .unwrap();
    rusqlite::Connection::open(file.path())
        .unwrap()
        .execute_batch("DROP TABLE IF EXISTS streamer_archive")
        .unwrap();
    let overview = subject
        .streamer
        .inspect()
        .archive(Arc::new(sqlite))
        .overview()
        .await
        .unwrap();
    assert_eq!((overview.archive, overview.streams.len()), (None, 1));
    assert_eq!(overview.refused.len(), 1, "{:?}", overview.refused);
}

async fn events_for_later_are_counted_with_the_next_one_and_those_that_are_overdue(subject: Subject) {
    let later = async |name: &str, after: Duration| {
        let event = DynamicEvent::new(name, serde_json::json!({}));
        let options = EmitOptions::new().deliver_after(after);
        subject.streamer.emit_with(&event, options).await.unwrap()
    };
    let hour = Duration::from_secs(3600);
    subject.emit("a", 1).await;
    subject.emit("none", 1).await;
    later("a", hour * 2).await;
    let next = later("a", hour).await;
    // It has no entry yet: on Redis its stream is not there. It is found all the same.
    let only = later("only.later", hour).await;
    let inspect = subject.streamer.inspect();
    let overview = inspect.overview().await.unwrap();
    let scheduled = |overview: &Overview, name: &str| overview.stream(name).unwrap().scheduled.unwrap();
    let of_a = scheduled(&overview, "a");
    assert_eq!((of_a.waiting, of_a.overdue, of_a.exact), (2, 0, true));
    assert_eq!((of_a.next_due_ms, of_a.overdue_ms), (Some(next.ms), None));
    let none = scheduled(&overview, "none");
    assert_eq!((none.waiting, none.next_due_ms), (0, None));
    assert_eq!(scheduled(&overview, "only.later").waiting, 1);
    assert_eq!(overview.stream("only.later").unwrap().length, 0);
    assert!(overview.complete);
    assert!(
        overview.missing.is_empty() && overview.refused.is_empty(),
        "{overview:?}"
    );
    assert_eq!((overview.totals.scheduled, overview.totals.overdue), (3, 0));

    // One that was due before the store got it is on its stream at once: on a busy machine that takes long.
    let mut soon = Duration::from_millis(1);
    let due = loop {
        let due = later("a", soon).await;
        if subject.streamer.scheduled("a").count().await.unwrap() == 3 {
            break due;
        }
        soon *= 4;
    };
    let overview = loop {
        let overview = inspect.overview().await.unwrap();
        if overview.totals.overdue > 0 {
            break overview;
        }
    };
    let of_a = scheduled(&overview, "a");
    assert_eq!((of_a.waiting, of_a.overdue), (3, 1));
    assert!(
        of_a.next_due_ms == Some(due.ms) && of_a.overdue_ms.is_some(),
        "{of_a:?}"
    );
    // Nobody listens, so doctor tells; not before it has waited for as long as a consumer may do nothing.
    let overdue = async |stale_after: Duration| {
        let inspect = subject.streamer.inspect().stale_after(stale_after);
        let diagnosis = inspect.diagnose(&Known::default()).await.unwrap();
        let mut found = diagnosis.findings.into_iter();
        found.find(|finding| finding.check == "events_overdue")
    };
    let finding = overdue(Duration::ZERO).await.unwrap();
    assert_eq!(
        (finding.importance, finding.subject.as_str()),
        (Importance::Critical, "stream a")
    );
    assert!(finding.found.starts_with("1 event for later is due"), "{finding:?}");
    assert!(finding.fix.contains("streamer scheduled deliver a"), "{finding:?}");
    assert_eq!(overdue(hour).await, None);
    assert_eq!(subject.streamer.scheduled("a").append_due().await.unwrap(), 1);
    let overview = inspect.overview().await.unwrap();
    let of_a = scheduled(&overview, "a");
    assert_eq!((of_a.waiting, of_a.overdue, of_a.overdue_ms), (2, 0, None));
    assert_eq!(overdue(Duration::ZERO).await, None);
    // What was found for its events alone, and has none any more, is not called missing.
    subject.streamer.scheduled("only.later").cancel(only).await.unwrap();
    let overview = inspect.overview().await.unwrap();
    assert!(
        overview.missing.is_empty() && overview.totals.scheduled == 2,
        "{overview:?}"
    );
}

on_all_stores! {
    events_for_later_are_counted_with_the_next_one_and_those_that_are_overdue
    an_archive_is_counted_and_its_trouble_hides_nothing
    an_overview_tells_who_is_behind_and_what_is_pending_with_whom
    a_consumer_that_did_nothing_for_long_is_stale
    a_lag_that_the_store_does_not_know_is_counted_or_unknown_and_never_zero
    a_trim_ahead_of_a_group_is_told_apart_from_its_lag
    named_streams_are_looked_at_and_what_is_missing_is_told
    an_id_that_is_no_time_has_no_age
    rates_come_from_two_overviews
}
