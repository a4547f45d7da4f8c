//! A plain connection for one reader, which takes replies apart where they were received.
//!
//! Reading is where a client library costs most: it builds a tree of values, each byte string in memory of its own,
//! for a reply whose form is known in advance. Here the fields of all entries of a reply are parts of the one buffer
//! that it was received into. It speaks RESP2 ([specification](https://redis.io/docs/latest/develop/reference/protocol-spec/)),
//! over TCP and Unix sockets; over TLS readers use the client library.

use std::{io, str, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use redis::{Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value, cmd};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::reply::{Decoded, Unexpected};
use crate::{
    engine::StreamEntries,
    entry::{Entry, EntryId, StreamName},
};

/// How much room there is at least for what the server sends.
const ROOM: usize = 64 << 10;

trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

/// A connection with at most one command under way. After an error it is of no more use.
pub(super) struct Wire {
    socket: Box<dyn Socket>,
    received: BytesMut,
}

impl Wire {
    /// Connects and logs in; `None` where the address is not for plain connections.
    pub(super) async fn connect(server: &ConnectionInfo, within: Duration) -> RedisResult<Option<Self>> {
        let connecting = async {
            let socket: Box<dyn Socket> = match server.addr() {
                ConnectionAddr::Tcp(host, port) => {
                    let socket = TcpStream::connect((host.as_str(), *port)).await?;
                    socket.set_nodelay(true)?;
                    Box::new(socket)
                }
                #[cfg(unix)]
                ConnectionAddr::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
                _ => return Ok(None),
            };
            let mut wire = Self {
                socket,
                received: BytesMut::with_capacity(ROOM),
            };
            wire.log_in(server).await?;
            Ok(Some(wire))
        };
        tokio::time::timeout(within, connecting)
            .await
            .unwrap_or_else(|_| Err(too_late()))
    }

    async fn log_in(&mut self, server: &ConnectionInfo) -> RedisResult<()> {
        let settings = server.redis_settings();
        if let Some(password) = settings.password() {
            let mut auth = cmd("AUTH");
            if let Some(user) = settings.username() {
                auth.arg(user);
            }
            self.run(auth.arg(password)).await?;
        }
        if settings.db() != 0 {
            self.run(cmd("SELECT").arg(settings.db())).await?;
        }
        Ok(())
    }

    /// Sends any command and gives its answer.
    pub(super) async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        match redis::parse_redis_value(&self.exchange(command).await?)? {
            Value::ServerError(error) => Err(error.into()),
            answer => Ok(answer),
        }
    }

    /// Sends `XREAD` or `XREADGROUP` and gives the entries.
    pub(super) async fn read(&mut self, command: &Cmd) -> RedisResult<Decoded<Vec<StreamEntries>>> {
        let reply = self.exchange(command).await?;
        if reply.first() == Some(&b'-') {
            return match redis::parse_redis_value(&reply)? {
                Value::ServerError(error) => Err(error.into()),
                _ => Ok(Err(Unexpected("an error"))),
            };
        }
        Ok(Reply(reply).streams())
    }

    /// Sends a command and receives its whole reply.
    async fn exchange(&mut self, command: &Cmd) -> RedisResult<Bytes> {
        self.socket.write_all(&command.get_packed_command()).await?;
        self.socket.flush().await?;
        let mut extent = Extent::default();
        while !extent.reaches_end(&self.received)? {
            if self.received.capacity() - self.received.len() < ROOM / 2 {
                // In proportion to what is there, so that a large reply is moved only a few times.
                self.received.reserve(self.received.len().max(ROOM));
            }
            if self.socket.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(self.received.split_to(extent.at).freeze())
    }
}

pub(super) fn too_late() -> RedisError {
    RedisError::from((ErrorKind::Io, "the server did not answer in time"))
}

fn nonsense() -> RedisError {
    RedisError::from((ErrorKind::Parse, "the server's answer is not RESP2"))
}

/// How far a reply reaches, found piece by piece as it is received.
struct Extent {
    /// What lies before is whole.
    at: usize,
    /// How many values are yet to come.
    open: u64,
}

impl Default for Extent {
    fn default() -> Self {
        Self { at: 0, open: 1 }
    }
}

impl Extent {
    fn reaches_end(&mut self, received: &[u8]) -> RedisResult<bool> {
        while self.open > 0 {
            let rest = &received[self.at..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return Ok(false);
            };
            let line = rest[..end].strip_suffix(b"\r").ok_or_else(nonsense)?;
            let (kind, line) = line.split_first().ok_or_else(nonsense)?;
            let mut length = end + 1;
            let mut parts = 0;
            match kind {
                b'+' | b'-' | b':' => {}
                // -1 is nil.
                b'$' => length += number(line).ok_or_else(nonsense)?.map_or(0, |bytes| bytes as usize + 2),
                b'*' => parts = number(line).ok_or_else(nonsense)?.unwrap_or(0),
                _ => return Err(nonsense()),
            }
            if length > rest.len() {
                return Ok(false);
            }
            self.at += length;
            self.open += parts;
            self.open -= 1;
        }
        Ok(true)
    }
}

/// A length; `None` inside for -1.
fn number(digits: &[u8]) -> Option<Option<u64>> {
    if digits == b"-1" {
        return Some(None);
    }
    decimal(digits).map(Some)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let digit = |number: u64, digit: &u8| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(value)
    };
    (!digits.is_empty()).then(|| digits.iter().try_fold(0, digit)).flatten()
}

