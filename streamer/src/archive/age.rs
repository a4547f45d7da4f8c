//! How old a message must be.

use std::str::FromStr;

use crate::{
    entry::{EntryId, unix_ms},
    moment::{InvalidMoment, Moment},
};

/// How much younger than its `created` a message's ID may be to be found.
const LATE_BY_AT_MOST_MS: u64 = 60 * 60 * 1000;

/// Messages created at this moment or before it.
///
/// ```
/// use streamer::archive::OlderThan;
///
/// for text in ["5 days", "60 min", "1 week", "2 weeks", "PT60M", "P5D", "2026-11-01", "2026-11-01T12:30:00Z"] {
///     text.parse::<OlderThan>()?;
/// }
/// assert!("5 parsecs".parse::<OlderThan>().is_err());
/// # Ok::<(), streamer::archive::InvalidOlderThan>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderThan {
    /// In milliseconds since the Unix epoch.
    moment_ms: u64,
}

impl OlderThan {
    /// Every message that was created by now.
    #[must_use]
    pub fn now() -> Self {
        Self { moment_ms: unix_ms() }
    }

    /// Messages created at this moment, in milliseconds since the Unix epoch, or before it.
    #[must_use]
    pub const fn moment(unix_ms: u64) -> Self {
        Self { moment_ms: unix_ms }
    }

    /// Messages with greater IDs are not looked at. The clock that IDs are made by may be ahead of the emitter's, and an
    /// emit may take its time.
    pub(super) fn last_id(self) -> EntryId {
        EntryId::new(self.moment_ms.saturating_add(LATE_BY_AT_MOST_MS), u64::MAX)
    }

    pub(super) fn includes(self, created_ms: u64) -> bool {
        created_ms <= self.moment_ms
    }
}

impl FromStr for OlderThan {
    type Err = InvalidOlderThan;

    /// Reads an age such as `5 days`, `60 min`, `2 weeks` or `P5D`, or a date such as `2026-11-01`, as [`Moment`] does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Moment>().map(|moment| Self::moment(moment.unix_ms()))
    }
}

/// A text that is neither an age nor a date.
pub type InvalidOlderThan = InvalidMoment;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn age_ms(text: &str) -> u64 {
        let now = unix_ms();
        now - text.parse::<OlderThan>().unwrap().moment_ms.min(now)
    }

    #[test]
    fn ages_are_read_as_people_write_them() {
        const MINUTE: u64 = 60_000;
        const DAY: u64 = 24 * 60 * MINUTE;
        for (text, expected) in [
            ("5 days", 5 * DAY),
            ("60 min", 60 * MINUTE),
            ("60 minutes", 60 * MINUTE),
            ("1 week", 7 * DAY),
            ("2 weeks", 14 * DAY),
            ("1 day 12 hours", DAY + DAY / 2),
            ("P5D", 5 * DAY),
            ("PT1H", 60 * MINUTE),
            ("5 days ago", 5 * DAY),
            ("0 seconds", 0),
        ] {
            assert!(age_ms(text).abs_diff(expected) < MINUTE / 2, "{text}");
        }
    }

    #[test]
    fn moments_are_read_in_utc() {
        for text in [
            "1970-01-02",
            "1970-01-02T00:00:00Z",
            "1970-01-02 01:00:00+01:00",
            "1970-01-02 00:00",
        ] {
            assert_eq!(text.parse(), Ok(OlderThan::moment(86_400_000)), "{text}");
        }
        for wrong in ["", "days", "5", "yesterday", "2026-13-01"] {
            assert!(wrong.parse::<OlderThan>().is_err(), "{wrong}");
        }
    }
}
