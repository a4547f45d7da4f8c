//! Where the message of a snapshot is now: on the stream, on the stream under a new ID, or in an archive.

use super::{
    HistoryError,
    snapshot::{History, Snapshot},
};
use crate::{
    archive::ArchiveStorage,
    engine::Engine,
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
    /// stream, in one step with a record of its new ID. So the order here finds a message that is moved during the search: stream,
    /// record, archive, record again, and from a new ID on the same.
    async fn find(&self, ids: &[EntryId]) -> Result<Vec<Option<Fields>>, HistoryError> {
        let mut found = vec![None; ids.len()];
        let place = |(position, id): (usize, &EntryId)| Place {
            position,
            first: *id,
            last: *id,
        };
        let mut wanted: Vec<Place> = ids.iter().enumerate().map(place).collect();
        while !wanted.is_empty() {
            let last_ids: Vec<EntryId> = wanted.iter().map(|place| place.last).collect();
            let entries = self.engine.get_many(self.stream, &last_ids).await?;
            let lost = keep(&mut found, wanted, entries.into_iter().map(|entry| entry.map(fields)));
            let (mut moved, lost) = self.follow(lost).await?;
            if let Some(archive) = self.archive {
                let mut archived = Vec::with_capacity(lost.len());
                for place in &lost {
                    let message = archive.find(self.stream, place.last).await?;
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
        // From the first ID to the current one; an earlier version wrote each one from the one before.
        let ids = lost.iter().flat_map(|place| [place.first, place.last]);
        let records = self.engine.restored_ids(self.stream, &ids.collect::<Vec<_>>()).await?;
        let (records, _) = records.as_chunks::<2>();
        let (mut moved, mut others) = (Vec::new(), Vec::new());
        for (place, records) in lost.into_iter().zip(records) {
            // IDs only grow: a record that says otherwise would lead round in circles.
            let newer = records.iter().flatten().filter(|id| **id > place.last);
            match newer.max() {
                Some(last) => moved.push(Place { last: *last, ..place }),
                None => others.push(place),
            }
        }
        Ok((moved, others))
    }
}

/// A message that is looked for.
#[derive(Clone, Copy)]
struct Place {
    /// Its position in the request.
    position: usize,
    /// The ID that it had when it was emitted.
    first: EntryId,
    /// The ID that it had last, as far as is known.
    last: EntryId,
}

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
    for (place, message) in wanted.into_iter().zip(messages) {
        match message {
            Some(_) => found[place.position] = message,
            None => lost.push(place),
        }
    }
    lost
}
