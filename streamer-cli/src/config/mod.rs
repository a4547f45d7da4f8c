//! What is in force: flags over `STREAMER_*` environment over `streamer.toml` over defaults.
//!
//! - `value`: how a value is read and shown.
//! - `file`: the file, with lines for complaints.
//! - `nesting`: refuses a file that would take the parser's stack.
//! - `settings`: every key outside the tables of listeners, and where its value came from.
//! - `suspicious`: values that are almost certainly mistakes.
//! - `definitions`: `[listeners.NAME]` and `[listen_and_fire]`.
//! - `retry`: `[retry]` and `[listeners.NAME.retry]`.

mod definitions;
mod file;
#[cfg(test)]
mod fuzz;
mod nesting;
mod retry;
mod settings;
mod suspicious;
mod value;
#[cfg_attr(not(feature = "webhooks"), path = "no_webhook.rs")]
mod webhook;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

#[cfg(feature = "webhooks")]
pub(crate) use self::{
    definitions::shown_variable,
    webhook::{HeaderValue, Redirects},
};
pub(crate) use self::{
    definitions::{Definition, Definitions, Mode, What},
    file::nearest,
    retry::Retry,
    settings::{Defaults, Flags, Row, SettingFlags, Settings, Source},
    suspicious::suspicious_times,
    value::{Batch, Bounded, Limit, LogFormat, NameInUse, Number, PhpBool, Value, Workers, flag, whole_number},
    webhook::plain as plain_webhook,
};
use self::{
    file::{File, Table},
    settings::KEYS,
};
use crate::exit::Failure;

/// The file that is read from the working directory when no other is named.
const DEFAULT_FILE: &str = "streamer.toml";

/// Everything that was configured.
#[derive(Debug)]
pub(crate) struct Config {
    /// The file that was read, if there was one.
    pub(crate) path: Option<PathBuf>,
    pub(crate) settings: Settings,
    pub(crate) definitions: Definitions,
}

impl Config {
    /// Reads the configuration. `flag` is that of `--config`; `known` are the listeners that the application has
    /// registered by itself, which `[listen_and_fire]` may name too.
    pub(crate) fn load(
        flag: Option<&Path>,
        flags: &Flags,
        defaults: &Defaults,
        known: &[&str],
    ) -> Result<Self, Failure> {
        let named = flag.map(Path::to_owned).or_else(|| {
            std::env::var_os("STREAMER_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                let settings = Settings::resolve(flags, None, defaults)?;
                return Ok(Self {
                    path: None,
                    settings,
                    definitions: Definitions::default(),
                });
            }
            Err(error) => {
                let source = match (flag, named) {
                    (Some(_), _) => ", which --config names",
                    (None, Some(_)) => ", which STREAMER_CONFIG names",
                    (None, None) => "",
                };
                return Err(Failure::usage(format!(
                    "could not read the configuration {}{source}: {error}",
                    path.display()
                )));
            }
        };
        let file = File::new(&path, &text);
        let entries = file.parse()?;
        let top = Table::new(file, "", &entries);
        let tables = ["listen_and_fire", "listeners", "retry"];
        top.only(&KEYS.iter().map(|key| key.name).chain(tables).collect::<Vec<_>>())?;
        let settings = Settings::resolve(flags, Some(&top), defaults)?;
        let definitions = Definitions::read(&top, known)?;
        Ok(Self {
            path: Some(path),
            settings,
            definitions,
        })
    }
}

/// A longer configuration is another file that was named by mistake.
const LONGEST_FILE: u64 = 16 << 20;

/// The text of a small file.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(LONGEST_FILE + 1)
        .read_to_string(&mut text)?;
    match text.len() as u64 > LONGEST_FILE {
        true => Err(std::io::Error::other(format!(
            "it is longer than {} MiB",
            LONGEST_FILE >> 20
        ))),
        false => Ok(text),
    }
}

/// The keys of `[listeners.NAME]`.
#[cfg(test)]
pub(crate) fn listener_keys() -> Vec<&'static str> {
    definitions::keys()
}

/// The keys of `[retry]`.
#[cfg(test)]
pub(crate) fn retry_keys() -> Vec<&'static str> {
    retry::KEYS.to_vec()
}

/// What is in force where nothing is said. (The environment of whoever runs this may say something.)
#[cfg(test)]
pub(crate) fn default_settings() -> Option<Settings> {
    let names = KEYS
        .iter()
        .map(|key| format!("STREAMER_{}", key.name.to_ascii_uppercase()));
    match names.into_iter().any(|name| std::env::var_os(name).is_some()) {
        true => None,
        false => Settings::resolve(&Flags::default(), None, &Defaults::default()).ok(),
    }
}
