//! A connection that many tasks send commands on, and one task receives the replies of.
//!
//! A client library hands every command to a task that writes it: on the way there and back each command costs two
//! changes of tasks and several allocations, and with several threads often the wake-up of another core. Here the task
//! that emits writes by itself, which never waits, and only answers go through another task:
//!
//! - While nothing is under way, a command is written at once: nothing is faster for one task alone.
//! - While something is, commands gather, and are written together once there are enough of them, or when the tasks
//!   that could add to them had their turn.
//!
//! How much may be under way is bounded in bytes; who finds no room waits, first come, first served, so that commands
//! go out in the order in which their futures were first polled.
//!
//! A time-out counts from the last byte: a reply that takes long to arrive, or a command that takes long to leave, is fine
//! as long as something moves. What leaves counts only when the socket was full before, because nothing else shows that
//! the peer takes it: a dead server is found however many tasks go on sending.

#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};
use std::{
    borrow::Cow,
    collections::VecDeque,
    future::{Future, poll_fn},
    io, mem,
    pin::{Pin, pin},
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use redis::{ErrorKind, RedisError, RedisResult};
#[cfg(not(test))]
use tokio::spawn;
use tokio::{
    io::AsyncReadExt,
    sync::{Semaphore, TryAcquireError, oneshot},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    reader_connection::{ROOM, ReaderConnection, make_room, master_replaced, too_late},
    resp::{self, Extent, nonsense},
    socket::{Peer, ReadHalf, WriteHalf},
};
#[cfg(test)]
use crate::schedules::{Mutex, MutexGuard, spawn};

/// Bytes of commands that are not answered yet. A larger command goes alone.
const CAPACITY: usize = 8 << 20;
/// How much memory for commands is kept when there are none.
const MOST_KEPT: usize = 1 << 20;

/// A handle on the connection. It is closed when the last one is dropped.
#[derive(Clone)]
pub(super) struct SharedConnection(Arc<Handle>);

struct Handle(Arc<Inner>);

/// What those who send and the one that receives share.
struct Inner {
    writer: WriteHalf,
    peer: Peer,
    /// Bytes of commands that may still be sent before others are answered.
    capacity: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Commands that are not written yet.
    gathered: Vec<u8>,
    writing: Writing,
    /// Whose answers are to come, in order.
    pending: VecDeque<PendingReply>,
    /// The receiving task, which also writes what nobody else does.
    receiver: Option<Waker>,
    /// Whether the receiving task was asked to write what is gathered.
    flush_requested: bool,
    /// Whether it looks after the time that answers take.
    watched: bool,
    /// Why the connection is of no more use.
    ended: Option<RedisError>,
}

/// Who writes. It is done without holding the lock.
#[derive(Default)]
enum Writing {
    #[default]
    Nobody,
    Somebody,
    /// The socket is full, or holds something back. This, from there on, goes on when it does not; the receiving task
    /// waits for that.
    Blocked(Vec<u8>, usize),
    /// Nothing can be written any more. The receiving task ends the connection with this, after it received what the
    /// server still sent.
    Failed(RedisError),
}

struct PendingReply {
    replies: u64,
    capacity: u32,
    since: Instant,
    answer: oneshot::Sender<RedisResult<Bytes>>,
}

impl SharedConnection {
    /// Takes a connection over. While replies are due, no byte may move for `response_timeout`.
    pub(super) fn new(connection: ReaderConnection, response_timeout: Duration) -> Self {
        let (socket, replaced) = connection.into_socket();
        let inner = Arc::new(Inner {
            writer: socket.writer,
            peer: socket.peer,
            capacity: Semaphore::new(CAPACITY),
            state: Mutex::default(),
        });
        let now = Instant::now();
        let receiving = Receiving {
            inner: Arc::clone(&inner),
            reader: socket.reader,
            received: BytesMut::with_capacity(ROOM),
            extent: None,
            answered: Vec::new(),
            response_timeout,
            last_byte: now,
            late: Box::pin(sleep_until(now)),
            replaced: Box::pin(replaced.cancelled_owned()),
        };
        spawn(receiving.run());
        Self(Arc::new(Handle(inner)))
    }

    /// Which server it leads to.
    pub(super) fn peer(&self) -> &Peer {
        &self.0.0.peer
    }

    /// Whether the connection is of no more use.
    pub(super) fn has_ended(&self) -> bool {
        self.0.0.state().ended.is_some()
    }

    /// Sends encoded commands, and gives their replies, one after the other. Commands that the caller gives away are not
    /// copied where nothing else is to be sent with them: a payload may be large.
    pub(super) async fn exchange<'a>(&self, commands: impl Into<Cow<'a, [u8]>>, replies: u64) -> RedisResult<Bytes> {
        let commands = commands.into();
        if replies == 0 {
            // Nothing is sent, and nothing would be answered.
            return Ok(Bytes::new());
        }
        let inner = &self.0.0;
        let capacity = commands.len().min(CAPACITY) as u32;
        let permit = match inner.capacity.try_acquire_many(capacity) {
            Err(TryAcquireError::NoPermits) => inner.capacity.acquire_many(capacity).await.ok(),
            permit => permit.ok(),
        };
        // Given back with the answer, also when nobody waits for it any more.
        permit.ok_or_else(|| inner.why())?.forget();
        let answer = inner.ask(commands, replies, capacity)?;
        answer.await.unwrap_or_else(|_| Err(inner.why()))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end(&closed());
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why(&self) -> RedisError {
        self.state().ended.clone().unwrap_or_else(closed)
    }

    fn ask(
        &self,
        commands: Cow<'_, [u8]>,
        replies: u64,
        capacity: u32,
    ) -> RedisResult<oneshot::Receiver<RedisResult<Bytes>>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        let alone = state.pending.is_empty();
        state.pending.push_back(PendingReply {
            replies,
            capacity,
            since: Instant::now(),
            answer,
        });
        match commands {
            // Smaller ones fit into the room that is there.
            Cow::Owned(commands) if state.gathered.is_empty() && commands.len() > state.gathered.capacity() => {
                state.gathered = commands;
            }
            commands => state.gathered.extend_from_slice(&commands),
        }
        let free = matches!(state.writing, Writing::Nobody);
        let now = free && (alone || state.gathered.len() >= self.writer.worth_writing());
        if !now || !state.watched {
            state.request_flush();
        }
        if now {
            self.write(state);
        }
        Ok(answered)
    }

    /// Writes what is gathered, unless somebody does.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        let (mut out, mut at) = match mem::replace(&mut state.writing, Writing::Somebody) {
            Writing::Nobody => (mem::take(&mut state.gathered), 0),
            Writing::Blocked(out, at) => (out, at),
            Writing::Somebody => return,
            Writing::Failed(error) => {
                state.writing = Writing::Failed(error);
                return;
            }
        };
        loop {
            drop(state);
            let written = loop {
                if at == out.len() {
                    break self.writer.try_flush();
                }
                match self.writer.try_write(&out[at..]) {
                    Ok(written) => at += written,
                    Err(error) => break Err(error),
                }
            };
            state = self.state();
            match written {
                Ok(()) if state.gathered.len() >= self.writer.worth_writing() => {
                    out.clear();
                    at = 0;
                    mem::swap(&mut out, &mut state.gathered);
                }
                Ok(()) => {
                    state.writing = Writing::Nobody;
                    if !state.gathered.is_empty() {
                        state.request_flush();
                    } else if out.capacity() <= MOST_KEPT {
                        out.clear();
                        state.gathered = out;
                    }
                    return;
                }
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                    state.writing = Writing::Blocked(out, at);
                    state.request_flush();
                    return;
                }
                Err(error) => {
                    state.writing = Writing::Failed(error.into());
                    state.request_flush();
                    return;
                }
            }
        }
    }

    /// Nothing can be sent any more, and nothing that was will be answered.
    fn end(&self, error: &RedisError) {
        let mut state = self.state();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(error.clone());
        let pending = mem::take(&mut state.pending);
        let receiver = state.receiver.take();
        drop(state);
        self.capacity.close();
        for PendingReply { answer, .. } in pending {
            let _ = answer.send(Err(error.clone()));
        }
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }
}

