//! Sockets: one half that is read by one task, and one that any task may write to.
//!
//! TCP and Unix sockets can be written to by any task as they are. Any other stream, which TLS is, stands behind a lock
//! ([`Locked`]). What uses the halves does not know the difference.

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::{TcpStream, tcp},
    time::Instant,
};
use tokio_rustls::TlsConnector;

use super::tls;

/// How long a peer may be silent to the system's probes before a connection counts as dead: a machine that vanished must
/// be noticed also while nothing is sent, as in a blocking read.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How much the system may keep that it has not sent yet. It bounds what is still on its way when the last byte of a
/// command was accepted, which is what time-outs are counted from.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 256 << 10;
/// TLS asks for 4 KiB at a time; the system is asked for so much.
const TLS_READ: usize = 64 << 10;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Which server a socket leads to. A name may stand for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A connected socket.
pub(super) struct Socket {
    pub(super) reader: ReadHalf,
    pub(super) writer: WriteHalf,
    pub(super) peer: Peer,
}

impl Socket {
    /// Connects; each step, of which TLS is one, may take `within`.
    pub(super) async fn connect(
        address: &Address,
        tls: Option<&Arc<ClientConfig>>,
        within: Duration,
    ) -> io::Result<Self> {
        match address {
            Address::Tcp(host, port) => {
                let socket = in_time(within, TcpStream::connect((host.as_str(), *port))).await?;
                socket.set_nodelay(true)?;
                prepare(&socket)?;
                let peer = Peer::Tcp(socket.peer_addr()?);
                match tls {
                    None => {
                        let (reader, writer) = socket.into_split();
                        Ok(Self {
                            reader: ReadHalf::Tcp(reader),
                            writer: WriteHalf::Tcp(writer),
                            peer,
                        })
                    }
                    Some(config) => {
                        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                        let moved = Arc::new(LastByte::now());
                        let socket = BufReader::with_capacity(TLS_READ, Metered::new(socket, moved.clone()));
                        let connecting = TlsConnector::from(config.clone()).connect(name, socket);
                        let stream = in_time(within, connecting).await.map_err(|error| advised(&error))?;
                        Ok(Self::locked(stream, moved, peer))
                    }
                }
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                let (reader, writer) = in_time(within, UnixStream::connect(path)).await?.into_split();
                Ok(Self {
                    reader: ReadHalf::Unix(reader),
                    writer: WriteHalf::Unix(writer),
                    peer: Peer::Unix(path.clone()),
                })
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this system has no Unix sockets",
            )),
        }
    }

    /// Any stream, behind a lock.
    pub(super) fn locked(
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        moved: Arc<LastByte>,
        peer: Peer,
    ) -> Self {
        let locked = Arc::new(Locked {
            stream: Mutex::new(Box::pin(stream)),
            moved,
        });
        Self {
            reader: ReadHalf::Locked(locked.clone()),
            writer: WriteHalf::Locked(locked),
            peer,
        }
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

async fn in_time<T>(within: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(within, step).await.unwrap_or_else(|_| {
        let reason = format!("no connection within {} s", within.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    })
}

/// An error of the handshake, with what to do about it.
fn advised(error: &io::Error) -> io::Error {
    let reason = match tls::advice(error) {
        Some(advice) => format!("TLS: {error} ({advice})"),
        None => format!("TLS: {error}"),
    };
    io::Error::new(error.kind(), reason)
}

// ----- halves ---------------------------------------------------------------------------------------------------------

/// The half that is read, by one task.
pub(super) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
    Locked(Arc<Locked>),
}

impl AsyncRead for ReadHalf {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            #[cfg(unix)]
            Self::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Locked(locked) => locked.stream().as_mut().poll_read(context, buffer),
        }
    }
}

/// The half that is written.
pub(super) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
    Locked(Arc<Locked>),
}

impl WriteHalf {
    /// Writes as much as there is room for, without waiting.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_write(bytes),
            Self::Locked(locked) => {
                locked.without_waiting(|stream, context| stream.as_mut().poll_write(context, bytes))
            }
        };
        match written {
            Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        }
    }

    /// So many bytes of commands are worth a write of their own. TLS makes at least one record of each write, and each
    /// costs the server two reads.
    pub(super) fn worth_writing(&self) -> usize {
        match self {
            Self::Locked(_) => 8 << 10,
            _ => 2 << 10,
        }
    }

    /// Passes on what the stream holds back of what was written. After [`io::ErrorKind::WouldBlock`] somebody has to
    /// see [`WriteHalf::poll_writable`] through.
    pub(super) fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Locked(locked) => locked.without_waiting(|stream, context| stream.as_mut().poll_flush(context)),
            _ => Ok(()),
        }
    }

    /// Waits until there may be room for `bytes`, or, where there are none, until nothing is held back. Tells how many it
    /// wrote already. Only one task may wait.
    pub(super) fn poll_writable(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => socket.as_ref().poll_write_ready(context).map_ok(|()| 0),
            #[cfg(unix)]
            Self::Unix(socket) => socket.as_ref().poll_write_ready(context).map_ok(|()| 0),
            Self::Locked(locked) if bytes.is_empty() => locked.stream().as_mut().poll_flush(context).map_ok(|()| 0),
            Self::Locked(locked) => locked.stream().as_mut().poll_write(context, bytes),
        }
    }

    /// When a byte moved that those who read and write do not see, as part of a record of TLS is.
    pub(super) fn last_hidden_byte(&self) -> Option<Instant> {
        match self {
            Self::Locked(locked) => Some(locked.moved.at()),
            _ => None,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// A stream that needs to be borrowed for reading and writing. The lock is held for no longer than what can be done
/// without waiting.
pub(super) struct Locked {
    stream: Mutex<Pin<Box<dyn Stream>>>,
    moved: Arc<LastByte>,
}

impl Locked {
    fn stream(&self) -> MutexGuard<'_, Pin<Box<dyn Stream>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is woken when there is room again: that is for who waits in [`WriteHalf::poll_writable`], and comes later.
    fn without_waiting<T>(
        &self,
        attempt: impl FnOnce(&mut Pin<Box<dyn Stream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        match attempt(&mut self.stream(), &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// When the last byte moved.
pub(super) struct LastByte {
    begin: Instant,
    /// Nanoseconds since then.
    after: AtomicU64,
}

impl LastByte {
    pub(super) fn now() -> Self {
        Self {
            begin: Instant::now(),
            after: AtomicU64::new(0),
        }
    }

    fn at(&self) -> Instant {
        self.begin + Duration::from_nanos(self.after.load(Ordering::Relaxed))
    }

    fn moves(&self) {
        let after = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.after.store(after, Ordering::Relaxed);
    }
}

/// A stream that keeps the time of its last byte in or out. What goes out counts after the stream was full, since it
/// shows only then that the peer takes bytes.
struct Metered<S> {
    stream: S,
    moved: Arc<LastByte>,
    is_full: bool,
}

impl<S> Metered<S> {
    fn new(stream: S, moved: Arc<LastByte>) -> Self {
        Self {
            stream,
            moved,
            is_full: false,
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.is_full && matches!(written, Poll::Ready(Ok(1..))) {
            self.moved.moves();
        }
        self.is_full = written.is_pending();
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.moved.moves();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
