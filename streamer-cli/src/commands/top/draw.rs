//! What the pages of `top` look like, down to 80 columns and 24 lines.
//!
//! What others wrote (names, errors, payloads) is shown through [`Shown`], as everywhere: it drives no terminal.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Row, Table},
};
use streamer::{
    engine::PendingEntry,
    inspect::{ConsumerOverview, Lag, Overview},
};
use unicode_width::UnicodeWidthChar as _;

use super::{
    super::{
        group::shown_ms,
        show,
        status::{cells, shown_age},
    },
    look::{Failures, Wanted},
    screen::{Content, Page, Screen},
};
use crate::{output, terminal::Shown};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const BAD: Style = Style::new().fg(Color::Red);
const WARNING: Style = Style::new().fg(Color::Yellow);

/// How many consumers of a group are shown, those with the most pending messages first.
const CONSUMERS: usize = 5;

pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(3), Constraint::Length(2)]).areas(frame.area());
    frame.render_widget(Paragraph::new(heading(screen)), head);
    let keys = match screen.page() {
        None => {
            groups(frame, body, screen);
            format!(
                "q quit  Enter open  f failures  s sort: {}  r look again",
                screen.sort.name()
            )
        }
        Some(page) => {
            draw_page(frame, body, screen, page);
            match page.content {
                Some(Content::Message(_)) => "q quit  Esc back  arrows scroll  r look again".to_owned(),
                _ => "q quit  Esc back  Enter open message  r look again".to_owned(),
            }
        }
    };
    let error = screen.page().and_then(|page| page.error.as_ref());
    let status = match error.or(screen.trouble.as_ref()) {
        Some(error) => {
            let since = screen
                .seen
                .map_or_else(String::new, |seen| format!("{} old: ", age(seen.elapsed())));
            Line::styled(text(format!("{since}{error}")), BAD)
        }
        None => status(screen),
    };
    frame.render_widget(Paragraph::new(vec![status, Line::styled(keys, DIM)]), foot);
}

/// Text of others, on one line.
fn text(text: impl AsRef<str>) -> String {
    Shown::line(text).as_str().to_owned()
}

fn age(time: Duration) -> String {
    shown_age(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The store, and the sums of all groups.
fn heading(screen: &Screen) -> Vec<Line<'static>> {
    let mut title = vec![Span::styled("streamer top  ", BOLD)];
    title.extend(screen.collector.latest().and_then(scheduled));
    title.push(Span::raw(text(&screen.url)));
    let title = Line::from(title);
    let sums = match screen.collector.latest() {
        None => "Looking at the store …".to_owned(),
        Some(overview) => {
            let totals = &overview.totals;
            let failures = overview.failures.map_or_else(
                || "? failures".to_owned(),
                |failures| output::counted(failures, "failure"),
            );
            let part = if overview.complete { "" } else { " (not all streams)" };
            format!(
                "{}, {}{part}: lag {}, {} pending, {} alive, {} stale, {failures}",
                output::counted(totals.streams, "stream"),
                output::counted(totals.groups, "group"),
                totals.lag,
                totals.pending,
                totals.alive,
                totals.stale,
            )
        }
    };
    vec![title, Line::raw(sums)]
}

/// The events that wait until they are due, if there are any.
fn scheduled(overview: &Overview) -> Option<Span<'static>> {
    let totals = &overview.totals;
    match (totals.scheduled, totals.overdue) {
        (0, _) => None,
        (waiting, 0) => Some(Span::raw(format!("{waiting} scheduled  "))),
        (waiting, overdue) => Some(Span::styled(
            format!("{waiting} scheduled, {overdue} overdue  "),
            WARNING,
        )),
    }
}

/// The whole name of what is chosen, which a narrow column may cut.
fn status(screen: &Screen) -> Line<'static> {
    if screen.page().is_some() {
        return Line::default();
    }
    let rows = screen.rows();
    match rows.get(screen.chosen(&rows)) {
        None => Line::default(),
        Some((stream, group)) => {
            let mut words = match group {
                None => format!("Stream {}: no group", stream.name),
                Some(group) => format!("Stream {}, group {}", stream.name, group.name),
            };
            if let Some(scheduled) = stream.scheduled.filter(|scheduled| scheduled.waiting > 0) {
                words = format!("{words}; {} scheduled", scheduled.waiting);
                if let Some(ms) = scheduled.overdue_ms {
                    words = format!("{words}, {} overdue since {}", scheduled.overdue, shown_age(ms));
                }
            }
            Line::raw(text(words))
        }
    }
}

