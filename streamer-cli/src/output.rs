//! What commands print on stdout: lines for people, or one JSON object a line for programs.
//!
//! `println!` panics when the reader of a pipe is gone; these return the error instead. Lines for people go through
//! [`Shown`]; nothing else reaches the terminal.

use std::{
    io::{self, IsTerminal, Write as _},
    sync::OnceLock,
};

use serde::Serialize;
use streamer::OrderedJson;

use crate::terminal::Shown;

/// Prints one line. Line breaks in it are spelled out.
pub(crate) fn line(text: impl Into<Shown>) -> io::Result<()> {
    print(text.into().as_str())
}

/// Prints a line about what a command did; not with `-q`, which prints only errors.
pub(crate) fn done(text: impl Into<Shown>) -> io::Result<()> {
    if is_quiet() { Ok(()) } else { line(text) }
}

/// The same as a JSON value.
pub(crate) fn done_json(value: &impl Serialize) -> io::Result<()> {
    if is_quiet() { Ok(()) } else { json(value) }
}

/// Whether `-q` was said.
static QUIET: OnceLock<()> = OnceLock::new();

/// From now on nothing is printed of what commands did.
pub(crate) fn be_quiet() {
    let _ = QUIET.set(());
}

fn is_quiet() -> bool {
    QUIET.get().is_some()
}

/// Prints text of several lines.
pub(crate) fn text(text: impl AsRef<str>) -> io::Result<()> {
    print(Shown::text(text).as_str())
}

/// Prints one JSON value on a line.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    print(&serde_json::to_string(value)?)
}

/// A JSON object with these members, in this order, whatever the order of a `serde_json::Map` is.
macro_rules! object {
    ({ $($key:literal: $value:expr),* $(,)? }) => {
        [$(($key, $crate::output::value(&$value))),*].into_iter().collect::<streamer::OrderedJson>()
    };
}
pub(crate) use object;

/// The JSON of a value, in the value's order.
pub(crate) fn value(value: &(impl Serialize + ?Sized)) -> OrderedJson {
    // What commands print is texts and numbers under text keys, which always have JSON.
    OrderedJson::of(value).unwrap_or_default()
}

/// The members of one object, then those of another one. A member that both have keeps its place and has the second value.
pub(crate) fn joined(first: &impl Serialize, second: &impl Serialize) -> OrderedJson {
    #[derive(Serialize)]
    struct Joined<'a, A, B> {
        #[serde(flatten)]
        first: &'a A,
        #[serde(flatten)]
        second: &'a B,
    }
    value(&Joined { first, second })
}

/// Prints JSON text as it is.
pub(crate) fn json_text(text: &str) -> io::Result<()> {
    print(text)
}

fn print(text: &str) -> io::Result<()> {
    let mut line = text.to_owned();
    line.push('\n');
    // One write, so that lines of concurrent workers never mix.
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

/// What the command line says about colour.
static ASKED: OnceLock<bool> = OnceLock::new();

/// Colour or none, whatever the output is.
pub(crate) fn ask_for_colour(colour: bool) {
    let _ = ASKED.set(colour);
}

/// Whether people look at this output, and want colour.
pub(crate) fn wants_colour(output: &impl IsTerminal) -> bool {
    let usual = || output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    ASKED.get().copied().unwrap_or_else(usual)
}

/// Whether people look at stdout, and want colour.
pub(crate) fn colour() -> bool {
    wants_colour(&io::stdout())
}

/// A part of a line in an ANSI style (such as `31` for red) when [`colour`] says so.
pub(crate) fn styled(text: &str, style: &str) -> Shown {
    Shown::line(text).styled(style, colour())
}

/// `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
