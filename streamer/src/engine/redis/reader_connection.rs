//! A connection for one task, such as a reader, which takes replies apart where they were received.
//!
//! Reading is where a client library costs most: it builds a tree of values, each byte string in memory of its own,
//! for a reply whose form is known in advance. Here the fields of all entries of a reply are parts of the one buffer
//! that it was received into.
//!
//! Commands are written as far as the socket takes them; the rest is written while replies are received, so that neither
//! side waits for the other when both directions are full.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value, cmd};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    endpoint::Endpoint,
    reply::{Decoded, Unexpected},
    resp::{self, Extent, Reply},
    socket::{Peer, Socket},
};
use crate::engine::StreamEntries;

/// How much room there is at least for what the server sends.
pub(super) const ROOM: usize = 64 << 10;

/// A connection for one task. After an error it is of no more use.
pub(super) struct ReaderConnection {
    socket: Socket,
    received: BytesMut,
    /// Commands that are to be written, and how much of them is.
    unwritten: Vec<u8>,
    written: usize,
    /// Why nothing can be written any more. The server may have said why before it closed the connection.
    write_error: Option<io::Error>,
    /// How long no byte may move while a reply is due.
    response_timeout: Duration,
    /// Cancelled when the server is not the one to talk to any more.
    replaced: CancellationToken,
}

