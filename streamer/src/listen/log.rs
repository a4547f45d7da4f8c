//! Reports in the log: one line for people, with fields for machines.

use std::time::Duration;

use super::{Report, Timing};

impl Report<'_> {
    /// Writes the report to the log ([`tracing`]), as one line of text with fields: `stream`, `id`, `listener`, `attempt`,
    /// `error`, `count` and others, as far as the report has them. What was handled, archived or purged is logged at TRACE,
    /// trouble at WARN, the rest at INFO.
    ///
    /// A listening logs its reports by itself ([`Listening::log_reports`](super::Listening::log_reports)).
    pub fn log(&self) {
        match self {
            Self::Processed {
                message,
                listener,
                timing,
            } => tracing::trace!(
                stream = %message.stream(),
                id = %message.id(),
                listener,
                attempt = message.attempt(),
                took_ms = took_ms(*timing),
                waited_ms = waited_ms(*timing),
                "{self}"
            ),
            Self::Archived { stream, id } | Self::Purged { stream, id } => tracing::trace!(%stream, %id, "{self}"),
            Self::Failed {
                message,
                listener,
                error,
                timing,
            } => tracing::warn!(
                stream = %message.stream(),
                id = %message.id(),
                listener,
                attempt = message.attempt(),
                error,
                took_ms = took_ms(*timing),
                waited_ms = waited_ms(*timing),
                "{self}"
            ),
            Self::RetryLater {
                message,
                listener,
                error,
                attempt,
                delay,
                timing,
            } => tracing::warn!(
                stream = %message.stream(),
                id = %message.id(),
                listener,
                attempt,
                error,
                delay_ms = delay.as_millis() as u64,
                took_ms = took_ms(*timing),
                waited_ms = waited_ms(*timing),
                "{self}"
            ),
            Self::Poison { message, cut_off } => tracing::warn!(
                stream = %message.stream(),
                id = %message.id(),
                attempt = message.attempt(),
                cut_off,
                "{self}"
            ),
            Self::Gone { stream, ids } | Self::Orphaned { stream, ids } | Self::Detached { stream, ids } => {
                tracing::warn!(%stream, count = ids.len(), "{self}");
            }
            Self::LeaseLost {
                stream,
                ids,
                stood_still,
            } => tracing::warn!(
                %stream,
                count = ids.len(),
                stood_still_ms = stood_still.map(|time| time.as_millis() as u64),
                "{self}"
            ),
            Self::NameInUse { stream, consumer, ids } => {
                let count = (!ids.is_empty()).then_some(ids.len());
                tracing::warn!(%stream, consumer, count, "{self}");
            }
            Self::Interrupted {
                error, attempt, delay, ..
            } => tracing::warn!(%error, attempt, delay_ms = delay.as_millis() as u64, "{self}"),
            Self::Recovered { stream, count, claimed } => tracing::info!(%stream, count, claimed, "{self}"),
            Self::ConsumersRemoved { stream, names } => tracing::info!(%stream, count = names.len(), "{self}"),
            Self::GroupRecreated { stream, group, after } => tracing::info!(%stream, group, %after, "{self}"),
            Self::Started { .. } | Self::Resumed { .. } | Self::Stopping => tracing::info!("{self}"),
        }
    }
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn took_ms(timing: Option<Timing>) -> Option<f64> {
    timing.map(|timing| ms(timing.took))
}

fn waited_ms(timing: Option<Timing>) -> Option<f64> {
    timing.map(|timing| ms(timing.waited))
}
