//! Values that are almost certainly mistakes, by one rule.
//!
//! Times are milliseconds where no unit is written, and a person who writes `reclaim = 60` means seconds. So a time
//! below [`SUSPICIOUS`] that was not the default is worth a warning, for every setting that is a time.

use std::time::Duration;

use super::{Settings, Value as _};

/// A shorter time than this is almost certainly a mistake.
const SUSPICIOUS: Duration = Duration::from_millis(100);

/// A sentence for each time that is almost certainly a mistake.
pub(crate) fn suspicious_times(settings: &Settings) -> Vec<String> {
    let Settings {
        reclaim,
        listen_timeout,
        read_wait,
        grace,
        ..
    } = settings;
    let times = [
        ("reclaim", reclaim.value.0, &reclaim.source),
        ("listen_timeout", listen_timeout.value.0, &listen_timeout.source),
        ("read_wait", Some(read_wait.value), &read_wait.source),
        ("grace", Some(grace.value), &grace.source),
    ];
    let short = |time: &Duration| !time.is_zero() && *time < SUSPICIOUS;
    let times = times
        .into_iter()
        .filter_map(|(key, time, source)| Some((key, time.filter(short)?, source)));
    times
        .map(|(key, time, source)| {
            let seconds = time.as_millis();
            // Flags of times have the names of their keys.
            let from = source.in_words(&format!("--{}", key.replace('_', "-")));
            format!(
                "`{key}` is {} ({from}); write {key} = \"{seconds}s\" if you mean seconds",
                time.show()
            )
        })
        .collect()
}