impl ReaderConnection {
    /// Connects and logs in; each step may take `within`. Afterwards no byte may move for `response_timeout` while a reply
    /// is due. What waits ends with an error when `replaced` is cancelled.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        within: Duration,
        response_timeout: Duration,
        replaced: CancellationToken,
    ) -> RedisResult<Self> {
        let socket = Socket::connect(&endpoint.address, endpoint.tls.as_ref(), within).await?;
        let mut connection = Self::over(socket, within, replaced);
        connection.log_in(endpoint).await?;
        connection.response_timeout = response_timeout;
        Ok(connection)
    }

    pub(super) fn over(socket: Socket, response_timeout: Duration, replaced: CancellationToken) -> Self {
        Self {
            socket,
            received: BytesMut::with_capacity(ROOM),
            unwritten: Vec::new(),
            written: 0,
            write_error: None,
            response_timeout,
            replaced,
        }
    }

    /// The socket, between two commands.
    pub(super) fn into_socket(self) -> (Socket, CancellationToken) {
        (self.socket, self.replaced)
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.socket.peer
    }

    /// Logs in, and finds out in any case whether the server serves: one that has too many clients or is loading says so
    /// in its first answer.
    async fn log_in(&mut self, endpoint: &Endpoint) -> RedisResult<()> {
        let mut commands = Vec::with_capacity(3);
        if let Some(password) = &endpoint.password {
            let mut auth = cmd("AUTH");
            if let Some(user) = &endpoint.user {
                auth.arg(user);
            }
            auth.arg(password);
            commands.push(auth);
        }
        if endpoint.db != 0 {
            let mut select = cmd("SELECT");
            select.arg(endpoint.db);
            commands.push(select);
        }
        for command in &commands {
            self.send(command);
        }
        self.send(&cmd("PING"));
        for _ in &commands {
            self.reply().await?;
        }
        match self.reply().await {
            // A user who may stream may still not PING: the server is there.
            Err(error) if error.code() != Some("NOPERM") => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends any command and gives its reply.
    pub(super) async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.send(command);
        self.reply().await
    }

    /// Receives the reply to the first command that was not answered yet.
    async fn reply(&mut self) -> RedisResult<Value> {
        let timeout = self.response_timeout;
        resp::value(&self.receive(timeout, || None).await?)
    }

    /// Waits for whatever the server sends by itself, for as long as it takes.
    pub(super) async fn pushed(&mut self) -> RedisResult<Value> {
        resp::value(&self.receive(FOREVER, || None).await?)
    }

    /// Sends a command, as far as there is room; the rest is written while its reply is received.
    pub(super) fn send(&mut self, command: &Cmd) {
        self.unwritten.extend_from_slice(&command.get_packed_command());
        self.write();
    }

    /// Gives the entries that answer an `XREAD` or `XREADGROUP` that was sent, and that the server may take `first` to
    /// begin to answer. If they come in several pieces, a command that `ahead` gives is sent after the first: the server
    /// works on it while the others are on their way.
    pub(super) async fn entries(
        &mut self,
        first: Duration,
        ahead: impl FnOnce() -> Option<Cmd>,
    ) -> RedisResult<Decoded<Vec<StreamEntries>>> {
        let reply = self.receive(first, ahead).await?;
        if reply.first() == Some(&b'-') {
            return resp::value(&reply).map(|_| Err(Unexpected("an error")));
        }
        Ok(Reply::new(reply).streams())
    }

    /// Receives a whole reply, whose first byte may take `first`.
    async fn receive(&mut self, first: Duration, ahead: impl FnOnce() -> Option<Cmd>) -> RedisResult<Bytes> {
        let replaced = self.replaced.clone();
        let mut replaced = pin!(replaced.cancelled());
        let mut last_byte = Instant::now();
        let mut within = first;
        let mut late = pin!(sleep_until(last_byte + within));
        let mut ahead = Some(ahead);
        let mut extent = Extent::of(1);
        while !extent.reaches_end(&self.received)? {
            if !self.received.is_empty() {
                if within != self.response_timeout {
                    within = self.response_timeout;
                    late.as_mut().reset(last_byte + within);
                }
                if let Some(command) = ahead.take().and_then(|ahead| ahead()) {
                    self.send(&command);
                }
            }
            make_room(&mut self.received);
            let moved = poll_fn(|context| {
                if let Poll::Ready(moved) = self.poll_moves(context) {
                    return Poll::Ready(moved);
                }
                if replaced.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(master_replaced()));
                }
                while late.as_mut().poll(context).is_ready() {
                    let hidden = self.socket.writer.last_hidden_byte();
                    let deadline = last_byte.max(hidden.unwrap_or(last_byte)) + within;
                    if deadline <= Instant::now() {
                        return Poll::Ready(Err(too_late(within)));
                    }
                    late.as_mut().reset(deadline);
                }
                Poll::Pending
            });
            moved.await?;
            last_byte = Instant::now();
        }
        Ok(self.received.split_to(extent.at).freeze())
    }

    /// Receives something, or finds room for what is to be written.
    fn poll_moves(&mut self, context: &mut Context<'_>) -> Poll<RedisResult<()>> {
        let wrote = self.is_writing() && self.poll_write(context);
        match pin!(self.socket.reader.read_buf(&mut self.received)).poll(context) {
            Poll::Ready(Ok(0)) => {
                let error = self.write_error.take();
                Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()).into()))
            }
            Poll::Ready(read) => Poll::Ready(read.map(|_| ()).map_err(RedisError::from)),
            Poll::Pending if wrote => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_writing(&self) -> bool {
        !self.unwritten.is_empty() && self.write_error.is_none()
    }

    /// Goes on with writing once there is room; tells whether there was.
    fn poll_write(&mut self, context: &mut Context<'_>) -> bool {
        let mut wrote = false;
        while self.is_writing() {
            let rest = &self.unwritten[self.written..];
            match self.socket.writer.poll_writable(context, rest) {
                Poll::Pending => return wrote,
                Poll::Ready(Ok(written)) => {
                    self.written += written;
                    self.write();
                }
                Poll::Ready(Err(error)) => self.write_error = Some(error),
            }
            wrote = true;
        }
        wrote
    }

    /// Writes what there is room for. An error shows itself to who receives.
    fn write(&mut self) {
        while self.is_writing() {
            let rest = &self.unwritten[self.written..];
            let done = match rest {
                [] => self.socket.writer.try_flush().map(|()| self.unwritten.clear()),
                _ => self
                    .socket
                    .writer
                    .try_write(rest)
                    .map(|written| self.written += written),
            };
            match done {
                Ok(()) if self.unwritten.is_empty() => self.written = 0,
                Ok(()) => {}
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.write_error = Some(error),
            }
        }
    }
}

