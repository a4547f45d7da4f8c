//! Which streams a read asks for, where many have more than it takes.
//!
//! A few entries of each of a hundred streams cost the server more than as many of five: it looks each stream up, and
//! finds its place in it. So streams that are behind come in turn, a few in each read. Those that are not are in every
//! read, and never wait for the others.

use std::collections::VecDeque;

use crate::{engine::StreamEntries, entry::StreamName};

/// How many streams that are behind share a read.
const TOGETHER: usize = 5;

/// Whose turn it is.
pub(super) struct Turns {
    /// Streams that had more when they were last asked, by their number; first the one that waits longest.
    behind: VecDeque<usize>,
    is_behind: Vec<bool>,
}

/// What one read asks for.
pub(super) struct Turn {
    /// These streams, by their number, in order.
    pub(super) streams: Vec<usize>,
    /// So many entries of each.
    pub(super) count: usize,
    /// Whether that is every stream. Those that are left out have entries, so that a read without them must not wait.
    pub(super) is_whole: bool,
}

impl Turns {
    pub(super) fn of(streams: usize) -> Self {
        Self {
            behind: VecDeque::new(),
            is_behind: vec![false; streams],
        }
    }

    /// The next read: all that are not behind, and of those that are who waited longest.
    pub(super) fn next(&mut self, count: usize) -> Turn {
        let together = self.behind.len().min(TOGETHER);
        let streams = self.is_behind.iter().enumerate();
        let quiet = streams.filter(|(_, is_behind)| !**is_behind).map(|(stream, _)| stream);
        let mut streams: Vec<usize> = quiet.chain(self.behind.iter().take(together).copied()).collect();
        streams.sort_unstable();
        let turn = Turn {
            streams,
            count: count.max(1),
            is_whole: together == self.behind.len(),
        };
        self.behind.rotate_left(together);
        turn
    }

    /// Learns who is behind from what a turn brought, which lies in the order that was asked for.
    pub(super) fn learn<'a>(&mut self, turn: &Turn, brought: &[StreamEntries], name: impl Fn(usize) -> &'a StreamName) {
        let mut brought = brought.iter().peekable();
        for &stream in &turn.streams {
            let brought = brought.next_if(|brought| brought.stream == *name(stream));
            let has_more = brought.is_some_and(|brought| brought.entries.len() >= turn.count);
            match (self.is_behind[stream], has_more) {
                (false, true) => self.behind.push_back(stream),
                (true, false) => self.behind.retain(|other| *other != stream),
                _ => {}
            }
            self.is_behind[stream] = has_more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, EntryId};

    /// A store with so many entries in each stream, of which turns take.
    struct Store {
        names: Vec<StreamName>,
        left: Vec<usize>,
        turns: Turns,
    }

    impl Store {
        fn with(left: Vec<usize>) -> Self {
            let names = (0..left.len()).map(|number| StreamName::from(number.to_string()));
            Self {
                names: names.collect(),
                turns: Turns::of(left.len()),
                left,
            }
        }

        /// Takes a turn, and gives what it took of each stream, and whether it asked for all.
        fn read(&mut self, count: usize) -> (Vec<(usize, usize)>, bool) {
            let turn = self.turns.next(count);
            let entry = Entry {
                id: EntryId::MIN,
                fields: Vec::new(),
            };
            let (mut taken, mut brought) = (Vec::new(), Vec::new());
            for &stream in &turn.streams {
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
            self.turns.learn(&turn, &brought, |stream| &self.names[stream]);
            (taken, turn.is_whole)
        }
    }

    #[test]
    fn streams_that_are_behind_come_in_turn() {
        let mut store = Store::with(vec![50; 25]);
        let (first, whole) = store.read(5);
        assert!(whole && first.len() == 25, "nobody is known to be behind: {first:?}");
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
    fn who_is_not_behind_waits_for_nobody() {
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
