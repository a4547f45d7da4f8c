//! Code of the application panics outside of a listener.

use std::{sync::Arc, time::Duration};

use streamer::{
    AfterSuccess, EntryId, Listeners, Listening, OrderKey, ReceivedMessage, Report, RetryPolicy, StreamName, Workers,
    archive::{ArchiveResult, ArchiveStorage, ArchivedMessage, Stored},
    async_trait,
};

use crate::{Running, Seen, all_there, emit, on_each_engine, store::Store, until};

on_each_engine!(
    a_panic_while_reporting_ends_with_an_error_and_others_get_the_rest,
    a_panic_while_judging_an_error_ends_with_an_error_and_others_get_the_rest,
    a_panic_while_choosing_a_key_ends_with_an_error_and_others_get_the_rest,
    a_panic_of_the_archive_ends_with_an_error_and_others_get_the_rest,
);

const MESSAGES: u64 = 200;
const AN_HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

/// Listens in a way that panics. That must be an error that gives the panic's words, and everything that was not handled
/// can be claimed at once, however long the reclaim time.
async fn panic_leaves_the_rest(store: &Store, more: Listeners<Seen>, listen: impl FnOnce(Listening) -> Listening) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let first = Seen::default();
    let mut listeners = first.listener("e");
    listeners.add_many(more);
    let listening = streamer.listen(listeners).group("g").reclaim(AN_HOUR);
    let error = tokio::time::timeout(crate::store::patience(), listen(listening).run())
        .await
        .expect("it ends")
        .expect_err("it ends with an error");
    assert!(error.to_string().contains("boom"), "{error}");

    let second = Seen::default();
    let listening = store.connect().await.listen(second.listener("e")).group("g");
    let running = Running::start(listening.reclaim(AN_HOUR));
    until("another consumer handles the rest", async || {
        all_there([first.numbers(), second.numbers()].concat(), 0..MESSAGES) && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
}

fn none() -> Listeners<Seen> {
    Listeners::with_state(Seen::default())
}

async fn a_panic_while_reporting_ends_with_an_error_and_others_get_the_rest(store: Store) {
    let listen = |listening: Listening| {
        listening.on_report(|report| assert!(!matches!(report, Report::Processed { .. }), "boom"))
    };
    panic_leaves_the_rest(&store, none(), listen).await;
}

async fn a_panic_while_judging_an_error_ends_with_an_error_and_others_get_the_rest(store: Store) {
    async fn fails() -> Result<(), &'static str> {
        Err("no")
    }
    let policy = RetryPolicy::fixed(3, Duration::from_millis(10)).permanent_if(|_| panic!("boom"));
    let listeners = none().on("e", "fails", fails).retry(&policy);
    panic_leaves_the_rest(&store, listeners, |listening| listening).await;
}

async fn a_panic_while_choosing_a_key_ends_with_an_error_and_others_get_the_rest(store: Store) {
    let key = OrderKey::new(|message: &ReceivedMessage| match crate::number(message) {
        20 => panic!("boom"),
        number => number,
    });
    let listen = |listening: Listening| listening.workers(Workers::PerKey(4, key));
    panic_leaves_the_rest(&store, none(), listen).await;
}

/// An archive with a bug.
#[derive(Debug)]
struct Broken;

#[async_trait]
impl ArchiveStorage for Broken {
    fn location(&self) -> &str {
        "broken:"
    }

    async fn create(&self, _: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        panic!("boom")
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

async fn a_panic_of_the_archive_ends_with_an_error_and_others_get_the_rest(store: Store) {
    let listen = |listening: Listening| listening.after_success(AfterSuccess::archive(Arc::new(Broken)));
    panic_leaves_the_rest(&store, none(), listen).await;
}
