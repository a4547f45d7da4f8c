//! The names of all keys that Streamer writes, apart from the streams, whose keys are the names of their events.
//!
//! `docs/keys.md` says the same for operators; a test here compares the two. A key that is kept beside a stream is in the
//! same slot of a Redis Cluster as the stream, so that one script can change both.

use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::slot::{SLOTS, slot};
use crate::entry::{EntryId, StreamName};

/// The set of failure records, shared with PHP.
///
/// Written by listeners that failed and by `failed retry`; read by `failed list` and by PHP. Bounded by the failures that
/// nobody has retried or flushed.
pub(crate) const FAILED: &str = "failed_stream";

/// The hash of what a failure record has no room for, by [`details_field`].
///
/// Written before its record and removed after it; read by `failed list` and `failed retry`. Bounded by the records:
/// `failed retry`, `flush` and `forget` also mark and, an hour later, remove details whose record is gone, as PHP removes
/// records alone.
pub(crate) const FAILED_DETAILS: &str = "failed_stream:details";

/// The hash of the groups in which listeners fail, by stream and listener as a JSON list: what would otherwise be a field
/// of [`FAILED_DETAILS`] for each failure.
///
/// Written by a listener's first failure and looked at again every minute while it fails; read by `failed list`. Bounded by
/// the listeners; `failed retry`, `flush` and `forget` remove what no failure needs that is left.
pub(crate) const FAILED_GROUPS: &str = "failed_stream:groups";

/// The field of [`FAILED_DETAILS`] that belongs to a member of [`FAILED`]: its SHA-256 in lower-case hex.
pub(crate) fn details_field(member: &[u8]) -> Bytes {
    hex::encode(Sha256::digest(member)).into()
}

/// Who retries a failed message: on Redis a key for each message that is being retried.
///
/// Written and removed by `failed retry`; expires with its lease, half a minute after the last renewal. The embedded
/// engine keeps all of them in the hash [`RETRY_CLAIMS`].
pub(crate) fn retry_claim(stream: &StreamName, id: EntryId) -> String {
    let message = [stream.as_bytes(), b"\0", id.to_string().as_bytes()].concat();
    format!("{RETRY_CLAIMS}:{}", hex::encode(&Sha256::digest(message)[..16]))
}

/// See [`retry_claim`].
pub(crate) const RETRY_CLAIMS: &str = "failed_stream:claim";

/// The list of snapshots of one resource, shared with PHP, newest first.
///
/// Written with each replayable event in one step; read by replays. Bounded by the messages that are on the stream or in
/// the archive, once `history trim` has run.
pub(crate) fn snapshots(event: &str, identifier: &str) -> StreamName {
    StreamName::from(format!("{event}-{identifier}"))
}

/// The hash that keeps, for messages that stay pending, what earlier attempts achieved, by entry ID.
///
/// Written by listeners when an attempt failed; read with the next delivery and by `failed retry`. A field goes when its
/// message is acknowledged, or with the group's sweep once the entry is not pending any more; on Redis the whole hash
/// expires 30 days after its last change (later where retries wait for longer), on the embedded engine it goes with its
/// stream or its group.
pub(crate) fn retry_states(stream: &StreamName, group: &str) -> String {
    beside(stream, &format!("retry:{group}"))
}

/// Where earlier versions kept [`retry_states`]: in another slot, and without an expiry.
///
/// Never written. What is found there is moved when somebody joins the group, or retries one of its failures.
pub(crate) fn old_retry_states(stream: &StreamName, group: &str) -> String {
    format!("streamer:progress:{group}:{stream}")
}

/// The hash of processes that use a consumer's name which somebody chose, by a random token of each.
///
/// Written by listenings with such a name, every 5 s or more often, and read by them; a mark is removed by a listening that
/// ends, or when it has expired. On Redis the hash expires with its last mark, half a minute after it was renewed at the
/// latest. The embedded engine keeps all of them in the hash [`NAME_USERS`].
pub(crate) fn name_users(stream: &StreamName, group: &str, consumer: &str) -> String {
    // So that no two pairs of names give one key.
    let group = group.replace('%', "%25").replace(':', "%3A");
    beside(stream, &format!("name:{group}:{consumer}"))
}

/// See [`name_users`].
pub(crate) const NAME_USERS: &str = "streamer:names";

/// The set of entries that were handled and stay until other groups have acknowledged them. Without a group the last part
/// is missing.
///
/// Written before the acknowledgement and read by listenings that archive or purge when all groups have acknowledged.
/// Bounded by the entries of the stream that some group still needs; on Redis the set expires 30 days after the last
/// listening looked at it, on the embedded engine it goes with its stream or its group.
pub(crate) fn handled(stream: &StreamName, group: Option<&str>) -> String {
    match group {
        Some(group) => beside(stream, &format!("handled:{group}")),
        None => beside(stream, "handled"),
    }
}

