//! Where the demo happens: a temporary file, or names of its own on a store that was named; and how it is left clean.

use std::collections::BTreeSet;

use bytes::Bytes;
use streamer::{
    StreamName, Streamer,
    failed::{FailedFilter, FailedMessage},
};
use tempfile::TempDir;

use crate::exit::Failure;

pub(super) struct Store {
    pub(super) streamer: Streamer,
    pub(super) url: String,
    pub(super) stream: String,
    pub(super) group: String,
    /// Removed when it is dropped.
    folder: Option<TempDir>,
}

impl Store {
    pub(super) async fn open(url: Option<&str>) -> Result<Self, Failure> {
        let (folder, url, prefix) = match url {
            // A name that nobody else uses, so that cleaning up removes nobody else's.
            Some(url) => (None, url.to_owned(), format!("demo-{:08x}.", rand::random::<u32>())),
            None => {
                let folder = tempfile::Builder::new().prefix("streamer-demo-").tempdir();
                let folder =
                    folder.map_err(|error| Failure::failed(format!("could not make a temporary folder: {error}")))?;
                let url = format!("sqlite://{}", folder.path().join("demo.db").display());
                (Some(folder), url, String::new())
            }
        };
        if url.starts_with("memory:") {
            return Err(Failure::usage(
                "the demo has two processes, and memory: is seen by one; use sqlite:// or redis://",
            ));
        }
        let streamer = Streamer::builder().url(&url).domain("demo").connect().await?;
        Ok(Self {
            streamer,
            url,
            stream: format!("{prefix}order.placed"),
            group: format!("{prefix}billing"),
            folder,
        })
    }

    /// The store for people.
    pub(super) fn shown(&self) -> String {
        match self.folder {
            Some(_) => format!("{} (temporary)", self.url),
            None => streamer::shown_url(&self.url),
        }
    }

    /// The demo's records in the failed list.
    pub(super) async fn failed(&self) -> Result<Vec<FailedMessage>, Failure> {
        let members = self.failed_members().await?;
        Ok(members
            .iter()
            .filter_map(|member| FailedMessage::from_member(member).ok())
            .collect())
    }

    async fn failed_members(&self) -> Result<BTreeSet<Bytes>, Failure> {
        // A set, as a scan may name a member twice.
        let mut own = BTreeSet::new();
        let mut cursor = 0;
        loop {
            let (next, members) = self.streamer.engine().page_of_failures(cursor, 100).await?;
            let is_own = |member: &Bytes| FailedMessage::from_member(member).is_ok_and(|one| one.stream == self.stream);
            own.extend(members.into_iter().filter(is_own));
            if next == 0 {
                return Ok(own);
            }
            cursor = next;
        }
    }

    /// How many orders the group has not settled: pending ones and those it was never given.
    pub(super) async fn left(&self) -> Result<u64, Failure> {
        let groups = self.streamer.engine().groups(&StreamName::from(&self.stream)).await?;
        Ok(groups.iter().map(|group| group.pending + group.lag.unwrap_or(0)).sum())
    }

    /// Leaves nothing behind.
    pub(super) async fn clean(&self) -> Result<(), Failure> {
        if self.folder.is_some() {
            return Ok(()); // it goes with the folder
        }
        let failures = FailedFilter::all().stream(&self.stream);
        self.streamer.failed().flush(failures).await?;
        let stream = StreamName::from(&self.stream);
        self.streamer.engine().remove_stream(&stream).await?;
        Ok(())
    }
}