impl State {
    fn request_flush(&mut self) {
        if !mem::replace(&mut self.flush_requested, true)
            && let Some(receiver) = &self.receiver
        {
            receiver.wake_by_ref();
        }
    }
}

/// The one that receives.
struct Receiving {
    inner: Arc<Inner>,
    reader: ReadHalf,
    received: BytesMut,
    /// How far the next answer reaches, as far as is known.
    extent: Option<Extent>,
    /// Replies on their way to those who asked.
    answered: Vec<(oneshot::Sender<RedisResult<Bytes>>, Bytes)>,
    response_timeout: Duration,
    /// When something was received, or a full socket took something again.
    last_byte: Instant,
    /// When no byte will have moved for too long, if `watched` is set.
    late: Pin<Box<Sleep>>,
    /// Ends when the server is not the one to talk to any more.
    replaced: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Receiving {
    async fn run(mut self) {
        loop {
            if let Err(error) = poll_fn(|context| self.poll_flush_requested(context)).await {
                return self.inner.end(&error);
            }
            // Whoever can add something does it now. It does not tell again, which would end the turn early.
            tokio::task::yield_now().await;
            let mut state = self.inner.state();
            state.flush_requested = false;
            if !state.gathered.is_empty() {
                self.inner.write(state);
            }
        }
    }

    /// Receives until it is asked to write what is gathered.
    fn poll_flush_requested(&mut self, context: &mut Context<'_>) -> Poll<RedisResult<()>> {
        self.receive(context)?;
        let inner = Arc::clone(&self.inner);
        let mut state = inner.state();
        if let Some(error) = &state.ended {
            return Poll::Ready(Err(error.clone()));
        }
        if !state
            .receiver
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            state.receiver = Some(context.waker().clone());
        }
        if self.replaced.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(master_replaced()));
        }
        self.watch(&mut state, context)?;
        let State {
            writing,
            flush_requested,
            ..
        } = &mut *state;
        match writing {
            Writing::Blocked(out, at) => {
                *flush_requested = false;
                if let Poll::Ready(written) = inner.writer.poll_writable(context, &out[*at..])? {
                    *at += written;
                    self.last_byte = Instant::now();
                    inner.write(state);
                }
                // Whoever goes on with writing asks for what has gathered since.
                return Poll::Pending;
            }
            Writing::Failed(error) => return Poll::Ready(Err(error.clone())),
            Writing::Nobody | Writing::Somebody => {}
        }
        if state.flush_requested {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Receives what there is.
    fn receive(&mut self, context: &mut Context<'_>) -> RedisResult<()> {
        loop {
            make_room(&mut self.received);
            match pin!(self.reader.read_buf(&mut self.received)).poll(context)? {
                Poll::Pending => return Ok(()),
                Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Poll::Ready(_) => {
                    self.last_byte = Instant::now();
                    self.answer()?;
                }
            }
        }
    }

    /// Gives whole replies to those who asked.
    fn answer(&mut self) -> RedisResult<()> {
        let inner = Arc::clone(&self.inner);
        let mut capacity = 0;
        let mut state = inner.state();
        while let Some(pending) = state.pending.front() {
            let extent = self.extent.get_or_insert_with(|| Extent::of(pending.replies));
            if !extent.reaches_end(&self.received)? {
                break;
            }
            let answer = self.received.split_to(extent.at).freeze();
            self.extent = None;
            if let Some(pending) = state.pending.pop_front() {
                capacity += pending.capacity as usize;
                self.answered.push((pending.answer, answer));
            }
        }
        if state.pending.is_empty() && !self.received.is_empty() {
            return Err(unasked(&self.received));
        }
        drop(state);
        inner.capacity.add_permits(capacity);
        for (pending, answer) in self.answered.drain(..) {
            // Nobody waits any more where the future was dropped.
            let _ = pending.send(Ok(answer));
        }
        Ok(())
    }

    /// Ends the connection when no byte moved for too long while a reply is due. The timer runs on, so that it is set
    /// rarely.
    fn watch(&mut self, state: &mut State, context: &mut Context<'_>) -> RedisResult<()> {
        let oldest = state.pending.front().map(|pending| pending.since);
        if !state.watched {
            let Some(since) = oldest else { return Ok(()) };
            self.late.as_mut().reset(since + self.response_timeout);
            state.watched = true;
        }
        while self.late.as_mut().poll(context).is_ready() {
            let Some(since) = oldest else {
                state.watched = false;
                break;
            };
            let hidden = self.inner.writer.last_hidden_byte();
            let last_byte = since.max(self.last_byte).max(hidden.unwrap_or(since));
            if last_byte.elapsed() >= self.response_timeout {
                return Err(too_late(self.response_timeout));
            }
            self.late.as_mut().reset(last_byte + self.response_timeout);
        }
        Ok(())
    }
}

