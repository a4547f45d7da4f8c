//! How a value of the configuration is read from text (a flag, the environment) and from TOML, and shown again.

use std::time::Duration;

use toml::de::DeValue;

/// The type of a configuration key.
pub(crate) trait Value: Sized {
    /// What is written for it, for an error: "… must be {EXPECTED}".
    const EXPECTED: &'static str;

    /// Whether an environment variable without a value says something. Else it counts as not set.
    const EMPTY_MEANS_SOMETHING: bool = false;

    fn from_text(text: &str) -> Option<Self>;

    fn from_toml(value: &DeValue<'_>) -> Option<Self>;

    /// For people.
    fn show(&self) -> String;

    /// For programs.
    fn json(&self) -> serde_json::Value {
        self.show().into()
    }
}

impl Value for String {
    const EXPECTED: &'static str = "a text in quotes";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn json(&self) -> serde_json::Value {
        (*self).into()
    }
}

/// A whole number of at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

impl Value for Count {
    const EXPECTED: &'static str = "a whole number of at least 1";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|count| *count > 0).map(Self)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        u32::try_from(integer(value)?).ok().filter(|count| *count > 0).map(Self)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

/// A whole number from 1 to a bound that keeps a typing error from taking all memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounded<const MOST: u32>(pub(crate) u32);

/// How many messages are handled at once. Each may need a process, a connection and some memory.
pub(crate) type Workers = Bounded<10_000>;
/// How many messages are read at once.
pub(crate) type Batch = Bounded<100_000>;

impl<const MOST: u32> Value for Bounded<MOST> {
    const EXPECTED: &'static str = match MOST {
        10_000 => "a whole number from 1 to 10000",
        100_000 => "a whole number from 1 to 100000",
        _ => "a whole number that is not too large",
    };

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|count| (1..=MOST).contains(count)).map(Self)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let count = u32::try_from(integer(value)?).ok()?;
        (1..=MOST).contains(&count).then_some(Self(count))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u32);

impl Value for Number {
    const EXPECTED: &'static str = "a whole number of at least 0";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        u32::try_from(integer(value)?).ok().map(Self)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

/// Yes or no as laravel-streamer's configuration has it: its environment variable is read by PHP's `env()`, and both sides
/// read the same variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PhpBool(pub(crate) bool);

impl Value for PhpBool {
    const EXPECTED: &'static str = "true or false";
    const EMPTY_MEANS_SOMETHING: bool = true;

    /// What `env()` makes of the text, as a condition: `false`, `null`, `empty` (each also in parentheses), `0` and nothing
    /// at all are false; everything else is true, also `no` and `off`.
    fn from_text(text: &str) -> Option<Self> {
        let word = text.to_ascii_lowercase();
        if ["false", "(false)", "null", "(null)", "empty", "(empty)"].contains(&word.as_str()) {
            return Some(Self(false));
        }
        let unquoted = ['"', '\'']
            .iter()
            .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
        let text = unquoted.unwrap_or(text);
        Some(Self(!text.is_empty() && text != "0"))
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool().map(Self)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }

    fn json(&self) -> serde_json::Value {
        self.0.into()
    }
}

/// What to do when another process uses the consumer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameInUse {
    Warn,
    Refuse,
}

impl Value for NameInUse {
    const EXPECTED: &'static str = "\"warn\" or \"refuse\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "warn" => Some(Self::Warn),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Self::from_text(value.as_str()?)
    }

    fn show(&self) -> String {
        match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
        .to_owned()
    }
}

impl Value for Duration {
    const EXPECTED: &'static str = "a time: whole milliseconds, or a text such as \"30s\" or \"1m 30s\"";

    fn from_text(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(milliseconds) => Some(Self::from_millis(milliseconds)),
            Err(_) => humantime::parse_duration(text).ok(),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::Integer(_) => u64::try_from(integer(value)?).ok().map(Self::from_millis),
            _ => Self::from_text(value.as_str()?),
        }
    }

    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// A time that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

impl Value for Limit {
    const EXPECTED: &'static str = "a time (whole milliseconds, or a text such as \"30s\"), or \"off\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "off" | "never" => Some(Self(None)),
            _ => Duration::from_text(text).map(Self::from),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str() {
            Some(text) => Self::from_text(text),
            None => Duration::from_toml(value).map(Self::from),
        }
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "off".to_owned(), |time| time.show())
    }
}

impl From<Duration> for Limit {
    /// No time at all would mean that everything is too late: it is "off".
    fn from(time: Duration) -> Self {
        Self(Some(time).filter(|time| !time.is_zero()))
    }
}

impl<V: Value> Value for Option<V> {
    const EXPECTED: &'static str = V::EXPECTED;

    fn from_text(text: &str) -> Option<Self> {
        V::from_text(text).map(Some)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        // An empty name counts as not given, as in a flag and in the environment: two processes would share it.
        if value.as_str() == Some("") && V::from_text("").is_some() {
            return Some(None);
        }
        V::from_toml(value).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "-".to_owned(), V::show)
    }

    fn json(&self) -> serde_json::Value {
        self.as_ref().map_or(serde_json::Value::Null, V::json)
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Value for LogFormat {
    const EXPECTED: &'static str = "\"text\" or \"json\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Self::from_text(value.as_str()?)
    }

    fn show(&self) -> String {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The parser of a whole number, for clap, whose own words for a mistake are those of the compiler.
pub(crate) fn whole_number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// The parser of a flag, for clap.
pub(crate) fn flag<V: Value>(text: &str) -> Result<V, String> {
    V::from_text(text).ok_or_else(|| format!("expected {}", V::EXPECTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no_are_what_php_makes_of_them() {
        for (text, expected) in [
            ("true", true),
            ("(true)", true),
            ("TRUE", true),
            ("false", false),
            ("(false)", false),
            ("False", false),
            ("null", false),
            ("(null)", false),
            ("empty", false),
            ("", false),
            ("0", false),
            ("1", true),
            ("no", true),
            ("off", true),
            ("\"false\"", true),
            ("''", false),
        ] {
            assert_eq!(PhpBool::from_text(text), Some(PhpBool(expected)), "{text}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(Workers::from_text("10000"), Some(Bounded(10_000)));
        for text in ["0", "10001", "1000000000", "-1", ""] {
            assert_eq!(Workers::from_text(text), None, "{text}");
        }
    }
}
