//! Plain sockets, TCP and Unix: one half that is read by one task, and one that any task may write to.

use std::{
    io,
    task::{Context, Poll},
};

use redis::{ConnectionAddr, io::tcp::socket2::SockRef};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};
use tokio::{
    io::AsyncRead,
    net::{TcpStream, tcp},
};

use super::address::probes;

/// The half that is read.
pub(super) type ReadHalf = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// The half that is written.
pub(super) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
}

/// Connects; `None` where the address is not for plain connections.
pub(super) async fn connect(address: &ConnectionAddr) -> io::Result<Option<(ReadHalf, WriteHalf)>> {
    match address {
        ConnectionAddr::Tcp(host, port) => {
            let socket = TcpStream::connect((host.as_str(), *port)).await?;
            socket.set_nodelay(true)?;
            SockRef::from(&socket).set_tcp_keepalive(&probes())?;
            let (read, write) = socket.into_split();
            Ok(Some((Box::new(read), WriteHalf::Tcp(write))))
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => {
            let (read, write) = UnixStream::connect(path).await?.into_split();
            Ok(Some((Box::new(read), WriteHalf::Unix(write))))
        }
        _ => Ok(None),
    }
}

impl WriteHalf {
    /// Writes as much as there is room for, without waiting.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_write(bytes),
        };
        match written {
            Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        }
    }

    /// Waits until there may be room. Only one task may wait.
    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.as_ref().poll_write_ready(context),
            #[cfg(unix)]
            Self::Unix(socket) => socket.as_ref().poll_write_ready(context),
        }
    }
}
