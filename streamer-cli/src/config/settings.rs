//! Every key outside the tables of listeners, its type, its default, and where its value came from.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use clap::Args;

use super::{
    Batch, Bounded, Limit, LogFormat, PhpBool, Value, Workers,
    file::Table,
    flag,
    value::{Count, NameInUse, Number},
};
use crate::exit::Failure;

/// A key of the configuration. Its environment variable is `STREAMER_` and the name in capitals.
pub(crate) struct Key {
    pub(crate) name: &'static str,
}

macro_rules! settings {
    ($($name:ident: $type:ty = $default:expr;)*) => {
        /// Every key, in the order of the documentation.
        pub(crate) const KEYS: &[Key] = &[$(Key { name: stringify!($name) }),*];

        /// The values in force.
        #[derive(Debug)]
        pub(crate) struct Settings {
            $(pub(crate) $name: Setting<$type>,)*
        }

        /// What the command line says; `None` where it says nothing.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Flags {
            $(pub(crate) $name: Option<$type>,)*
        }

        impl Settings {
            /// Settles every key: the first of flag, environment, file and default that has it.
            pub(crate) fn resolve(flags: &Flags, file: Option<&Table<'_>>, defaults: &Defaults) -> Result<Self, Failure> {
                Ok(Self {
                    $($name: Setting::find(stringify!($name), flags.$name.clone(), file, || $default(defaults))?,)*
                })
            }

            /// Every key with what is in force for it.
            pub(crate) fn rows(&self) -> Vec<Row<'_>> {
                vec![$(Row {
                    key: stringify!($name),
                    text: self.$name.value.show(),
                    json: self.$name.value.json(),
                    source: &self.$name.source,
                }),*]
            }
        }
    };
}

settings! {
    url: String = |defaults: &Defaults| defaults.url.clone().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    domain: String = |defaults: &Defaults| defaults.domain.clone().unwrap_or_default();
    group: Option<String> = |_| None;
    consumer: Option<String> = |_| None;
    reclaim: Limit = |_| Limit(Some(Duration::from_secs(60)));
    keep_alive: bool = |_| false;
    max_attempts: Option<Count> = |_| None;
    workers: Workers = |_| Bounded(1);
    key: Option<String> = |_| None;
    retry_in_order: bool = |_| false;
    listen_timeout: Limit = |_| Limit(None);
    poison: Number = |_| Number(5);
    name_in_use: NameInUse = |_| NameInUse::Warn;
    always_acknowledge: PhpBool = |_| PhpBool(true);
    read_wait: Duration = |_| Duration::from_secs(2);
    batch: Batch = |_| Bounded(512);
    grace: Duration = |_| Duration::from_secs(30);
    archive_driver: String = |_| "sqlite".to_owned();
    archive_url: String = |_| "sqlite://archive.db".to_owned();
    outbox_url: Option<String> = |_| None;
    log_format: LogFormat = |_| LogFormat::Text;
}

/// A key with what is in force for it.
pub(crate) struct Row<'a> {
    pub(crate) key: &'static str,
    /// The value for people.
    pub(crate) text: String,
    /// The value for programs.
    pub(crate) json: serde_json::Value,
    pub(crate) source: &'a Source,
}

/// What an application gives instead of the built-in defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) url: Option<String>,
    pub(crate) domain: Option<String>,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Setting<V> {
    pub(crate) value: V,
    pub(crate) source: Source,
}

/// Where a value came from. Displayed as the one word of a column; [`Source::in_words`] is for a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment(String),
    File(PathBuf, usize),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "env {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Source {
    /// For a sentence: "from …", or "the default". The flag is the one that sets this value.
    pub(crate) fn in_words(&self, flag: &str) -> String {
        match self {
            Self::Flag => format!("from the flag {flag}"),
            Self::Environment(name) => format!("from the environment variable {name}"),
            Self::File(path, line) => format!("from {}, line {line}", path.display()),
            Self::Default => "the default".to_owned(),
        }
    }
}

