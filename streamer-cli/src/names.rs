//! Names that are not there, with the nearest one that is.

use streamer::{StreamName, Streamer};

use crate::{app::Session, config::nearest, listeners};

/// So many streams of a store are compared with a name that is not there.
const COMPARED: usize = 1_000;

/// `there is no stream 'ordr' (did you mean 'order'?)`, with the nearest name of the configuration and of the store; `None`
/// when there is such a stream, or the store does not say.
pub(crate) async fn no_stream(session: &Session, streamer: &Streamer, name: &str) -> Option<String> {
    let there = streamer.engine().info(&StreamName::from(name)).await;
    if !matches!(there, Ok(None)) {
        return None;
    }
    let configured = listeners::names(&session.listeners, &session.config.definitions);
    // A user of the server who may not list the keys gets the names of the configuration.
    let found = streamer.engine().find_streams(COMPARED).await.unwrap_or_default();
    let found = found.names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let known = configured.iter().map(|(event, _)| event.as_str());
    let hint = hint(name, known.chain(found.iter().map(String::as_str)));
    Some(format!("there is no stream '{name}'{hint}"))
}

/// ` (did you mean 'receipt'?)`, when one of the known names comes near.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known.into_iter().filter(|known| *known != name)) {
        Some(near) => format!(" (did you mean '{near}'?)"),
        None => String::new(),
    }
}
