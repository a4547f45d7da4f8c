//! How many requests a restore takes.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutResult, Result, memory::InMemory,
};

use super::*;
use crate::{Streamer, archive::Restore};

/// A store that counts how often it is asked to list, where one answer tells 1,000 objects.
#[derive(Debug, Default)]
struct Counting {
    store: InMemory,
    listed: Arc<AtomicUsize>,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = Arc::clone(&self.listed);
        let objects = self.store.list(prefix).enumerate();
        listed.fetch_add(1, SeqCst);
        objects
            .map(move |(number, object)| {
                if number > 0 && number % 1000 == 0 {
                    listed.fetch_add(1, SeqCst);
                }
                object
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.listed.fetch_add(1, SeqCst);
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

/// How many listings it takes to restore so many messages of one day, each in an object of its own.
async fn listings(messages: u64) -> usize {
    let store = Counting::default();
    let listed = Arc::clone(&store.listed);
    let archive = ObjectArchive {
        store: Arc::new(store),
        prefix: Path::default(),
        location: "counting".to_owned(),
        last: Arc::default(),
        known: Arc::default(),
    };
    let message = |number| ArchivedMessage {
        stream: "e".into(),
        id: EntryId::new(1_795_407_980_000, number),
        original_ids: Vec::new(),
        fields: vec![("data".into(), "{}".into())],
    };
    for number in 0..messages {
        archive.write(&[&message(number)]).await.unwrap();
    }
    let streamer = Streamer::connect("memory:").await.unwrap();
    let summary = Restore::new(&streamer, Arc::new(archive.clone()))
        .run(None)
        .await
        .unwrap();
    assert_eq!(summary.restored, messages);
    assert_eq!(streamer.stream("e").len().await.unwrap(), messages);
    let listed = listed.load(SeqCst);
    assert_eq!(archive.page(None, None, 1).await.unwrap(), []);
    listed
}

#[tokio::test]
async fn restoring_twice_as_many_messages_of_a_day_takes_at_most_twice_as_many_listings() {
    let (some, many) = (listings(1_000).await, listings(4_000).await);
    // Pages ask which streams there are; a listing tells 1,000 objects at once.
    assert!(many <= 4 * some + 4, "{some} for 1,000 messages, {many} for 4,000");
    assert!(many < 60, "{many} for 4,000");
}

#[tokio::test]
async fn many_messages_are_found_and_deleted_with_one_listing_for_each_day() {
    let store = Counting::default();
    let listed = Arc::clone(&store.listed);
    let archive = ObjectArchive {
        store: Arc::new(store),
        prefix: Path::default(),
        location: "counting".to_owned(),
        last: Arc::default(),
        known: Arc::default(),
    };
    let stream = StreamName::from("e");
    let ids = (0..30).map(|number| EntryId::new(1_795_407_980_000 + number / 10 * 86_400_000, number));
    let ids = ids.collect::<Vec<_>>();
    let messages = ids.iter().map(|id| ArchivedMessage {
        stream: stream.clone(),
        id: *id,
        original_ids: Vec::new(),
        fields: vec![("data".into(), "{}".into())],
    });
    archive.create(&messages.collect::<Vec<_>>()).await.unwrap();
    listed.store(0, SeqCst);
    let found = archive.find_many(&stream, &ids).await.unwrap();
    assert!(found.iter().all(Option::is_some));
    assert_eq!(listed.load(SeqCst), 3);
    // All but one of each object: what is left is found, the rest is not.
    let most = ids.iter().copied().filter(|id| id.seq % 10 != 4).collect::<Vec<_>>();
    assert_eq!(archive.delete_many(&stream, &most).await.unwrap(), vec![true; 27]);
    assert_eq!(archive.delete_many(&stream, &most).await.unwrap(), vec![false; 27]);
    assert_eq!(listed.load(SeqCst), 9);
    let left = archive.find_many(&stream, &ids).await.unwrap();
    assert_eq!(left.iter().flatten().count(), 3);
    assert_eq!(
        archive
            .delete_many(&stream, &ids)
            .await
            .unwrap()
            .iter()
            .filter(|there| **there)
            .count(),
        3
    );
    // Objects go with their last message, and so does what said which were deleted.
    let rest = archive.list(&Path::default()).await.unwrap();
    assert!(rest.batches.is_empty() && rest.deleted.is_empty(), "{rest:?}");
}
