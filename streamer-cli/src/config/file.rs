//! `streamer.toml`, read so that every complaint names file, line and key.

use std::{ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Value, nesting};
use crate::exit::Failure;

/// The file under its path, with its text to count lines in.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) path: &'a Path,
    text: &'a str,
}

/// A value with where it stands.
type Place<T> = (T, Range<usize>);

/// A table of the file, under the name that a person would call it by (empty for the top).
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) file: File<'a>,
    name: &'a str,
    entries: &'a DeTable<'a>,
}

impl<'a> File<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text }
    }

    pub(crate) fn parse(self) -> Result<DeTable<'a>, Failure> {
        if let Some(span) = nesting::too_deep(self.text) {
            return Err(self.complain(span, &nesting::complaint()));
        }
        match DeTable::parse(self.text) {
            Ok(table) => Ok(table.into_inner()),
            Err(error) => Err(self.complain(error.span().unwrap_or_default(), error.message())),
        }
    }

    pub(crate) fn line(self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    pub(crate) fn complain(self, span: Range<usize>, text: &str) -> Failure {
        Failure::usage(format!("{}:{}: {text}", self.path.display(), self.line(&span)))
    }
}

impl<'a> Table<'a> {
    pub(crate) fn new(file: File<'a>, name: &'a str, entries: &'a DeTable<'a>) -> Self {
        Self { file, name, entries }
    }

    /// The same table under a longer name.
    pub(crate) fn called<'b>(&self, name: &'b str) -> Table<'b>
    where
        'a: 'b,
    {
        Table { name, ..*self }
    }

    /// A table inside this one; an error when the key holds something else.
    pub(crate) fn table(&self, key: &'a str) -> Result<Option<Self>, Failure> {
        let Some((span, value)) = self.find(key) else {
            return Ok(None);
        };
        let Some(entries) = value.as_table() else {
            return Err(self.wrong(span, key, "a table", value));
        };
        Ok(Some(Self {
            name: key,
            entries,
            ..*self
        }))
    }

    /// A value and its line.
    pub(crate) fn get<V: Value>(&self, key: &str) -> Result<Option<(V, usize)>, Failure> {
        let Some((span, value)) = self.find(key) else {
            return Ok(None);
        };
        match V::from_toml(value) {
            Some(found) => Ok(Some((found, self.file.line(&span)))),
            None => Err(self.wrong(span, key, V::EXPECTED, value)),
        }
    }

    /// Texts: a list of them, or a single one.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<Place<String>>>, Failure> {
        let Some((span, value)) = self.find(key) else {
            return Ok(None);
        };
        if let Some(text) = value.as_str() {
            return Ok(Some(vec![(text.to_owned(), span)]));
        }
        let texts = value.as_array().and_then(|list| {
            let text = |item: &Spanned<DeValue<'_>>| Some((item.get_ref().as_str()?.to_owned(), item.span()));
            list.iter().map(text).collect()
        });
        match texts {
            Some(texts) => Ok(Some(texts)),
            None => Err(self.wrong(span, key, "a list of texts", value)),
        }
    }

    pub(crate) fn find(&self, key: &str) -> Option<(Range<usize>, &'a DeValue<'a>)> {
        let (_, value) = self.entries.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.span(), value.get_ref()))
    }

    /// The keys with where they stand.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'a str, Range<usize>)> {
        self.entries.keys().map(|key| (key.get_ref().as_ref(), key.span()))
    }

    /// Refuses keys that nobody would read, so that a typing error never silently changes what is in force.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        for (key, span) in self.keys() {
            if !known.contains(&key) {
                let hint = match nearest(key, known.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("known keys are {}", known.join(", ")),
                };
                return Err(self
                    .file
                    .complain(span, &format!("unknown key `{}`; {hint}", self.full(key))));
            }
        }
        Ok(())
    }

    /// The key as it is written at the top of a file: `listeners.receipt.mode`.
    pub(crate) fn full(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn wrong(&self, span: Range<usize>, key: &str, expected: &str, value: &DeValue<'_>) -> Failure {
        // What is written there may be a secret.
        let secret =
            self.name.ends_with("env") || self.name.contains("headers") || ["url", "archive_url"].contains(&key);
        let found = match value {
            other if secret => format!("a value of type {}", other.type_str()),
            DeValue::String(text) => format!("the text {text:?}"),
            DeValue::Integer(number) => format!("the number {}", number.as_str()),
            other => format!("a value of type {}", other.type_str()),
        };
        self.file
            .complain(span, &format!("`{}` must be {expected}, not {found}", self.full(key)))
    }
}

/// The known word that a mistyped one comes nearest to, if any comes near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known));
    let (distance, known) = near.min_by_key(|(distance, _)| *distance)?;
    // Of short names nearly all come near each other.
    (distance <= 1 + known.len() / 3 && distance < known.chars().count()).then_some(known)
}
