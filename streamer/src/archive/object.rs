//! The archive in an object store: a local folder, S3, Google Cloud Storage, Azure.
//!
//! - `STREAM/DAY/FIRST_LAST_RANDOM.ndjson.zst` holds messages of one day (by their IDs), a line of JSON each, compressed
//!   with zstd. Such an object is written once and never changed, so that no two writers get in each other's way.
//! - `STREAM/DAY/ID.deleted` says that a message of that day is deleted. When all messages of an object are, it goes,
//!   and these go after it.
//!
//! Services are paid by the request, and a listing tells 1,000 objects in each. So what a listing told is remembered for a
//! minute: a restore, which reads pages and deletes what it read, lists a stream once a minute and not for each page.
//!
//! Writers that store the same message at the same instant may both write it; readers see it once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use object_store::{
    ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, PutMode, PutPayload, local::LocalFileSystem, path::Path,
};
use url::Url;

use super::{
    ArchiveError, ArchiveErrorKind, ArchiveResult, ArchiveStorage, ArchivedMessage, PAGE_BYTES, Stored,
    object_names::{Batch, day, decode, encode},
    stored::stored_message,
};
use crate::{
    entry::{EntryId, StreamName},
    shown_url::shown_url,
};

/// zstd's default.
const COMPRESSION: i32 = 3;

/// Keeps messages as compressed lines of JSON in an object store. The driver is called `object`.
#[derive(Clone)]
pub struct ObjectArchive {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    location: String,
    /// The object that was read last: neighbours are asked for next.
    last: Arc<Mutex<Option<(Path, Messages)>>>,
    /// What was told last of a stream by one that reads its pages.
    known: Arc<Mutex<Option<Known>>>,
}

/// A listing that was made not long ago, without what was deleted here since.
#[derive(Debug)]
struct Known {
    stream: StreamName,
    since: Instant,
    listing: Listing,
}

/// For how long a listing is used: what others store after it is found by the next.
const KNOWN_FOR: Duration = Duration::from_secs(60);

type Messages = Arc<Vec<ArchivedMessage>>;

/// What lies under one day of a stream, or under all its days.
#[derive(Clone, Debug, Default)]
struct Listing {
    /// By their first IDs.
    batches: Vec<(Batch, Path)>,
    deleted: HashSet<EntryId>,
}

impl ObjectArchive {
    /// An archive under a URL: `file:///var/lib/archive`, and with cargo features `s3://bucket/prefix` (`archive-s3`),
    /// `gs://bucket/prefix` (`archive-gcs`), `az://container/prefix` (`archive-azure`). Credentials and endpoints come
    /// from the environment variables of each service (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
    ///
    /// # Errors
    ///
    /// [`ArchiveErrorKind::InvalidInput`] for another URL.
    pub async fn open(url: &str) -> ArchiveResult<Self> {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::open_with(url, environment)
    }

    /// As [`ObjectArchive::open`], with these settings in place of the environment: pairs of a variable's name, such as
    /// `AWS_ENDPOINT_URL`, and its value. So an application can have archives in several accounts. Names that the service
    /// does not have are ignored.
    ///
    /// # Errors
    ///
    /// As [`ObjectArchive::open`].
    pub fn open_with(
        url: &str,
        settings: impl IntoIterator<Item = (impl AsRef<str>, impl Into<String>)>,
    ) -> ArchiveResult<Self> {
        let invalid = |reason: String| ArchiveError::new(ArchiveErrorKind::InvalidInput, "open the archive", reason);
        let url = Url::parse(url).map_err(|error| {
            invalid(format!(
                "archive_url is no URL such as file:///var/lib/archive ({error})"
            ))
        })?;
        let opened = match ObjectStoreScheme::parse(&url) {
            // What was stored is deleted from its stream next: the file and its folder are flushed before.
            Ok((ObjectStoreScheme::Local, path)) => {
                let folder: Box<dyn ObjectStore> = Box::new(LocalFileSystem::new().with_fsync(true));
                Ok((folder, path))
            }
            _ => object_store::parse_url_opts(&url, settings),
        };
        // The library's error is not passed on: it quotes the URL, which may be another driver's, with its password.
        let (store, prefix) = opened.map_err(|_| {
            invalid(format!(
                "{} is no URL of an object store; write file:///var/lib/archive, s3://bucket/prefix, gs://bucket/prefix or \
                 az://container/prefix (the last three need the cargo feature of their service and its environment \
                 variables)",
                shown_url(url.as_str())
            ))
        })?;
        Ok(Self {
            store: store.into(),
            location: format!(
                "{}://{}{}",
                url.scheme(),
                url.host_str().unwrap_or_default(),
                url.path()
            ),
            prefix,
            last: Arc::default(),
            known: Arc::default(),
        })
    }

