//! The failed list: read in pages, retried, flushed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use serde_json::Value;
use streamer::{
    EntryId, ListenerError, Listeners, NewId, ReceivedMessage, Streamer,
    archive::{ArchiveStorage, ArchivedMessage, MemoryArchive},
    engine::{Append, AppendOptions, Engine, FailingGroups, FailingListener, FailureRecord},
    extract::State,
    failed::{self, FailedFilter, FailedMessage, Listed, RetryReport, RetrySummary},
};

use crate::{emit, on_each_engine, store::Store};

on_each_engine!(
    what_php_listed_is_read_retried_and_flushed,
    a_failure_is_found_by_its_stream_its_listener_and_its_id,
    a_member_that_cannot_be_read_is_reported_and_stays,
    a_retry_that_fails_again_in_the_same_second_with_the_same_error_stays_listed,
    a_listener_that_panics_stays_listed_and_holds_up_no_other,
    a_stream_that_is_none_holds_up_no_other_failure,
    what_is_gone_or_has_no_listener_here_is_reported_and_kept,
    a_message_that_left_its_stream_is_looked_for_in_the_archive,
    a_message_is_purged_with_its_last_failure_only,
    a_message_is_archived_with_its_last_failure,
    what_could_not_be_decoded_is_retried_from_what_is_kept_beside_it,
    a_failure_tells_its_group_also_where_its_message_was_acknowledged,
    a_listener_that_fails_in_two_groups_has_failures_that_tell_which,
);

/// Everything that is listed.
pub(crate) async fn list(streamer: &Streamer, filter: FailedFilter) -> Vec<Listed> {
    let mut listing = streamer.failed().list(filter).with_details();
    let mut all = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        all.extend(page);
    }
    all.sort_by(|one, other| one.member.cmp(&other.member));
    all
}

async fn fail(streamer: &Streamer, id: EntryId, stream: &str, receiver: &str, error: &str) -> Bytes {
    let failure = FailedMessage::new(id, &stream.into(), receiver, error);
    failed::record(streamer.engine().as_ref(), std::slice::from_ref(&failure))
        .await
        .unwrap();
    failure.to_member()
}

/// Retries everything, and gives what was told.
async fn retry(streamer: &Streamer, listeners: Listeners) -> (RetrySummary, Vec<String>) {
    told(streamer.failed().retry(FailedFilter::all(), listeners)).await
}

async fn told(retry: failed::Retry) -> (RetrySummary, Vec<String>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let retry = retry.on_report(move |report| {
        if !matches!(report, RetryReport::Progress { .. }) {
            telling.lock().unwrap().push(report.to_string());
        }
    });
    let summary = retry.run().await.unwrap();
    let mut told = told.lock().unwrap().clone();
    told.sort();
    (summary, told)
}

/// Lists members as they are, as another writer may.
async fn list_members(engine: &dyn Engine, members: &[Bytes]) {
    let record = |member: &Bytes| FailureRecord {
        member: member.clone(),
        details: None,
    };
    let records: Vec<_> = members.iter().map(record).collect();
    engine.add_failures(&records).await.unwrap();
}

async fn works() {}

async fn refuses() -> Result<(), &'static str> {
    Err("no paper")
}

