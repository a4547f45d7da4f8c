//! Tables that fit the screen.
//!
//! They look as those of laravel-streamer's commands. A cell is one line: what is longer than its column is cut with
//! `…`. Where the output is not a terminal, a column of free text is at most [`WIDEST_CELL`] wide.

use std::io::{self, IsTerminal as _};

use comfy_table::{ContentLineStyle, LineStyle, TableStyle};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{output, terminal::Shown};

/// The most columns of a cell where no terminal says how wide it is.
const WIDEST_CELL: usize = 200;
/// A column is not made narrower than this.
const NARROWEST: usize = 8;
/// No cell is looked at further than this.
const LOOKED_AT: usize = 4 * 1024;

const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('+', '-', '+', '+'))
    .header_lines(ContentLineStyle::new('|', '|', '|'))
    .header_separator(LineStyle::new('+', '-', '+', '+'))
    .content_lines(ContentLineStyle::new('|', '|', '|'))
    .bottom_border(LineStyle::new('+', '-', '+', '+'));

/// A column.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    may_be_cut: bool,
}

impl Column {
    /// Of values that somebody copies, such as IDs: never cut.
    pub(crate) const fn whole(name: &'static str) -> Self {
        Self {
            name,
            may_be_cut: false,
        }
    }

    /// Of text that may be cut.
    pub(crate) const fn text(name: &'static str) -> Self {
        Self { name, may_be_cut: true }
    }
}

/// A table that is being filled.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// How wide it may become.
    width: Option<usize>,
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
            width: width(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        let cell = |text: &str| {
            let end = (0..=LOOKED_AT.min(text.len()))
                .rev()
                .find(|end| text.is_char_boundary(*end));
            let more = if end < Some(text.len()) { "…" } else { "" };
            Shown::line(text[..end.unwrap_or_default()].trim_end())
                .as_str()
                .to_owned()
                + more
        };
        self.rows
            .push(cells.into_iter().map(|text| cell(text.as_ref())).collect());
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints it and leaves it empty.
    pub(crate) fn print(&mut self) -> io::Result<()> {
        output::text(self.draw())
    }

    fn draw(&mut self) -> String {
        let widths = self.widths();
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE);
        table.set_header(self.columns.iter().map(|column| column.name));
        for row in self.rows.drain(..) {
            table.add_row(row.iter().zip(&widths).map(|(cell, width)| cut(cell, *width)));
        }
        table.to_string()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = self
            .columns
            .iter()
            .map(|column| column.name.width())
            .collect::<Vec<_>>();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let text = |at: &usize| self.columns[*at].may_be_cut;
        let Some(all) = self.width else {
            for at in (0..widths.len()).filter(text) {
                widths[at] = widths[at].min(WIDEST_CELL);
            }
            return widths;
        };
        // A border and two spaces for each column, and the last border.
        let room = all.saturating_sub(3 * widths.len() + 1);
        while widths.iter().sum::<usize>() > room {
            let least = |at: usize| NARROWEST.max(self.columns[at].name.width());
            let widest = (0..widths.len()).filter(text).filter(|at| widths[*at] > least(*at));
            let Some(widest) = widest.max_by_key(|at| widths[*at]) else {
                break;
            };
            // Down to the next widest in one step, so that long texts cost no more than short ones.
            let excess = widths.iter().sum::<usize>() - room;
            let others = (0..widths.len())
                .filter(text)
                .filter(|at| *at != widest)
                .map(|at| widths[at]);
            let step = widths[widest] - others.max().unwrap_or(0).clamp(least(widest), widths[widest] - 1);
            widths[widest] -= step.min(excess).max(1);
        }
        widths
    }
}

/// How wide the terminal is; `None` where there is none.
fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    // What the user says counts, as in other programs.
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    said.or_else(|| {
        console::Term::stdout()
            .size_checked()
            .map(|(_, columns)| columns.into())
    })
    .filter(|columns| *columns >= 20)
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used >= width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>, error: &str) -> String {
        let mut table = Table::new([Column::whole("ID"), Column::text("Stream"), Column::text("Error")]);
        table.width = width;
        table.row(["1795407980936-0", "order.placed", error]);
        table.draw()
    }

    #[test]
    fn a_table_fits_the_terminal_and_ids_stay_whole() {
        let error = "word ".repeat(200_000);
        for width in [60, 80, 132] {
            let drawn = table(Some(width), &error);
            assert!(drawn.lines().all(|line| line.width() <= width), "{drawn}");
            assert!(drawn.contains("1795407980936-0") && drawn.contains('…'), "{drawn}");
            assert_eq!(drawn.lines().count(), 5, "{drawn}");
        }
        let narrow = table(Some(20), &error);
        assert!(narrow.contains("1795407980936-0"), "{narrow}");
        let piped = table(None, &error);
        assert!(piped.lines().all(|line| line.width() < 260), "{piped}");
    }

    #[test]
    fn a_cell_is_one_line_without_control_characters() {
        let drawn = table(None, "one\ntwo\u{1b}[31m");
        assert!(drawn.contains(r"one\ntwo\u{1b}[31m"), "{drawn}");
        let wide = table(Some(60), &"漢字".repeat(100));
        assert!(wide.lines().all(|line| line.width() <= 60), "{wide}");
    }
}