/// The hash that leads from the ID that a message had when it was emitted to the ID of the entry that it is, or was last.
///
/// Written in the same step as the entry of a restored message; read by restores, which append nothing twice, and by
/// replays. One field for each restored message that is on the stream or in the archive; [`Restore`] tidies up what is
/// gone.
///
/// [`Restore`]: crate::archive::Restore
pub(crate) fn restored(stream: &StreamName) -> String {
    beside(stream, "restored")
}

/// The hash of all IDs that a message had before, by the ID of its entry, for messages that were restored more than once.
///
/// Written in the same step as the entry; read when the entry is archived, which removes the field. Bounded by the
/// entries of the stream: those of entries that are gone are tidied up with [`restored`].
pub(crate) fn original_ids(stream: &StreamName) -> String {
    beside(stream, "original_ids")
}

/// What remembers that an append with this idempotency key was made: the ID of its entry.
///
/// Written in the same step as the entry; read by appends with the same key. It expires with the append's window; the
/// embedded engine keeps a row instead, and removes it once its window is over.
#[cfg(feature = "redis")]
pub(crate) fn appended_once(stream: &StreamName, idempotency_key: &[u8]) -> Vec<u8> {
    let mut key = beside(stream, "once:").into_bytes();
    key.extend_from_slice(idempotency_key);
    key
}

/// Where a search for [`retry_states`] and [`handled`] looks.
#[cfg(feature = "redis")]
pub(crate) const KEPT_PATTERNS: [&str; 2] = ["*{*}*:*", "streamer:progress:*"];

/// Whether a key may be one of [`retry_states`], [`old_retry_states`] or [`handled`]. Which stream and group it belongs to,
/// its name does not tell for sure: both names may have colons. Streams whose names are not UTF-8 are left out.
pub(crate) fn may_be_kept(key: &[u8]) -> bool {
    let Ok(key) = std::str::from_utf8(key) else {
        return false;
    };
    let is_beside = key.contains('{') && !key.contains("}:hex:");
    let is_kept = key.contains(":retry:") || key.contains(":handled:") || key.ends_with(":handled");
    key.starts_with("streamer:progress:") || is_beside && is_kept
}

/// The sorted set of entries that are appended later: the IDs under which they wait, all with the score 0, so that they are in
/// the order of their bytes. The parts of an ID have 16 digits each.
///
/// Written by appends that are due later, by listenings when they are, and by those who cancel one. Bounded by what is
/// scheduled; it goes with its last member. The embedded engine has a table instead.
#[cfg(feature = "redis")]
pub(crate) fn scheduled(stream: &StreamName) -> String {
    beside(stream, "scheduled")
}

/// Where a search for [`scheduled`] looks.
#[cfg(feature = "redis")]
pub(crate) const SCHEDULED_PATTERN: &str = "*{*}*:scheduled";

/// The stream that a key of [`scheduled`] belongs to; `None` for any other key.
#[cfg(feature = "redis")]
pub(crate) fn scheduled_for(key: &[u8]) -> Option<StreamName> {
    let beside = std::str::from_utf8(key).ok()?.strip_suffix(":scheduled")?;
    let in_tag = beside.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let in_hex = beside.split_once("}:hex:").and_then(|(_, name)| hex::decode(name).ok());
    // Each form that a name can have in a key, and the one that leads to this key.
    let names = [
        in_hex.map(StreamName::from),
        in_tag.map(StreamName::from),
        Some(StreamName::from(beside)),
    ];
    names
        .into_iter()
        .flatten()
        .find(|name| scheduled(name).as_bytes() == key)
}

/// The hash of what those entries hold, by the same IDs: the arguments of their `XADD` behind the key, each as its length, a
/// colon and its bytes.
///
/// Written and removed in the same steps as [`scheduled`].
#[cfg(feature = "redis")]
pub(crate) fn scheduled_entries(stream: &StreamName) -> String {
    beside(stream, "scheduled:entries")
}

