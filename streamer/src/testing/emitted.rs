//! What was emitted.

use std::{fmt::Write as _, panic::Location};

use serde::de::DeserializeOwned;

use crate::{
    NamedEvent, ReceivedMessage, Streamer,
    entry::{RangeBound, StreamName},
};

/// The events of a type that were emitted, oldest first.
///
/// # Panics
///
/// When one does not fit the type, or the store cannot be read.
pub async fn emitted<E: NamedEvent + DeserializeOwned>(streamer: &Streamer) -> Vec<E> {
    events(&messages(streamer, E::NAME).await)
}

/// The messages that were emitted under a name, oldest first: with their types, domains, IDs and raw fields.
///
/// # Panics
///
/// When the store cannot be read.
pub async fn messages(streamer: &Streamer, name: impl Into<StreamName>) -> Vec<ReceivedMessage> {
    let stream = name.into();
    let (start, end) = (RangeBound::Unbounded, RangeBound::Unbounded);
    match streamer.engine().range(&stream, start, end, None, false).await {
        Ok(entries) => entries
            .into_iter()
            .map(|entry| ReceivedMessage::new(stream.clone(), entry, 1))
            .collect(),
        Err(error) => panic!("what was emitted cannot be read: {error}"),
    }
}

/// Asserts that an event of a type was emitted for which `is_it` holds.
///
/// # Panics
///
/// When none was; the text shows those of this type that were.
#[track_caller]
pub fn assert_emitted<E: NamedEvent + DeserializeOwned>(
    streamer: &Streamer,
    is_it: impl Fn(&E) -> bool,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let messages = messages(streamer, E::NAME).await;
        assert!(
            events(&messages).iter().any(is_it),
            "{caller}: no '{}' was emitted that is as expected; {}",
            E::NAME,
            shown(&messages)
        );
    }
}

/// Asserts that nothing was emitted under a name.
///
/// # Panics
///
/// When something was; the text shows it.
#[track_caller]
pub fn assert_nothing_emitted(streamer: &Streamer, name: impl Into<StreamName>) -> impl Future<Output = ()> {
    let (caller, name) = (Location::caller(), name.into());
    async move {
        let messages = messages(streamer, name.clone()).await;
        assert!(
            messages.is_empty(),
            "{caller}: nothing should be emitted as '{name}', but {}",
            shown(&messages)
        );
    }
}

/// Messages as events of a type.
pub(super) fn events<E: DeserializeOwned>(messages: &[ReceivedMessage]) -> Vec<E> {
    let event = |message: &ReceivedMessage| match message.payload() {
        Ok(event) => event,
        Err(error) => panic!(
            "message {} on '{}' is not what its name says: {error}",
            message.id(),
            message.stream()
        ),
    };
    messages.iter().map(event).collect()
}

/// Messages as lines of a failed test's text.
fn shown(messages: &[ReceivedMessage]) -> String {
    if messages.is_empty() {
        return "none was emitted at all".to_owned();
    }
    let were = if messages.len() == 1 {
        "1 was"
    } else {
        &format!("{} were", messages.len())
    };
    let mut text = format!("{were} emitted:");
    for message in messages {
        let data = message.field("data").map(|data| String::from_utf8_lossy(data));
        let _ = write!(text, "\n  {} {}", message.id(), data.unwrap_or_default());
    }
    text
}
