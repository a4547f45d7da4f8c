//! Where to begin on a stream, from a flag.

pub(super) use streamer::StartAt;
use streamer::{EntryId, Moment};

/// An entry ID (what follows it), `0`, `now`, or a date or an age (what was emitted from then on). laravel-streamer takes
/// `0` for "not given"; here it means the beginning.
pub(super) fn start(text: &str) -> Result<StartAt, String> {
    match text {
        "now" | "$" => return Ok(StartAt::Now),
        "0" | "0-0" | "start" | "beginning" => return Ok(StartAt::Beginning),
        _ => {}
    }
    if let Ok(id) = text.parse::<EntryId>() {
        return Ok(StartAt::After(id));
    }
    match text.parse::<Moment>() {
        Ok(moment) => Ok(moment.first_id().previous().map_or(StartAt::Beginning, StartAt::After)),
        Err(error) => Err(format!(
            "{error}; or an entry ID, such as 1795407980936-0, `0` (the beginning), or `now`"
        )),
    }
}