/// The list of groups.
fn groups(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let rows = screen.rows();
    if rows.is_empty() {
        let words = match screen.seen {
            None => "",
            Some(_) => "The store has no stream yet. `streamer emit` makes one.",
        };
        return frame.render_widget(Paragraph::new(words), area);
    }
    let chosen = screen.chosen(&rows);
    let (first, visible) = window(rows.len(), chosen, area);
    let shown = rows.iter().enumerate().skip(first).take(visible);
    let shown = shown.map(|(at, (stream, group))| {
        let rates = group.map_or_else(Default::default, |group| {
            screen.collector.group_rates(&stream.name, &group.name)
        });
        let rate = |rate: Option<f64>| rate.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.1}"));
        let incoming = rate(screen.collector.stream_rates(&stream.name).incoming);
        let (mut row, style) = match group {
            None => {
                let none = std::iter::repeat_n("-".to_owned(), 6);
                let is_late = stream.scheduled.is_some_and(|scheduled| scheduled.overdue > 0);
                let style = if is_late { WARNING } else { DIM };
                (std::iter::once(stream.name.clone()).chain(none).collect(), style)
            }
            Some(group) => {
                let is_behind = group.lag != Lag::Exact(0) || group.pending > 0;
                let style = match (is_behind, group.alive) {
                    (true, 0) => BAD,
                    (true, _) => WARNING,
                    (false, _) => Style::new(),
                };
                (cells(stream, group, false), style)
            }
        };
        row.push(incoming);
        row.push(match group {
            Some(_) => rate(rates.acknowledged),
            None => "-".to_owned(),
        });
        let row = row.iter().enumerate().map(|(column, cell)| match column {
            0 | 1 => Line::raw(text(cell)),
            _ => Line::raw(text(cell)).right_aligned(),
        });
        Row::new(row.collect::<Vec<_>>()).style(if at == chosen { style.patch(CHOSEN) } else { style })
    });
    let names = [
        "Stream", "Group", "Lag", "Waits", "Pending", "Oldest", "Alive", "In/s", "Out/s",
    ];
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(6),
    ];
    let table = Table::new(shown.collect::<Vec<_>>(), widths).header(header(&names, 2));
    frame.render_widget(table, area);
}

/// Which rows of a table with a header are visible, so that the chosen one is.
fn window(rows: usize, chosen: usize, area: Rect) -> (usize, usize) {
    let visible = usize::from(area.height.saturating_sub(1)).max(1);
    let first = chosen.saturating_sub(visible / 2).min(rows.saturating_sub(visible));
    (first, visible)
}

