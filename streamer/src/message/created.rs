//! When a message was emitted, as far as its producer is to be believed.

use super::decode::field;
use crate::entry::{EntryId, Fields};

/// How much later than its ID a message may say that it was emitted: clocks differ, and an emit takes its time.
const LATER_AT_MOST_MS: u64 = 60 * 60 * 1000;
/// 2010-01-01. The milliseconds of smaller IDs are no times: somebody counts by them.
const FIRST_PLAUSIBLE_MS: u64 = 1_262_304_000_000;

/// What `created` says, in milliseconds since the Unix epoch; `None` where it says nothing.
///
/// It is written in whole seconds. Other producers write milliseconds, microseconds or nanoseconds, which are known by
/// their size: as seconds they would lie beyond the year 5138. A time of more than an hour after the entry's ID is
/// not believed; it is then the ID's.
pub(crate) fn created_ms(id: EntryId, fields: &Fields) -> Option<u64> {
    let text = std::str::from_utf8(field(fields, b"created")?).ok()?;
    // `+5` is a number to Rust only.
    let number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse::<u64>().ok())??;
    let ms = match number {
        ..100_000_000_000 => number.saturating_mul(1000),
        100_000_000_000..100_000_000_000_000 => number,
        100_000_000_000_000..100_000_000_000_000_000 => number / 1000,
        _ => number / 1_000_000,
    };
    match id.ms >= FIRST_PLAUSIBLE_MS && ms > id.ms.saturating_add(LATER_AT_MOST_MS) {
        true => Some(id.ms),
        false => Some(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_late_or_of_another_unit_is_not_taken_for_seconds() {
        let now = 1_795_407_980_936;
        let created = |id, text: &'static str| created_ms(EntryId::new(id, 0), &vec![("created".into(), text.into())]);
        for (text, expected) in [
            ("1795407980", Some(1_795_407_980_000)),
            ("1795407980936", Some(now)),
            ("1795407980936000", Some(now)),
            ("1795407980936000000", Some(now)),
            // An hour is a clock that differs; a day is not.
            ("1795411000", Some(1_795_411_000_000)),
            ("1795494380", Some(now)),
            ("99999999999", Some(now)),
            ("18446744073709551615", Some(now)),
            ("18446744073709551616", None),
            ("+5", None),
            ("-5", None),
            ("2026-11-01", None),
            ("", None),
        ] {
            assert_eq!(created(now, text), expected, "{text}");
        }
        // An explicit ID that is no time.
        assert_eq!(created(5, "1795407980"), Some(1_795_407_980_000));
        // Restored later than it was emitted.
        assert_eq!(created(now, "5"), Some(5_000));
    }
}
