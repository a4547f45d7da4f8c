//! A socket with TLS that one task reads and any task may write to.
//!
//! The session is locked while something is encrypted or decrypted, and not while bytes go into the socket or come out of it:
//! otherwise who writes and who reads would wait for each other's system calls.

use std::{
    io::{self, BufRead, Write},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::ClientConnection;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::Instant,
};

/// How much is read from the socket at once.
const READ: usize = 64 << 10;

/// The half that is read.
pub(super) struct TlsReader {
    shared: Arc<Shared>,
    /// A read of this half that does not fill the buffer counts as the end of what there is: no second one finds nothing.
    socket: OwnedReadHalf,
    /// What came from the socket, and how much of it is still encrypted.
    received: Box<[u8]>,
    from: usize,
    to: usize,
    /// What came after what was given last.
    failed: Option<rustls::Error>,
}

/// The half that is written.
pub(super) struct TlsWriter(Arc<Shared>);

struct Shared {
    socket: OwnedWriteHalf,
    session: Mutex<ClientConnection>,
    outgoing: Mutex<Outgoing>,
    moved: LastByte,
}

/// What is encrypted and not sent.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

/// After the handshake.
pub(super) fn split(socket: TcpStream, session: ClientConnection) -> (TlsReader, TlsWriter) {
    let (reading, writing) = socket.into_split();
    let shared = Arc::new(Shared {
        socket: writing,
        session: Mutex::new(session),
        outgoing: Mutex::default(),
        moved: LastByte::now(),
    });
    let reader = TlsReader {
        shared: Arc::clone(&shared),
        socket: reading,
        received: vec![0; READ].into(),
        from: 0,
        to: 0,
        failed: None,
    };
    (reader, TlsWriter(shared))
}

impl AsyncRead for TlsReader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.decrypt(buffer)? {
                return Poll::Ready(Ok(()));
            }
            let mut received = ReadBuf::new(&mut this.received);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut received))?;
            let read = received.filled().len();
            if read == 0 {
                let mut session = this.shared.session();
                session.read_tls(&mut io::empty())?;
                // An error unless the peer said that it closes the connection.
                return Poll::Ready(session.reader().fill_buf().map(|_| ()));
            }
            this.shared.moved.moves();
            (this.from, this.to) = (0, read);
        }
    }
}

impl TlsReader {
    /// Decrypts as much of what was received as there is room for; tells whether it gave anything, or the end was reached.
    fn decrypt(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = buffer.filled().len();
        if let Some(error) = self.failed.take() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let mut session = self.shared.session();
        loop {
            match session.reader().fill_buf() {
                Ok([]) => return Ok(true),
                Ok(plain) => {
                    let taken = plain.len().min(buffer.remaining());
                    buffer.put_slice(&plain[..taken]);
                    session.reader().consume(taken);
                    if buffer.remaining() == 0 {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.from == self.to {
                        return Ok(buffer.filled().len() > before);
                    }
                    self.from += session.read_tls(&mut &self.received[self.from..self.to])?;
                    match session.process_new_packets() {
                        Ok(_) => {}
                        // Perhaps the peer has said why, before.
                        Err(error) if buffer.filled().len() > before => {
                            self.failed = Some(error);
                            return Ok(true);
                        }
                        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl TlsWriter {
    /// Takes as much as there is room for, without waiting. [`TlsWriter::try_flush`] tells whether all of it was sent.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let shared = &self.0;
        let mut outgoing = shared.outgoing();
        shared.send(&mut outgoing)?;
        let mut session = shared.session();
        let taken = session.writer().write(bytes)?;
        encrypted(&mut session, &mut outgoing)?;
        drop(session);
        match shared.send(&mut outgoing) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends what was taken and not sent.
    pub(super) fn try_flush(&self) -> io::Result<()> {
        self.0.send(&mut self.0.outgoing())
    }

    /// Waits until all that was taken is sent, and takes some of `bytes` then. Tells how many. Only one task may wait.
    pub(super) fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.socket.as_ref().poll_write_ready(context))?;
            match self.try_flush() {
                Ok(()) if bytes.is_empty() => return Poll::Ready(Ok(0)),
                Ok(()) => return Poll::Ready(self.try_write(bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// When a byte moved that those who read and write do not see: one of a record that is not complete.
    pub(super) fn last_byte(&self) -> Instant {
        self.0.moved.at()
    }
}

fn encrypted(session: &mut ClientConnection, outgoing: &mut Outgoing) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(&mut outgoing.bytes)?;
    }
    Ok(())
}

impl Shared {
    fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        while outgoing.sent < outgoing.bytes.len() {
            let sent = self.socket.try_write(&outgoing.bytes[outgoing.sent..]);
            self.moved.wrote(&sent);
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => outgoing.sent += sent,
                Err(error) => return Err(error),
            }
        }
        outgoing.bytes.clear();
        outgoing.sent = 0;
        Ok(())
    }
}

/// When the last byte moved. What goes out counts after the socket was full, since it shows only then that the peer takes
/// bytes.
struct LastByte {
    begin: Instant,
    /// Nanoseconds since then.
    after: AtomicU64,
    was_full: AtomicBool,
}

impl LastByte {
    fn now() -> Self {
        Self {
            begin: Instant::now(),
            after: AtomicU64::new(0),
            was_full: AtomicBool::new(false),
        }
    }

    fn at(&self) -> Instant {
        self.begin + Duration::from_nanos(self.after.load(Ordering::Relaxed))
    }

    fn moves(&self) {
        let after = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.after.store(after, Ordering::Relaxed);
    }

    fn wrote(&self, sent: &io::Result<usize>) {
        match sent {
            Ok(_) if self.was_full.swap(false, Ordering::Relaxed) => self.moves(),
            Ok(_) => {}
            Err(_) => self.was_full.store(true, Ordering::Relaxed),
        }
    }
}
