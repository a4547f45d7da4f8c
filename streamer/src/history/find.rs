//! Where the message of a snapshot is now: on the stream, on the stream under a new ID, or in an archive.

use super::{
    HistoryError,
    snapshot::{History, Snapshot},
};
use crate::{
    archive::ArchiveStorage,
    engine::{Engine, keys},
    entry::{Entry, EntryId, Fields, StreamName},
};

/// The fields of the messages of these snapshots, in their order; `None` for one that is gone everywhere.
pub(super) async fn find_all(
    engine: &dyn Engine,
    history: &History,
    archive: Option<&dyn ArchiveStorage>,
    snapshots: &[Snapshot],
) -> Result<Vec<Option<Fields>>, HistoryError> {
    let mut found = vec![None; snapshots.len()];
    for action in history.actions() {
        let of_stream = snapshots.iter().enumerate().filter(|(_, one)| one.action == action);
        let (places, ids): (Vec<usize>, Vec<EntryId>) = of_stream.map(|(place, one)| (place, one.id)).unzip();
        if ids.is_empty() {
            continue;
        }
        let finder = Finder {
            engine,
            stream: &history.stream(action),
            archive,
        };
        for (place, message) in places.into_iter().zip(finder.find(&ids).await?) {
            found[place] = message;
        }
    }
    Ok(found)
}

/// Finds messages of one stream.
struct Finder<'a> {
    engine: &'a dyn Engine,
    stream: &'a StreamName,
    archive: Option<&'a dyn ArchiveStorage>,
}

impl Finder<'_> {
    /// The fields of these messages, in their order; `None` for one that is gone everywhere.
    ///
    /// A message leaves the stream only after it is in the archive. It leaves the archive only after it is back on the
    /// stream, in one step with a record of its new ID. So the order here finds a message that moves meanwhile: stream,
    /// record, archive, record again, and from a new ID on the same.
    async fn find(&self, ids: &[EntryId]) -> Result<Vec<Option<Fields>>, HistoryError> {
        let mut found = vec![None; ids.len()];
        // Positions in `found`, and the ID that each message had last as far as is known.
        let mut wanted: Vec<Place> = ids.iter().copied().enumerate().collect();
        while !wanted.is_empty() {
            let last_ids: Vec<EntryId> = wanted.iter().map(|(_, id)| *id).collect();
            let entries = self.engine.get_many(self.stream, &last_ids).await?;
            let lost = keep(&mut found, wanted, entries.into_iter().map(|entry| entry.map(fields)));
            let (mut moved, lost) = self.follow(lost).await?;
            if let Some(archive) = self.archive {
                let mut archived = Vec::with_capacity(lost.len());
                for (_, id) in &lost {
                    let message = archive.find(self.stream, *id).await?;
                    archived.push(message.map(|message| message.fields));
                }
                let lost = keep(&mut found, lost, archived);
                moved.extend(self.follow(lost).await?.0);
            }
            wanted = moved;
        }
        Ok(found)
    }

    /// Those that were restored, with their new IDs, and the others.
    async fn follow(&self, lost: Vec<Place>) -> Result<(Vec<Place>, Vec<Place>), HistoryError> {
        if lost.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let ids: Vec<_> = lost.iter().map(|(_, id)| id.to_string().into()).collect();
        let restored = keys::restored(self.stream);
        let records = self.engine.hash_get(&restored, &ids).await?;
        let (mut moved, mut others) = (Vec::new(), Vec::new());
        for ((position, id), record) in lost.into_iter().zip(records) {
            let new_id = record.and_then(|text| std::str::from_utf8(&text).ok()?.parse::<EntryId>().ok());
            // IDs only grow: a record that says otherwise would lead round in circles.
            match new_id.filter(|new_id| *new_id > id) {
                Some(new_id) => moved.push((position, new_id)),
                None => others.push((position, id)),
            }
        }
        Ok((moved, others))
    }
}

/// A position in what was asked for, and an ID.
type Place = (usize, EntryId);

fn fields(entry: Entry) -> Fields {
    entry.fields
}

/// Keeps what was found, and gives what was not.
fn keep(
    found: &mut [Option<Fields>],
    wanted: Vec<Place>,
    messages: impl IntoIterator<Item = Option<Fields>>,
) -> Vec<Place> {
    let mut lost = Vec::new();
    for ((position, id), message) in wanted.into_iter().zip(messages) {
        match message {
            Some(_) => found[position] = message,
            None => lost.push((position, id)),
        }
    }
    lost
}
