//! Every metric. `docs/observability.md` lists the same; a test here compares the two.
//!
//! Names and units are those of OpenTelemetry's
//! [messaging conventions](https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/) where there are some, and
//! begin with `streamer.` where there are none.

/// What sort of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often values fell into which range.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What sort it is.
    pub kind: Kind,
    /// Its unit, as OpenTelemetry writes it: `s` or what is counted in braces.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// The stream.
pub(super) const STREAM: &str = "messaging.destination.name";
/// The group; empty without one.
pub(super) const GROUP: &str = "messaging.consumer.group.name";
/// The listener.
pub(super) const LISTENER: &str = "streamer.listener.name";
/// Why it failed; absent where it did not.
pub(super) const ERROR: &str = "error.type";
/// `send` for one event, `send_batch` for many.
pub(super) const OPERATION: &str = "messaging.operation.name";

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:ident $unit:literal [$($label:ident),*] $help:literal)*) => {
        $(pub(super) const $constant: &str = $name;)*

        /// Every metric, in the order of the documentation.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $constant, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help },)*
        ];
    };
}

metrics! {
    EMITTED "messaging.client.sent.messages" Counter "{message}" [STREAM, ERROR]
        "Events emitted, or not: those with error.type were refused, or may not have been written."
    EMIT_DURATION "messaging.client.operation.duration" Histogram "s" [STREAM, OPERATION, ERROR]
        "How long an emit took, from the call to the store's answer; a batch counts once for each chunk."
    RECEIVED "messaging.client.consumed.messages" Counter "{message}" [STREAM, GROUP]
        "Messages given to a worker, each as often as it was delivered."
    HANDLED "streamer.listener.handled" Counter "{message}" [STREAM, GROUP, LISTENER]
        "Messages that a listener handled."
    FAILED "streamer.listener.failed" Counter "{message}" [STREAM, GROUP, LISTENER]
        "Attempts of a listener that failed, panicked or took too long, whatever came of it."
    RETRIED "streamer.listener.retried" Counter "{message}" [STREAM, GROUP, LISTENER]
        "Failed attempts after which the listener is tried again."
    DEAD_LETTERED "streamer.listener.dead_lettered" Counter "{message}" [STREAM, GROUP, LISTENER]
        "Messages that a listener gave up, so that they are in the failed list."
    RECLAIMED "streamer.messages.reclaimed" Counter "{message}" [STREAM, GROUP]
        "Messages taken over from other consumers that left them idle."
    LEASES_LOST "streamer.leases.lost" Counter "{message}" [STREAM, GROUP]
        "Messages that another consumer claimed while they were in flight here; they may be handled twice."
    DUPLICATES "streamer.messages.duplicates" Counter "{message}" [STREAM, GROUP]
        "Messages that begin again although an earlier attempt had begun and left no outcome; they may be handled twice."
    PROCESS_DURATION "messaging.process.duration" Histogram "s" [STREAM, GROUP, LISTENER]
        "How long a listener took for a message, whether it failed or not."
    QUEUE_WAIT "streamer.queue.wait.duration" Histogram "s" [STREAM, GROUP]
        "How long a message waited in this process, from its delivery to its first listener."
    END_TO_END "streamer.delivery.duration" Histogram "s" [STREAM, GROUP]
        "From the time in a message's entry ID to the end of its last listener; not measured where the ID is no time."
    IN_FLIGHT "streamer.in_flight" Gauge "{message}" [GROUP]
        "Messages delivered to this listening and not settled."
    PREFETCHED "streamer.prefetched" Gauge "{message}" [GROUP]
        "Those of the messages in flight that no worker has begun."
    WAITING_RETRIES "streamer.retries.waiting" Gauge "{message}" [GROUP]
        "Messages that wait in this listening for the next attempt."
    RECONNECTS "streamer.reconnects" Counter "{connection}" []
        "Shared connections to a Redis server that were made again after they broke."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_lists_these_metrics_and_no_others() {
        let page = include_str!("../../../docs/observability.md");
        let section = page.split("<!-- metrics -->").nth(1).expect("a place for the metrics");
        let table = section.split("<!-- /metrics -->").next().expect("its end");
        let listed: BTreeSet<String> = table
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(str::to_owned)
            .collect();
        let expected: BTreeSet<String> = ALL
            .iter()
            .map(|metric| {
                let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
                let kind = format!("{:?}", metric.kind).to_lowercase();
                format!(
                    "| `{}` | {kind} | {} | {} | {} |",
                    metric.name,
                    metric.unit,
                    labels.join(", "),
                    metric.help
                )
            })
            .collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn each_metric_is_recorded_somewhere() {
        let sources = [include_str!("emitting.rs"), include_str!("listening.rs")].concat();
        let list = include_str!("list.rs");
        for metric in ALL {
            let quoted = format!(" \"{}\" ", metric.name);
            let line = list.lines().find(|line| line.contains(&quoted)).expect("it is listed");
            let constant = line.split_whitespace().next().expect("a constant");
            assert!(
                sources.contains(&format!("list::{constant}")),
                "{constant} is never recorded"
            );
        }
    }
}
