//! Rebuilds a resource from its history.

use std::{fmt, time::SystemTime};

use serde::de::DeserializeOwned;

use super::{
    Change, HistoryError, PAGE,
    change::{as_value, merge},
    find::find_all,
    snapshot::{self, Element, History, Snapshot},
};
use crate::{
    Streamer,
    archive::ArchiveStorage,
    entry::{Entry, EntryId, Fields, StreamName},
    message::{DecodeError, Members, OrderedJson, ReceivedMessage},
    model,
};

/// A replay that is being described; [`Replay::run`] runs it.
///
/// A replay reads the snapshots of one resource a page at a time, and their messages one by one. Its cost depends on the number
/// of these snapshots, not on the length of the stream.
#[must_use = "nothing is replayed before `run`"]
pub struct Replay<'a> {
    streamer: &'a Streamer,
    history: History,
    until: Option<SystemTime>,
    archive: Option<&'a dyn ArchiveStorage>,
    on_change: Box<dyn FnMut(Change) + Send + 'a>,
}

/// What a resource looks like after its history.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Replayed {
    /// The resource: the top-level fields of its messages; a newer value of a field replaces an older one. A list if the messages
    /// were lists; an empty list if no field is set. A field keeps the place that it had first.
    pub data: OrderedJson,
    /// The number of messages that it was built from.
    pub messages: u64,
    /// Messages that are neither on the stream nor in the archive; their changes are not in `data`.
    pub missing: Vec<EntryId>,
    /// Snapshots and messages that could not be read, one sentence for each; their changes are not in `data`.
    pub unreadable: Vec<String>,
    /// Whether the record of a model was deleted; `data` is empty then. Always `false` for other events.
    pub deleted: bool,
}

impl Replayed {
    /// The resource as a `T`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Mismatch`] when it does not fit.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let fields = vec![("data".into(), self.data.to_string().into())];
        let entry = Entry {
            id: EntryId::MIN,
            fields,
        };
        ReceivedMessage::new(StreamName::from(""), entry, 1).payload()
    }

    /// Whether no message is missing and every snapshot and message could be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.unreadable.is_empty()
    }
}

impl Streamer {
    /// Replays what happened to one resource: the messages of `event` that were emitted with `identifier`, oldest first.
    ///
    /// ```
    /// use serde_json::json;
    /// use streamer::{DynamicEvent, EmitOptions, Streamer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let streamer = Streamer::connect("memory:").await?;
    /// for change in [json!({"name": "Ann", "city": "Oslo"}), json!({"city": "Bergen"})] {
    ///     let options = EmitOptions::new().identifier("7");
    ///     streamer.emit_with(&DynamicEvent::new("user", change), options).await?;
    /// }
    /// let user = streamer.replay("user", "7").run().await?.expect("it has a history");
    /// assert_eq!(user.data, json!({"name": "Ann", "city": "Bergen"}));
    /// assert_eq!(streamer.replay("user", "8").run().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replay(&self, event: impl Into<String>, identifier: impl Into<String>) -> Replay<'_> {
        Replay::new(self, event.into(), identifier.into(), false)
    }

    /// Replays what happened to one record: all [events of a model](crate::model) with this key, oldest first. A composite
    /// key is its values joined by `:`.
    ///
    /// ```
    /// use serde_json::json;
    /// use streamer::{Streamer, model::{ModelSpec, Tracked}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[derive(serde::Serialize)] struct User { id: u64, name: &'static str }
    /// let streamer = Streamer::connect("memory:").await?;
    /// let users = ModelSpec::new("user");
    /// let mut user = Tracked::unsaved(User { id: 7, name: "Ann" });
    /// streamer.emit_replayable(&user.change(&users)?.expect("created")).await?;
    /// user.mark_saved()?;
    /// user.name = "Eve";
    /// streamer.emit_replayable(&user.change(&users)?.expect("updated")).await?;
    ///
    /// let replayed = streamer.replay_model("user", "7").run().await?.expect("it has a history");
    /// assert_eq!(replayed.data, json!({"id": 7, "name": "Eve"}));
    ///
    /// streamer.emit_replayable(&user.deleted(&users)?).await?;
    /// assert!(streamer.replay_model("user", "7").run().await?.expect("it has a history").deleted);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replay_model(&self, model: impl AsRef<str>, identifier: impl Into<String>) -> Replay<'_> {
        Replay::new(self, model.as_ref().to_lowercase(), identifier.into(), true)
    }
}

impl<'a> Replay<'a> {
    fn new(streamer: &'a Streamer, name: String, identifier: String, of_model: bool) -> Self {
        Self {
            streamer,
            history: History {
                name,
                identifier,
                of_model,
            },
            until: None,
            archive: None,
            on_change: Box::new(|_| {}),
        }
    }

