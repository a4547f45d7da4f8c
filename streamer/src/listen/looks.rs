//! Which streams a listening looks at for events that are due, and when.
//!
//! Nobody tells a listening that an event was scheduled, so it has to ask. It asks for [`AT_ONCE`] streams a second, in turn, so
//! that a listening of thousands of streams does not send thousands of commands a second. A stream of which the store has told when
//! its next event is due comes at that time, besides.

use std::time::Duration;

use tokio::time::Instant;

use crate::{engine::FirstScheduled, entry::StreamName};

/// How long a listening waits between two looks at most.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How many streams one look asks for.
pub(super) const AT_ONCE: usize = 50;

/// How long a stream is left alone after it could not be looked at for a reason that does not pass by itself.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Stream {
    name: StreamName,
    /// When its first event is due, as the store told last.
    due: Option<Instant>,
    /// Until when it is left alone.
    refused: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Looks {
    streams: Vec<Stream>,
    /// Whose turn is next.
    next: usize,
    /// When that is. `None` before the first look, which asks for all, since events may be due already.
    next_at: Option<Instant>,
}

impl Looks {
    pub(super) fn new(names: impl IntoIterator<Item = StreamName>) -> Self {
        let stream = |name| Stream {
            name,
            due: None,
            refused: None,
        };
        Self {
            streams: names.into_iter().map(stream).collect(),
            next: 0,
            next_at: None,
        }
    }

    pub(super) fn name(&self, index: usize) -> &StreamName {
        &self.streams[index].name
    }

    /// The streams to ask for now: those whose event is due, and those whose turn it is. Ascending.
    pub(super) fn take(&mut self, now: Instant) -> Vec<usize> {
        let turns = match self.next_at {
            None => self.streams.len(),
            Some(at) if at > now => 0,
            Some(_) => AT_ONCE.min(self.streams.len()),
        };
        if turns > 0 {
            self.next_at = Some(now + LOOK);
        }
        let begin = self.next;
        let all = self.streams.len();
        let is_its_turn = |index: usize| (index + all - begin) % all < turns;
        let is_taken = |(index, stream): (usize, &Stream)| {
            let is_left_alone = stream.refused.is_some_and(|until| until > now);
            let is_due = stream.due.is_some_and(|due| due <= now);
            (!is_left_alone && (is_due || is_its_turn(index))).then_some(index)
        };
        let taken = self.streams.iter().enumerate().filter_map(is_taken).collect();
        self.next = (begin + turns) % all.max(1);
        taken
    }

    /// What the store told of a stream.
    pub(super) fn told(&mut self, index: usize, first: FirstScheduled, now: Instant) {
        let stream = &mut self.streams[index];
        stream.refused = None;
        // What is due so late that a clock cannot tell is asked for in its turn.
        stream.due = first
            .id
            .and_then(|id| now.checked_add(Duration::from_millis(id.ms.saturating_sub(first.now_ms))));
    }

    /// It could not be looked at, which passes by itself.
    pub(super) fn failed(&mut self, index: usize, now: Instant) {
        let due = &mut self.streams[index].due;
        *due = due.map(|due| due.max(now + LOOK));
    }

    /// It could not be looked at, which does not pass by itself. Tells whether that is news.
    pub(super) fn refused(&mut self, index: usize, now: Instant) -> bool {
        let stream = &mut self.streams[index];
        stream.due = None;
        stream.refused.replace(now + AFTER_REFUSAL).is_none()
    }

    /// How long nothing has to be asked.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let due = self.streams.iter().filter_map(|stream| stream.due);
        let first = due.chain(self.next_at).min();
        first.map_or(LOOK, |first| first.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::entry::EntryId;

    fn looks(streams: usize) -> Looks {
        Looks::new((0..streams).map(|number| StreamName::from(format!("s{number}"))))
    }

    fn due_in(ms: u64) -> FirstScheduled {
        FirstScheduled {
            id: Some(EntryId::new(1_000 + ms, 1)),
            now_ms: 1_000,
        }
    }

    #[test]
    fn the_first_look_asks_for_all_and_later_ones_for_a_bounded_number_in_turn() {
        let (mut looks, now) = (looks(120), Instant::now());
        assert_eq!(looks.take(now), (0..120).collect::<Vec<_>>());
        let mut seen = BTreeSet::new();
        for turn in 1..=3 {
            let taken = looks.take(now + turn * LOOK);
            assert_eq!(taken.len(), AT_ONCE);
            seen.extend(taken);
        }
        assert_eq!(seen.len(), 120, "each has had its turn");
        assert_eq!(looks.wait(now + 3 * LOOK), LOOK);
    }

    #[test]
    fn few_streams_are_all_asked_for_each_time() {
        let (mut looks, now) = (looks(3), Instant::now());
        for turn in 0..3 {
            assert_eq!(looks.take(now + turn * LOOK), [0, 1, 2]);
        }
        let mut none = Looks::new([]);
        assert!(none.take(now).is_empty());
        assert_eq!(none.wait(now), LOOK);
    }

    #[test]
    fn a_stream_whose_event_is_due_comes_out_of_its_turn_alone_and_is_waited_for() {
        let (mut looks, now) = (looks(200), Instant::now());
        looks.take(now);
        looks.told(170, due_in(400), now);
        assert_eq!(looks.wait(now), Duration::from_millis(400));
        let then = now + Duration::from_millis(400);
        assert_eq!(looks.wait(then), Duration::ZERO);
        assert_eq!(looks.take(then), [170]);
        looks.told(170, FirstScheduled::default(), then);
        assert_eq!(looks.wait(then), LOOK - Duration::from_millis(400));
        assert!(!looks.take(now + LOOK).contains(&170));
    }

    #[test]
    fn what_fails_is_asked_for_again_after_a_pause_and_what_is_refused_after_a_long_one() {
        let (mut looks, now) = (looks(2), Instant::now());
        looks.take(now);
        looks.told(0, due_in(0), now);
        looks.failed(0, now);
        assert_eq!(looks.wait(now), LOOK);
        assert!(looks.refused(1, now));
        assert_eq!(looks.take(now + LOOK), [0]);
        assert_eq!(looks.take(now + AFTER_REFUSAL), [0, 1]);
        assert!(!looks.refused(1, now + AFTER_REFUSAL), "it was told");
        looks.told(1, FirstScheduled::default(), now);
        assert!(looks.refused(1, now), "it is news again");
    }
}
