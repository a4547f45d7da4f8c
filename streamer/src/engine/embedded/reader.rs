//! Reads new entries, waiting for them.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::watch, time::Instant};

use super::{
    Shared,
    entries::{self, Stored},
    failure::{Failure, Step},
    group,
    transaction::Transaction,
};
use crate::{
    engine::{EngineResult, Interrupter, ReadMode, Reader, StreamEntries, names},
    entry::{EntryId, StreamName},
};

/// Longer waits are as good as this one.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) struct EmbeddedReader {
    engine: Arc<Shared>,
    mode: ReadMode,
    interrupts: watch::Sender<()>,
    /// How often the file had been replaced when the reader was made.
    replacements: u64,
}

impl EmbeddedReader {
    pub(super) fn new(engine: Arc<Shared>, mode: ReadMode) -> Self {
        Self {
            replacements: engine.replacements.count(),
            engine,
            mode,
            interrupts: watch::Sender::new(()),
        }
    }

    /// An error once the file was replaced that this reader began with: what it has seen is not what is there now.
    fn check_file(&self) -> Step<()> {
        if self.engine.replacements.count() == self.replacements {
            return Ok(());
        }
        let path = self.engine.watch.path();
        Err(Failure::replaced(path.unwrap_or(Path::new("memory:"))))
    }

