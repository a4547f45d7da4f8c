//! The newest failures first, a page at a time, in bounded work and memory.
//!
//! The list is a set: it has no order. So a page looks at a part of the list and keeps the newest of it. A list that is no longer
//! than a part is in order from its newest failure to its oldest; a longer one is in order within each part.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fmt,
    hash::{Hash as _, Hasher as _},
    str::FromStr,
};

use super::{Failed, FailedFilter, Listed, Listing, store};
use crate::{client::Streamer, engine::EngineResult, entry::EntryId};

/// How many failures a page has, unless said otherwise.
const LIMIT: usize = 200;
/// How many members a part has, unless said otherwise.
const PART: u64 = 100_000;

/// The newest failures, newest first, a page at a time ([`Failed::newest`]).
///
/// # Cost
///
/// Each page looks at one part of the list: at most about 100,000 members ([`Newest::part`]), 500 in each round trip. Memory is
/// that of a page.
#[derive(Clone, Debug)]
pub struct Newest {
    streamer: Streamer,
    filter: FailedFilter,
    limit: usize,
    part: u64,
    from: Position,
}

/// Where a page begins. Its text is what a link of a page carries; it has no meaning beyond that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The cursor of the store where the part begins.
    part: u64,
    /// Only what comes after this one: what is older.
    after: Option<Key>,
}

/// What failures are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Milliseconds since the Unix epoch; the smallest number where the date cannot be read.
    date: i64,
    id: EntryId,
    /// Tells failures of one message and date apart.
    fingerprint: u64,
}

/// A page of the newest failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewestPage {
    /// The failures, newest first, each with what is kept beside it. Members that cannot be read come last, when the filter
    /// lets everything through.
    pub failures: Vec<Listed>,
    /// How many failures of the part the filter lets through, those of other pages included. In rare cases the store gives one
    /// twice, and it counts twice.
    pub matching: u64,
    /// How many members the part has.
    pub looked_at: u64,
    /// Whether the part is the whole list.
    pub complete: bool,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Position>,
}

impl Failed {
    /// The failures that a filter lets through, the newest first, a page at a time.
    ///
    /// ```
    /// use streamer::{Streamer, failed::{FailedFilter, Position}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let streamer = Streamer::connect("memory:").await?;
    /// let mut from = Some(Position::default());
    /// while let Some(position) = from {
    ///     let page = streamer.failed().newest(FailedFilter::all()).from(position).page(|_| {}).await?;
    ///     for listed in page.failures {
    ///         println!("{:?}", listed.record);
    ///     }
    ///     from = page.next;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn newest(&self, filter: FailedFilter) -> Newest {
        Newest {
            streamer: self.streamer.clone(),
            filter,
            limit: LIMIT,
            part: PART,
            from: Position::default(),
        }
    }
}

impl Newest {
    /// How many failures a page has, at most. Default: 200.
    #[must_use]
    pub fn limit(self, failures: usize) -> Self {
        let limit = failures.max(1);
        Self { limit, ..self }
    }

    /// After how many members a part ends. Default: 100,000.
    #[must_use]
    pub fn part(self, members: u64) -> Self {
        Self { part: members, ..self }
    }

    /// Begins where another page ended ([`NewestPage::next`]), with the same filter.
    #[must_use]
    pub fn from(self, from: Position) -> Self {
        Self { from, ..self }
    }

    /// The page. `each` is called with every failure of its part that the filter lets through, in no order, without what is
    /// kept beside it: for numbers about all of them.
    ///
    /// A failure that is recorded or removed between two pages may come or not; every other one comes.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn page(self, mut each: impl FnMut(&Listed)) -> EngineResult<NewestPage> {
        let engine = self.streamer.engine();
        let mut listing = Listing::new(engine.clone(), self.filter).starting_at(self.from.part);
        // One more than are shown: whether there is an older one.
        let mut newest: BTreeMap<Key, Listed> = BTreeMap::new();
        let mut page = NewestPage::default();
        while listing.looked_at() < self.part.max(1)
            && let Some(found) = listing.next_page().await?
        {
            for listed in found {
                each(&listed);
                page.matching += 1;
                let key = Key::of(&listed);
                if self.from.after.is_some_and(|after| key >= after) {
                    continue;
                }
                newest.insert(key, listed);
                if newest.len() > self.limit + 1 {
                    newest.pop_first();
                }
            }
        }
        page.looked_at = listing.looked_at();
        page.complete = self.from.part == 0 && listing.is_at_end();
        let has_older = newest.len() > self.limit;
        if has_older {
            newest.pop_first();
        }
        page.next = match newest.first_key_value().filter(|_| has_older) {
            Some((oldest, _)) => Some(Position {
                part: self.from.part,
                after: Some(*oldest),
            }),
            None => listing.cursor().map(|part| Position { part, after: None }),
        };
        page.failures = newest.into_values().rev().collect();
        store::add_details(engine.as_ref(), &mut page.failures).await?;
        Ok(page)
    }
}

impl Key {
    fn of(listed: &Listed) -> Self {
        let mut hasher = DefaultHasher::new();
        listed.member.hash(&mut hasher);
        let id = listed.record.as_ref().ok().and_then(|record| record.id.parse().ok());
        Self {
            date: listed.failed_at().map_or(i64::MIN, |at| at.unix_ms() as i64),
            id: id.unwrap_or(EntryId::MIN),
            fingerprint: hasher.finish(),
        }
    }
}

impl Position {
    /// Whether another part of the list begins here.
    #[must_use]
    pub fn begins_part(&self) -> bool {
        self.after.is_none()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.part)?;
        match &self.after {
            Some(key) => write!(f, "_{}_{}_{:x}", key.date, key.id, key.fingerprint),
            None => Ok(()),
        }
    }
}

/// A text that is no [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in the failed list: begin with the first page")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let mut parts = text.split('_');
        let mut part = || parts.next().ok_or(InvalidPosition);
        let position = Self {
            part: part()?.parse().map_err(|_| InvalidPosition)?,
            after: match part() {
                Ok(date) => Some(Key {
                    date: date.parse().map_err(|_| InvalidPosition)?,
                    id: part()?.parse().map_err(|_| InvalidPosition)?,
                    fingerprint: u64::from_str_radix(part()?, 16).map_err(|_| InvalidPosition)?,
                }),
                Err(InvalidPosition) => None,
            },
        };
        match parts.next() {
            Some(_) => Err(InvalidPosition),
            None => Ok(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Position};
    use crate::entry::EntryId;

    #[test]
    fn a_position_is_read_from_its_text() {
        let key = Key {
            date: -5,
            id: EntryId::new(7, 3),
            fingerprint: u64::MAX,
        };
        for position in [
            Position::default(),
            Position {
                part: u64::MAX,
                after: None,
            },
            Position {
                part: 9,
                after: Some(key),
            },
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in ["", "x", "1_", "1_2", "1_2_3-0", "1_2_3-0_zz", "1_2_3-0_f_g", "-1"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
