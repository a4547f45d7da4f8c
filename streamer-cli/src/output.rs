//! What commands print on stdout: lines for people, or one JSON object a line for programs.
//!
//! `println!` panics when the reader of a pipe is gone; these return the error instead.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentLineStyle, LineStyle, TableStyle};
use serde::Serialize;

/// Prints one line.
pub(crate) fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut line = text.as_ref().to_owned();
    line.push('\n');
    // One write, so that lines of concurrent workers never mix.
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

/// Prints one JSON object on a line.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string(value)?)
}

/// Whether people look at stdout, and want colour.
pub(crate) fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` in an ANSI style (such as `31` for red) when [`colour`] says so.
pub(crate) fn styled(text: &str, style: &str) -> String {
    if colour() {
        format!("\u{1b}[{style}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// The beginning of what somebody else wrote, on one line and of bounded length, to quote it in an error.
pub(crate) fn beginning(text: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let mut characters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut beginning: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}

/// Tables as laravel-streamer's commands draw them.
pub(crate) const TABLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('+', '-', '+', '+'))
    .header_lines(ContentLineStyle::new('|', '|', '|'))
    .header_separator(LineStyle::new('+', '-', '+', '+'))
    .content_lines(ContentLineStyle::new('|', '|', '|'))
    .bottom_border(LineStyle::new('+', '-', '+', '+'));