/// A whole reply that is being taken apart; the parts share its memory.
struct Reply(Bytes);

impl Reply {
    fn streams(mut self) -> Decoded<Vec<StreamEntries>> {
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
        let id = entry_id(&self.bytes("an entry ID")?).ok_or(Unexpected("an entry ID"))?;
        let parts = self
            .length(b'*', "an entry's fields")?
            .ok_or(Unexpected("an entry's fields"))?;
        let mut fields = Vec::with_capacity(parts as usize / 2);
        for _ in 0..parts / 2 {
            fields.push((self.bytes("a field's name")?, self.bytes("a field's value")?));
        }
        Ok(Entry { id, fields })
    }

    /// The length that a value of this kind begins with.
    fn length(&mut self, kind: u8, expected: &'static str) -> Decoded<Option<u64>> {
        let unexpected = || Unexpected(expected);
        let end = self.0.iter().position(|byte| *byte == b'\r').ok_or_else(unexpected)?;
        let digits = self.0[..end].strip_prefix(&[kind]).ok_or_else(unexpected)?;
        let length = number(digits).ok_or_else(unexpected)?;
        self.0.advance(end + 2);
        Ok(length)
    }

    fn bytes(&mut self, expected: &'static str) -> Decoded<Bytes> {
        let length = self.length(b'$', expected)?.ok_or(Unexpected(expected))? as usize;
        let bytes = self.0.split_to(length);
        self.0.advance(2);
        Ok(bytes)
    }
}

fn entry_id(text: &[u8]) -> Option<EntryId> {
    let dash = text.iter().position(|byte| *byte == b'-')?;
    Some(EntryId::new(decimal(&text[..dash])?, decimal(&text[dash + 1..])?))
}

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
    fn a_reply_is_taken_apart_where_it_lies() {
        let found = Reply(Bytes::from(reply())).streams().unwrap_or_default();
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
        assert_eq!(Reply(Bytes::from_static(b"*-1\r\n")).streams().unwrap_or_default(), []);
    }

    #[test]
    fn the_end_of_a_reply_is_found_wherever_it_is_cut() {
        let reply = reply();
        for cut in 0..reply.len() {
            let mut extent = Extent::default();
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
            b"\r\n",
            b"abc\n",
        ] {
            assert!(Extent::default().reaches_end(wrong).is_err(), "{wrong:?}");
        }
        for wrong in [
            &b"*1\r\n*2\r\n:1\r\n*0\r\n"[..],
            b"+OK\r\n",
            b"*1\r\n$1\r\na\r\n",
            b"*1\r\n*1\r\n*0\r\n",
        ] {
            assert!(Reply(Bytes::copy_from_slice(wrong)).streams().is_err(), "{wrong:?}");
        }
    }
}
