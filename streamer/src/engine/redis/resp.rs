//! The server's protocol, RESP2 ([specification](https://redis.io/docs/latest/develop/reference/protocol-spec/)): where
//! a reply ends, and what is in it.

use std::ops::Range;

use bytes::Bytes;
use redis::{ErrorKind, RedisError, RedisResult, Value};

use super::reply::{Decoded, Unexpected};
use crate::{
    engine::{StreamEntries, field_names::well_known},
    entry::{Entry, EntryId, StreamName},
};

/// Any whole reply.
pub(super) fn value(reply: &[u8]) -> RedisResult<Value> {
    if let Some(value) = plain(reply) {
        return Ok(value);
    }
    match redis::parse_redis_value(reply)? {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// A whole reply that is the ID of an entry, as that of nearly every `XADD`; `None` for any other.
pub(super) fn reply_id(reply: &[u8]) -> Option<EntryId> {
    let (kind, length, head) = short_number(reply)?;
    let text = reply.get(head..)?.strip_suffix(b"\r\n")?;
    (kind == b'$' && text.len() as u64 == length)
        .then(|| entry_id(text))
        .flatten()
}

/// So many whole replies, one after the other.
pub(super) fn values(mut replies: &[u8], count: usize) -> Vec<RedisResult<Value>> {
    let next = |_| {
        let mut extent = Extent::of(1);
        extent.reaches_end(replies)?;
        let (reply, rest) = replies.split_at(extent.at);
        replies = rest;
        value(reply)
    };
    (0..count).map(next).collect()
}

/// Lists within lists: no command answers with more.
const DEEPEST: usize = 16;

/// Strings, numbers, and lists of them, which nearly all replies are: the library's parser takes several times as long for
/// them. `None` for anything else, which it reads.
fn plain(reply: &[u8]) -> Option<Value> {
    let mut rest = reply;
    let value = part(&mut rest, DEEPEST)?;
    rest.is_empty().then_some(value)
}

fn part(rest: &mut &[u8], deepest: usize) -> Option<Value> {
    let line = Line::first(rest)??;
    let after = &rest[line.length..];
    *rest = after;
    match line.kind {
        b'$' => {
            let Some(length) = number(line.text)? else {
                return Some(Value::Nil);
            };
            let length = usize::try_from(length).ok()?;
            let bytes = after.get(..length)?;
            *rest = after[length..].strip_prefix(b"\r\n")?;
            Some(Value::BulkString(bytes.to_vec()))
        }
        b':' => {
            let (digits, sign) = match line.text.strip_prefix(b"-") {
                Some(digits) => (digits, -1),
                None => (line.text, 1),
            };
            Some(Value::Int(sign * i64::try_from(decimal(digits)?).ok()?))
        }
        b'*' => {
            let Some(count) = number(line.text)? else {
                return Some(Value::Nil);
            };
            let deepest = deepest.checked_sub(1)?;
            // A part has at least four bytes: room for more than there can be is not asked for.
            let count = usize::try_from(count).ok().filter(|count| *count <= after.len() / 4)?;
            let mut parts = Vec::with_capacity(count);
            for _ in 0..count {
                parts.push(part(rest, deepest)?);
            }
            Some(Value::Array(parts))
        }
        _ => None,
    }
}

pub(super) fn nonsense() -> RedisError {
    RedisError::from((ErrorKind::Parse, "the server's answer is not RESP2"))
}

/// No server answers with so many bytes or parts.
const TOO_LONG: u64 = 1 << 48;

/// How far replies reach, found piece by piece as it is received.
pub(super) struct Extent {
    /// What lies before is whole.
    pub(super) at: usize,
    /// How many values are yet to come.
    open: u64,
}

impl Extent {
    /// Of so many replies, one after the other.
    pub(super) fn of(replies: u64) -> Self {
        Self { at: 0, open: replies }
    }

    pub(super) fn reaches_end(&mut self, received: &[u8]) -> RedisResult<bool> {
        while self.open > 0 {
            let rest = &received[self.at..];
            let Some((mut length, kind, number)) = head(rest)? else {
                return Ok(false);
            };
            let mut parts = 0;
            match kind {
                b'+' | b'-' | b':' => {}
                // -1 is nil.
                b'$' => length += number.map_or(0, |bytes| bytes as usize + 2),
                b'*' => parts = number.unwrap_or(0),
                _ => return Err(nonsense()),
            }
            if length > rest.len() {
                return Ok(false);
            }
            // A length that is not that of its string: what follows would be read as replies to others.
            if kind == b'$' && !rest[..length].ends_with(b"\r\n") {
                return Err(nonsense());
            }
            self.at += length;
            self.open = (self.open - 1).saturating_add(parts);
        }
        Ok(true)
    }
}

/// What a value begins with: how long its line is with the line's end, its kind, and the number in it where the kind has
/// a length. `None` when the line is not whole yet.
#[inline]
fn head(received: &[u8]) -> RedisResult<Option<(usize, u8, Option<u64>)>> {
    match short_number(received) {
        Some((kind, number, length)) => Ok(Some((length, kind, Some(number)))),
        None => any_head(received),
    }
}

#[cold]
fn any_head(received: &[u8]) -> RedisResult<Option<(usize, u8, Option<u64>)>> {
    let Some(line) = Line::first(received).ok_or_else(nonsense)? else {
        return Ok(None);
    };
    let number = match line.kind {
        b'$' | b'*' => number(line.text).ok_or_else(nonsense)?,
        _ => None,
    };
    Ok(Some((line.length, line.kind, number)))
}

/// The line that nearly all values begin with, a kind and up to three digits: its kind, its number, and its length with its
/// end. Batches have a dozen of them for each entry, and each is looked at twice.
#[inline(always)]
fn short_number(received: &[u8]) -> Option<(u8, u64, usize)> {
    let digit = |byte: u8| u64::from(byte - b'0');
    match *received {
        [kind, a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((kind, digit(a), 4)),
        [kind, a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => Some((kind, digit(a) * 10 + digit(b), 5)),
        [
            kind,
            a @ b'0'..=b'9',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            b'\r',
            b'\n',
            ..,
        ] => Some((kind, digit(a) * 100 + digit(b) * 10 + digit(c), 6)),
        _ => None,
    }
}

/// A line of a reply, as each of its values begins with one.
struct Line<'a> {
    kind: u8,
    text: &'a [u8],
    /// With its end.
    length: usize,
}

impl<'a> Line<'a> {
    /// The first line; `None` inside when it is not whole yet, outside when it is no line.
    #[inline]
    fn first(received: &'a [u8]) -> Option<Option<Self>> {
        // Nearly all are a few bytes long.
        let Some(end) = received.iter().position(|byte| *byte == b'\n') else {
            return Some(None);
        };
        let (kind, text) = received[..end].strip_suffix(b"\r")?.split_first()?;
        Some(Some(Self {
            kind: *kind,
            text,
            length: end + 1,
        }))
    }
}

/// A length; `None` inside for -1.
fn number(digits: &[u8]) -> Option<Option<u64>> {
    if digits == b"-1" {
        return Some(None);
    }
    decimal(digits).filter(|length| *length < TOO_LONG).map(Some)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // So many always fit.
    const SURE: usize = 19;
    let value = |digit: &u8| Some(u64::from(digit.wrapping_sub(b'0'))).filter(|value| *value < 10);
    if digits.is_empty() {
        return None;
    }
    let (sure, rest) = digits.split_at(digits.len().min(SURE));
    let mut number = 0;
    for digit in sure {
        number = number * 10 + value(digit)?;
    }
    for digit in rest {
        number = number.checked_mul(10)?.checked_add(value(digit)?)?;
    }
    Some(number)
}

/// A whole reply that is being taken apart; the parts share its memory.
pub(super) struct Reply {
    whole: Bytes,
    /// What lies before is taken.
    at: usize,
}

impl Reply {
    pub(super) fn new(whole: Bytes) -> Self {
        Self { whole, at: 0 }
    }

    pub(super) fn streams(mut self) -> Decoded<Vec<StreamEntries>> {
        let expected = "streams with their entries";
        // Nothing to read is nil.
        let Some(streams) = self.length(b'*', expected)? else {
            return Ok(Vec::new());
        };
        (0..streams).map(|_| self.stream()).collect()
    }

    fn stream(&mut self) -> Decoded<StreamEntries> {
        if self.length(b'*', "a stream and its entries")? != Some(2) {
            return Err(Unexpected("a stream and its entries"));
        }
        let stream = StreamName::from(self.bytes("a stream's name")?);
        let count = self.length(b'*', "entries")?.unwrap_or(0);
        let mut entries = Vec::with_capacity(count as usize);
        for _ in 0..count {
            entries.push(self.entry()?);
        }
        Ok(StreamEntries { stream, entries })
    }

    fn entry(&mut self) -> Decoded<Entry> {
        if self.length(b'*', "an entry")? != Some(2) {
            return Err(Unexpected("an entry's ID and fields"));
        }
        let id = self.extent("an entry ID")?;
        let id = entry_id(&self.whole[id]).ok_or(Unexpected("an entry ID"))?;
        let parts = self
            .length(b'*', "an entry's fields")?
            .ok_or(Unexpected("an entry's fields"))?;
        let mut fields = Vec::with_capacity(parts as usize / 2);
        for _ in 0..parts / 2 {
            let name = self.extent("a field's name")?;
            let name = well_known(&self.whole[name.clone()]).unwrap_or_else(|| self.whole.slice(name));
            fields.push((name, self.bytes("a field's value")?));
        }
        Ok(Entry { id, fields })
    }

    /// The length that a value of this kind begins with.
    #[inline(always)]
    fn length(&mut self, kind: u8, expected: &'static str) -> Decoded<Option<u64>> {
        match self.whole.get(self.at..).and_then(short_number) {
            Some((found, number, length)) if found == kind => {
                self.at += length;
                Ok(Some(number))
            }
            _ => self.any_length(kind, expected),
        }
    }

    #[cold]
    fn any_length(&mut self, kind: u8, expected: &'static str) -> Decoded<Option<u64>> {
        let rest = self.whole.get(self.at..).ok_or(Unexpected(expected))?;
        let head = head(rest).ok().flatten();
        let (length, _, number) = head.filter(|head| head.1 == kind).ok_or(Unexpected(expected))?;
        self.at += length;
        Ok(number)
    }

    /// Where the bytes of a string lie.
    #[inline]
    fn extent(&mut self, expected: &'static str) -> Decoded<Range<usize>> {
        let length = self.length(b'$', expected)?.ok_or(Unexpected(expected))?;
        let begin = self.at;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| begin.checked_add(length));
        let end = end.filter(|end| *end <= self.whole.len()).ok_or(Unexpected(expected))?;
        self.at = end + 2;
        Ok(begin..end)
    }

    fn bytes(&mut self, expected: &'static str) -> Decoded<Bytes> {
        let extent = self.extent(expected)?;
        Ok(self.whole.slice(extent))
    }
}

pub(super) fn entry_id(text: &[u8]) -> Option<EntryId> {
    let dash = text.iter().position(|byte| *byte == b'-')?;
    Some(EntryId::new(decimal(&text[..dash])?, decimal(&text[dash + 1..])?))
}

#[cfg(test)]
#[path = "resp_fuzz.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] =
        b"*2\r\n*2\r\n$1\r\na\r\n*2\r\n*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\nn\r\n$2\r\n\r\n\r\n$0\r\n\r\n$1\r\nv\r\n\
        *2\r\n$20\r\n18446744073709551615-0\r\n*0\r\n*2\r\n$1\r\nb\r\n*0\r\n";

    fn reply() -> Vec<u8> {
        // The length of the long ID, which is easier to read than to count.
        String::from_utf8(REPLY.to_vec())
            .unwrap_or_default()
            .replace("$20\r\n1844", "$22\r\n1844")
            .into_bytes()
    }

    #[test]
    fn a_reply_that_is_an_id_is_told_from_any_other() {
        assert_eq!(
            reply_id(b"$15\r\n1795407980936-0\r\n"),
            Some(EntryId::new(1_795_407_980_936, 0))
        );
        for other in [
            &b"$-1\r\n"[..],
            b"$15\r\n1795407980936-0",
            b"$3\r\n1-2\r\n$3\r\n1-3\r\n",
            b"$3\r\n1-x\r\n",
            b":3\r\n1-2\r\n",
            b"-ERR no\r\n",
            b"+OK\r\n",
            b"",
        ] {
            assert_eq!(reply_id(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_reply_is_taken_apart_where_it_lies() {
        let found = Reply::new(Bytes::from(reply())).streams().unwrap_or_default();
        let (n, newline, nothing, v) = ("n".into(), "\r\n".into(), "".into(), "v".into());
        let first = Entry {
            id: EntryId::new(1, 2),
            fields: vec![(n, newline), (nothing, v)],
        };
        let second = Entry {
            id: EntryId::new(u64::MAX, 0),
            fields: vec![],
        };
        assert_eq!(
            found,
            [
                StreamEntries {
                    stream: "a".into(),
                    entries: vec![first, second]
                },
                StreamEntries {
                    stream: "b".into(),
                    entries: vec![]
                },
            ]
        );
        assert_eq!(
            Reply::new(Bytes::from_static(b"*-1\r\n")).streams().unwrap_or_default(),
            []
        );
    }

    #[test]
    fn the_shorter_way_gives_what_the_library_does() {
        for reply in [
            &b":0\r\n"[..],
            b":9223372036854775807\r\n",
            b":-3\r\n",
            b"$0\r\n\r\n",
            b"$4\r\na\r\nb\r\n",
            b"$-1\r\n",
            b"+OK\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*3\r\n$1\r\na\r\n:-9223372036854775807\r\n*2\r\n$-1\r\n*1\r\n$0\r\n\r\n",
            b"*2\r\n+OK\r\n:1\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ] {
            assert_eq!(value(reply).ok(), redis::parse_redis_value(reply).ok(), "{reply:?}");
        }
    }

    #[test]
    fn the_end_of_a_reply_is_found_wherever_it_is_cut() {
        let reply = reply();
        for cut in 0..reply.len() {
            let mut extent = Extent::of(1);
            assert!(!extent.reaches_end(&reply[..cut]).unwrap_or(true), "cut at {cut}");
            let more = [&reply[..], b"+the next one"].concat();
            assert!(extent.reaches_end(&more).unwrap_or(false));
            assert_eq!(extent.at, reply.len());
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_without_a_panic() {
        for wrong in [
            &b"?\r\n"[..],
            b"*x\r\n",
            b"$-2\r\n",
            b"*99999999999999999999\r\n",
            b"$18446744073709551615\r\n",
            b"\r\n",
            b"abc\n",
            b"$1\r\nab\r\n",
        ] {
            assert!(Extent::of(1).reaches_end(wrong).is_err(), "{wrong:?}");
        }
        for wrong in [
            &b"*1\r\n*2\r\n:1\r\n*0\r\n"[..],
            b"+OK\r\n",
            b"*1\r\n$1\r\na\r\n",
            b"*1\r\n*1\r\n*0\r\n",
        ] {
            assert!(
                Reply::new(Bytes::copy_from_slice(wrong)).streams().is_err(),
                "{wrong:?}"
            );
        }
    }
}