async fn what_php_listed_is_read_retried_and_flushed(store: Store) {
    let streamer = store.connect().await;
    let engine = streamer.engine();
    let records: Vec<Value> = serde_json::from_str(include_str!("../golden/failed.json")).unwrap();
    let member = |record: &Value| -> Bytes {
        let foreign = record["input"]["member"].as_str();
        let member = foreign.or_else(|| record["members"][0].as_str());
        member.unwrap().to_owned().into()
    };
    let mut members = records.iter().map(member).collect::<Vec<_>>();
    members.sort();
    members.dedup();
    list_members(engine.as_ref(), &members).await;

    let listed = list(&streamer, FailedFilter::all()).await;
    assert_eq!(listed.iter().map(|one| one.member.clone()).collect::<Vec<_>>(), members);
    let failures = listed.into_iter().map(|one| one.record.unwrap()).collect::<Vec<_>>();

    // Without the listeners nothing is changed, to the byte.
    let (summary, _) = retry(&streamer, Listeners::new()).await;
    assert_eq!(summary.skipped, members.len() as u64);
    let (_, mut after) = engine.page_of_failures(0, 1_000).await.unwrap();
    after.sort();
    assert_eq!(after, members);

    let mut messages = failures
        .iter()
        .map(|failed| (failed.id.parse::<EntryId>().unwrap(), failed.stream.clone()))
        .collect::<Vec<_>>();
    messages.sort();
    messages.dedup();
    for (id, stream) in messages {
        let append = Append {
            stream: stream.into(),
            id: NewId::Explicit(id),
            fields: vec![("data".into(), "{}".into())],
            options: AppendOptions::default(),
        };
        engine.append(append).await.unwrap();
    }
    // A listener that failed in several ways is registered once.
    let mut named = failures
        .iter()
        .map(|failed| (&*failed.stream, &*failed.receiver))
        .collect::<Vec<(&str, &str)>>();
    named.sort_unstable();
    named.dedup();
    let listeners = |refuse: bool| {
        named
            .iter()
            .fold(Listeners::new(), |listeners, (stream, receiver)| match refuse {
                true => listeners.on(*stream, *receiver, refuses),
                false => listeners.on(*stream, *receiver, works),
            })
    };
    let (summary, _) = retry(&streamer, listeners(true)).await;
    assert_eq!(summary.failed_again, members.len() as u64);
    // Failures of one listener that had failed in several ways are one and the same now.
    for listed in list(&streamer, FailedFilter::all()).await {
        let failed = listed.record.unwrap();
        assert_eq!((&*failed.error, failed.to_member()), ("no paper", listed.member));
        assert_eq!(listed.details.attempts, 2);
    }
    let (summary, told) = retry(&streamer, listeners(false)).await;
    assert_eq!((summary.failed_again, summary.skipped), (0, 0));
    let line = "Successfully retried [1-1] on foo.bar stream by [OkReceiver] listener".to_owned();
    assert!(told.contains(&line), "{told:?}");
    assert_eq!(streamer.failed().count().await.unwrap(), 0);

    list_members(engine.as_ref(), &members).await;
    let removed = streamer.failed().flush(FailedFilter::all()).await.unwrap();
    assert_eq!(removed, members.len() as u64);
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
    assert!(engine.len(&"foo.bar".into()).await.unwrap() > 0, "messages stay");
}

async fn a_failure_is_found_by_its_stream_its_listener_and_its_id(store: Store) {
    let streamer = store.connect().await;
    for (ms, stream, receiver) in [(1, "a", "x"), (1, "a", "y"), (1, "b", "x"), (2, "a", "x")] {
        fail(&streamer, EntryId::new(ms, 0), stream, receiver, "e").await;
    }
    let all = FailedFilter::all;
    for (filter, count) in [
        (all(), 4),
        (all().id("1-0"), 3),
        (all().stream("a"), 3),
        (all().receiver("y"), 1),
        (all().id("1-0").stream("a").receiver("x"), 1),
        (all().id("3-0"), 0),
    ] {
        assert_eq!(list(&streamer, filter.clone()).await.len(), count, "{filter:?}");
    }
    let flushed = streamer.failed().flush(all().id("1-0").stream("a")).await.unwrap();
    assert_eq!((flushed, streamer.failed().count().await.unwrap()), (2, 2));
    let (summary, _) = told(
        streamer
            .failed()
            .retry(all().stream("b"), Listeners::new().on("a", "x", works)),
    )
    .await;
    assert_eq!((summary.retried, summary.skipped), (0, 1));
}

async fn a_member_that_cannot_be_read_is_reported_and_stays(store: Store) {
    let streamer = store.connect().await;
    let id = emit(&streamer, "e", 0..1).await[0];
    fail(&streamer, id, "e", "x", "e").await;
    let odd = [Bytes::from("no json"), Bytes::from_static(b"\xff")];
    list_members(streamer.engine().as_ref(), &odd).await;
    let listed = list(&streamer, FailedFilter::all()).await;
    assert_eq!(listed.iter().filter(|one| one.record.is_err()).count(), 2);
    let (summary, told) = retry(&streamer, Listeners::new().on("e", "x", works)).await;
    assert_eq!((summary.retried, summary.skipped), (1, 2));
    assert!(told.iter().any(|line| line.contains("'no json'")), "{told:?}");
    assert_eq!(streamer.failed().count().await.unwrap(), 2);
    // Flushing all is the way out.
    assert_eq!(streamer.failed().flush(FailedFilter::all()).await.unwrap(), 2);
}

