//! Emits, and connections.

use std::{collections::BTreeMap, time::Instant};

use metrics::{Label, counter, histogram};

use super::{is_enabled, list};
use crate::{emit::EmitErrorKind, entry::StreamName};

/// Measures one emit, while metrics are enabled.
pub(crate) struct EmitTimer(Option<Instant>);

impl EmitTimer {
    pub(crate) fn start() -> Self {
        Self(is_enabled().then(Instant::now))
    }

    /// Whether it measures.
    pub(crate) fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// The emit was answered, or refused.
    pub(crate) fn stop(self, stream: &StreamName, error: Option<EmitErrorKind>) {
        let Some(began) = self.0 else { return };
        let took = began.elapsed().as_secs_f64();
        let labels = labels(stream, error.map(error_type));
        counter!(list::EMITTED, labels.clone()).increment(1);
        let operation = Label::from_static_parts(list::OPERATION, "send");
        histogram!(list::EMIT_DURATION, with(labels, operation)).record(took);
    }
}

/// Measures a chunk of a batch, while metrics are enabled.
pub(crate) struct BatchTimer(Option<Instant>);

impl BatchTimer {
    pub(crate) fn start() -> Self {
        Self(is_enabled().then(Instant::now))
    }

    /// The chunk was answered, for each event with what came of it.
    pub(crate) fn stop<'a>(self, answers: impl Iterator<Item = (&'a StreamName, Option<EmitErrorKind>)>) {
        let Some(began) = self.0 else { return };
        let took = began.elapsed().as_secs_f64();
        let mut counted = BTreeMap::<_, u64>::new();
        for (stream, error) in answers {
            *counted.entry((stream, error.map(error_type))).or_default() += 1;
        }
        for ((stream, error), count) in counted {
            let labels = labels(stream, error);
            counter!(list::EMITTED, labels.clone()).increment(count);
            let operation = Label::from_static_parts(list::OPERATION, "send_batch");
            histogram!(list::EMIT_DURATION, with(labels, operation)).record(took);
        }
    }
}

/// A shared connection was made again.
#[cfg(feature = "redis")]
pub(crate) fn reconnected() {
    if is_enabled() {
        counter!(list::RECONNECTS).increment(1);
    }
}

fn labels(stream: &StreamName, error: Option<&'static str>) -> Vec<Label> {
    let mut labels = vec![Label::new(list::STREAM, stream.to_string())];
    labels.extend(error.map(|error| Label::from_static_parts(list::ERROR, error)));
    labels
}

fn with(mut labels: Vec<Label>, label: Label) -> Vec<Label> {
    labels.push(label);
    labels
}

/// A few words, so that the label has few values.
fn error_type(error: EmitErrorKind) -> &'static str {
    use crate::engine::EngineErrorKind;
    match error {
        EmitErrorKind::Encode => "encode",
        EmitErrorKind::NotDurable => "not_durable",
        EmitErrorKind::Engine(kind) => match kind {
            EngineErrorKind::Connection => "connection",
            EngineErrorKind::Unavailable | EngineErrorKind::Moved => "unavailable",
            EngineErrorKind::Permission => "permission",
            EngineErrorKind::WrongType => "wrong_type",
            EngineErrorKind::Full => "full",
            EngineErrorKind::InvalidInput | EngineErrorKind::IdTooSmall | EngineErrorKind::NoStream => "refused",
            _ => "other",
        },
    }
}
