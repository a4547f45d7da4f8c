//! Webhooks, in a program that has none.

use super::{definitions::What, file::Table};
use crate::exit::Failure;

const ABSENT: &str = "this program was built without webhooks; build it with the cargo feature `webhooks`";

pub(super) fn read(table: &Table<'_>, _url: String) -> Result<What, Failure> {
    let span = table.find("webhook").map_or(0..0, |(span, _)| span);
    Err(table
        .file
        .complain(span, &format!("`{}`: {ABSENT}", table.full("webhook"))))
}

pub(crate) fn plain(_url: &str) -> Result<What, String> {
    Err(format!("--webhook: {ABSENT}"))
}
