//! From what the server or the connection said to an [`EngineError`] with a kind.
//!
//! Redis tells errors apart by the first word of the text, where it has one for them; the rest can only be known by
//! their text. Inside a script older servers put that word somewhere in the middle.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::engine::{EngineError, EngineErrorKind};

/// The error of an operation that was answered with `error`. `attempted` completes "could not …".
pub(super) fn engine_error(attempted: impl Into<String>, error: RedisError) -> EngineError {
    let kind = kind(&error);
    let mut reason = without_place_in_script(&error.to_string()).to_owned();
    let advice = match error.kind() {
        ErrorKind::Server(ServerErrorKind::ClusterDown) => Some(CLUSTER_DOWN),
        _ if is_read_only(&error) => Some(READ_ONLY),
        _ => advice(kind),
    };
    if let Some(advice) = advice {
        reason = format!("{} ({advice})", reason.trim_end_matches('.'));
    }
    let error_timed_out = error.is_timeout();
    EngineError::new(kind, attempted, reason)
        .with_source(error)
        .timed_out(error_timed_out)
}

/// Without where in which script it was: `script: HASH, on @user_script:67.`
fn without_place_in_script(text: &str) -> &str {
    let cut = text
        .find(" script: ")
        .filter(|place| text[*place..].contains("@user_script"));
    cut.map_or(text, |place| &text[..place])
}

fn kind(error: &RedisError) -> EngineErrorKind {
    match error.kind() {
        ErrorKind::Io => EngineErrorKind::Connection,
        ErrorKind::AuthenticationFailed => EngineErrorKind::Permission,
        ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList => EngineErrorKind::InvalidInput,
        ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::ClusterConnectionNotFound => EngineErrorKind::Unavailable,
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => EngineErrorKind::Corrupt,
        ErrorKind::Server(_) | ErrorKind::Extension => {
            of_server(error.code().unwrap_or_default(), error.detail().unwrap_or_default())
        }
        _ => EngineErrorKind::Other,
    }
}

fn of_server(code: &str, detail: &str) -> EngineErrorKind {
    of_code(code)
        // 6.2 leaves the dash of the protocol before it.
        .or_else(|| detail.split([' ', ':']).find_map(|word| of_code(word.trim_start_matches('-'))))
        .or_else(|| of_text(detail))
        .unwrap_or(EngineErrorKind::Other)
}

fn of_code(code: &str) -> Option<EngineErrorKind> {
    Some(match code {
        "NOGROUP" => EngineErrorKind::NoGroup,
        "BUSYGROUP" => EngineErrorKind::GroupExists,
        "UNBLOCKED" => EngineErrorKind::Unblocked,
        "WRONGTYPE" => EngineErrorKind::WrongType,
        "OOM" => EngineErrorKind::Full,
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => EngineErrorKind::Permission,
        // NOREPLICAS is `min-replicas-to-write`, MISCONF a snapshot that failed: writes are refused until that is over.
        "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" | "BUSY" | "MISCONF"
        | "NOREPLICAS" => EngineErrorKind::Unavailable,
        _ => return None,
    })
}

fn of_text(detail: &str) -> Option<EngineErrorKind> {
    let has = |text| detail.contains(text);
    if has("equal or smaller") || has("must be greater than 0-0") {
        Some(EngineErrorKind::IdTooSmall)
    } else if has("user executing the script can't") || has("ACL failure in script") {
        // Inside a script there is no NOPERM. Redis says the one, Valkey the other.
        Some(EngineErrorKind::Permission)
    } else if has("requires the key to exist") {
        Some(EngineErrorKind::NoStream)
    } else if has("unknown command") || has("unknown subcommand") || has("Unknown subcommand") || has("syntax error") {
        Some(EngineErrorKind::Unsupported)
    } else if has("without any password configured") {
        // AUTH where the server wants no password.
        Some(EngineErrorKind::Permission)
    } else if has("max number of clients") {
        Some(EngineErrorKind::Unavailable)
    } else {
        None
    }
}

/// A node that works says this of keys that it holds itself.
const CLUSTER_DOWN: &str = "a node refuses everything while another one is away, unless `cluster-require-full-coverage` is `no` \
                            on each";

const READ_ONLY: &str =
    "this server is a replica: use the URL of its master, or `redis-sentinel://` to follow fail-overs";

fn advice(kind: EngineErrorKind) -> Option<&'static str> {
    match kind {
        EngineErrorKind::Unsupported => Some("Streamer needs Redis 6.2 or newer, or Valkey"),
        EngineErrorKind::Permission => Some("check the user and the password in the URL, and the user's ACL rules"),
        EngineErrorKind::Full => Some("raise maxmemory, or trim streams"),
        _ => None,
    }
}

/// Whether the connection that gave this error is of no more use: it is broken, or it leads to a server that is no
/// longer the one to write to.
pub(super) fn spoils_connection(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::AuthenticationFailed
            | ErrorKind::Server(ServerErrorKind::MasterDown)
    ) || is_read_only(error)
}

/// Whether the server is a replica. Inside a script 6.2 says so somewhere in the middle.
pub(super) fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || error.detail().is_some_and(|detail| detail.contains("-READONLY "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_found_also_inside_a_scripts_error() {
        for (code, detail, expected) in [
            ("NOGROUP", "No such key", EngineErrorKind::NoGroup),
            (
                "ERR",
                "Error running script (call to f_1): @user_script:1: NOGROUP No such key 's'",
                EngineErrorKind::NoGroup,
            ),
            (
                "ERR",
                "The ID specified in XADD is equal or smaller than the target stream top item",
                EngineErrorKind::IdTooSmall,
            ),
            (
                "ERR",
                "The ID specified in XADD must be greater than 0-0",
                EngineErrorKind::IdTooSmall,
            ),
            ("ERR", "unknown command `XAUTOCLAIM`", EngineErrorKind::Unsupported),
            (
                "ERR",
                "The user executing the script can't run this command or subcommand script: f_1, on @user_script:8.",
                EngineErrorKind::Permission,
            ),
            (
                "MISCONF",
                "Redis is configured to save RDB snapshots",
                EngineErrorKind::Unavailable,
            ),
            (
                "ERR",
                "Error running script (call to f_1): @user_script:65: @user_script: 65: -OOM command not allowed",
                EngineErrorKind::Full,
            ),
            (
                "ERR",
                "ACL failure in script: User limited has no permissions to run the 'sadd' command script: f_1",
                EngineErrorKind::Permission,
            ),
            (
                "ERR",
                "Error running script (call to f_1): @user_script:3: @user_script: 3: -READONLY You can't write",
                EngineErrorKind::Unavailable,
            ),
            ("ERR", "something new", EngineErrorKind::Other),
        ] {
            assert_eq!(of_server(code, detail), expected, "{code} {detail}");
        }
    }
}
