//! Sockets: one half that is read by one task, and one that any task may write to.
//!
//! TCP and Unix sockets can be written to by any task as they are; [`tls_stream`](super::tls_stream) can, too. What uses the
//! halves does not know the difference.

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
#[cfg(test)]
use tokio::io::AsyncWrite;
#[cfg(unix)]
use tokio::net::{UnixStream, unix};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{TcpStream, tcp},
    time::Instant,
};
use tokio_rustls::TlsConnector;

#[cfg(test)]
use self::any_stream::Locked;
use super::{
    tls,
    tls_stream::{self, TlsReader, TlsWriter},
};

/// How long a peer may be silent to the system's probes before a connection counts as dead: a machine that vanished must
/// be noticed also while nothing is sent, as in a blocking read.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How much the system may keep that it has not sent yet. It bounds what is still on its way when the last byte of a
/// command was accepted, which is what time-outs are counted from.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 256 << 10;

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
                        let connecting = TlsConnector::from(config.clone()).connect(name, socket);
                        let connected = in_time(within, connecting).await.map_err(|error| advised(&error))?;
                        let (socket, session) = connected.into_inner();
                        let (reader, writer) = tls_stream::split(socket, session);
                        Ok(Self {
                            reader: ReadHalf::Tls(reader),
                            writer: WriteHalf::Tls(writer),
                            peer,
                        })
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

    /// Any stream.
    #[cfg(test)]
    pub(super) fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static, peer: Peer) -> Self {
        let locked = Arc::new(Locked::new(stream));
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
    Tls(TlsReader),
    #[cfg(test)]
    Locked(Arc<Locked>),
}

impl AsyncRead for ReadHalf {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            #[cfg(unix)]
            Self::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(reader) => Pin::new(reader).poll_read(context, buffer),
            #[cfg(test)]
            Self::Locked(locked) => locked.stream().as_mut().poll_read(context, buffer),
        }
    }
}

/// The half that is written.
pub(super) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
    Tls(TlsWriter),
    #[cfg(test)]
    Locked(Arc<Locked>),
}

impl WriteHalf {
    /// Writes as much as there is room for, without waiting.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_write(bytes),
            Self::Tls(writer) => writer.try_write(bytes),
            #[cfg(test)]
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
            Self::Tls(_) => 8 << 10,
            _ => 2 << 10,
        }
    }

    /// Passes on what the stream holds back of what was written. After [`io::ErrorKind::WouldBlock`] somebody has to
    /// see [`WriteHalf::poll_writable`] through.
    pub(super) fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Tls(writer) => writer.try_flush(),
            #[cfg(test)]
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
            Self::Tls(writer) => writer.poll_write(context, bytes),
            #[cfg(test)]
            Self::Locked(locked) if bytes.is_empty() => locked.stream().as_mut().poll_flush(context).map_ok(|()| 0),
            #[cfg(test)]
            Self::Locked(locked) => locked.stream().as_mut().poll_write(context, bytes),
        }
    }

    /// When a byte moved that those who read and write do not see, as part of a record of TLS is.
    pub(super) fn last_hidden_byte(&self) -> Option<Instant> {
        match self {
            Self::Tls(writer) => Some(writer.last_byte()),
            _ => None,
        }
    }
}

/// Tests put a stream in a socket's place that holds next to nothing, and look at the clock.
#[cfg(test)]
mod any_stream {
    use std::{
        io,
        pin::Pin,
        sync::{Mutex, MutexGuard, PoisonError},
        task::{Context, Poll, Waker},
    };

    use tokio::io::{AsyncRead, AsyncWrite};

    pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}

    impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

    /// The lock is held for no longer than what can be done without waiting.
    pub(in crate::engine::redis) struct Locked(Mutex<Pin<Box<dyn Stream>>>);

    impl Locked {
        pub(super) fn new(stream: impl Stream + 'static) -> Self {
            Self(Mutex::new(Box::pin(stream)))
        }

        pub(super) fn stream(&self) -> MutexGuard<'_, Pin<Box<dyn Stream>>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Nobody is woken when there is room again: that is for who waits in `poll_writable`, and comes later.
        pub(super) fn without_waiting<T>(
            &self,
            attempt: impl FnOnce(&mut Pin<Box<dyn Stream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
        ) -> io::Result<T> {
            match attempt(&mut self.stream(), &mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => done,
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }
}