async fn a_retry_that_fails_again_in_the_same_second_with_the_same_error_stays_listed(store: Store) {
    let streamer = store.connect().await;
    let id = emit(&streamer, "e", 0..1).await[0];
    // Until both fall into one second, which is the case to be seen.
    loop {
        streamer.failed().flush(FailedFilter::all()).await.unwrap();
        let before = fail(&streamer, id, "e", "x", "no paper").await;
        let (summary, told) = retry(&streamer, Listeners::new().on("e", "x", refuses)).await;
        assert_eq!(summary.failed_again, 1);
        assert_eq!(
            told,
            [format!(
                "Failed to retry [{id}] on e stream by [x] listener. Error: no paper"
            )]
        );
        let listed = list(&streamer, FailedFilter::all()).await;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].details.attempts, 2);
        if listed[0].member == before {
            break;
        }
    }
    let (summary, _) = retry(&streamer, Listeners::new().on("e", "x", works)).await;
    assert_eq!((summary.retried, streamer.failed().count().await.unwrap()), (1, 0));
}

async fn a_listener_that_panics_stays_listed_and_holds_up_no_other(store: Store) {
    async fn panics(message: ReceivedMessage) {
        if crate::number(&message) == 1 {
            std::panic::panic_any(7);
        }
    }
    let streamer = store.connect().await;
    let listeners = || Listeners::new().on("e", "x", panics);
    let ids = emit(&streamer, "e", 0..3).await;
    for id in &ids {
        fail(&streamer, *id, "e", "x", "e").await;
    }
    let (summary, _) = retry(&streamer, listeners()).await;
    assert_eq!((summary.retried, summary.failed_again), (2, 1));
    let listed = list(&streamer, FailedFilter::all()).await;
    let failed = listed[0].record.as_ref().unwrap();
    assert_eq!((listed.len(), &failed.id), (1, &ids[1].to_string()));
    assert_eq!(failed.error, "panicked: with a value that is no text");
    assert!(listed[0].details.first_failure.is_some());
}

async fn a_stream_that_is_none_holds_up_no_other_failure(store: Store) {
    let streamer = store.connect().await;
    let id = emit(&streamer, "e", 0..1).await[0];
    // The key of a set.
    streamer.engine().add_handled(&"odd".into(), None, &[id]).await.unwrap();
    let odd = "{odd}:handled";
    fail(&streamer, id, odd, "x", "e").await;
    fail(&streamer, id, "e", "x", "e").await;
    let listeners = Listeners::new().on(odd, "x", works).on("e", "x", works);
    let (summary, told) = retry(&streamer, listeners).await;
    assert_eq!((summary.retried, summary.skipped), (1, 1), "{told:?}");
    assert_eq!(streamer.failed().count().await.unwrap(), 1);
}

async fn what_is_gone_or_has_no_listener_here_is_reported_and_kept(store: Store) {
    let streamer = store.connect().await;
    let ids = emit(&streamer, "e", 0..2).await;
    streamer.engine().delete(&"e".into(), &[ids[0]]).await.unwrap();
    fail(&streamer, ids[0], "e", "x", "e").await;
    fail(&streamer, ids[1], "e", "elsewhere", "e").await;
    let (summary, told) = retry(&streamer, Listeners::new().on("e", "x", works)).await;
    assert_eq!(summary.skipped, 2);
    let skipped =
        |id: EntryId, receiver: &str, why: &str| format!("Skipped [{id}] on e stream by [{receiver}] listener: {why}");
    assert_eq!(
        told,
        [
            skipped(
                ids[0],
                "x",
                "the message is no longer there; forget the failure, or restore the message"
            ),
            skipped(
                ids[1],
                "elsewhere",
                "this program has no such listener; retry it where the listener is, or forget the failure"
            ),
        ]
    );
    assert_eq!(streamer.failed().count().await.unwrap(), 2);
    let forgotten = FailedFilter::all().id(ids[1].to_string());
    assert_eq!(streamer.failed().flush(forgotten).await.unwrap(), 1);
    assert_eq!(streamer.failed().count().await.unwrap(), 1);
}