    /// Stops before this instant: the first snapshot at or after it, and all that follow, are left out. The dates of
    /// snapshots have whole seconds and are taken as UTC; a PHP application writes them in its own time zone.
    pub fn until(mut self, instant: impl Into<SystemTime>) -> Self {
        self.until = Some(instant.into());
        self
    }

    /// The archive to search for messages that are no longer on the stream. Default: none, and such messages are
    /// [missing](Replayed::missing).
    pub fn archive(mut self, archive: &'a dyn ArchiveStorage) -> Self {
        self.archive = Some(archive);
        self
    }

    /// Calls `tell` for each change, oldest first. A field that is set to the value that it has is no change.
    pub fn on_change(mut self, tell: impl FnMut(Change) + Send + 'a) -> Self {
        self.on_change = Box::new(tell);
        self
    }

    /// Replays. `None` when there is no history of this event and identifier.
    ///
    /// # Errors
    ///
    /// When the store, or the archive, cannot be read. A message that is in neither is no error: see
    /// [`Replayed::missing`].
    pub async fn run(mut self) -> Result<Option<Replayed>, HistoryError> {
        let streamer = self.streamer;
        let history = &self.history;
        let list = history.list();
        let mut resource = Resource::default();
        let (mut start, mut last) = (0, None);
        loop {
            // The last element of the page before comes once more: if another is in its place, there was a trim.
            let overlap = usize::from(last.is_some());
            let elements = streamer
                .engine()
                .snapshots(&list, start - overlap as u64, PAGE + overlap)
                .await?;
            if last.is_some() && elements.first() != last.as_ref() {
                return Err(HistoryError::TrimmedMeanwhile { list });
            }
            let elements = &elements[overlap..];
            let more = elements.len() == PAGE;
            start += elements.len() as u64;
            last = elements.last().cloned().or(last);
            let mut snapshots = Vec::with_capacity(elements.len());
            let mut until_reached = false;
            for element in elements {
                match snapshot::read(element, history) {
                    Element::Foreign => continue,
                    Element::Unreadable(why) => resource.unreadable.push(why),
                    Element::Ours(snapshot) if self.until.is_some_and(|until| snapshot.when >= until) => {
                        until_reached = true;
                    }
                    Element::Ours(snapshot) => snapshots.push(snapshot),
                }
                resource.has_history = true;
                if until_reached {
                    break;
                }
            }
            let messages = find_all(streamer.engine().as_ref(), history, self.archive, &snapshots).await?;
            for (snapshot, message) in snapshots.into_iter().zip(messages) {
                let stream = history.stream(snapshot.action);
                resource.apply(&stream, snapshot, message, &mut self.on_change);
            }
            if until_reached || !more {
                return Ok(resource.replayed());
            }
        }
    }
}

impl fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("history", &self.history)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// What is known of the resource so far.
#[derive(Default)]
struct Resource {
    has_history: bool,
    fields: Members,
    messages: u64,
    missing: Vec<EntryId>,
    unreadable: Vec<String>,
    deleted: bool,
}

impl Resource {
    fn apply(
        &mut self,
        stream: &StreamName,
        snapshot: Snapshot,
        message: Option<Fields>,
        tell: &mut dyn FnMut(Change),
    ) {
        let Snapshot { id, when, action } = snapshot;
        let Some(fields) = message else {
            self.missing.push(id);
            return;
        };
        let message = ReceivedMessage::new(stream.clone(), Entry { id, fields }, 1);
        let payload = match message.payload::<OrderedJson>() {
            Ok(payload) => {
                let fields = payload.into_members();
                fields.ok_or_else(|| "its payload is neither an object nor a list".to_owned())
            }
            Err(error) => Err(error.to_string()),
        };
        match payload {
            Err(why) => self.unreadable.push(format!("message {id} cannot be replayed: {why}")),
            Ok(payload) => {
                let tell = |field: &str, from: Option<&OrderedJson>, to: &OrderedJson| {
                    tell(Change {
                        when,
                        entry: id,
                        field: field.to_owned(),
                        from: from.cloned(),
                        to: to.clone(),
                    });
                };
                let deleted = match action {
                    None => {
                        merge(&mut self.fields, payload, tell);
                        Some(false)
                    }
                    Some(_) => model::apply(&mut self.fields, &payload, tell),
                };
                match deleted {
                    Some(deleted) => {
                        self.messages += 1;
                        self.deleted = deleted;
                    }
                    None => {
                        let why = format!("message {id} cannot be replayed: it has neither `after` nor `deleted`");
                        self.unreadable.push(why);
                    }
                }
            }
        }
    }

    fn replayed(self) -> Option<Replayed> {
        self.has_history.then(|| Replayed {
            data: as_value(self.fields),
            messages: self.messages,
            missing: self.missing,
            unreadable: self.unreadable,
            deleted: self.deleted,
        })
    }
}
