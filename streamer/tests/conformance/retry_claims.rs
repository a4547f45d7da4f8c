//! Claims of retriers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use streamer::{EntryId, StreamName, engine::Engine};

const LONG: Duration = Duration::from_secs(600);

pub(crate) async fn one_owner_at_a_time_has_a_claim_and_may_renew_it(engine: Arc<dyn Engine>) {
    let stream = StreamName::from("retry.claims");
    let id = EntryId::new(1, 0);
    assert!(engine.claim_retry(&stream, id, "one", LONG).await.unwrap());
    assert!(engine.claim_retry(&stream, id, "one", LONG).await.unwrap());
    assert!(!engine.claim_retry(&stream, id, "two", LONG).await.unwrap());
    // Another message, and another stream's with the same ID, are free.
    assert!(
        engine
            .claim_retry(&stream, EntryId::new(1, 1), "two", LONG)
            .await
            .unwrap()
    );
    assert!(
        engine
            .claim_retry(&"retry.claims.2".into(), id, "two", LONG)
            .await
            .unwrap()
    );
    // Only the owner gives it up.
    engine.release_retry(&stream, id, "two").await.unwrap();
    assert!(!engine.claim_retry(&stream, id, "two", LONG).await.unwrap());
    engine.release_retry(&stream, id, "one").await.unwrap();
    engine.release_retry(&stream, id, "one").await.unwrap();
    assert!(engine.claim_retry(&stream, id, "two", LONG).await.unwrap());
}

pub(crate) async fn a_claim_that_is_not_renewed_ends_by_itself(engine: Arc<dyn Engine>) {
    let stream = StreamName::from("retry.claims.end");
    let id = EntryId::new(1, 0);
    assert!(
        engine
            .claim_retry(&stream, id, "dead", Duration::from_millis(50))
            .await
            .unwrap()
    );
    while !engine.claim_retry(&stream, id, "heir", LONG).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!engine.claim_retry(&stream, id, "dead", LONG).await.unwrap());
}

pub(crate) async fn of_many_that_claim_at_once_one_gets_it(engine: Arc<dyn Engine>) {
    let stream = StreamName::from("retry.claims.race");
    let claims = (0..20).map(|owner| {
        let (engine, stream) = (engine.clone(), stream.clone());
        tokio::spawn(async move {
            engine
                .claim_retry(&stream, EntryId::new(1, 0), &owner.to_string(), LONG)
                .await
                .unwrap()
        })
    });
    let mut claimed = 0;
    for claim in claims.collect::<Vec<_>>() {
        claimed += usize::from(claim.await.unwrap());
    }
    assert_eq!(claimed, 1);
}

pub(crate) async fn a_member_of_the_failed_list_is_found(engine: Arc<dyn Engine>) {
    let failed = streamer::failed::FailedMessage::new(EntryId::new(1, 0), &"retry.listed".into(), "r", "e");
    let member = failed.to_member();
    assert!(!engine.is_listed(&member).await.unwrap());
    streamer::failed::record(engine.as_ref(), std::slice::from_ref(&failed))
        .await
        .unwrap();
    assert!(engine.is_listed(&member).await.unwrap());
    assert!(!engine.is_listed(&Bytes::from_static(b"other")).await.unwrap());
    streamer::failed::forget(engine.as_ref(), std::slice::from_ref(&member))
        .await
        .unwrap();
    assert!(!engine.is_listed(&member).await.unwrap());
}
