//! The state of streams and groups as gauges, in the text format of Prometheus.

use std::fmt::Write as _;

use streamer::inspect::{Lag, Overview};

/// The gauges of `status --prometheus`: name, labels, what it is. `docs/observability.md` lists the same.
pub(crate) const GAUGES: &[(&str, &str, &str)] = &[
    ("streamer_stream_entries", "stream", "Entries of the stream."),
    (
        "streamer_stream_bytes",
        "stream",
        "Memory that the stream takes, where the server tells.",
    ),
    (
        "streamer_stream_scheduled_messages",
        "stream",
        "Events for later that wait, counted up to 10,000 in a SQLite file; absent where unknown.",
    ),
    (
        "streamer_stream_overdue_messages",
        "stream",
        "Events for later that are due and not on their stream; absent where unknown.",
    ),
    (
        "streamer_stream_overdue_seconds",
        "stream",
        "For how long the first event for later has been due; 0 where none is, absent where unknown.",
    ),
    (
        "streamer_group_lag_messages",
        "stream, group",
        "Messages yet to be delivered; absent where unknown, a lower bound where it could only be counted in part.",
    ),
    (
        "streamer_group_lag_exact",
        "stream, group",
        "1 where the lag is exact, else 0.",
    ),
    (
        "streamer_group_lag_seconds",
        "stream, group",
        "How long the first message that was not delivered has been waiting; 0 where none waits, absent where unknown.",
    ),
    (
        "streamer_group_missed_messages",
        "stream, group",
        "Messages that left the stream before they were delivered; absent where unknown.",
    ),
    (
        "streamer_group_pending_messages",
        "stream, group",
        "Messages that were delivered and are not settled.",
    ),
    (
        "streamer_group_oldest_pending_seconds",
        "stream, group",
        "Age of the oldest pending message; 0 where none is pending, absent where unknown.",
    ),
    (
        "streamer_group_consumers",
        "stream, group, state",
        "Consumers; the state is alive or stale.",
    ),
    (
        "streamer_failures",
        "",
        "Failures listed; absent where the user may not look.",
    ),
    (
        "streamer_archive_messages",
        "",
        "Messages in the archive, counted up to 100,000; absent without an archive, and where it cannot count.",
    ),
    (
        "streamer_outbox_waiting_rows",
        "",
        "Rows of the outbox that are not published, counted up to 100,000; absent without an outbox.",
    ),
    (
        "streamer_outbox_blocked_rows",
        "",
        "Rows of the outbox that could not be published.",
    ),
    (
        "streamer_outbox_oldest_seconds",
        "",
        "How long the oldest row of the outbox has been waiting; 0 where none waits.",
    ),
];

/// All gauges of an overview.
pub(crate) fn gauges(overview: &Overview) -> String {
    let mut text = String::new();
    for (name, _, help) in GAUGES {
        let samples = samples(name, overview);
        if !samples.is_empty() {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        }
        for (labels, value) in samples {
            let labels = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            let labels = labels.collect::<Vec<_>>().join(",");
            let _ = match labels.is_empty() {
                true => writeln!(text, "{name} {value}"),
                false => writeln!(text, "{name}{{{labels}}} {value}"),
            };
        }
    }
    text
}

type Sample<'a> = (Vec<(&'static str, &'a str)>, f64);

fn samples<'a>(name: &str, overview: &'a Overview) -> Vec<Sample<'a>> {
    let mut samples: Vec<Sample<'a>> = Vec::new();
    let archived = || overview.archive.as_ref()?.messages;
    let outbox = overview.outbox.as_ref();
    let of_store = match name {
        "streamer_failures" => overview.failures.map(|failures| failures as f64),
        "streamer_archive_messages" => archived().map(|messages| messages as f64),
        "streamer_outbox_waiting_rows" => outbox.map(|outbox| outbox.waiting as f64),
        "streamer_outbox_blocked_rows" => outbox.map(|outbox| outbox.blocked as f64),
        "streamer_outbox_oldest_seconds" => outbox.map(|outbox| outbox.oldest_ms.unwrap_or(0) as f64 / 1000.0),
        _ => None,
    };
    samples.extend(of_store.map(|value| (Vec::new(), value)));
    for stream in &overview.streams {
        let of_stream = match name {
            "streamer_stream_entries" => Some(stream.length as f64),
            "streamer_stream_bytes" => stream.bytes.map(|bytes| bytes as f64),
            "streamer_stream_scheduled_messages" => stream.scheduled.map(|scheduled| scheduled.waiting as f64),
            "streamer_stream_overdue_messages" => stream.scheduled.map(|scheduled| scheduled.overdue as f64),
            "streamer_stream_overdue_seconds" => stream
                .scheduled
                .map(|scheduled| scheduled.overdue_ms.unwrap_or(0) as f64 / 1000.0),
            _ => None,
        };
        samples.extend(of_stream.map(|value| (vec![("stream", stream.name.as_str())], value)));
        for group in &stream.groups {
            let labels = vec![("stream", stream.name.as_str()), ("group", group.name.as_str())];
            let seconds = |ms: u64| ms as f64 / 1000.0;
            let value = match name {
                "streamer_group_lag_messages" => group.lag.messages().map(|lag| lag as f64),
                "streamer_group_lag_exact" => Some(f64::from(u8::from(matches!(group.lag, Lag::Exact(_))))),
                "streamer_group_lag_seconds" if group.lag == Lag::Exact(0) => Some(0.0),
                "streamer_group_lag_seconds" => group.lag_ms.map(seconds),
                "streamer_group_missed_messages" => group.missed.map(|missed| missed as f64),
                "streamer_group_pending_messages" => Some(group.pending as f64),
                "streamer_group_oldest_pending_seconds" => match &group.oldest_pending {
                    None => Some(0.0),
                    Some(oldest) => oldest.age_ms.map(seconds),
                },
                "streamer_group_consumers" => {
                    for (state, count) in [("alive", group.alive), ("stale", group.stale)] {
                        let labels = labels.iter().copied().chain([("state", state)]).collect();
                        samples.push((labels, count as f64));
                    }
                    None
                }
                _ => None,
            };
            samples.extend(value.map(|value| (labels, value)));
        }
    }
    samples
}

/// A value as the format wants it in quotation marks.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
