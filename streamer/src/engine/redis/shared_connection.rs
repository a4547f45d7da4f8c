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
//! Over TLS each write is at least one record, which costs the server two reads. So where a round trip takes no longer than a
//! moment, commands gather until they are as many as those that are under way: then there are two groups that take turns, as in a
//! program that sends one half while the other is answered. No command could be executed earlier, since those before it on the
//! connection come first; its reply comes later by one round trip at most.
//!
//! How much may be under way is bounded in bytes; who finds no room waits, first come, first served, so that commands
//! go out in the order in which their futures were first polled.
//!
//! A time-out counts from the last byte: a reply that takes long to arrive, or a command that takes long to leave, is fine
//! as long as something moves. What leaves counts only when the socket was full before, because nothing else shows that
//! the peer takes it: a dead server is found however many tasks go on sending.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io, mem,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use redis::{ErrorKind, RedisError, RedisResult};
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

/// Bytes of commands that are not answered yet. A larger command goes alone.
const CAPACITY: usize = 8 << 20;
/// How much memory for commands is kept when there are none.
const MOST_KEPT: usize = 1 << 20;

/// A round trip of a moment.
const NEAR: Duration = Duration::from_micros(400);

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
    /// Of how many exchanges.
    gathered_exchanges: usize,
    writing: Writing,
    /// Whose answers are to come, in order.
    pending: VecDeque<PendingReply>,
    /// Since when replies have been due without a break. What came later waits from the last byte on that was received for
    /// those before it.
    due_since: Option<Instant>,
    /// The receiving task, which also writes what nobody else does.
    receiver: Option<Waker>,
    /// Whether the receiving task was asked to write what is gathered.
    flush_requested: bool,
    /// Whether it looks after the time that answers take.
    watched: bool,
    /// Why the connection is of no more use.
    ended: Option<RedisError>,
    round_trips: RoundTrips,
}

/// How long a round trip takes, where that matters.
#[derive(Default)]
struct RoundTrips {
    /// How many exchanges were asked for, and answered.
    asked: u64,
    answered: u64,
    /// The exchange whose answer ends the round trip that is measured, and when it began.
    measured: Option<(u64, Instant)>,
    last: Option<Duration>,
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
        tokio::spawn(receiving.run());
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

    /// Sends encoded commands, and gives their replies, one after the other.
    pub(super) async fn exchange(&self, commands: &[u8], replies: u64) -> RedisResult<Bytes> {
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

    fn ask(&self, commands: &[u8], replies: u64, capacity: u32) -> RedisResult<oneshot::Receiver<RedisResult<Bytes>>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        let alone = state.pending.is_empty();
        if alone {
            state.due_since = Some(Instant::now());
        }
        state.pending.push_back(PendingReply {
            replies,
            capacity,
            answer,
        });
        state.gathered.extend_from_slice(commands);
        state.gathered_exchanges += 1;
        state.round_trips.asked += 1;
        let free = matches!(state.writing, Writing::Nobody);
        let now = free && (alone || state.gathered.len() >= self.writer.worth_writing());
        // The answers that it waits for have it looked at.
        if !now && !state.waits_for_answers() || !state.watched {
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
            Writing::Nobody => {
                if self.writer.gathers_halves() {
                    state.round_trips.begin();
                }
                state.gathered_exchanges = 0;
                (mem::take(&mut state.gathered), 0)
            }
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
                    state.gathered_exchanges = 0;
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

impl RoundTrips {
    fn begin(&mut self) {
        if self.measured.is_none() {
            self.measured = Some((self.asked, Instant::now()));
        }
    }

    fn answered(&mut self, exchanges: u64) {
        self.answered += exchanges;
        if let Some((_, began)) = self.measured.take_if(|(last, _)| *last <= self.answered) {
            self.last = Some(began.elapsed());
        }
    }
}

impl State {
    /// Whether what is gathered is written later, together with what follows the next answers.
    fn waits_for_answers(&self) -> bool {
        let under_way = self.pending.len().saturating_sub(self.gathered_exchanges);
        self.round_trips.last.is_some_and(|last| last < NEAR) && under_way > self.gathered_exchanges
    }

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
            if !state.gathered.is_empty() && !state.waits_for_answers() {
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
        let (mut capacity, mut exchanges) = (0, 0);
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
                exchanges += 1;
                self.answered.push((pending.answer, answer));
            }
        }
        if state.pending.is_empty() && !self.received.is_empty() {
            return Err(unasked(&self.received));
        }
        state.round_trips.answered(exchanges);
        // What waits for these answers is looked at again, also when nothing is added to it.
        state.flush_requested |= !state.gathered.is_empty();
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
        let due_since = state.due_since.filter(|_| !state.pending.is_empty());
        if !state.watched {
            let Some(since) = due_since else { return Ok(()) };
            self.late.as_mut().reset(since + self.response_timeout);
            state.watched = true;
        }
        while self.late.as_mut().poll(context).is_ready() {
            let Some(since) = due_since else {
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures_util::FutureExt as _;
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
    async fn where_a_round_trip_is_short_commands_gather_until_they_are_as_many_as_those_under_way() {
        let (connection, mut server, _) = connected();
        let ask = |command: &'static [u8]| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.exchange(command, 1).await })
        };
        let all_is_done = async || {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        // A round trip, so that it is known how long one takes.
        let first = ask(b"0");
        assert_eq!(server.read_u8().await.unwrap(), b'0');
        server.write_all(b":0\r\n").await.unwrap();
        first.await.unwrap().unwrap();

        let mut answers = Vec::new();
        for command in [&b"a"[..], b"b"] {
            answers.push(ask(command));
            assert_eq!(server.read_u8().await.unwrap(), command[0]);
        }
        answers.push(ask(b"c"));
        all_is_done().await;
        assert!(
            server.read_u8().now_or_never().is_none(),
            "two are under way, one waits"
        );
        answers.push(ask(b"d"));
        let mut both = [0; 2];
        server.read_exact(&mut both).await.unwrap();
        assert_eq!(&both, b"cd");
        // What waits goes out when what it waits for is answered, also if nothing more is added.
        answers.push(ask(b"e"));
        all_is_done().await;
        assert!(
            server.read_u8().now_or_never().is_none(),
            "four are under way, one waits"
        );
        server.write_all(b":1\r\n:2\r\n:3\r\n").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'e');
        server.write_all(b":4\r\n:5\r\n").await.unwrap();
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
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