/// Longer than any program runs.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// In proportion to what is there, so that a large reply is moved only a few times.
pub(super) fn make_room(received: &mut BytesMut) {
    if received.capacity() - received.len() < ROOM / 2 {
        received.reserve(received.len().max(ROOM));
    }
}

/// No byte moved for that long. [`RedisError::is_timeout`] recognises it.
pub(super) fn too_late(within: Duration) -> RedisError {
    let reason = format!("the server did not answer in time: no byte came or went for {within:?}");
    io::Error::new(io::ErrorKind::TimedOut, reason).into()
}

pub(super) fn master_replaced() -> RedisError {
    RedisError::from((ErrorKind::Io, "the Sentinels made another server the master"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::sleep,
    };

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const FIRST: Duration = Duration::from_secs(60);
    const REPLY: &[u8] = b"*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\nn\r\n$1\r\nv\r\n";

    fn connected() -> (ReaderConnection, DuplexStream, CancellationToken) {
        let (client, server) = duplex(64);
        let socket = Socket::over(client, Peer::Unix("nowhere".into()));
        let replaced = CancellationToken::new();
        (
            ReaderConnection::over(socket, TIMEOUT, replaced.clone()),
            server,
            replaced,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_moves_slowly_is_received() {
        let (mut connection, mut server, _) = connected();
        connection.send(&cmd("XREAD"));
        let sending = tokio::spawn(async move {
            sleep(FIRST - TIMEOUT).await;
            for byte in REPLY {
                sleep(TIMEOUT - Duration::from_secs(1)).await;
                server.write_u8(*byte).await.unwrap();
            }
            server
        });
        let read = connection.entries(FIRST, || None).await.unwrap().unwrap();
        assert_eq!(read[0].entries.len(), 1);
        drop(sending.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_stops_in_the_middle_is_late() {
        let (mut connection, mut server, _) = connected();
        connection.send(&cmd("XREAD"));
        server.write_all(&REPLY[..20]).await.unwrap();
        let begin = Instant::now();
        let error = connection.entries(FIRST, || None).await.err().unwrap();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(begin.elapsed().as_secs(), TIMEOUT.as_secs(), "and not {FIRST:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_begins_to_answer_is_late() {
        let (mut connection, _server, _) = connected();
        connection.send(&cmd("XREAD"));
        let begin = Instant::now();
        let error = connection.entries(FIRST, || None).await.err().unwrap();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(begin.elapsed().as_secs(), FIRST.as_secs());
    }

    #[tokio::test]
    async fn a_command_is_written_while_a_reply_is_received() {
        let (mut connection, mut server, _) = connected();
        let value = "v".repeat(10_000);
        let large = format!("*1\r\n*2\r\n$1\r\na\r\n*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\nn\r\n$10000\r\n{value}\r\n");
        let mut long = cmd("XREAD");
        long.arg(vec![b'x'; 20_000]);
        let (first, second) = (cmd("XREAD").get_packed_command(), long.get_packed_command());
        let serving = tokio::spawn(async move {
            // It takes nothing more before its reply is taken.
            for expected in [first, second] {
                let mut command = vec![0; expected.len()];
                server.read_exact(&mut command).await.unwrap();
                assert_eq!(command, expected);
                server.write_all(large.as_bytes()).await.unwrap();
            }
        });
        connection.send(&cmd("XREAD"));
        for ahead in [Some(long), None] {
            let read = connection.entries(FIRST, || ahead).await.unwrap().unwrap();
            assert_eq!(read[0].entries[0].fields[0].1, value);
        }
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_master_was_replaced() {
        let (mut connection, _server, replaced) = connected();
        let waiting = tokio::spawn(async move { connection.pushed().await });
        tokio::task::yield_now().await;
        replaced.cancel();
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.is_io_error() && !error.is_timeout(), "{error}");
    }
}
