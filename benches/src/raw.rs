//! Plain blocking sockets and commands that were encoded beforehand: what the machine and its server can do at most.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::message;

/// A connection that counts lines of replies and never parses them.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    buffer: Box<[u8]>,
    /// Lines received and not asked for yet.
    lines: usize,
}

trait Socket: Read + Write {}

impl<S: Read + Write> Socket for S {}

impl Connection {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let address = url.strip_prefix("redis://").context("the address of a server")?;
        Ok(Self::over(connect(address)?))
    }

    /// With TLS by rustls, as it is without any settings but whom to trust.
    pub(crate) fn open_tls(url: &str) -> Result<Self> {
        let address = url.strip_prefix("rediss://").context("the address of a server")?;
        let (address, ca) = address.split_once("?ca=").context("the authority's certificate")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).context("read the authority's certificate")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = address.split(':').next().unwrap_or_default().to_owned();
        let session = ClientConnection::new(Arc::new(config), ServerName::try_from(host)?)?;
        Ok(Self::over(StreamOwned::new(session, connect(address)?)))
    }

    fn over(socket: impl Socket + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            buffer: vec![0; 256 << 10].into(),
            lines: 0,
        }
    }

    pub(crate) fn send(&mut self, commands: &[u8]) -> Result<()> {
        self.socket.write_all(commands)?;
        Ok(self.socket.flush()?)
    }

    /// Waits for so many lines of replies.
    pub(crate) fn receive(&mut self, lines: usize) -> Result<()> {
        // A later piece may begin anywhere, also in an ID.
        let mut at_the_start = self.lines == 0;
        while self.lines < lines {
            let read = self.socket.read(&mut self.buffer)?;
            ensure!(read > 0, "the server closed the connection");
            let received = &self.buffer[..read];
            if std::mem::take(&mut at_the_start) && received[0] == b'-' {
                bail!("the server said {}", String::from_utf8_lossy(received));
            }
            self.lines += received.iter().filter(|byte| **byte == b'\n').count();
        }
        self.lines -= lines;
        Ok(())
    }

    /// Adds the next piece of a reply, for those who look into it.
    pub(crate) fn receive_piece(&mut self, reply: &mut Vec<u8>) -> Result<()> {
        let read = self.socket.read(&mut self.buffer)?;
        ensure!(read > 0, "the server closed the connection");
        reply.extend_from_slice(&self.buffer[..read]);
        Ok(())
    }

    /// Sends one command whose reply has so many lines.
    pub(crate) fn call(&mut self, arguments: &[&str], lines: usize) -> Result<()> {
        self.send(&command(arguments))?;
        self.receive(lines)
    }

    /// Sends one command and gives the first piece of its reply.
    pub(crate) fn ask(&mut self, arguments: &[&str]) -> Result<String> {
        self.send(&command(arguments))?;
        let read = self.socket.read(&mut self.buffer)?;
        Ok(String::from_utf8_lossy(&self.buffer[..read]).into_owned())
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let socket = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A command as it goes over the wire.
pub(crate) fn command(arguments: &[&str]) -> Vec<u8> {
    let mut encoded = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        encoded.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
    }
    encoded
}

/// `XADD` of the message; the reply has [`XADD_LINES`] lines.
pub(crate) fn xadd(stream: &str, id: &str) -> Vec<u8> {
    xadd_with(stream, id, &message::fields())
}

/// The same with other fields.
pub(crate) fn xadd_with(stream: &str, id: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().flat_map(|(name, value)| [*name, *value]);
    command(&["XADD", stream, id].into_iter().chain(fields).collect::<Vec<_>>())
}

pub(crate) const XADD_LINES: usize = 2;

/// The ID of an entry that [`fill`] stores.
pub(crate) fn id(index: u64) -> String {
    format!("{}-{}", 1_795_407_980_936 + index / 64, index % 64)
}

/// Stores so many messages with known IDs.
pub(crate) fn fill(connection: &mut Connection, stream: &str, amount: u64) -> Result<()> {
    const AT_ONCE: u64 = 512;
    let mut index = 0;
    while index < amount {
        let many = AT_ONCE.min(amount - index);
        let commands = (index..index + many).flat_map(|index| xadd(stream, &id(index)));
        connection.send(&commands.collect::<Vec<_>>())?;
        connection.receive(many as usize * XADD_LINES)?;
        index += many;
    }
    Ok(())
}

/// How many lines a reply to `XREADGROUP` of one stream has.
pub(crate) fn read_lines(entries: usize) -> usize {
    // The streams, this stream and its name, the list of entries; of each entry its start, ID, fields.
    1 + 1 + 2 + 1 + entries * (1 + 2 + 1 + 2 * 2 * message::fields().len())
}

/// `XACK` of so many entries from `index` on.
pub(crate) fn xack(stream: &str, index: u64, many: u64) -> Vec<u8> {
    let ids = (index..index + many).map(id).collect::<Vec<_>>();
    let ids = ids.iter().map(String::as_str);
    command(
        &["XACK", stream, message::GROUP]
            .into_iter()
            .chain(ids)
            .collect::<Vec<_>>(),
    )
}
