//! Which streams a read asks for, where many have more than it takes.
//!
//! A few entries of each of a hundred streams cost the server more than as many of five: it looks each stream up, and
//! finds its place in it. So backlogged streams come in turn, a few in each read. Those that are not are in every
//! read, and never wait for the others.

use std::collections::VecDeque;

use crate::{engine::StreamEntries, entry::StreamName};

/// How many backlogged streams share a read.
const TOGETHER: usize = 5;

/// Which streams the next read asks for.
pub(super) struct ReadScheduler {
    /// Streams that had more when they were last asked, by their number; first the one that waits longest.
    backlog: VecDeque<usize>,
    backlogged: Vec<bool>,
}

/// What one read asks for.
pub(super) struct ScheduledRead {
    /// These streams, by their number, in order.
    pub(super) streams: Vec<usize>,
    /// So many entries of each.
    pub(super) count: usize,
    /// Whether that is every stream. Those that are left out have entries, so that a read without them must not wait.
    pub(super) is_whole: bool,
}

impl ReadScheduler {
    pub(super) fn of(streams: usize) -> Self {
        Self {
            backlog: VecDeque::new(),
            backlogged: vec![false; streams],
        }
    }

    /// The next read: all streams that are not backlogged, and those backlogged ones that waited longest.
    pub(super) fn next(&mut self, count: usize) -> ScheduledRead {
        let together = self.backlog.len().min(TOGETHER);
        let streams = self.backlogged.iter().enumerate();
        let quiet = streams
            .filter(|(_, backlogged)| !**backlogged)
            .map(|(stream, _)| stream);
        let mut streams: Vec<usize> = quiet.chain(self.backlog.iter().take(together).copied()).collect();
        streams.sort_unstable();
        let read = ScheduledRead {
            streams,
            count: count.max(1),
            is_whole: together == self.backlog.len(),
        };
        self.backlog.rotate_left(together);
        read
    }

    /// Learns which streams are backlogged from what a read brought, in the order that was asked for.
    pub(super) fn learn<'a>(
        &mut self,
        read: &ScheduledRead,
        brought: &[StreamEntries],
        name: impl Fn(usize) -> &'a StreamName,
    ) {
        let mut brought = brought.iter().peekable();
        for &stream in &read.streams {
            let brought = brought.next_if(|brought| brought.stream == *name(stream));
            let has_more = brought.is_some_and(|brought| brought.entries.len() >= read.count);
            match (self.backlogged[stream], has_more) {
                (false, true) => self.backlog.push_back(stream),
                (true, false) => self.backlog.retain(|other| *other != stream),
                _ => {}
            }
            self.backlogged[stream] = has_more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, EntryId};

    /// A store with so many entries in each stream, of which reads take.
    struct Store {
        names: Vec<StreamName>,
        left: Vec<usize>,
        scheduler: ReadScheduler,
    }

    impl Store {
        fn with(left: Vec<usize>) -> Self {
            let names = (0..left.len()).map(|number| StreamName::from(number.to_string()));
            Self {
                names: names.collect(),
                scheduler: ReadScheduler::of(left.len()),
                left,
            }
        }

        /// Reads once, and gives what it took of each stream, and whether it asked for all.
        fn read(&mut self, count: usize) -> (Vec<(usize, usize)>, bool) {
            let read = self.scheduler.next(count);
            let entry = Entry {
                id: EntryId::MIN,
                fields: Vec::new(),
            };
            let (mut taken, mut brought) = (Vec::new(), Vec::new());
            for &stream in &read.streams {
                let some = self.left[stream].min(count);
                self.left[stream] -= some;
                if some > 0 {
                    taken.push((stream, some));
                    brought.push(StreamEntries {
                        stream: self.names[stream].clone(),
                        entries: vec![entry.clone(); some],
                    });
                }
            }
            self.scheduler.learn(&read, &brought, |stream| &self.names[stream]);
            (taken, read.is_whole)
        }
    }

    #[test]
    fn backlogged_streams_come_in_turn() {
        let mut store = Store::with(vec![50; 25]);
        let (first, whole) = store.read(5);
        assert!(
            whole && first.len() == 25,
            "no stream is known to be backlogged: {first:?}"
        );
        let turns = (0..5).map(|_| store.read(5).0).collect::<Vec<_>>();
        assert!(turns.iter().all(|turn| turn.len() == TOGETHER), "{turns:?}");
        let mut streams = turns.iter().flatten().map(|(stream, _)| *stream).collect::<Vec<_>>();
        streams.sort_unstable();
        assert_eq!(
            streams,
            (0..25).collect::<Vec<_>>(),
            "each has one turn before any has two"
        );
    }

    #[test]
    fn a_stream_without_backlog_is_in_every_read() {
        let mut store = Store::with([vec![50; 25], vec![0]].concat());
        for _ in 0..4 {
            store.left[25] = 1;
            let (taken, _) = store.read(5);
            assert!(taken.contains(&(25, 1)), "{taken:?}");
        }
    }

    #[test]
    fn everything_is_taken_and_then_all_are_asked_again() {
        let mut store = Store::with((0..40).collect());
        let mut reads = 0;
        while store.left.iter().any(|left| *left > 0) {
            store.read(3);
            reads += 1;
            assert!(reads < 200, "{:?} are never asked for", store.left);
        }
        // Those that had exactly what a read takes are found to have no more.
        let last = (0..5).map(|_| store.read(3)).last();
        assert_eq!(last, Some((Vec::new(), true)));
    }

    #[test]
    fn a_few_streams_are_all_asked_each_time() {
        let mut store = Store::with(vec![50; TOGETHER]);
        for _ in 0..5 {
            let (taken, whole) = store.read(5);
            assert!(whole && taken.len() == TOGETHER, "{taken:?}");
        }
    }
}