    fn stream_path(&self, stream: &StreamName) -> Path {
        self.prefix.clone().join(encode(stream))
    }

    fn day_path(&self, stream: &StreamName, id: EntryId) -> Path {
        self.stream_path(stream).join(day(id))
    }

    /// IDs by the folder of their day.
    fn by_day(&self, stream: &StreamName, ids: &[EntryId]) -> BTreeMap<Path, HashSet<EntryId>> {
        let mut days = BTreeMap::<Path, HashSet<EntryId>>::new();
        for id in ids {
            days.entry(self.day_path(stream, *id)).or_default().insert(*id);
        }
        days
    }

    fn deleted_path(&self, stream: &StreamName, id: EntryId) -> Path {
        self.day_path(stream, id).join(format!("{id}.deleted"))
    }

    fn explain(&self, attempted: &str) -> impl Fn(object_store::Error) -> ArchiveError {
        move |error| {
            let mut reason = error.to_string();
            let status = status(&reason);
            if status == Some(404) {
                reason = format!("there is no such bucket or container; make it first ({reason})");
            }
            let kind = match (&error, status) {
                // What the service refuses now, it refuses later; 408 and 429 ask to come again.
                (object_store::Error::Generic { .. }, Some(400..=407 | 409..=428 | 430..=499)) => {
                    ArchiveErrorKind::Other
                }
                (object_store::Error::Generic { .. }, _) => ArchiveErrorKind::Unavailable,
                _ => ArchiveErrorKind::Other,
            };
            ArchiveError::new(kind, format!("{attempted} the archive {}", self.location), reason).with_source(error)
        }
    }

    async fn list(&self, under: &Path) -> ArchiveResult<Listing> {
        let mut listing = Listing::default();
        let mut objects = self.store.list(Some(under));
        while let Some(object) = objects.try_next().await.map_err(self.explain("list"))? {
            let name = object.location.filename().unwrap_or_default();
            if let Some(id) = name.strip_suffix(".deleted").and_then(|id| id.parse().ok()) {
                listing.deleted.insert(id);
            } else if let Some(batch) = Batch::from_name(name) {
                listing.batches.push((batch, object.location));
            }
        }
        listing.batches.sort_unstable();
        Ok(listing)
    }

