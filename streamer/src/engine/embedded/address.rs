//! What the URL of an embedded store says.

use std::{path::PathBuf, time::Duration};

use super::failure::{Failure, Step};
use crate::engine::EngineErrorKind;

/// Where a store is, and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The file, absolute; `None` is memory.
    pub(super) path: Option<PathBuf>,
    /// Whether a commit waits until the device has it.
    pub(super) full_sync: bool,
    /// How long to wait for another process that writes.
    pub(super) busy_timeout: Duration,
    /// The file does not grow beyond this many bytes.
    pub(super) max_size: Option<u64>,
    /// Nothing is written, not even beside the file.
    pub(super) read_only: bool,
}

pub(super) fn parse(url: &str) -> Step<Address> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let path = match place {
        "memory:" | "memory://" => None,
        _ => {
            let path = place.strip_prefix("sqlite://").filter(|path| !path.is_empty());
            let path = path.ok_or_else(|| wrong("write sqlite://shop.db, sqlite:///var/lib/shop.db or memory:"))?;
            let path = decode(path)?;
            // The process may change its directory later, and SQLite gives some relative names a meaning.
            Some(std::path::absolute(&path).map_err(|error| wrong(format!("'{path}' is no path: {error}")))?)
        }
    };
    let mut address = Address {
        path,
        full_sync: false,
        busy_timeout: Duration::from_secs(5),
        max_size: None,
        read_only: false,
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "")) {
            ("synchronous", "normal") => address.full_sync = false,
            ("synchronous", "full") => address.full_sync = true,
            ("synchronous", _) => return Err(wrong("synchronous is 'normal' or 'full'")),
            ("busy_timeout", ms) => {
                let ms = ms
                    .parse::<u32>()
                    .map_err(|_| wrong("busy_timeout is a number of milliseconds"))?;
                address.busy_timeout = Duration::from_millis(ms.into());
            }
            ("max_size", bytes) => {
                address.max_size = Some(bytes.parse().map_err(|_| wrong("max_size is a number of bytes"))?);
            }
            _ => {
                let known = "synchronous, busy_timeout and max_size";
                return Err(wrong(format!(
                    "there is an option that is not known; there are {known}"
                )));
            }
        }
    }
    Ok(address)
}

fn wrong(reason: impl Into<String>) -> Failure {
    Failure::refused(EngineErrorKind::InvalidInput, reason)
}

fn decode(text: &str) -> Step<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2).unwrap_or_default();
        let decoded = hex::decode(digits).ok().filter(|decoded| decoded.len() == 1);
        bytes.extend(decoded.ok_or_else(|| wrong("a '%' in the path is not followed by two hexadecimal digits"))?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong("the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> Option<PathBuf> {
        parse(url).ok()?.path
    }

    #[test]
    fn urls_name_files() {
        let here = std::env::current_dir().unwrap_or_default();
        assert_eq!(path("sqlite://shop.db"), Some(here.join("shop.db")));
        assert_eq!(path("sqlite://:memory:"), Some(here.join(":memory:")));
        assert_eq!(
            path("sqlite:///var/lib/a%20b%3f.db"),
            Some(PathBuf::from("/var/lib/a b?.db"))
        );
        assert!(matches!(parse("memory:"), Ok(Address { path: None, .. })));
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let address = parse("sqlite:///a?synchronous=full&busy_timeout=20").ok();
        let address = address.map(|address| (address.full_sync, address.busy_timeout.as_millis()));
        assert_eq!(address, Some((true, 20)));
        for wrong in [
            "sqlite:",
            "sqlite://",
            "sqlite:///a?sync=full",
            "sqlite:///a?synchronous=off",
            "sqlite:///a%2",
            "sqlite:///%ff",
            "memory:x",
            "sqlite:///a?busy_timeout=-1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use streamer_fuzz::Corpus;

    use super::parse;

    #[test]
    fn a_url_names_an_absolute_path_or_is_refused() {
        let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/sqlite_urls.txt"));
        let tokens = [
            "sqlite://",
            "memory:",
            "?",
            "&",
            "=",
            "%00",
            "%2f",
            "..",
            "max_size=",
            "busy_timeout=",
            "synchronous=full",
        ];
        corpus.with_tokens(&tokens).check(20_000, |text| {
            let address = parse(&String::from_utf8_lossy(text)).ok()?;
            assert!(address.path.as_ref().is_none_or(|path| path.is_absolute()));
            Some((
                address.path.is_some(),
                address.full_sync,
                address.busy_timeout.is_zero(),
                address.max_size.is_some(),
            ))
        });
    }
}
