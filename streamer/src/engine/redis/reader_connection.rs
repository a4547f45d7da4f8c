//! A plain connection for one reader, which takes replies apart where they were received.
//!
//! Reading is where a client library costs most: it builds a tree of values, each byte string in memory of its own,
//! for a reply whose form is known in advance. Here the fields of all entries of a reply are parts of the one buffer
//! that it was received into. Over TLS readers use the client library.

use std::{future::poll_fn, io, time::Duration};

use bytes::{Bytes, BytesMut};
use redis::{Cmd, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value, cmd};
use tokio::io::AsyncReadExt;

use super::{
    reply::{Decoded, Unexpected},
    resp::{self, Extent, Reply},
    socket::{self, ReadHalf, WriteHalf},
};
use crate::engine::StreamEntries;

/// How much room there is at least for what the server sends.
pub(super) const ROOM: usize = 64 << 10;

/// A connection for one task. After an error it is of no more use.
pub(super) struct ReaderConnection {
    reader: ReadHalf,
    writer: WriteHalf,
    received: BytesMut,
}

impl ReaderConnection {
    /// Connects and logs in; `None` where the address is not for plain connections.
    pub(super) async fn connect(server: &ConnectionInfo, within: Duration) -> RedisResult<Option<Self>> {
        let connecting = async {
            let Some((reader, writer)) = socket::connect(server.addr()).await? else {
                return Ok(None);
            };
            let mut connection = Self {
                reader,
                writer,
                received: BytesMut::with_capacity(ROOM),
            };
            connection.log_in(server).await?;
            Ok(Some(connection))
        };
        tokio::time::timeout(within, connecting)
            .await
            .unwrap_or_else(|_| Err(too_late()))
    }

    /// The socket, between two commands.
    pub(super) fn into_socket(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
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
        self.send(command).await?;
        resp::value(&self.receive(|| None).await?)
    }

    /// Sends a command, to whose answer somebody will come.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<()> {
        Ok(self.write(&command.get_packed_command()).await?)
    }

    /// Gives the entries that answer an `XREAD` or `XREADGROUP` that was sent. If they come in several pieces, a command
    /// that `ahead` gives is sent after the first: the server works on it while the others are under way.
    pub(super) async fn entries(
        &mut self,
        ahead: impl FnOnce() -> Option<Cmd>,
    ) -> RedisResult<Decoded<Vec<StreamEntries>>> {
        let reply = self.receive(ahead).await?;
        if reply.first() == Some(&b'-') {
            return resp::value(&reply).map(|_| Err(Unexpected("an error")));
        }
        Ok(Reply::new(reply).streams())
    }

    /// Receives a whole reply.
    async fn receive(&mut self, ahead: impl FnOnce() -> Option<Cmd>) -> RedisResult<Bytes> {
        let mut ahead = Some(ahead);
        let mut extent = Extent::of(1);
        while !extent.reaches_end(&self.received)? {
            if !self.received.is_empty()
                && let Some(command) = ahead.take().and_then(|ahead| ahead())
            {
                self.send(&command).await?;
            }
            make_room(&mut self.received);
            if self.reader.read_buf(&mut self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(self.received.split_to(extent.at).freeze())
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.writer.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| self.writer.poll_writable(context)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// In proportion to what is there, so that a large reply is moved only a few times.
pub(super) fn make_room(received: &mut BytesMut) {
    if received.capacity() - received.len() < ROOM / 2 {
        received.reserve(received.len().max(ROOM));
    }
}

pub(super) fn too_late() -> RedisError {
    RedisError::from((ErrorKind::Io, "the server did not answer in time"))
}