/// A header whose columns are aligned to the right from `numbers` on.
fn header(names: &[&'static str], numbers: usize) -> Row<'static> {
    let cells = names.iter().enumerate().map(|(column, name)| match column < numbers {
        true => Line::raw(*name),
        false => Line::raw(*name).right_aligned(),
    });
    Row::new(cells.collect::<Vec<_>>()).style(BOLD)
}

fn draw_page(frame: &mut Frame<'_>, area: Rect, screen: &Screen, page: &Page) {
    let title = match &page.wanted {
        Wanted::Overview => String::new(),
        Wanted::Group { stream, group } => format!("Group {group} of stream {stream}"),
        Wanted::Failures => "Failures".to_owned(),
        Wanted::Message { stream, id } => format!("Message {id} of stream {stream}"),
    };
    let [title_area, area] = Layout::vertical([Constraint::Length(1), Constraint::Min(2)]).areas(area);
    frame.render_widget(Line::styled(text(title), BOLD), title_area);
    match &page.content {
        None => frame.render_widget(Paragraph::new("Looking at the store …"), area),
        Some(Content::Pending(entries)) => group(frame, area, screen, page, entries),
        Some(Content::Failures(found)) => failures(frame, area, page, found),
        Some(Content::Message(lines)) => message(frame, area, page, lines),
    }
}

/// A group: its numbers, its consumers, and what is pending.
fn group(frame: &mut Frame<'_>, area: Rect, screen: &Screen, page: &Page, entries: &[PendingEntry]) {
    let overview = screen.collector.latest();
    let found = match &page.wanted {
        Wanted::Group { stream, group } => overview
            .and_then(|overview| overview.stream(stream))
            .and_then(|stream| stream.groups.iter().find(|one| one.name == *group)),
        _ => None,
    };
    let Some(found) = found else {
        return frame.render_widget(Paragraph::new("The group is gone."), area);
    };
    let mut consumers = found.consumers.iter().collect::<Vec<_>>();
    consumers.sort_by_key(|consumer| std::cmp::Reverse(consumer.pending));
    let height = u16::try_from(consumers.len().min(CONSUMERS) + 1).unwrap_or(u16::MAX);
    let [numbers, consumers_area, entries_area] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(height + 1),
        Constraint::Min(2),
    ])
    .areas(area);
    let waits = found.lag_ms.filter(|_| found.lag != Lag::Exact(0));
    let waits = waits.map_or_else(String::new, |ms| format!(", the first waits for {}", shown_ms(ms)));
    let missed = found.missed.filter(|missed| *missed > 0);
    let missed = missed.map_or_else(String::new, |missed| format!(", {missed} left the stream unread"));
    frame.render_widget(
        Paragraph::new(vec![
            Line::raw(format!("Lag {}{waits}{missed}; {} pending", found.lag, found.pending)),
            Line::raw(format!("Delivered up to {}", found.last_delivered_id)),
        ]),
        numbers,
    );
    let more = consumers.len().saturating_sub(CONSUMERS);
    let rows = consumers.iter().take(CONSUMERS).map(|consumer| consumer_row(consumer));
    let name = match more {
        0 => "Consumer".to_owned(),
        more => format!("Consumer (and {more} more)"),
    };
    let names = [name.as_str(), "State", "Pending", "Idle"];
    let names = names.map(|name| Line::raw(name.to_owned()));
    let table = Table::new(
        rows.collect::<Vec<_>>(),
        [
            Constraint::Fill(1),
            Constraint::Length(6),
            Constraint::Length(8),
            Constraint::Length(8),
        ],
    )
    .header(Row::new(names).style(BOLD));
    frame.render_widget(table, consumers_area);
    if entries.is_empty() {
        return frame.render_widget(Paragraph::new("Nothing is pending."), entries_area);
    }
    let (first, visible) = window(entries.len(), page.at, entries_area);
    let rows = entries.iter().enumerate().skip(first).take(visible).map(|(at, entry)| {
        let cells = [
            entry.id.to_string(),
            text(&entry.consumer),
            shown_age(u64::try_from(entry.idle.as_millis()).unwrap_or(u64::MAX)),
            entry.deliveries.to_string(),
        ];
        Row::new(cells).style(if at == page.at { CHOSEN } else { Style::new() })
    });
    let table = Table::new(
        rows.collect::<Vec<_>>(),
        [
            Constraint::Length(22),
            Constraint::Fill(1),
            Constraint::Length(6),
            Constraint::Length(10),
        ],
    )
    .header(Row::new(["Pending message", "With", "Idle", "Deliveries"]).style(BOLD));
    frame.render_widget(table, entries_area);
}

fn consumer_row(consumer: &ConsumerOverview) -> Row<'static> {
    let (state, style) = match (consumer.alive, consumer.pending) {
        (true, _) => ("alive", Style::new()),
        (false, 0) => ("stale", DIM),
        (false, _) => ("stale", BAD),
    };
    Row::new([
        text(&consumer.name),
        state.to_owned(),
        consumer.pending.to_string(),
        shown_age(consumer.idle_ms),
    ])
    .style(style)
}

fn failures(frame: &mut Frame<'_>, area: Rect, page: &Page, found: &Failures) {
    let [words, area] = Layout::vertical([Constraint::Length(1), Constraint::Min(2)]).areas(area);
    let shown = found.shown.len() as u64;
    let listed = output::counted(found.listed, "failure");
    let line = match (shown < found.listed, found.looked_at < found.listed) {
        (true, false) => format!("the newest {shown} of {listed}"),
        (true, true) => format!(
            "the newest {shown} of {} that were looked at, of {listed}",
            found.looked_at
        ),
        (false, _) => listed,
    };
    frame.render_widget(Line::raw(line), words);
    let (first, visible) = window(found.shown.len(), page.at, area);
    let rows = found.shown.iter().enumerate().skip(first).take(visible);
    let rows = rows.map(|(at, failure)| {
        let cells = [&failure.date, &failure.stream, &failure.receiver, &failure.error].map(text);
        Row::new(cells).style(if at == page.at { CHOSEN } else { Style::new() })
    });
    let table = Table::new(
        rows.collect::<Vec<_>>(),
        [
            Constraint::Length(19),
            Constraint::Fill(2),
            Constraint::Fill(2),
            Constraint::Fill(3),
        ],
    )
    .header(Row::new(["Date", "Stream", "Listener", "Error"]).style(BOLD));
    frame.render_widget(table, area);
}