async fn a_message_that_left_its_stream_is_looked_for_in_the_archive(store: Store) {
    let streamer = store.connect().await;
    let id = emit(&streamer, "e", 7..8).await[0];
    let entry = streamer
        .engine()
        .range(&"e".into(), Default::default(), Default::default(), None, false)
        .await
        .unwrap()
        .remove(0);
    streamer.engine().delete(&"e".into(), &[id]).await.unwrap();
    fail(&streamer, id, "e", "note", "e").await;
    let shelf = Arc::new(MemoryArchive::default());
    let message = ArchivedMessage {
        stream: "e".into(),
        id,
        original_ids: Vec::new(),
        fields: entry.fields,
    };
    shelf.create(&[message]).await.unwrap();
    let seen = crate::Seen::default();
    let retry = streamer.failed().retry(FailedFilter::all(), seen.listener("e"));
    let (summary, _) = told(retry.archive(shelf).purge_after()).await;
    assert_eq!((summary.retried, summary.purged), (1, 0));
    assert_eq!((seen.ids(), seen.numbers()), (vec![id], vec![7]));
}

async fn a_message_is_purged_with_its_last_failure_only(store: Store) {
    let streamer = store.connect().await;
    let ids = emit(&streamer, "e", 0..2).await;
    for (id, receiver) in [(ids[0], "x"), (ids[0], "y"), (ids[1], "x")] {
        fail(&streamer, id, "e", receiver, "e").await;
    }
    let listeners = Listeners::new().on("e", "x", works).on("e", "y", refuses);
    let (summary, told_) = told(streamer.failed().retry(FailedFilter::all(), listeners).purge_after()).await;
    assert_eq!((summary.retried, summary.failed_again, summary.purged), (2, 1, 1));
    let line = format!("Message [{}] has been purged from the 'e' stream.", ids[1]);
    assert!(told_.contains(&line), "{told_:?}");
    assert_eq!(streamer.engine().len(&"e".into()).await.unwrap(), 1);

    let listeners = Listeners::new().on("e", "y", works);
    let (summary, _) = told(streamer.failed().retry(FailedFilter::all(), listeners).purge_after()).await;
    assert_eq!((summary.retried, summary.purged), (1, 1));
    assert_eq!(streamer.engine().len(&"e".into()).await.unwrap(), 0);
}

async fn a_message_is_archived_with_its_last_failure(store: Store) {
    let streamer = store.connect().await;
    let id = emit(&streamer, "e", 0..1).await[0];
    fail(&streamer, id, "e", "x", "e").await;
    let retry = || {
        let listeners = Listeners::new().on("e", "x", works);
        streamer.failed().retry(FailedFilter::all(), listeners).archive_after()
    };
    let refused = retry().run().await.unwrap_err();
    assert_eq!(refused.kind(), streamer::engine::EngineErrorKind::InvalidInput);
    let shelf = Arc::new(MemoryArchive::default());
    let (summary, told) = told(retry().archive(shelf.clone())).await;
    assert_eq!((summary.retried, summary.archived, summary.purged), (1, 1, 0));
    assert!(told.contains(&format!("Message [{id}] has been archived from the 'e' stream.")));
    assert!(shelf.find(&"e".into(), id).await.unwrap().is_some());
    assert_eq!(streamer.engine().len(&"e".into()).await.unwrap(), 0);
}

async fn what_could_not_be_decoded_is_retried_from_what_is_kept_beside_it(store: Store) {
    async fn raw(message: ReceivedMessage, State(calls): State<Arc<AtomicUsize>>) -> Result<(), ListenerError> {
        assert_eq!(message.field("data").unwrap(), "{\"n\":");
        calls.fetch_add(1, Ordering::SeqCst);
        Err(ListenerError::new("still no JSON"))
    }
    let streamer = store.connect().await;
    let engine = streamer.engine().as_ref();
    let id = emit(&streamer, "other", 0..1).await[0];
    let failure = FailedMessage::new(id, &"e".into(), "raw", "no JSON");
    let fields = vec![("data".into(), "{\"n\":".into())];
    failed::record_undecodable(engine, &[failure], &fields).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let listeners = Listeners::with_state(Arc::clone(&calls)).on("e", "raw", raw);
    let (summary, _) = retry(&streamer, listeners.without_state()).await;
    // A listener that does not decode never sees it; the failure stays with its fields.
    assert_eq!((summary.failed_again, calls.load(Ordering::SeqCst)), (1, 0));
    let listed = list(&streamer, FailedFilter::all()).await;
    assert_eq!((listed.len(), &listed[0].details.fields), (1, &fields));
    assert_eq!(listed[0].details.attempts, 2);
}

