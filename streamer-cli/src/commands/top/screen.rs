//! Which page `top` shows, and what each key does.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use streamer::{
    engine::PendingEntry,
    inspect::{Collector, GroupOverview, Lag, StreamOverview},
};

use super::{
    super::show,
    look::{Failures, Found, Wanted},
};

/// How far the keys for a page of lines move.
const PAGE: usize = 15;

/// What is to be done after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    /// The store is to be looked at for the page that is shown.
    Look(Wanted),
    Quit,
}

/// What groups are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Lag,
    Pending,
    Name,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Lag => Self::Pending,
            Self::Pending => Self::Name,
            Self::Name => Self::Lag,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Pending => "pending",
            Self::Name => "name",
        }
    }
}

/// A page above the list of groups.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) wanted: Wanted,
    /// `None` until the store has answered.
    pub(super) content: Option<Content>,
    /// Why the store did not answer the last time.
    pub(super) error: Option<String>,
    /// The row that is chosen, or the first line that is shown.
    pub(super) at: usize,
}

/// What a page shows.
#[derive(Debug)]
pub(super) enum Content {
    Pending(Vec<PendingEntry>),
    Failures(Failures),
    Message(Vec<show::Line>),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Pending(entries) => entries.len(),
            Self::Failures(failures) => failures.shown.len(),
            Self::Message(lines) => lines.len(),
        }
    }
}

/// A row of the list of groups. A stream without a group has one too.
pub(super) type Row<'a> = (&'a StreamOverview, Option<&'a GroupOverview>);

/// Everything that is shown.
pub(super) struct Screen {
    pub(super) url: String,
    pub(super) collector: Collector,
    pub(super) sort: Sort,
    /// When the store answered last.
    pub(super) seen: Option<Instant>,
    /// Why it did not answer since.
    pub(super) trouble: Option<String>,
    /// The stream and the group that are chosen: the choice stays with them when the order changes.
    chosen: Option<(String, Option<String>)>,
    /// The last one is shown; with none the list of groups is.
    pages: Vec<Page>,
}

