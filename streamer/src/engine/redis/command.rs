//! Builds the commands that take more than their arguments in a row.

use std::time::Duration;

use redis::{Cmd, cmd};

use crate::{
    engine::{Append, GroupStart, PendingFilter},
    entry::{EntryId, NewId, RangeBound, StreamName, Trim, TrimLimit},
};

/// The server refuses counts near the end of its integers.
const MOST: usize = 1_000_000_000;
/// The server takes idle times that reach back before 1970 for mistakes, and begins them anew.
const LONGEST_IDLE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(super) fn xadd(append: &Append) -> Cmd {
    let mut command = Cmd::with_capacity(8 + 2 * append.fields.len(), 64 + size(append));
    command.arg("XADD").arg(append.stream.as_bytes());
    xadd_arguments(append, |argument| _ = command.arg(argument));
    command
}

/// What follows the key, one argument after the other.
pub(super) fn xadd_arguments(append: &Append, mut put: impl FnMut(&[u8])) {
    if !append.options.create_stream {
        put(b"NOMKSTREAM");
    }
    if let Some(trim) = append.options.trim {
        trim_arguments(trim)
            .iter()
            .for_each(|argument| put(argument.as_bytes()));
    }
    match append.id {
        NewId::Auto => put(b"*"),
        NewId::AutoSequence(ms) => put(format!("{ms}-*").as_bytes()),
        NewId::Explicit(id) => put(id.to_string().as_bytes()),
    }
    for (name, value) in &append.fields {
        put(name);
        put(value);
    }
}

/// Adds an encoded `XADD`: the same as [`xadd`], in a fraction of the time.
pub(super) fn pack_xadd(packed: &mut Vec<u8>, append: &Append) {
    let mut count = 2;
    xadd_arguments(append, |_| count += 1);
    packed.reserve(32 + size(append) + 8 * count);
    pack_length(packed, b'*', count);
    let mut put = |argument: &[u8]| {
        pack_length(packed, b'$', argument.len());
        packed.extend_from_slice(argument);
        packed.extend_from_slice(b"\r\n");
    };
    put(b"XADD");
    put(append.stream.as_bytes());
    xadd_arguments(append, put);
}

#[inline]
fn pack_length(packed: &mut Vec<u8>, kind: u8, length: usize) {
    let digit = |number: usize| b'0' + (number % 10) as u8;
    match length {
        // Nearly all.
        0..10 => packed.extend_from_slice(&[kind, digit(length), b'\r', b'\n']),
        10..100 => packed.extend_from_slice(&[kind, digit(length / 10), digit(length), b'\r', b'\n']),
        _ => {
            packed.push(kind);
            packed.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            packed.extend_from_slice(b"\r\n");
        }
    }
}

fn size(append: &Append) -> usize {
    let fields = append.fields.iter().map(|(name, value)| name.len() + value.len());
    append.stream.as_bytes().len() + fields.sum::<usize>()
}

pub(super) fn xtrim(stream: &StreamName, trim: Trim) -> Cmd {
    let mut command = on("XTRIM", stream);
    command.arg(&trim_arguments(trim)[..]);
    command
}

fn trim_arguments(trim: Trim) -> [String; 3] {
    let how = if trim.exact { "=" } else { "~" };
    let (what, bound) = match trim.keep {
        TrimLimit::Newest(count) => ("MAXLEN", count.to_string()),
        TrimLimit::From(id) => ("MINID", id.to_string()),
    };
    [what.to_owned(), how.to_owned(), bound]
}

pub(super) fn xrange(
    stream: &StreamName,
    start: RangeBound,
    end: RangeBound,
    count: Option<usize>,
    reverse: bool,
) -> Cmd {
    let (start, end) = (bound(start, "-"), bound(end, "+"));
    let mut command = if reverse {
        on("XREVRANGE", stream)
    } else {
        on("XRANGE", stream)
    };
    if reverse {
        command.arg(end).arg(start);
    } else {
        command.arg(start).arg(end);
    }
    if let Some(count) = count {
        command.arg("COUNT").arg(count.min(MOST));
    }
    command
}

