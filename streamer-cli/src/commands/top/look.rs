//! What a page of `top` needs from the store: bounded, however large the store is.

use std::sync::Arc;

use streamer::{
    EntryId, StreamName,
    archive::ArchiveStorage,
    engine::{PendingEntry, PendingFilter},
    failed::{FailedFilter, FailedMessage},
    inspect::Overview,
};

use super::{super::show, Looker};

/// How many pending messages of a group are shown, the oldest first.
const PENDING: usize = 200;

/// How many failures are shown.
const FAILURES: usize = 500;

pub(super) type Archive = Option<Arc<dyn ArchiveStorage>>;

/// What a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Overview,
    /// What is pending in a group.
    Group {
        stream: String,
        group: String,
    },
    Failures,
    /// One message and its life.
    Message {
        stream: String,
        id: EntryId,
    },
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    Overview(Box<Overview>),
    Group(Vec<PendingEntry>),
    Failures(Failures),
    Message(Vec<show::Line>),
}

/// The newest failures of what was looked at, newest first.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) listed: u64,
    /// Of a long list only a part is looked at.
    pub(super) looked_at: u64,
    pub(super) shown: Vec<FailedMessage>,
}

impl Looker {
    pub(super) async fn look(&self, wanted: &Wanted) -> Result<Found, String> {
        let found = match wanted {
            Wanted::Overview => {
                let inspect = self.streamer.inspect().stale_after(self.stale_after);
                let overview = inspect.also(self.events.iter().cloned()).overview().await;
                overview.map(|overview| Found::Overview(Box::new(overview)))
            }
            Wanted::Group { stream, group } => {
                let filter = PendingFilter {
                    count: PENDING,
                    ..PendingFilter::default()
                };
                let stream = StreamName::from(stream);
                let pending = self.streamer.engine().pending(&stream, group, filter).await;
                pending.map(Found::Group)
            }
            Wanted::Failures => self.failures().await.map(Found::Failures),
            Wanted::Message { stream, id } => {
                let stream = StreamName::from(stream);
                let inspect = self.streamer.inspect();
                let life = inspect.message(&stream, *id, self.archive.as_deref()).await;
                life.map(|life| Found::Message(show::lines(&life, false, self.archive.is_some())))
            }
        };
        found.map_err(|error| error.to_string())
    }

    async fn failures(&self) -> streamer::engine::EngineResult<Failures> {
        let failed = self.streamer.failed();
        let listed = failed.count().await?;
        let page = failed.newest(FailedFilter::all()).limit(FAILURES).page(|_| {}).await?;
        let readable = page.failures.into_iter().filter_map(|listed| listed.record.ok());
        Ok(Failures {
            listed,
            looked_at: page.looked_at,
            shown: readable.collect(),
        })
    }
}