    /// The messages of an object; none when it has gone, which it does when all of them are deleted.
    async fn read(&self, path: &Path) -> ArchiveResult<Messages> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, messages)) = last().as_ref().filter(|(last, _)| last == path) {
            return Ok(Arc::clone(messages));
        }
        let bytes = match self.store.get(path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = match bytes {
            Err(object_store::Error::NotFound { .. }) => return Ok(Messages::default()),
            bytes => bytes.map_err(self.explain("read"))?,
        };
        let text = zstd::decode_all(&bytes[..]).map_err(|error| {
            let attempted = format!("read {path} of the archive {}", self.location);
            ArchiveError::new(ArchiveErrorKind::Corrupt, attempted, error.to_string())
        })?;
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let messages = lines
            .map(|line| stored_message(&self.location, line))
            .collect::<Result<Vec<_>, _>>()?;
        let messages = Arc::new(messages);
        *last() = Some((path.clone(), Arc::clone(&messages)));
        Ok(messages)
    }

    /// Writes messages of one day as one object.
    async fn write(&self, messages: &[&ArchivedMessage]) -> ArchiveResult<()> {
        let Some(first) = messages.first() else { return Ok(()) };
        let lines = messages
            .iter()
            .map(|message| message.to_json() + "\n")
            .collect::<String>();
        let packed = zstd::encode_all(lines.as_bytes(), COMPRESSION).map_err(|error| {
            ArchiveError::new(
                ArchiveErrorKind::Other,
                "compress messages for the archive",
                error.to_string(),
            )
        })?;
        let ids = messages.iter().map(|message| message.id);
        let batch = Batch::new(ids.clone().min().unwrap_or(first.id), ids.max().unwrap_or(first.id));
        let path = self.day_path(&first.stream, first.id).join(batch.name());
        let put = self.store.put(&path, PutPayload::from(packed)).await;
        put.map(drop).map_err(self.explain("write to"))
    }

    /// The messages of a listing with these IDs that are not deleted.
    async fn messages(
        &self,
        listing: &Listing,
        ids: &HashSet<EntryId>,
    ) -> ArchiveResult<BTreeMap<EntryId, ArchivedMessage>> {
        let mut found = BTreeMap::new();
        for (batch, path) in &listing.batches {
            if ids.iter().any(|id| batch.may_hold(*id)) {
                let messages = self.read(path).await?;
                let asked = messages.iter().filter(|message| ids.contains(&message.id));
                for message in asked.filter(|message| !listing.deleted.contains(&message.id)) {
                    found.entry(message.id).or_insert_with(|| message.clone());
                }
            }
        }
        Ok(found)
    }

    /// Removes those of `candidates` of which every message is deleted, and then what says so, which is `marked`. Tells
    /// which went.
    async fn clean(
        &self,
        stream: &StreamName,
        listing: &Listing,
        candidates: &HashMap<&Path, Messages>,
        marked: &HashSet<EntryId>,
        deleted: &HashSet<EntryId>,
    ) -> ArchiveResult<HashSet<Path>> {
        let mut gone = HashSet::new();
        for (path, messages) in candidates {
            if messages.iter().any(|message| !deleted.contains(&message.id)) {
                continue;
            }
            self.remove(path).await?;
            gone.insert((*path).clone());
            for message in messages.iter().filter(|message| marked.contains(&message.id)) {
                let mut others = listing.batches.iter().filter(|(_, other)| !gone.contains(other));
                if !others.any(|(batch, _)| batch.may_hold(message.id)) {
                    self.remove(&self.deleted_path(stream, message.id)).await?;
                }
            }
        }
        Ok(gone)
    }

    /// Deletes messages as far as a listing knows them, and tells which. Objects of which nothing is left go at once; only of
    /// others it is written down which of their messages are deleted.
    async fn delete_listed(
        &self,
        stream: &StreamName,
        listing: &mut Listing,
        ids: &HashSet<EntryId>,
    ) -> ArchiveResult<HashSet<EntryId>> {
        let mut objects = HashMap::<&Path, Messages>::new();
        for (batch, path) in &listing.batches {
            if ids.iter().any(|id| batch.may_hold(*id)) {
                objects.insert(path, self.read(path).await?);
            }
        }
        let is_there = |message: &&ArchivedMessage| ids.contains(&message.id) && !listing.deleted.contains(&message.id);
        let there = objects.values().flat_map(|messages| messages.iter()).filter(is_there);
        let there = there.map(|message| message.id).collect::<HashSet<_>>();
        let goes = |message: &ArchivedMessage| there.contains(&message.id) || listing.deleted.contains(&message.id);
        let stays = objects.values().filter(|messages| !messages.iter().all(goes));
        let of_others = stays.flat_map(|messages| messages.iter()).map(|message| message.id);
        let to_mark = of_others.filter(|id| there.contains(id)).collect::<HashSet<_>>();
        let mut deleted = there.clone();
        for id in &to_mark {
            let path = self.deleted_path(stream, *id);
            let put = self
                .store
                .put_opts(&path, PutPayload::default(), PutMode::Create.into())
                .await;
            match put {
                // Another one that deleted it at once did it.
                Err(object_store::Error::AlreadyExists { .. }) => _ = deleted.remove(id),
                put => put.map(drop).map_err(self.explain("delete from"))?,
            }
        }
        let marked = listing.deleted.union(&to_mark).copied().collect::<HashSet<_>>();
        let all_deleted = marked.union(&there).copied().collect::<HashSet<_>>();
        // Only what these may have emptied: the rest of a large listing is not looked through again.
        let gone = self.clean(stream, listing, &objects, &marked, &all_deleted).await?;
        listing.batches.retain(|(_, path)| !gone.contains(path));
        listing.deleted.extend(there);
        Ok(deleted)
    }

    /// What is known of a stream, if that is young enough. It is not known to anybody else then.
    fn take_known(&self, stream: &StreamName) -> Option<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.take_if(|known| known.stream == *stream && known.since.elapsed() < KNOWN_FOR)
    }

    fn keep_known(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    async fn remove(&self, path: &Path) -> ArchiveResult<()> {
        match self.store.delete(path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => removed.map_err(self.explain("delete from")),
        }
    }

    /// The streams, in order, from `from` on.
    async fn streams(&self, from: Option<&StreamName>) -> ArchiveResult<Vec<StreamName>> {
        let listed = self
            .store
            .list_with_delimiter(Some(&self.prefix))
            .await
            .map_err(self.explain("list"))?;
        let names = listed
            .common_prefixes
            .iter()
            .filter_map(|path| decode(path.filename()?));
        let mut names = names
            .filter(|name| from.is_none_or(|from| name >= from))
            .collect::<Vec<_>>();
        names.sort_unstable();
        Ok(names)
    }

    /// A stream's messages after an ID, in order: at least `count`, or so many bytes, or all that there are.
    async fn some(
        &self,
        stream: &StreamName,
        after: Option<EntryId>,
        count: usize,
        bytes: &mut usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        // Whoever begins sees everything; whoever goes on may have begun a minute ago.
        let known = match after.and_then(|_| self.take_known(stream)) {
            Some(known) => known,
            None => Known {
                stream: stream.clone(),
                since: Instant::now(),
                listing: self.list(&self.stream_path(stream)).await?,
            },
        };
        let found = self.some_listed(&known.listing, after, count, bytes).await;
        self.keep_known(known);
        found
    }

    async fn some_listed(
        &self,
        listing: &Listing,
        after: Option<EntryId>,
        count: usize,
        bytes: &mut usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        let batches = listing.batches.iter();
        let batches = batches.filter(|one| after.is_none_or(|after| one.0.last > after));
        let mut batches = batches.collect::<Vec<_>>().into_iter().peekable();
        let (mut waiting, mut found) = (BTreeMap::new(), Vec::new());
        while let Some((_, path)) = batches.next() {
            let messages = self.read(path).await?;
            let wanted = messages
                .iter()
                .filter(|message| after.is_none_or(|after| message.id > after));
            for message in wanted.filter(|message| !listing.deleted.contains(&message.id)) {
                waiting.entry(message.id).or_insert_with(|| message.clone());
            }
            // What comes before all that is still unread is in its place.
            let unread = match batches.peek() {
                Some((next, _)) => waiting.split_off(&next.first),
                None => BTreeMap::new(),
            };
            for message in std::mem::replace(&mut waiting, unread).into_values() {
                if found.len() >= count || *bytes >= PAGE_BYTES {
                    return Ok(found);
                }
                *bytes += message.size();
                found.push(message);
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl ArchiveStorage for ObjectArchive {
    fn location(&self) -> &str {
        &self.location
    }

    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        let mut days = BTreeMap::<Path, Vec<usize>>::new();
        for (number, message) in messages.iter().enumerate() {
            days.entry(self.day_path(&message.stream, message.id))
                .or_default()
                .push(number);
        }
        let mut lots = vec![Stored::New; messages.len()];
        for (path, numbers) in days {
            let listing = self.list(&path).await?;
            let ids = numbers
                .iter()
                .map(|number| messages[*number].id)
                .collect::<HashSet<_>>();
            let there = self.messages(&listing, &ids).await?;
            let mut new = Vec::new();
            for number in numbers {
                let message = &messages[number];
                match there.get(&message.id) {
                    None => new.push(message),
                    Some(there) if there.fields == message.fields => lots[number] = Stored::AlreadyThere,
                    Some(_) => lots[number] = Stored::Conflict,
                }
            }
            self.write(&new).await?;
            // After the write: a copy that was deleted must not come back alone, its object may be going.
            for message in new.iter().filter(|message| listing.deleted.contains(&message.id)) {
                self.remove(&self.deleted_path(&message.stream, message.id)).await?;
            }
        }
        Ok(lots)
    }

    async fn find(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        let listing = self.list(&self.day_path(stream, id)).await?;
        Ok(self.messages(&listing, &HashSet::from([id])).await?.remove(&id))
    }

    async fn find_many(&self, stream: &StreamName, ids: &[EntryId]) -> ArchiveResult<Vec<Option<ArchivedMessage>>> {
        let mut found = BTreeMap::new();
        for ids in self.by_day(stream, ids).into_values() {
            let Some(one) = ids.iter().next() else { continue };
            let listing = self.list(&self.day_path(stream, *one)).await?;
            found.extend(self.messages(&listing, &ids).await?);
        }
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn page(
        &self,
        stream: Option<&StreamName>,
        after: Option<(&StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        let streams = match stream {
            Some(stream) => vec![stream.clone()],
            None => self.streams(after.map(|(stream, _)| stream)).await?,
        };
        let (mut page, mut bytes) = (Vec::new(), 0);
        for stream in streams {
            if page.len() >= count || bytes >= PAGE_BYTES {
                break;
            }
            let after = after.filter(|(name, _)| **name == stream).map(|(_, id)| id);
            page.extend(self.some(&stream, after, count - page.len(), &mut bytes).await?);
        }
        Ok(page)
    }

    async fn delete(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<bool> {
        let mut listing = self.list(&self.day_path(stream, id)).await?;
        Ok(!self
            .delete_listed(stream, &mut listing, &HashSet::from([id]))
            .await?
            .is_empty())
    }

    async fn delete_many(&self, stream: &StreamName, ids: &[EntryId]) -> ArchiveResult<Vec<bool>> {
        let mut left = ids.iter().copied().collect::<HashSet<_>>();
        let mut deleted = HashSet::new();
        // Whoever read them from a page deletes them by the same listing.
        if let Some(mut known) = self.take_known(stream) {
            deleted = self.delete_listed(stream, &mut known.listing, &left).await?;
            left.retain(|id| !known.listing.deleted.contains(id));
            self.keep_known(known);
        }
        let left = left.into_iter().collect::<Vec<_>>();
        for ids in self.by_day(stream, &left).into_values() {
            let Some(one) = ids.iter().next() else { continue };
            let mut listing = self.list(&self.day_path(stream, *one)).await?;
            deleted.extend(self.delete_listed(stream, &mut listing, &ids).await?);
        }
        Ok(ids.iter().map(|id| deleted.contains(id)).collect())
    }

    async fn delete_stream(&self, stream: &StreamName) -> ArchiveResult<u64> {
        let listing = self.list(&self.stream_path(stream)).await?;
        let mut count = HashSet::new();
        for (_, path) in &listing.batches {
            let messages = self.read(path).await?;
            count.extend(
                messages
                    .iter()
                    .map(|message| message.id)
                    .filter(|id| !listing.deleted.contains(id)),
            );
            self.remove(path).await?;
        }
        for id in &listing.deleted {
            self.remove(&self.deleted_path(stream, *id)).await?;
        }
        Ok(count.len() as u64)
    }
}

/// The status of a service's answer. The library has it only in the text of some errors.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

impl fmt::Debug for ObjectArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectArchive")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "object_cost.rs"]
mod cost;