impl Drop for Receiving {
    /// Also when its runtime ends.
    fn drop(&mut self) {
        self.inner.end(&closed());
    }
}

fn closed() -> RedisError {
    RedisError::from((ErrorKind::Io, "the connection was closed"))
}

/// What the server says without being asked is why it closes the connection.
fn unasked(received: &[u8]) -> RedisError {
    match resp::value(received) {
        Err(error) if received.starts_with(b"-") => error,
        _ => nonsense(),
    }
}

#[cfg(test)]
#[path = "shared_connection_schedules.rs"]
mod in_many_schedules;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
        time::sleep,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::redis::socket::Socket;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    /// A connection over a stream that holds next to nothing, and its other end.
    fn connected() -> (SharedConnection, DuplexStream, CancellationToken) {
        let (client, server) = duplex(64);
        let peer = Peer::Unix("nowhere".into());
        let socket = Socket::over(client, peer);
        let replaced = CancellationToken::new();
        let connection = ReaderConnection::over(socket, TIMEOUT, replaced.clone());
        (SharedConnection::new(connection, TIMEOUT), server, replaced)
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_slowly_is_not_late() {
        let (connection, mut server, _) = connected();
        tokio::spawn(async move {
            // One byte in nine seconds each way, of a command that is larger than what the stream holds.
            for _ in 0..500 - 64 {
                sleep(9 * SECOND).await;
                server.read_u8().await.unwrap();
            }
            server.read_exact(&mut [0; 64]).await.unwrap();
            for byte in *b"$3\r\nabc\r\n" {
                sleep(9 * SECOND).await;
                server.write_u8(byte).await.unwrap();
            }
            server
        });
        let reply = connection.exchange(&[b'x'; 500], 1).await.unwrap();
        assert_eq!(reply, "$3\r\nabc\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_everything_and_never_answers_is_late_whoever_goes_on_sending() {
        let (connection, mut server, _) = connected();
        tokio::spawn(async move { tokio::io::copy(&mut server, &mut tokio::io::sink()).await });
        let begin = Instant::now();
        let first = connection.exchange(b"first", 1);
        let others = async {
            loop {
                sleep(SECOND).await;
                let connection = connection.clone();
                tokio::spawn(async move { connection.exchange(b"another", 1).await });
            }
        };
        let error = tokio::select! {
            reply = first => reply.unwrap_err(),
            () = others => return,
        };
        assert!(error.is_timeout(), "{error}");
        assert_eq!(begin.elapsed().as_secs(), TIMEOUT.as_secs());
        assert!(connection.has_ended());
    }

    #[tokio::test]
    async fn a_server_that_takes_nothing_more_before_it_answered_is_not_waited_for() {
        let (connection, server, _) = connected();
        tokio::spawn(async move {
            let (reading, mut writing) = tokio::io::split(server);
            let mut lines = BufReader::with_capacity(16, reading).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                writing.write_all(format!("+{line}\r\n").as_bytes()).await.unwrap();
            }
        });
        let exchanges = (0..100).map(|number| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let line = number.to_string().repeat(500);
                let reply = connection.exchange(format!("{line}\n").repeat(3).as_bytes(), 3).await;
                assert_eq!(reply.unwrap(), format!("+{line}\r\n").repeat(3));
            })
        });
        futures_util::future::try_join_all(exchanges.collect::<Vec<_>>())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_the_server_says_before_it_closes_the_connection_is_quoted() {
        let (connection, mut server, _) = connected();
        server
            .write_all(b"-ERR max number of clients reached\r\n")
            .await
            .unwrap();
        drop(server);
        while !connection.has_ended() {
            tokio::task::yield_now().await;
        }
        let error = connection.exchange(b"x", 1).await.unwrap_err();
        assert!(error.to_string().contains("max number of clients reached"), "{error}");
    }

    #[tokio::test]
    async fn everybody_is_told_when_the_master_was_replaced() {
        let (connection, server, replaced) = connected();
        let waiting = {
            let connection = connection.clone();
            tokio::spawn(async move { connection.exchange(b"x", 1).await })
        };
        tokio::task::yield_now().await;
        replaced.cancel();
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.is_io_error() && !error.is_timeout(), "{error}");
        assert!(connection.has_ended());
        drop(server);
    }
}
