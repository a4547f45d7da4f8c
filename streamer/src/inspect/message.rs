//! The life of one message.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::{
    Inspect, Refused, age_ms, ms,
    overview::{Names, refused},
};
use crate::{
    archive::{ArchiveResult, ArchiveStorage, ArchivedMessage},
    engine::{EngineResult, ScheduledEntry, StreamState},
    entry::{Entry, EntryId, RangeBound, StreamName},
    failed::FailedFilter,
    message::{CAUSATION_ID, ReceivedMessage},
};

/// How many members of the failed list are looked at.
const FAILURES: u64 = 1_000_000;
/// How many streams are searched for what a message caused.
const STREAMS: usize = 100;
/// How many entries of each.
const ENTRIES: usize = 500;
/// How many of these streams are read at once.
const AT_ONCE: usize = 8;

/// Everything that the store knows about one message.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Life {
    /// The stream; what is not UTF-8 is U+FFFD.
    pub stream: String,
    /// The ID that was asked for.
    pub id: EntryId,
    /// The message; `None` when its entry is not on the stream.
    pub message: Option<ReceivedMessage>,
    /// The event, where it was emitted for later and this is the ID under which it waits until it is due.
    pub scheduled: Option<ReceivedMessage>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// How old it is by its ID, in milliseconds; `None` where the ID is no time.
    pub age_ms: Option<u64>,
    /// What each group of the stream did with it, by name.
    pub groups: Vec<GroupView>,
    /// Its failures, one for each listener.
    pub failures: Vec<MessageFailure>,
    /// Whether the whole failed list was looked at.
    pub failures_complete: bool,
    /// The message in the archive, under the ID that was asked for.
    pub archived: Option<ArchivedMessage>,
    /// Why the archive could not be asked.
    pub archive_error: Option<String>,
    /// The IDs that it had before it was archived and restored, oldest first.
    pub earlier_ids: Vec<EntryId>,
    /// The ID that it has, or had last, where it was restored after it had the ID that was asked for.
    pub restored_as: Option<EntryId>,
    /// The messages that name it as their cause.
    pub caused: Caused,
    /// What the user may not look at.
    pub refused: Vec<Refused>,
}

/// What a group did with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupView {
    /// The group.
    pub name: String,
    /// Where the message is.
    #[serde(flatten)]
    pub state: MessageState,
}

/// Where a message is in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum MessageState {
    /// It was not delivered yet.
    Waiting,
    /// It left the stream before it was delivered: the group never gets it.
    Missed,
    /// It was delivered and is not settled.
    Pending {
        /// The consumer that has it.
        consumer: String,
        /// How long ago it was delivered, or its lease renewed, in milliseconds.
        idle_ms: u64,
        /// How often it was delivered.
        deliveries: u64,
    },
    /// It was delivered and acknowledged, or the group began after it: the store does not tell these apart.
    Settled,
}

/// A listener that failed to handle a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MessageFailure {
    /// The listener.
    pub receiver: String,
    /// Why.
    pub error: String,
    /// When, as `Y-m-d H:i:s` (UTC where Streamer wrote it).
    pub date: String,
    /// How often it tried.
    pub attempts: u64,
}

/// The messages that name a message as their cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Caused {
    /// Each one's stream and ID.
    pub messages: Vec<(String, EntryId)>,
    /// Whether everything was searched that was appended since: the first 500 entries of each of 100 streams.
    pub complete: bool,
}

impl Life {
    /// Whether anything at all is known of the message.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let pending = |group: &GroupView| matches!(group.state, MessageState::Pending { .. });
        self.message.is_some()
            || self.scheduled.is_some()
            || self.archived.is_some()
            || self.restored_as.is_some()
            || !self.failures.is_empty()
            || self.groups.iter().any(pending)
    }
}

impl Inspect {
    /// What the store, and the archive if there is one, know about the message with this ID.
    ///
    /// # Errors
    ///
    /// The engine's. What the user may not look at is in [`Life::refused`].
    pub async fn message(
        &self,
        stream: &StreamName,
        id: EntryId,
        archive: Option<&dyn ArchiveStorage>,
    ) -> EngineResult<Life> {
        let engine = self.streamer.engine();
        let mut life = Life {
            stream: stream.to_string(),
            id,
            message: None,
            scheduled: None,
            headers: Vec::new(),
            age_ms: None,
            groups: Vec::new(),
            failures: Vec::new(),
            failures_complete: true,
            archived: None,
            archive_error: None,
            earlier_ids: Vec::new(),
            restored_as: None,
            caused: Caused::default(),
            refused: Vec::new(),
        };
        let state = engine.stream_states(std::slice::from_ref(stream)).await.pop();
        let state = state.unwrap_or(Ok(None));
        let entry = engine.get_many(stream, &[id]).await?.pop().flatten();
        let is_there = entry.is_some();
        match state {
            Ok(Some(state)) => {
                life.age_ms = age_ms(id, state.now_ms);
                self.add_groups(stream, &state, is_there, &mut life).await?;
            }
            Ok(None) => {}
            Err(error) => life.refused.push(refused(Some(stream), error)?),
        }
        let deliveries = life.groups.iter().filter_map(|group| match &group.state {
            MessageState::Pending { deliveries, .. } => Some(*deliveries),
            _ => None,
        });
        let deliveries = deliveries.max().unwrap_or(1);
        match entry {
            Some(entry) => {
                let message = ReceivedMessage::new(stream.clone(), entry, deliveries);
                life.earlier_ids = message.original_id().into_iter().collect();
                life.message = Some(message);
            }
            None => self.add_scheduled(stream, &mut life).await?,
        }
        if let Some(message) = life.message.as_ref().or(life.scheduled.as_ref()) {
            let headers = message.headers();
            life.headers = headers
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
        }
        self.add_origins(stream, &mut life).await?;
        if let Some(archive) = archive {
            let found: ArchiveResult<_> = archive.find(stream, id).await;
            match found {
                Ok(archived) => life.archived = archived,
                Err(error) => life.archive_error = Some(error.to_string()),
            }
        }
        self.add_failures(&mut life).await?;
        life.caused = self.caused(stream, id).await?;
        Ok(life)
    }