    /// Reads what is there now. `has_waited`: there is probably little, so that it may be read at once.
    async fn read(&mut self, count: usize, has_waited: bool) -> Step<Vec<StreamEntries>> {
        match &mut self.mode {
            ReadMode::Plain(positions) => {
                let asked = positions.clone();
                let look = move |transaction: &mut Transaction<'_>| plain(transaction, &asked, count);
                let found = match has_waited {
                    true => self.engine.look.run_at_once(look).await?,
                    false => self.engine.look.run(look).await?,
                };
                let read = decode(&self.engine, found).await?;
                for StreamEntries { stream, entries } in &read {
                    let Some(last) = entries.last() else { continue };
                    for (_, position) in positions.iter_mut().filter(|(name, _)| name == stream) {
                        *position = last.id;
                    }
                }
                Ok(read)
            }
            ReadMode::Group {
                group,
                consumer,
                streams,
            } => {
                let (group, consumer, streams) = (group.clone(), consumer.clone(), streams.clone());
                let deliver = move |transaction: &mut Transaction<'_>| {
                    group::deliver(transaction, &streams, &group, &consumer, count)
                };
                let found = match has_waited {
                    true => self.engine.write.run_at_once(deliver).await?,
                    false => self.engine.write.run(deliver).await?,
                };
                decode(&self.engine, found).await
            }
        }
    }

    /// Delivers what is there now, with the look for it in the same transaction. `None` for a reader without a group, and where
    /// `Worker::run_if_alone` does nothing.
    async fn deliver_if_alone(&self, count: usize) -> Option<Step<Vec<StreamEntries>>> {
        let ReadMode::Group {
            group,
            consumer,
            streams,
        } = &self.mode
        else {
            return None;
        };
        let deliver = |transaction: &mut Transaction<'_>| group::deliver(transaction, streams, group, consumer, count);
        match self.engine.write.run_if_alone(deliver)? {
            Ok(found) => Some(decode(&self.engine, found).await),
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Whether a read may find something. Looking is cheaper than delivering: it does not hold up who writes.
    async fn worth_reading(&self) -> Step<bool> {
        let ReadMode::Group { group, streams, .. } = &self.mode else {
            return Ok(true);
        };
        let (group, streams) = (group.clone(), streams.clone());
        self.engine
            .look
            .run_at_once(move |transaction| group::has_new(transaction, &streams, &group))
            .await
    }

    async fn read_or_wait(&mut self, count: usize, wait: Option<Duration>) -> Step<Vec<StreamEntries>> {
        let mut interrupted = self.interrupts.subscribe();
        self.check_file()?;
        let read = self.read(count, false).await?;
        let Some(wait) = wait.filter(|_| read.is_empty()) else {
            return Ok(read);
        };
        let deadline = Instant::now() + wait.min(LONGEST);
        let engine = self.engine.clone();
        // Before the next look, so that no commit falls between the look and the wait.
        let mut commits = engine.watch.wait();
        loop {
            self.check_file()?;
            let read = match self.deliver_if_alone(count).await {
                Some(read) => read?,
                // Another consumer may be faster than this read.
                None if self.worth_reading().await? => self.read(count, true).await?,
                None => Vec::new(),
            };
            if !read.is_empty() {
                return Ok(read);
            }
            tokio::select! {
                biased;
                _ = interrupted.changed() => return Ok(Vec::new()),
                () = commits.committed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(Vec::new()),
            }
        }
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>> {
        // What fails after the file was replaced, as a group that is missing in the new one, fails because of that.
        let read = match self.read_or_wait(count.max(1), wait).await {
            Err(failure) => Err(self.check_file().err().unwrap_or(failure)),
            read => read,
        };
        read.map_err(|failure| failure.attempted(format!("read from {}", names(&self.mode))))
    }

    fn interrupter(&self) -> Interrupter {
        let interrupts = self.interrupts.clone();
        Interrupter::new(move || interrupts.send_replace(()))
    }
}

fn plain(transaction: &mut Transaction<'_>, positions: &[(StreamName, EntryId)], count: usize) -> Step<Found> {
    let mut read = Vec::new();
    for (name, after) in positions {
        let Some(stream) = transaction.stream(name)? else {
            continue;
        };
        let entries = entries::after(transaction, stream, *after, count)?;
        if !entries.is_empty() {
            read.push((name.clone(), entries));
        }
    }
    Ok(read)
}

/// Decodes here what the one thread that writes has only copied. A file is called corrupt after a second look alone: what
/// cannot be decoded is read again, as anything else that makes no sense.
async fn decode(engine: &Shared, found: Found) -> Step<Vec<StreamEntries>> {
    match decoded(&found) {
        Err(_) => {
            engine
                .look
                .run(move |transaction| read_again(transaction, &found))
                .await
        }
        decoded => decoded,
    }
}

/// Entries by their streams, as they lie in their rows.
type Found = Vec<(StreamName, Vec<Stored>)>;

fn decoded(found: &Found) -> Step<Vec<StreamEntries>> {
    let of_stream = |(stream, entries): &(StreamName, Vec<Stored>)| {
        let entries = entries.iter().map(Stored::decoded).collect::<Step<_>>()?;
        let stream = stream.clone();
        Ok(StreamEntries { stream, entries })
    };
    found.iter().map(of_stream).collect()
}

/// Reads the same entries again, and decodes them before the transaction ends.
fn read_again(transaction: &mut Transaction<'_>, found: &Found) -> Step<Vec<StreamEntries>> {
    let mut read = Vec::with_capacity(found.len());
    for (name, entries) in found {
        let Some(stream) = transaction.stream(name)? else {
            continue;
        };
        let again = entries
            .iter()
            .filter_map(|stored| entries::entry(transaction, stream, stored.id).transpose());
        read.push(StreamEntries {
            stream: name.clone(),
            entries: again.collect::<Step<_>>()?,
        });
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{
        engine::{Append, AppendOptions, EmbeddedEngine, Engine as _},
        entry::NewId,
    };

    /// What a connection read was wrong, and the file is not.
    #[tokio::test]
    async fn entries_that_a_second_look_finds_sound_are_delivered() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("events.db");
        let engine = EmbeddedEngine::open(&format!("sqlite://{}", path.display()))
            .await
            .unwrap();
        let name = StreamName::from("orders");
        let append = |value: &'static str| Append {
            stream: name.clone(),
            id: NewId::Auto,
            fields: vec![("data".into(), value.into())],
            options: AppendOptions::default(),
        };
        let spoilt = engine.append(append("a")).await.unwrap();
        let sound = engine.append(append("b")).await.unwrap();
        let id = spoilt.to_be_bytes();
        let other = rusqlite::Connection::open(path).unwrap();
        let fields: Vec<u8> = other
            .query_row("SELECT fields FROM streamer_entries WHERE id = ?", [id], |row| {
                row.get(0)
            })
            .unwrap();
        let put = "UPDATE streamer_entries SET fields = ? WHERE id = ?";
        other.execute(put, rusqlite::params![b"\xff", id]).unwrap();
        let positions = [(name.clone(), EntryId::MIN)];
        let look = move |transaction: &mut Transaction<'_>| plain(transaction, &positions, 10);
        let found = engine.0.look.run(look).await.unwrap();
        assert!(decoded(&found).is_err());
        other.execute(put, rusqlite::params![fields, id]).unwrap();
        let read = decode(&engine.0, found).await.unwrap();
        assert_eq!(read.len(), 1);
        let entries = read[0].entries.iter().map(|entry| (entry.id, &entry.fields[0].1[..]));
        assert_eq!(entries.collect::<Vec<_>>(), [(spoilt, &b"a"[..]), (sound, &b"b"[..])]);
    }
}
