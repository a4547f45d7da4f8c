//! Text that a terminal may get.
//!
//! What others wrote (payloads, names, errors, answers of a server) may hold characters that drive a terminal: escape
//! sequences, overwritten lines, text that runs backwards. Everything that this program prints for people goes through
//! [`Shown`], which has none of them. JSON is for programs and is printed as it is.

use std::fmt::Write as _;

/// Text without a character that drives a terminal. What was one is spelled out, such as `\u{1b}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown(String);

impl Shown {
    /// A part of a line: line breaks and tabs are spelled out too, as `\n` and `\t`.
    pub(crate) fn line(text: impl AsRef<str>) -> Self {
        Self(spelled_out(text.as_ref(), false))
    }

    /// Text of several lines: line breaks and tabs stay.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self(spelled_out(text.as_ref(), true))
    }

    /// The same in an ANSI style (such as `31` for red), when `colour`.
    pub(crate) fn styled(self, style: &str, colour: bool) -> Self {
        match colour {
            true => Self(format!("\u{1b}[{style}m{}\u{1b}[0m", self.0)),
            false => self,
        }
    }

    /// This, a space, and more of the line.
    pub(crate) fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.push(' ');
        self.0.push_str(&more.into().0);
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self::line(text)
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self::line(text)
    }
}

impl From<&String> for Shown {
    fn from(text: &String) -> Self {
        Self::line(text)
    }
}

fn spelled_out(text: &str, keep_layout: bool) -> String {
    let kept = |c: char| !drives_a_terminal(c) || keep_layout && (c == '\n' || c == '\t');
    if text.chars().all(kept) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if kept(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c => _ = write!(shown, "\\u{{{:x}}}", u32::from(c)),
        }
    }
    shown
}

/// Control characters (C0, DEL, C1), and what changes the direction or the lines of text without being seen.
pub(crate) fn drives_a_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The beginning of what somebody else wrote, on one line and at most `most` characters, to quote it.
pub(crate) fn beginning(text: &[u8], most: usize) -> String {
    // Of a long text only what may be quoted is looked at.
    let text = String::from_utf8_lossy(text.get(..most.saturating_mul(4).saturating_add(64)).unwrap_or(text));
    let mut characters = text.trim().chars().map(|c| if drives_a_terminal(c) { ' ' } else { c });
    let mut beginning: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests {
    use super::{Shown, beginning};

    #[test]
    fn nothing_that_drives_a_terminal_is_left() {
        for foreign in [
            "\u{1b}[31mred",
            "\u{1b}]0;title\u{7}",
            "a\rb",
            "a\u{8}b",
            "\u{9b}2J",
            "\u{90}q\u{9c}",
            "\u{7f}",
            "\u{202e}txt.exe",
            "\u{2066}x\u{2069}",
            "\u{0}",
        ] {
            let shown = Shown::text(foreign);
            assert!(
                shown.as_str().chars().all(|c| !super::drives_a_terminal(c)),
                "{shown:?}"
            );
            assert!(shown.as_str().contains('\\'), "{shown:?}");
        }
        assert_eq!(Shown::line("a\nb\tc").as_str(), "a\\nb\\tc");
        assert_eq!(Shown::text("a\nb\tc").as_str(), "a\nb\tc");
        assert_eq!(Shown::line("é 漢 👋").as_str(), "é 漢 👋");
        assert_eq!(beginning("a\nb\u{1b}c".as_bytes(), 4), "a b …");
    }
}
