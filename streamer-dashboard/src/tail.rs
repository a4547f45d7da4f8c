//! Follows streams, once for all viewers of a stream.
//!
//! A stream is asked for new entries at most twice a second, at most 100 at a time, as long as somebody watches it. What a
//! busy stream gets beyond that is skipped, and the browser is told so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;
use streamer::{EntryId, RangeBound, StreamName};
use tokio::sync::broadcast;

use crate::{api::shown_entry, problem::Problem, site::Site};

const PAUSE: Duration = Duration::from_millis(500);
/// A pause is so many times as long as the look before it took.
const SHARE: u32 = 10;
const AT_ONCE: usize = 100;
/// How many streams are followed at once.
const MOST: usize = 20;

/// One message for the browsers: JSON.
pub(crate) type Told = Arc<str>;

/// The streams that are followed, each with those who are told.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<HashMap<StreamName, broadcast::Sender<Told>>>);

/// Tells of the new entries of a stream from now on.
pub(crate) async fn follow(site: &Arc<Site>, stream: StreamName) -> Result<broadcast::Receiver<Told>, Problem> {
    // Before the lock, which is not held while the store answers.
    let last = site.streamer.engine().last_id(&stream).await?;
    let mut tails = site.tails.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sender) = tails.get(&stream) {
        return Ok(sender.subscribe());
    }
    if tails.len() >= MOST {
        return Err(Problem::unavailable(format!(
            "{MOST} streams are followed already; end the live tail of another one"
        )));
    }
    let (sender, receiver) = broadcast::channel(16);
    tails.insert(stream.clone(), sender.clone());
    tokio::spawn(run(Arc::clone(site), stream, last, sender));
    Ok(receiver)
}

async fn run(site: Arc<Site>, stream: StreamName, mut last: EntryId, sender: broadcast::Sender<Told>) {
    loop {
        let began = Instant::now();
        let told = look(&site, &stream, &mut last).await;
        let took = began.elapsed();
        if let Some(told) = told {
            // Nobody hears it when the last viewer has just left.
            let _ = sender.send(told.to_string().into());
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE.max(took * SHARE)) => {}
            () = site.stop.stopped() => {}
        }
        let mut tails = site.tails.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever comes after this finds no sender, and begins to follow.
        if sender.receiver_count() == 0 || site.stop.is_stopped() {
            tails.remove(&stream);
            return;
        }
    }
}

async fn look(site: &Site, stream: &StreamName, last: &mut EntryId) -> Option<serde_json::Value> {
    let engine = site.streamer.engine();
    let from = RangeBound::Exclusive(*last);
    let entries = match engine
        .range(stream, from, RangeBound::Unbounded, Some(AT_ONCE), false)
        .await
    {
        Ok(entries) => entries,
        Err(error) => return Some(json!({"error": error.to_string()})),
    };
    *last = entries.last()?.id;
    let mut skipped = false;
    if entries.len() == AT_ONCE
        && let Ok(newest) = engine.last_id(stream).await
    {
        skipped = newest > *last;
        *last = newest.max(*last);
    }
    let entries = entries.into_iter().map(|entry| shown_entry(stream, entry));
    Some(json!({"entries": entries.collect::<Vec<_>>(), "skipped": skipped}))
}