async fn a_failure_tells_its_group_also_where_its_message_was_acknowledged(store: Store) {
    let streamer = store.connect().await;
    let engine = streamer.engine();
    emit(&streamer, "e", 0..20).await;
    for group in ["mail", "sh\"op/1"] {
        let listening = streamer.listen(Listeners::new().on("e", group, refuses)).group(group);
        let listening = listening.listen_timeout(std::time::Duration::from_millis(200));
        assert_eq!(listening.run().await.unwrap().failed, 20);
    }
    let listed = list(&streamer, FailedFilter::all()).await;
    assert_eq!(listed.len(), 40);
    for one in &listed {
        let receiver = &one.record.as_ref().unwrap().receiver;
        assert_eq!(
            one.details.group.as_ref(),
            Some(receiver),
            "the listener has the name of its group"
        );
        assert_eq!(one.details.all_groups().collect::<Vec<_>>(), [receiver]);
        assert_eq!((one.details.attempts, &one.details.first_failure), (1, &None));
        assert_eq!(one.details.groups, [""; 0], "it is not pending");
    }
    // It is kept once for each listener.
    assert_eq!(engine.count_details().await.unwrap(), 0);
    // A retry that fails again knows it, too.
    retry(&streamer, Listeners::new().on("e", "mail", refuses)).await;
    let again = list(&streamer, FailedFilter::all().receiver("mail")).await;
    assert_eq!(again.len(), 20);
    for one in &again {
        assert_eq!(one.details.group.as_deref(), Some("mail"));
        assert_eq!(one.details.attempts, 2);
    }
    // What is removed leaves nothing.
    let (summary, _) = retry(&streamer, Listeners::new().on("e", "mail", works)).await;
    assert_eq!(summary.retried, 20);
    assert_eq!(engine.count_details().await.unwrap(), 0);
    assert_eq!(streamer.failed().flush(FailedFilter::all()).await.unwrap(), 20);
    assert_eq!(engine.failing_groups().await.unwrap(), FailingGroups::default());
}

async fn a_listener_that_fails_in_two_groups_has_failures_that_tell_which(store: Store) {
    let streamer = store.connect().await;
    let engine = streamer.engine();
    emit(&streamer, "e", 0..20).await;
    // One after the other: the same error in the same second is one record, and names one group.
    for (group, error) in [("one", "no ink"), ("two", "no paper"), ("three", "no glue")] {
        let refuses = move |_: ReceivedMessage| async move { Err::<(), _>(error) };
        let listening = streamer.listen(Listeners::new().on("e", "print", refuses)).group(group);
        let listening = listening.listen_timeout(std::time::Duration::from_millis(200));
        assert_eq!(listening.run().await.unwrap().failed, 20);
    }
    let listed = list(&streamer, FailedFilter::all()).await;
    assert_eq!(listed.len(), 60);
    for one in &listed {
        let group = match one.record.as_ref().unwrap().error.as_str() {
            "no ink" => "one",
            "no paper" => "two",
            _ => "three",
        };
        assert_eq!(one.details.group.as_deref(), Some(group));
    }
    assert_eq!(engine.count_details().await.unwrap(), 40);
    let of = FailingListener {
        stream: "e",
        receiver: "print",
    };
    assert_eq!(engine.failing_groups().await.unwrap().of(of), Some("one"));
    let one = listed[0].record.as_ref().unwrap();
    let details = failed::details(engine.as_ref(), one).await.unwrap().unwrap();
    assert_eq!(details, listed[0].details);
    // What PHP empties leaves nothing either, once somebody looks.
    assert_eq!(streamer.failed().flush(FailedFilter::all()).await.unwrap(), 60);
    assert_eq!(engine.failing_groups().await.unwrap(), FailingGroups::default());
}