/// The key of something that is kept beside the stream, in the same slot of a Redis Cluster: by the name's own hash tag,
/// or by making the name one. Where the name can be none, the tag is the smallest number in the stream's slot, and the
/// name comes in hex: two such names must not share a key.
fn beside(stream: &StreamName, what: &str) -> String {
    let tag = |name: &str| {
        let (_, rest) = name.split_once('{')?;
        let (tag, _) = rest.split_once('}')?;
        (!tag.is_empty()).then_some(())
    };
    match stream.as_str() {
        Some(name) if tag(name).is_some() => format!("{name}:{what}"),
        Some(name) if !name.contains('}') => format!("{{{name}}}:{what}"),
        _ => {
            let number = NUMBERS[usize::from(slot(stream.as_bytes()))];
            let name = hex::encode(stream.as_bytes());
            format!("{{{number}}}:hex:{name}:{what}")
        }
    }
}

/// The smallest number in each slot.
static NUMBERS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut numbers = vec![None; usize::from(SLOTS)];
    let mut missing = numbers.len();
    for number in 0.. {
        let in_slot = &mut numbers[usize::from(slot(number.to_string().as_bytes()))];
        if in_slot.is_none() {
            *in_slot = Some(number);
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    numbers.into_iter().map(Option::unwrap_or_default).collect()
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_of_the_documentation_lists_these_keys_and_no_others() {
        let stream = StreamName::from("STREAM");
        let ours = [
            "STREAM".to_owned(),
            FAILED.to_owned(),
            FAILED_DETAILS.to_owned(),
            FAILED_GROUPS.to_owned(),
            format!("{RETRY_CLAIMS}:MESSAGE"),
            snapshots("EVENT", "IDENTIFIER").to_string(),
            retry_states(&stream, "GROUP"),
            old_retry_states(&stream, "GROUP"),
            name_users(&stream, "GROUP", "CONSUMER"),
            handled(&stream, Some("GROUP")),
            handled(&stream, None),
            restored(&stream),
            original_ids(&stream),
            String::from_utf8_lossy(&appended_once(&stream, b"KEY")).into_owned(),
            scheduled(&stream),
            scheduled_entries(&stream),
        ];
        let page = include_str!("../../../docs/keys.md");
        // The first cell of each row that begins with code.
        let listed = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(key, _)| key.to_owned());
        assert_eq!(listed.collect::<BTreeSet<_>>(), BTreeSet::from(ours));
    }

    #[test]
    fn what_is_kept_for_groups_is_told_from_other_keys() {
        for name in ["a", "{shop}a", "a:retry:b"] {
            let stream = StreamName::from(name);
            for key in [
                retry_states(&stream, "g:h"),
                old_retry_states(&stream, "g"),
                handled(&stream, Some("g")),
                handled(&stream, None),
            ] {
                assert!(may_be_kept(key.as_bytes()), "{key}");
            }
            for key in [restored(&stream), original_ids(&stream), name_users(&stream, "g", "c")] {
                assert_eq!(may_be_kept(key.as_bytes()), name.contains("retry"), "{key}");
            }
        }
        for key in ["a:retry:g", "failed_stream:details", "{a}", "{a}:once:k"] {
            assert!(!may_be_kept(key.as_bytes()), "{key}");
        }
        assert!(!may_be_kept(
            retry_states(&StreamName::from(vec![0xff]), "g").as_bytes()
        ));
    }

    /// With and without braces in each place, with what stands behind names in keys, and none that is text.
    const NAMES: [&[u8]; 11] = [
        b"a",
        b"a:scheduled",
        b"{a}b",
        b"{",
        b"a{b",
        b"a}b",
        b"{}",
        b"{}a}",
        b"}{a}b{c}",
        b"\xfe{a}",
        b"{7}:hex:61",
    ];

    #[test]
    fn a_key_of_what_is_scheduled_leads_to_its_stream() {
        for name in NAMES {
            let stream = StreamName::from(name.to_vec());
            let found = scheduled_for(scheduled(&stream).as_bytes());
            assert_eq!(found, Some(stream.clone()), "{stream}");
            assert_eq!(scheduled_for(scheduled_entries(&stream).as_bytes()), None, "{stream}");
        }
        for key in [&b"scheduled"[..], b":scheduled", b"a:scheduled", b"\xff:scheduled"] {
            assert_eq!(scheduled_for(key), None);
        }
    }

    #[test]
    fn a_key_beside_a_stream_keeps_to_its_slot() {
        let key = |name: &str| restored(&name.into());
        assert_eq!(key("order.placed"), "{order.placed}:restored");
        assert_eq!(key("{shop}order.placed"), "{shop}order.placed:restored");
        assert_eq!(restored(&StreamName::from(vec![0xff])), "{69460}:hex:ff:restored");
        for name in NAMES {
            let stream = StreamName::from(name.to_vec());
            let key = retry_states(&stream, "}{group}");
            assert_eq!(slot(key.as_bytes()), slot(name), "{key}");
        }
    }
}
