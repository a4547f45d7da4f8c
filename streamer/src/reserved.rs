//! Names that events cannot have, because the keys of those names hold something else.

use crate::{
    engine::{EngineError, EngineErrorKind, EngineResult, keys},
    entry::StreamName,
};

impl StreamName {
    /// Whether an event may have this name. The key of the stream would be one that Streamer keeps for itself: the failed
    /// list, or what lies beside streams. Emitting and listening ask this before they do anything.
    ///
    /// That a name is taken by a *history* (the list `EVENT-IDENTIFIER`) cannot be seen from the name; the store refuses it
    /// ([`EngineErrorKind::WrongType`]).
    ///
    /// # Errors
    ///
    /// [`EngineErrorKind::InvalidInput`], with the reason.
    pub fn check(&self) -> EngineResult<()> {
        self.as_str().map_or(Ok(()), check_name)
    }
}

/// See [`StreamName::check`].
pub(crate) fn check_name(name: &str) -> EngineResult<()> {
    let Some(what) = reserved_for(name) else {
        return Ok(());
    };
    Err(EngineError::new(
        EngineErrorKind::InvalidInput,
        format!("use '{name}' as the name of an event"),
        format!("the key '{name}' holds {what}; give the event another name"),
    ))
}

/// What a key of this name holds; `None` where it may be a stream's.
fn reserved_for(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("nothing that can be named");
    }
    if name == keys::FAILED {
        return Some("the failed list");
    }
    if name
        .strip_prefix(keys::FAILED)
        .is_some_and(|rest| rest.starts_with(':'))
    {
        return Some("what is kept beside the failed list");
    }
    if name == keys::NAME_USERS {
        return Some("which processes use a consumer's name");
    }
    if name.starts_with("streamer:progress:") {
        return Some("what earlier attempts achieved");
    }
    // Keys beside a stream have a hash tag: the stream's own, or its whole name.
    if !name.as_bytes().contains(&b'{') {
        // Nearly all: this is asked of each emit, and the search below takes several times as long.
        return None;
    }
    let (before, rest) = name.split_once('{')?;
    let (tag, rest) = rest.split_once('}')?;
    let whole = before.is_empty() && rest.starts_with(':');
    let what = if whole { &rest[1..] } else { rest.split_once(':')?.1 };
    if tag.is_empty() {
        return None;
    }
    match what.split_once(':').map_or(what, |(what, _)| what) {
        "restored" | "original_ids" => Some("the IDs that restored messages had before"),
        "handled" => Some("messages that wait for other groups"),
        "scheduled" => Some("events that are due later"),
        "retry" if what.contains(':') => Some("what earlier attempts achieved"),
        "name" if what.matches(':').count() >= 2 => Some("which processes use a consumer's name"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_keys_are_no_names_and_others_are() {
        let stream = StreamName::from("order.placed");
        for ours in [
            keys::FAILED.to_owned(),
            keys::FAILED_DETAILS.to_owned(),
            keys::restored(&stream),
            keys::original_ids(&stream),
            keys::handled(&stream, None),
            keys::handled(&stream, Some("g")),
            keys::retry_states(&stream, "g"),
            keys::old_retry_states(&stream, "g"),
            keys::name_users(&stream, "g:h", "c"),
            keys::NAME_USERS.to_owned(),
            keys::restored(&"{shop}order".into()),
            keys::handled(&"{shop}order".into(), Some("g")),
            "{order.placed}:scheduled".to_owned(),
            "{order.placed}:scheduled:entries".to_owned(),
            String::new(),
        ] {
            assert!(StreamName::from(&ours).check().is_err(), "{ours}");
        }
        for name in [
            "order.placed",
            "failed_streams",
            "a:restored",
            "{shop}order",
            "{shop}:order",
            "retry",
            "{}:restored",
        ] {
            assert!(StreamName::from(name).check().is_ok(), "{name}");
        }
    }
}
