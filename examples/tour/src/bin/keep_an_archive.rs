//! An archive driver of one's own: here a file of JSON lines would do as well as this map.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::TryStreamExt as _;
use serde_json::json;
use streamer::{
    DynamicEvent, EntryId, StreamName,
    archive::{ArchiveManager, ArchiveResult, ArchiveStorage, ArchivedMessage, OlderThan, Restore, Stored, Sweep},
    async_trait,
};

/// Messages by their stream and ID: different streams may have the same IDs.
type Messages = BTreeMap<(StreamName, EntryId), ArchivedMessage>;

#[derive(Debug, Default)]
struct Drawer(Mutex<Messages>);

impl Drawer {
    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ArchiveStorage for Drawer {
    fn location(&self) -> &str {
        "the drawer"
    }

    /// Whoever comes first stores a message; storing it again changes nothing.
    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        let mut kept = self.messages();
        let store = |message: &ArchivedMessage| {
            let place = (message.stream.clone(), message.id);
            match kept.get(&place) {
                None => {
                    kept.insert(place, message.clone());
                    Stored::New
                }
                Some(there) if there.fields == message.fields => Stored::AlreadyThere,
                Some(_) => Stored::Conflict,
            }
        };
        Ok(messages.iter().map(store).collect())
    }

    async fn find(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        Ok(self.messages().get(&(stream.clone(), id)).cloned())
    }

    async fn page(
        &self,
        stream: Option<&StreamName>,
        after: Option<(&StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        let after = after.map_or(Bound::Unbounded, |(stream, id)| Bound::Excluded((stream.clone(), id)));
        let kept = self.messages();
        let page = kept.range((after, Bound::Unbounded)).map(|(_, message)| message);
        let page = page.filter(|message| stream.is_none_or(|stream| *stream == message.stream));
        Ok(page.take(count).cloned().collect())
    }

    async fn delete(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<bool> {
        Ok(self.messages().remove(&(stream.clone(), id)).is_some())
    }

    async fn delete_stream(&self, stream: &StreamName) -> ArchiveResult<u64> {
        let mut kept = self.messages();
        let before = kept.len();
        kept.retain(|(name, _), _| name != stream);
        Ok((before - kept.len()) as u64)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let streamer = tour::connect().await?;
    for id in 1..=3 {
        streamer
            .emit(&DynamicEvent::new("order.placed", json!({ "id": id })))
            .await?;
    }

    // Under a name it can be chosen by configuration: archive_driver = "drawer".
    let manager = ArchiveManager::new().driver("drawer", async |_url| Ok(Arc::new(Drawer::default()) as Arc<_>));
    let archive = manager.open("drawer", "").await?;

    let stream = StreamName::from("order.placed");
    let swept = Sweep::archive(&streamer, archive.clone())
        .run(&stream, OlderThan::now())
        .await?;
    println!(
        "archived: {}, on the stream: {}",
        swept.removed,
        streamer.stream(&stream).len().await?
    );
    let archived: Vec<_> = archive.all().try_collect().await?;
    for archived in &archived {
        println!("in {}: {}", archive.location(), archived.message().data()?);
    }

    // Back to the stream, under a new ID.
    let restored = Restore::new(&streamer, archive.clone())
        .one(&stream, archived[0].id)
        .await?;
    println!("restored: {}", restored.is_some());
    let left: Vec<_> = archive.of_stream(stream.clone()).try_collect().await?;
    println!(
        "in the archive: {}, on the stream: {}",
        left.len(),
        streamer.stream(&stream).len().await?
    );
    Ok(())
}