/// A message and its life, from the line on that is chosen.
fn message(frame: &mut Frame<'_>, area: Rect, page: &Page, lines: &[show::Line]) {
    let mut shown = Vec::new();
    for line in lines.iter().skip(page.at) {
        let style = match line.style {
            show::LineStyle::Plain => Style::new(),
            show::LineStyle::Title => BOLD,
            show::LineStyle::Bad => BAD,
        };
        let parts = wrap(line.shown().as_str(), usize::from(area.width));
        shown.extend(parts.into_iter().map(|part| Line::styled(part, style)));
        if shown.len() >= usize::from(area.height) {
            break;
        }
    }
    frame.render_widget(Paragraph::new(shown), area);
}

/// Cuts a line where the terminal ends.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut at = 0;
    for c in line.chars() {
        let needs = c.width().unwrap_or(0);
        if at + needs > width.max(2) {
            parts.push(String::new());
            at = 0;
        }
        at += needs;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use ratatui::{
        Terminal,
        backend::TestBackend,
        crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    };
    use streamer::{DynamicEvent, StreamName, Streamer};

    use super::{
        super::{Looker, look::Wanted, screen::Next},
        *,
    };

    /// The screen as text.
    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, screen)).expect("drawn");
        let text = terminal.backend().to_string();
        text.lines()
            .map(|line| format!("{}\n", line.trim_matches('"').trim_end()))
            .collect()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Next {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    async fn look(looker: &Looker, screen: &mut Screen, wanted: Wanted) {
        let found = looker.look(&wanted).await;
        screen.found(&wanted, found);
    }

    /// Presses a key that opens a page, and looks at the store for it.
    async fn open(looker: &Looker, screen: &mut Screen, code: KeyCode) {
        match press(screen, code) {
            Next::Look(wanted) => look(looker, screen, wanted).await,
            other => panic!("{code:?} opened nothing: {other:?}"),
        }
    }

    /// A store in memory with three streams: one group is behind, one has a pending message, one has neither.
    async fn store() -> Looker {
        let streamer = Streamer::connect("memory://").await.expect("a store");
        for (stream, messages) in [("idle", 1), ("busy", 9), ("name\u{1b}[31m\u{202e}", 2)] {
            for n in 0..messages {
                let event = DynamicEvent::new(stream, serde_json::json!({"n": n, "text": "a\u{1b}[2Jb"}));
                streamer.emit(&event).await.expect("emitted");
            }
        }
        let engine = streamer.engine();
        let start = streamer::engine::GroupStart::After(streamer::EntryId::MIN);
        for (stream, group) in [("idle", "g"), ("busy", "billing"), ("name\u{1b}[31m\u{202e}", "g\u{7}")] {
            engine
                .create_group(&StreamName::from(stream), group, start, false)
                .await
                .expect("a group");
        }
        let consumer = streamer.stream("idle").consumer("g", "worker-1");
        assert_eq!(consumer.read_new(10, None).await.expect("read").len(), 1);
        Looker {
            streamer,
            archive: None,
            events: vec!["no.stream.yet".to_owned()],
            stale_after: Duration::from_secs(120),
        }
    }

    #[tokio::test]
    async fn groups_are_sorted_by_lag_and_each_page_fits_80_columns() {
        let looker = store().await;
        let mut screen = Screen::new("memory://".to_owned());
        assert!(drawn(&screen, 80, 24).contains("Looking at the store"));
        look(&looker, &mut screen, Wanted::Overview).await;
        let text = drawn(&screen, 80, 24);
        let line = |name: &str| text.lines().position(|line| line.starts_with(name));
        assert!(line("busy") < line("name") && line("name") < line("idle"), "{text}");
        assert!(text.contains("3 streams, 3 groups: lag 11, 1 pending"), "{text}");
        assert!(text.contains("Stream busy, group billing"), "{text}");
        for name in [
            "Stream", "Group", "Lag", "Waits", "Pending", "Oldest", "Alive", "In/s", "Out/s",
        ] {
            assert!(
                text.lines().nth(2).is_some_and(|line| line.contains(name)),
                "{name}: {text}"
            );
        }
        // By pending, the group with one comes first.
        press(&mut screen, KeyCode::Char('s'));
        let text = drawn(&screen, 80, 24);
        let line = |name: &str| text.lines().position(|line| line.starts_with(name));
        assert!(line("idle") < line("busy"), "{text}");
        assert!(text.contains("s sort: pending"), "{text}");
    }

    #[tokio::test]
    async fn events_for_later_are_counted_and_those_of_the_chosen_stream_too() {
        let looker = store().await;
        let reminder = DynamicEvent::new("busy", serde_json::json!({}));
        let tomorrow = streamer::EmitOptions::new().deliver_after(Duration::from_secs(86_400));
        looker.streamer.emit_with(&reminder, tomorrow).await.expect("emitted");
        let mut screen = Screen::new("memory://".to_owned());
        look(&looker, &mut screen, Wanted::Overview).await;
        let text = drawn(&screen, 80, 24);
        assert!(text.starts_with("streamer top  1 scheduled  memory://"), "{text}");
        assert!(text.contains("Stream busy, group billing; 1 scheduled"), "{text}");
    }

    #[tokio::test]
    async fn a_group_its_pending_message_and_its_life_are_some_keys_away() {
        let looker = store().await;
        let mut screen = Screen::new("memory://".to_owned());
        look(&looker, &mut screen, Wanted::Overview).await;
        press(&mut screen, KeyCode::End);
        open(&looker, &mut screen, KeyCode::Enter).await;
        let text = drawn(&screen, 80, 24);
        assert!(text.contains("Group g of stream idle"), "{text}");
        assert!(text.contains("Lag 0; 1 pending"), "{text}");
        assert!(text.contains("worker-1"), "{text}");
        open(&looker, &mut screen, KeyCode::Enter).await;
        let text = drawn(&screen, 80, 24);
        assert!(text.contains("of stream idle"), "{text}");
        assert!(text.contains("pending with worker-1, delivered 1 time"), "{text}");
        assert!(text.contains("\"n\": 0"), "{text}");
        for page in ["Group g of stream idle", "s sort: lag", "s sort: lag"] {
            press(&mut screen, KeyCode::Esc);
            let text = drawn(&screen, 80, 24);
            assert!(text.contains(page), "{text}");
        }
        open(&looker, &mut screen, KeyCode::Char('f')).await;
        assert!(drawn(&screen, 80, 24).contains("0 failures"));
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Next::Quit);
    }

    #[tokio::test]
    async fn names_and_payloads_drive_no_terminal_and_small_terminals_are_drawn() {
        let looker = store().await;
        let mut screen = Screen::new("memory://".to_owned());
        look(&looker, &mut screen, Wanted::Overview).await;
        press(&mut screen, KeyCode::Down);
        let mut pages = vec![drawn(&screen, 200, 24)];
        assert!(pages[0].contains("name\\u{1b}[31m\\u{202e}"), "{}", pages[0]);
        open(&looker, &mut screen, KeyCode::Enter).await;
        pages.push(drawn(&screen, 200, 24));
        for (width, height) in [(1, 1), (10, 3), (40, 8), (80, 24)] {
            drawn(&screen, width, height);
        }
        for page in pages {
            let drives = |c: char| c != '\n' && crate::terminal::drives_a_terminal(c);
            assert!(!page.contains(drives), "{page:?}");
        }
    }

    #[test]
    fn a_store_that_does_not_answer_is_told_and_what_was_seen_stays() {
        let mut screen = Screen::new("redis://".to_owned());
        screen.found(&Wanted::Overview, Err("could not reach\u{1b}[2J it".to_owned()));
        let text = drawn(&screen, 80, 24);
        assert!(text.contains("could not reach\\u{1b}[2J it"), "{text}");
    }

    #[test]
    fn long_lines_are_cut_where_the_terminal_ends() {
        assert_eq!(wrap("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(wrap("漢漢漢", 4), ["漢漢", "漢"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