pub(super) fn xpending(stream: &StreamName, group: &str, filter: PendingFilter<'_>) -> Cmd {
    let mut command = on("XPENDING", stream);
    command.arg(group);
    if !filter.min_idle.is_zero() {
        command.arg("IDLE").arg(millis(filter.min_idle));
    }
    command
        .arg(bound(filter.start, "-"))
        .arg(bound(filter.end, "+"))
        .arg(filter.count.min(MOST));
    if let Some(consumer) = filter.consumer {
        command.arg(consumer);
    }
    command
}

/// `XPENDING` of exactly one ID.
pub(super) fn xpending_one(stream: &StreamName, group: &str, id: EntryId) -> Cmd {
    let exactly = RangeBound::Inclusive(id);
    xpending(
        stream,
        group,
        PendingFilter {
            start: exactly,
            end: exactly,
            count: 1,
            ..PendingFilter::default()
        },
    )
}

/// `EVAL` of a script with one key.
pub(super) fn eval(script: &str, stream: &StreamName) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script).arg(1).arg(stream.as_bytes());
    command
}

/// A command whose first argument is a stream.
pub(super) fn on(name: &str, stream: &StreamName) -> Cmd {
    let mut command = cmd(name);
    command.arg(stream.as_bytes());
    command
}

/// `XACK`, of which there is one for each batch of each stream: made without growing on the way.
pub(super) fn xack(stream: &StreamName, group: &str, ids: &[EntryId]) -> Cmd {
    // Nearly all IDs are 13 digits, a dash and one digit.
    let size = stream.as_bytes().len() + group.len() + 16 * ids.len();
    let mut command = Cmd::with_capacity(3 + ids.len(), 8 + size);
    command.arg("XACK").arg(stream.as_bytes()).arg(group);
    with_ids(command, ids)
}

pub(super) fn with_ids(mut command: Cmd, ids: &[EntryId]) -> Cmd {
    let mut digits = itoa::Buffer::new();
    let mut text = Vec::with_capacity(41);
    for id in ids {
        text.clear();
        text.extend_from_slice(digits.format(id.ms).as_bytes());
        text.push(b'-');
        text.extend_from_slice(digits.format(id.seq).as_bytes());
        command.arg(&text[..]);
    }
    command
}

pub(super) fn group_start(start: GroupStart) -> String {
    match start {
        GroupStart::After(id) => id.to_string(),
        GroupStart::Now => "$".to_owned(),
    }
}

fn bound(bound: RangeBound, open: &str) -> String {
    match bound {
        RangeBound::Unbounded => open.to_owned(),
        RangeBound::Inclusive(id) => id.to_string(),
        RangeBound::Exclusive(id) => format!("({id}"),
    }
}

/// Whole milliseconds, as the commands take them; they are signed there.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .min(i64::MAX as u64)
}

/// A number that is signed there.
pub(super) fn signed(count: u64) -> u64 {
    count.min(i64::MAX as u64)
}

/// An idle time to set.
pub(super) fn idle(idle: Duration) -> u64 {
    millis(idle.min(LONGEST_IDLE))
}

/// How many to read or claim, where 0 would be "all" or refused.
pub(super) fn at_least_one(count: usize) -> usize {
    count.clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AppendOptions;

    #[test]
    fn both_ways_of_encoding_an_append_give_the_same_bytes() {
        let ids = [
            NewId::Auto,
            NewId::AutoSequence(17),
            NewId::Explicit(EntryId::new(u64::MAX, 7)),
        ];
        let trims = [
            None,
            Some(Trim::max_len(10_000)),
            Some(Trim::min_id(EntryId::new(5, 1)).exactly()),
        ];
        let fields = [
            vec![("a".into(), "".into())],
            vec![("\0\r\n".into(), vec![0xff; 1000].into()), ("b".into(), "x".into())],
            [8, 9, 10, 11, 99, 100, 101]
                .map(|length| ("c".into(), vec![b'-'; length].into()))
                .to_vec(),
        ];
        for (id, trim, create_stream) in ids
            .into_iter()
            .zip(trims)
            .zip([true, false, true])
            .map(|((a, b), c)| (a, b, c))
        {
            for fields in &fields {
                let append = Append {
                    stream: "order.placed".into(),
                    id,
                    fields: fields.clone(),
                    options: AppendOptions {
                        trim,
                        create_stream,
                        ..AppendOptions::default()
                    },
                };
                let mut packed = Vec::new();
                pack_xadd(&mut packed, &append);
                assert_eq!(packed, xadd(&append).get_packed_command(), "{append:?}");
            }
        }
    }
}