impl Screen {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            collector: Collector::new(),
            sort: Sort::default(),
            seen: None,
            trouble: None,
            chosen: None,
            pages: Vec::new(),
        }
    }

    /// The page that is shown, if it is not the list of groups.
    pub(super) fn page(&self) -> Option<&Page> {
        self.pages.last()
    }

    /// What the page that is shown needs.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        self.page().map(|page| page.wanted.clone())
    }

    /// The groups, as they are sorted.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let Some(overview) = self.collector.latest() else {
            return Vec::new();
        };
        let mut rows = Vec::new();
        for stream in &overview.streams {
            match stream.groups.is_empty() {
                true => rows.push((stream, None)),
                false => rows.extend(stream.groups.iter().map(|group| (stream, Some(group)))),
            }
        }
        // A lag that nobody knows is more than none.
        let lag = |row: &Row<'_>| match row.1.map(|group| group.lag) {
            Some(Lag::Exact(lag) | Lag::AtLeast(lag)) => lag,
            Some(_) => 1,
            None => 0,
        };
        let pending = |row: &Row<'_>| row.1.map_or(0, |group| group.pending);
        let numbers = |row: &Row<'_>| match self.sort {
            Sort::Lag => (lag(row), pending(row)),
            Sort::Pending => (pending(row), lag(row)),
            Sort::Name => (0, 0),
        };
        let name = |row: &Row<'_>| (row.0.name.clone(), row.1.map(|group| group.name.clone()));
        rows.sort_by_cached_key(|row| (std::cmp::Reverse(numbers(row)), name(row)));
        rows
    }

    /// The row that is chosen.
    pub(super) fn chosen(&self, rows: &[Row<'_>]) -> usize {
        let Some((stream, group)) = &self.chosen else { return 0 };
        let is_it = |row: &Row<'_>| row.0.name == *stream && row.1.map(|group| &group.name) == group.as_ref();
        rows.iter().position(is_it).unwrap_or(0)
    }

    /// The store has answered.
    pub(super) fn found(&mut self, wanted: &Wanted, found: Result<Found, String>) {
        match found {
            Err(error) => match self.pages.last_mut().filter(|page| page.wanted == *wanted) {
                Some(page) => page.error = Some(error),
                None if *wanted == Wanted::Overview => self.trouble = Some(error),
                None => {}
            },
            Ok(Found::Overview(overview)) => {
                self.collector.observe(*overview);
                self.seen = Some(Instant::now());
                self.trouble = None;
            }
            Ok(found) => {
                // The answer may come when its page is gone.
                let Some(page) = self.pages.last_mut().filter(|page| page.wanted == *wanted) else {
                    return;
                };
                let content = match found {
                    Found::Group(pending) => Content::Pending(pending),
                    Found::Failures(failures) => Content::Failures(failures),
                    Found::Message(lines) => Content::Message(lines),
                    Found::Overview(_) => return,
                };
                page.at = page.at.min(content.len().saturating_sub(1));
                page.content = Some(content);
                page.error = None;
            }
        }
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => Next::Quit,
            KeyCode::Char('q') => Next::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.go(|at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go(|at, last| (at + 1).min(last)),
            KeyCode::PageUp => self.go(|at, _| at.saturating_sub(PAGE)),
            KeyCode::PageDown => self.go(|at, last| (at + PAGE).min(last)),
            KeyCode::Home | KeyCode::Char('g') => self.go(|_, _| 0),
            KeyCode::End | KeyCode::Char('G') => self.go(|_, last| last),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') => {
                self.pages.pop();
                Next::Stay
            }
            KeyCode::Char('f') if self.wanted() != Some(Wanted::Failures) => self.turn_to(Wanted::Failures),
            KeyCode::Char('s') if self.pages.is_empty() => {
                self.sort = self.sort.next();
                Next::Stay
            }
            KeyCode::Char('r') => Next::Look(self.wanted().unwrap_or(Wanted::Overview)),
            _ => Next::Stay,
        }
    }

    /// Chooses another row, or scrolls.
    fn go(&mut self, to: impl Fn(usize, usize) -> usize) -> Next {
        if let Some(page) = self.pages.last_mut() {
            let last = page.content.as_ref().map_or(0, Content::len).saturating_sub(1);
            page.at = to(page.at, last);
            return Next::Stay;
        }
        let rows = self.rows();
        let at = to(self.chosen(&rows), rows.len().saturating_sub(1));
        let chosen = rows.get(at).map(|(stream, group)| {
            let group = group.map(|group| group.name.clone());
            (stream.name.clone(), group)
        });
        self.chosen = chosen;
        Next::Stay
    }

    /// Opens what is chosen.
    fn open(&mut self) -> Next {
        let wanted = match self.pages.last() {
            None => {
                let rows = self.rows();
                match rows.get(self.chosen(&rows)) {
                    Some((stream, Some(group))) => Some(Wanted::Group {
                        stream: stream.name.clone(),
                        group: group.name.clone(),
                    }),
                    _ => None,
                }
            }
            Some(page) => match (&page.wanted, &page.content) {
                (Wanted::Group { stream, .. }, Some(Content::Pending(entries))) => {
                    entries.get(page.at).map(|entry| Wanted::Message {
                        stream: stream.clone(),
                        id: entry.id,
                    })
                }
                (_, Some(Content::Failures(failures))) => failures.shown.get(page.at).and_then(|failure| {
                    Some(Wanted::Message {
                        stream: failure.stream.clone(),
                        id: failure.id.parse().ok()?,
                    })
                }),
                _ => None,
            },
        };
        match wanted {
            Some(wanted) => self.turn_to(wanted),
            None => Next::Stay,
        }
    }

    fn turn_to(&mut self, wanted: Wanted) -> Next {
        self.pages.push(Page {
            wanted: wanted.clone(),
            content: None,
            error: None,
            at: 0,
        });
        Next::Look(wanted)
    }
}