impl<V: Value> Setting<V> {
    fn find(
        key: &str,
        flag: Option<V>,
        file: Option<&Table<'_>>,
        default: impl FnOnce() -> V,
    ) -> Result<Self, Failure> {
        if let Some(value) = flag {
            return Ok(Self {
                value,
                source: Source::Flag,
            });
        }
        let variable = format!("STREAMER_{}", key.to_ascii_uppercase());
        let said = |text: &OsString| V::EMPTY_MEANS_SOMETHING || !text.is_empty();
        if let Some(text) = std::env::var_os(&variable).filter(said) {
            let value = text.to_str().and_then(V::from_text).ok_or_else(|| {
                // The text is not quoted: it could be a URL with a password.
                Failure::usage(format!("the environment variable {variable} must be {}", V::EXPECTED))
            })?;
            return Ok(Self {
                value,
                source: Source::Environment(variable),
            });
        }
        if let Some((table, (value, line))) = file.zip(file.map(|table| table.get(key)).transpose()?.flatten()) {
            return Ok(Self {
                value,
                source: Source::File(table.file.path.to_owned(), line),
            });
        }
        Ok(Self {
            value: default(),
            source: Source::Default,
        })
    }
}

/// The flags of `listen` that are settings too; `config` takes them to show what they would change.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SettingFlags {
    /// Listen as a consumer of this group: each message goes to one consumer of it
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The consumer's name in the group [default: the group, `-` and 16 random characters]
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// Take over what other consumers left idle for so long: milliseconds (`60` is 60 ms), `30s`, or `off` [default: 60s]
    #[arg(long, value_name = "MS", value_parser = flag::<Limit>)]
    reclaim: Option<Limit>,
    /// Go on when the store goes away and comes back
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true,
          alias = "keep_alive")]
    keep_alive: Option<bool>,
    /// With --keep-alive: give up after so many attempts in a row [default: never]
    #[arg(long, value_name = "N", value_parser = flag::<Count>, alias = "max_attempts")]
    max_attempts: Option<Count>,
    /// How many messages are handled at once [default: 1, in order]
    #[arg(long, value_name = "N", value_parser = flag::<Workers>)]
    workers: Option<Workers>,
    /// With --workers: messages with the same value here (such as `order.id`) stay in order
    #[arg(long, value_name = "PATH")]
    key: Option<String>,
    /// A message that waits for a retry holds up the later ones of its key, or of its stream with one worker
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true,
          alias = "retry_in_order")]
    retry_in_order: Option<bool>,
    /// End when nothing came, ran or waited for a retry for so long: milliseconds or `30s` [default: never]
    #[arg(long, value_name = "MS", value_parser = flag::<Limit>, alias = "listen_timeout")]
    listen_timeout: Option<Limit>,
    /// List a message as failed after the process ended so many times while it was handled; `0` never does
    /// [default: 5]
    #[arg(long, value_name = "N", value_parser = flag::<Number>)]
    poison: Option<Number>,
    /// When another process uses the same consumer name: `warn`, or `refuse` to start or go on [default: warn]
    #[arg(long, value_name = "CHOICE", value_parser = flag::<NameInUse>, alias = "name_in_use")]
    name_in_use: Option<NameInUse>,
}

impl SettingFlags {
    pub(crate) fn put_into(self, flags: &mut Flags) {
        // As in laravel-streamer, an empty name counts as not given: `--consumer="$NAME"` with a variable that is not set.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Some);
        flags.group = given(self.group);
        flags.consumer = given(self.consumer);
        flags.reclaim = self.reclaim;
        flags.keep_alive = self.keep_alive;
        flags.max_attempts = self.max_attempts.map(Some);
        flags.workers = self.workers;
        flags.key = given(self.key);
        flags.retry_in_order = self.retry_in_order;
        flags.listen_timeout = self.listen_timeout;
        flags.poison = self.poison;
        flags.name_in_use = self.name_in_use;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let table = include_str!("../../../docs/configuration.md");
        for key in KEYS {
            assert!(
                table.contains(&format!("| `{}` |", key.name)),
                "docs/configuration.md lacks {}",
                key.name
            );
            let variable = format!("`STREAMER_{}`", key.name.to_ascii_uppercase());
            assert!(table.contains(&variable), "docs/configuration.md lacks {variable}");
        }
    }
}
