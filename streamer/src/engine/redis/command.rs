//! Builds the commands that take more than their arguments in a row.

use std::time::Duration;

use redis::{Cmd, cmd};

use crate::{
    engine::{Append, GroupStart, PendingFilter},
    entry::{EntryId, Keep, NewId, RangeBound, StreamName, Trim},
};

/// The server refuses counts near the end of its integers.
const MOST: usize = 1_000_000_000;
/// The server takes idle times that reach back before 1970 for mistakes, and begins them anew.
const LONGEST_IDLE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(super) fn xadd(append: &Append) -> Cmd {
    let size = append
        .fields
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>();
    let mut command = Cmd::with_capacity(8 + 2 * append.fields.len(), 64 + size);
    command.arg("XADD").arg(append.stream.as_bytes());
    xadd_arguments(&mut command, append);
    command
}

/// What follows the key.
pub(super) fn xadd_arguments(command: &mut Cmd, append: &Append) {
    if !append.options.create_stream {
        command.arg("NOMKSTREAM");
    }
    if let Some(trim) = append.options.trim {
        trim_arguments(command, trim);
    }
    match append.id {
        NewId::Auto => command.arg("*"),
        NewId::AutoSequence(ms) => command.arg(format!("{ms}-*")),
        NewId::Explicit(id) => command.arg(id.to_string()),
    };
    for (name, value) in &append.fields {
        command.arg(&name[..]).arg(&value[..]);
    }
}

pub(super) fn xtrim(stream: &StreamName, trim: Trim) -> Cmd {
    let mut command = on("XTRIM", stream);
    trim_arguments(&mut command, trim);
    command
}

fn trim_arguments(command: &mut Cmd, trim: Trim) {
    let how = if trim.exact { "=" } else { "~" };
    match trim.keep {
        Keep::Newest(count) => command.arg("MAXLEN").arg(how).arg(count),
        Keep::From(id) => command.arg("MINID").arg(how).arg(id.to_string()),
    };
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

pub(super) fn with_ids(mut command: Cmd, ids: &[EntryId]) -> Cmd {
    for id in ids {
        command.arg(id.to_string());
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

/// An idle time to set.
pub(super) fn idle(idle: Duration) -> u64 {
    millis(idle.min(LONGEST_IDLE))
}

/// How many to read or claim, where 0 would be "all" or refused.
pub(super) fn at_least_one(count: usize) -> usize {
    count.clamp(1, MOST)
}
