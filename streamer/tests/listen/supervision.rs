//! A panic outside of a listener ends the listening, with an error that names where, and keeps nothing from others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use streamer::{
    AfterSuccess, EntryId, ListenError, Listener, ListenerContext, ListenerError, Listeners, Listening, OrderKey,
    ReceivedMessage, Report, RetryPolicy, StreamName, Streamer, Workers,
    archive::{ArchiveResult, ArchiveStorage, ArchivedMessage, Stored},
    async_trait,
    failed::FailedFilter,
};

use crate::{Seen, emit, failed_list::list, number, on_each_engine, store::Store};

on_each_engine!(
    a_panic_of_what_is_told_ends_the_listening,
    a_panic_of_a_retry_policy_ends_the_listening,
    a_panic_of_a_key_ends_the_listening,
    a_panic_of_an_archive_ends_the_listening,
    a_listener_that_panics_before_it_is_awaited_has_failed,
);

const MESSAGES: u64 = 20;

/// An hour: nobody could claim anything of a process that only died.
const RECLAIM: Option<Duration> = Some(Duration::from_secs(3_600));

/// Runs a listening that panics, which names `culprit`, and returns what another consumer gets afterwards.
async fn rest_after(streamer: &Streamer, listening: Listening, culprit: &str) -> Vec<u64> {
    let running = listening.group("g").reclaim(RECLAIM).run();
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
    let error = ended.expect("it ends").unwrap_err();
    assert!(matches!(error, ListenError::Stage { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(culprit) && text.contains("panicked: boom"), "{text}");
    rest(streamer).await
}

/// What another consumer gets without waiting.
async fn rest(streamer: &Streamer) -> Vec<u64> {
    let seen = Seen::default();
    let successor = streamer.listen(seen.listener("e")).group("g").reclaim(RECLAIM);
    successor
        .listen_timeout(Duration::from_millis(100))
        .run()
        .await
        .unwrap();
    let mut numbers = seen.numbers();
    numbers.sort_unstable();
    numbers
}

async fn a_panic_of_what_is_told_ends_the_listening(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let seen = Seen::default();
    let told = AtomicBool::new(false);
    let listening = streamer.listen(seen.listener("e")).on_report(move |report| {
        if matches!(report, Report::Processed { message, .. } if number(message) == 3) {
            assert!(!told.swap(true, Ordering::SeqCst), "told again after a panic");
            panic!("boom");
        }
    });
    let rest = rest_after(&streamer, listening, "on_report").await;
    let mut all = [seen.numbers(), rest].concat();
    all.sort_unstable();
    assert!(
        all.into_iter().eq(0..MESSAGES),
        "each once: what was handled is settled, the rest goes to another"
    );
}

async fn a_panic_of_a_retry_policy_ends_the_listening(store: Store) {
    async fn third_fails(message: ReceivedMessage) -> Result<(), &'static str> {
        if number(&message) == 3 { Err("no") } else { Ok(()) }
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let policy = RetryPolicy::fixed(3, Duration::ZERO).permanent_if(|_| panic!("boom"));
    let listeners = Listeners::new().on("e", "third_fails", third_fails).retry(&policy);
    let rest = rest_after(&streamer, streamer.listen(listeners), "permanent_if").await;
    assert!(
        rest.into_iter().eq(3..MESSAGES),
        "what was handled before is settled, and nothing else"
    );
    assert_eq!(list(&streamer, FailedFilter::all()).await, []);
}

async fn a_panic_of_a_key_ends_the_listening(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let seen = Seen::default();
    let key = OrderKey::new(|message| {
        let number = number(message);
        assert!(number != 3, "boom");
        number
    });
    let listening = streamer
        .listen(seen.listener("e"))
        .workers(Workers::PerKey(4, key))
        .batch(1);
    let rest = rest_after(&streamer, listening, "Key").await;
    let mut all = [seen.numbers(), rest.clone()].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..MESSAGES), "each once");
    assert!(rest.contains(&3));
}

/// An archive that breaks.
#[derive(Debug)]
struct Broken;

#[async_trait]
impl ArchiveStorage for Broken {
    fn location(&self) -> &str {
        "broken"
    }
    async fn create(&self, _: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        panic!("boom");
    }
    async fn find(&self, _: &StreamName, _: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        Ok(None)
    }
    async fn page(
        &self,
        _: Option<&StreamName>,
        _: Option<(&StreamName, EntryId)>,
        _: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: &StreamName, _: EntryId) -> ArchiveResult<bool> {
        Ok(false)
    }
    async fn delete_stream(&self, _: &StreamName) -> ArchiveResult<u64> {
        Ok(0)
    }
}

async fn a_panic_of_an_archive_ends_the_listening(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e"));
    let listening = listening.after_success(AfterSuccess::archive(Arc::new(Broken)));
    let rest = rest_after(&streamer, listening, "ArchiveStorage").await;
    assert!(rest.into_iter().eq(0..MESSAGES), "nothing was acknowledged");
}

/// Its methods panic where no future of theirs is being polled.
#[derive(Clone, Copy)]
enum Hasty {
    Decodes,
    Handle,
}

impl Listener for Hasty {
    fn handle<'a: 'r, 'b: 'r, 'c: 'r, 'r>(
        &'a self,
        _: &'b ReceivedMessage,
        _: &'c ListenerContext,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), ListenerError>> + Send + 'r>> {
        panic!("boom");
    }

    fn decodes(&self) -> bool {
        match self {
            Self::Decodes => panic!("boom"),
            Self::Handle => true,
        }
    }
}

async fn a_listener_that_panics_before_it_is_awaited_has_failed(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let mut listeners = Listeners::new();
    listeners.add_listener("e", "decodes", Hasty::Decodes, None);
    listeners.add_listener("e", "handle", Hasty::Handle, None);
    let listening = streamer.listen(listeners).group("g");
    let running = listening.listen_timeout(Duration::from_millis(100)).run();
    let summary = tokio::time::timeout(Duration::from_secs(60), running).await;
    assert_eq!(summary.expect("it ends").unwrap().failed, 2);
    let failures = list(&streamer, FailedFilter::all()).await;
    assert_eq!(failures.len(), 2);
    for failure in failures {
        assert_eq!(failure.record.unwrap().error, "panicked: boom");
    }
}