    async fn add_groups(
        &self,
        stream: &StreamName,
        state: &StreamState,
        is_there: bool,
        life: &mut Life,
    ) -> EngineResult<()> {
        let names = state
            .groups
            .iter()
            .map(|group| group.group.name.clone())
            .collect::<Vec<_>>();
        let pending = self.streamer.engine().pending_in(stream, &names, life.id).await;
        for (group, pending) in state.groups.iter().zip(pending) {
            let state = match pending {
                Ok(Some(pending)) => MessageState::Pending {
                    consumer: pending.consumer,
                    idle_ms: ms(pending.idle),
                    deliveries: pending.deliveries,
                },
                Ok(None) if life.id <= group.group.last_delivered_id => MessageState::Settled,
                Ok(None) if is_there => MessageState::Waiting,
                Ok(None) if life.id > state.last_id => continue,
                Ok(None) => MessageState::Missed,
                Err(error) => {
                    life.refused.push(refused(Some(stream), error)?);
                    continue;
                }
            };
            let name = group.group.name.clone();
            life.groups.push(GroupView { name, state });
        }
        life.groups.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(())
    }

    /// Whether it is an event that waits until it is due.
    async fn add_scheduled(&self, stream: &StreamName, life: &mut Life) -> EngineResult<()> {
        // The first one after the ID before it.
        let page = self
            .streamer
            .engine()
            .page_of_scheduled(stream, life.id.previous(), 1)
            .await;
        let first = match page {
            Ok(page) => page.into_iter().next(),
            Err(error) => {
                life.refused.push(refused(Some(stream), error)?);
                None
            }
        };
        if let Some(ScheduledEntry { id, fields }) = first.filter(|first| first.id == life.id) {
            // No group can have had it, wherever it is.
            life.groups.clear();
            life.scheduled = Some(ReceivedMessage::new(stream.clone(), Entry { id, fields }, 0));
        }
        Ok(())
    }

    /// Which IDs the message had before, and has now.
    async fn add_origins(&self, stream: &StreamName, life: &mut Life) -> EngineResult<()> {
        let engine = self.streamer.engine();
        match engine.earlier_ids(stream, &[life.id]).await {
            Ok(mut known) => {
                if let Some(all) = known.pop().flatten() {
                    life.earlier_ids = all;
                }
            }
            Err(error) => life.refused.push(refused(Some(stream), error)?),
        }
        // From the first ID on; one that it had in between leads nowhere.
        let mut at = life.earlier_ids.first().copied().unwrap_or(life.id);
        for _ in 0..100 {
            match engine.restored_ids(stream, &[at]).await {
                Ok(mut known) => match known.pop().flatten().filter(|next| *next > at) {
                    Some(next) => at = next,
                    None => break,
                },
                Err(error) => {
                    life.refused.push(refused(Some(stream), error)?);
                    break;
                }
            }
        }
        life.restored_as = (at > life.id).then_some(at);
        Ok(())
    }

    async fn add_failures(&self, life: &mut Life) -> EngineResult<()> {
        let filter = FailedFilter::all().id(life.id.to_string()).stream(&life.stream);
        let mut listing = self.streamer.failed().list(filter).with_details();
        loop {
            if listing.looked_at() >= FAILURES && !listing.is_at_end() {
                life.failures_complete = false;
                return Ok(());
            }
            match listing.next_page().await {
                Ok(None) => return Ok(()),
                Ok(Some(page)) => {
                    for listed in page {
                        let attempts = listed.details.attempts;
                        let Ok(record) = listed.record else { continue };
                        let failure = MessageFailure {
                            receiver: record.receiver,
                            error: record.error,
                            date: record.date,
                            attempts,
                        };
                        // A scan may give one twice.
                        if !life.failures.contains(&failure) {
                            life.failures.push(failure);
                        }
                    }
                }
                Err(error) => {
                    life.failures_complete = false;
                    life.refused.push(refused(None, error)?);
                    return Ok(());
                }
            }
        }
    }

    /// What names the message as its cause: it can only have come after it.
    async fn caused(&self, stream: &StreamName, id: EntryId) -> EngineResult<Caused> {
        let reference = format!("{stream}/{id}");
        let Names {
            mut names,
            mut complete,
            ..
        } = self.names().await?;
        complete &= names.len() <= STREAMS;
        names.truncate(STREAMS);
        let engine = self.streamer.engine();
        let from = RangeBound::Inclusive(EntryId::new(id.ms, 0));
        let pages = names.into_iter().map(|name| async move {
            let page = engine
                .range(&name, from, RangeBound::Unbounded, Some(ENTRIES), false)
                .await;
            (name, page)
        });
        let mut caused = Caused {
            messages: Vec::new(),
            complete,
        };
        let mut pages = stream::iter(pages).buffered(AT_ONCE);
        while let Some((name, page)) = pages.next().await {
            let Ok(page) = page else {
                caused.complete = false;
                continue;
            };
            caused.complete &= page.len() < ENTRIES;
            for entry in page {
                let message = ReceivedMessage::new(name.clone(), entry, 1);
                if message.header(CAUSATION_ID).is_some_and(|cause| cause == reference) {
                    caused.messages.push((name.to_string(), message.id()));
                }
            }
        }
        Ok(caused)
    }
}
