//! Moments as people write them: dates, and ages counted back from now.

use std::str::FromStr;

use jiff::{Span, Timestamp, ZonedDateTime, civil, tz::TimeZone};

use crate::entry::{EntryId, unix_ms};

/// A moment, in milliseconds since the Unix epoch.
///
/// It is read from a date (`2026-11-01`, `2026-11-01 12:30`, `2026-11-01T12:30:00+01:00`,
/// `2026-11-01T12:30[Europe/Oslo]`; UTC where no zone is named), or from an age, which is counted back from now with
/// days of 24 hours (`5 days`, `60 min`, `1 Week`, `P5D`, `PT60M`).
///
/// ```
/// use streamer::Moment;
///
/// let moment: Moment = "1970-01-02T01:00+01:00".parse()?;
/// assert_eq!(moment.unix_ms(), 86_400_000);
/// assert!("5 days".parse::<Moment>()?.unix_ms() > moment.unix_ms());
/// assert!("-5 days".parse::<Moment>().is_err());
/// # Ok::<(), streamer::InvalidMoment>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// A text that is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' {reason}")]
pub struct InvalidMoment {
    text: String,
    reason: &'static str,
}

const FORMS: &str = "is neither an age, such as `5 days`, `60 min`, `1 week` or `P5D`, nor a date, such as `2026-11-01`, \
                     `2026-11-01T12:30:00+01:00` or `2026-11-01T12:30[Europe/Oslo]` (UTC where no zone is named)";

impl Moment {
    /// Now, by this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(unix_ms())
    }

    /// So many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since the Unix epoch. What lies before it is 0.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// The smallest ID that an entry of this moment can have.
    #[must_use]
    pub const fn first_id(self) -> EntryId {
        EntryId::new(self.0, 0)
    }

    fn at(timestamp: Timestamp) -> Self {
        Self(timestamp.as_millisecond().max(0).unsigned_abs())
    }
}

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let invalid = |reason| InvalidMoment {
            text: text.chars().take(100).collect(),
            reason,
        };
        match age(text) {
            Some(Ok(age)) => {
                let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
                let moment = now.checked_sub(age).map_err(|_| invalid("is too long ago"))?;
                Ok(Self::at(moment.timestamp()))
            }
            Some(Err(reason)) => Err(invalid(reason)),
            None => date(text).map(Self::at).map_err(invalid),
        }
    }
}

/// An age; `None` for anything that is none.
fn age(text: &str) -> Option<Result<Span, &'static str>> {
    let lower = text.to_ascii_lowercase();
    let (length, ago) = match lower.strip_suffix(" ago") {
        Some(length) => (length.trim_end(), true),
        None => (&*lower, false),
    };
    // An ISO duration is written in capitals.
    let span = length.parse::<Span>().or_else(|_| length.to_ascii_uppercase().parse());
    let span = span.ok()?;
    match span.is_negative() {
        true if ago => Some(Err("goes back twice; leave the sign or `ago` out")),
        true => Some(Err("is a negative age; an age counts back from now by itself")),
        false => Some(Ok(span)),
    }
}

fn date(text: &str) -> Result<Timestamp, &'static str> {
    if text.contains('[') {
        let zone = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(zone, _)| zone);
        let zone = zone.unwrap_or_default().trim_start_matches('!');
        // A zone that is not understood must not be ignored: the moment would be another one.
        if !zone.starts_with(['+', '-']) && TimeZone::get(zone).is_err() {
            return Err("has a time zone in brackets that is not known on this machine");
        }
        return match text.parse::<ZonedDateTime>() {
            Ok(moment) => Ok(moment.timestamp()),
            Err(_)
                if text
                    .split('[')
                    .next()
                    .unwrap_or_default()
                    .parse::<civil::DateTime>()
                    .is_err()
                    && text.split('[').next().unwrap_or_default().parse::<Timestamp>().is_err() =>
            {
                Err(FORMS)
            }
            Err(_) => Err("has an offset that is not the one of its time zone at that time"),
        };
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let local = text.parse::<civil::DateTime>().map_err(|_| FORMS)?;
    TimeZone::UTC.to_timestamp(local).map_err(|_| "is out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Result<u64, String> {
        text.parse::<Moment>()
            .map(Moment::unix_ms)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_zone_is_honoured_or_refused_and_never_ignored() {
        let expected = ms("2026-11-26T09:00:00Z");
        for text in [
            "2026-11-26T10:00+01:00",
            "2026-11-26T10:00[Europe/Oslo]",
            "2026-11-26 10:00[Europe/Oslo]",
            "2026-11-26T10:00+01:00[Europe/Oslo]",
            "2026-11-26T09:00Z[Europe/Oslo]",
            "2026-11-26T10:00[+01:00]",
            "2026-11-26T09:00",
        ] {
            assert_eq!(ms(text), expected, "{text}");
        }
        for (text, reason) in [
            ("2026-11-26T10:00[Nowhere/Xy]", "not known"),
            ("2026-11-26T10:00[]", "not known"),
            ("2026-11-26T10:00+02:00[Europe/Oslo]", "an offset"),
            ("2026-11-26T25:00[Europe/Oslo]", "is neither an age"),
            ("[Europe/Oslo]", "is neither an age"),
        ] {
            assert!(
                ms(text).is_err_and(|error| error.contains(reason)),
                "{text}: {:?}",
                ms(text)
            );
        }
    }

    #[test]
    fn ages_are_read_in_any_case_and_never_negative() {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        for (text, days) in [
            ("1 Day", 1),
            ("2 WEEKS", 14),
            ("P5D", 5),
            ("p5d", 5),
            ("5 days ago", 5),
            ("5 Days AGO", 5),
        ] {
            let ago = unix_ms() - ms(text).unwrap_or_default();
            assert!(ago.abs_diff(days * DAY) < DAY / 2, "{text}: {ago}");
        }
        for text in ["-5 days", "-P5D", "- 5 days", "-5 days ago", "5 days ago ago"] {
            assert!(ms(text).is_err(), "{text}");
        }
        assert!(ms("-5 days").is_err_and(|error| error.contains("negative age")));
    }

    #[test]
    fn errors_are_in_our_words() {
        for text in [
            "",
            "5",
            "days",
            "yesterday",
            "2026-13-01",
            "2026-11-26T10:00[Europe/Oslo",
            "5 parsecs",
        ] {
            let error = ms(text).err().unwrap_or_default();
            assert!(error.starts_with(&format!("'{text}' ")), "{error}");
            assert!(!error.contains("jiff") && !error.contains("failed to"), "{error}");
        }
        assert!(ms("100000 years").is_err_and(|error| error.len() < 400));
    }
}
