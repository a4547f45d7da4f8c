//! Bare tokio sockets: the least that an asynchronous program does, without a client in between.

use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::Serialize;
use streamer::message::{Envelope, php_json};
use tokio::net::TcpStream;

use crate::message::STREAM;

pub(crate) async fn open(url: &str) -> Result<TcpStream> {
    let address = url.strip_prefix("redis://").context("the address of a server")?;
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Adds `XADD` of an event that is encoded now, as the wire format demands.
pub(crate) fn xadd(id: &str, payload: &impl Serialize, bytes: &mut Vec<u8>) -> Result<()> {
    let created = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let envelope = Envelope {
        name: STREAM.into(),
        kind: "event".into(),
        domain: "shop".into(),
        original_id: None,
        created,
        data: php_json::to_vec(payload)?.into(),
    };
    let fields = envelope.encode();
    length(bytes, b'*', 3 + 2 * fields.len());
    let values = fields.iter().flat_map(|(name, value)| [&name[..], &value[..]]);
    let arguments = ["XADD", STREAM, id].into_iter().map(str::as_bytes).chain(values);
    for argument in arguments {
        length(bytes, b'$', argument.len());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Of fewer than 1,000, without the cost of a formatter.
fn length(bytes: &mut Vec<u8>, kind: u8, length: usize) {
    let digit = |place: usize| b'0' + (length / place % 10) as u8;
    let digits = [digit(100), digit(10), digit(1)];
    bytes.push(kind);
    bytes.extend_from_slice(match length {
        0..10 => &digits[2..],
        10..100 => &digits[1..],
        _ => &digits,
    });
    bytes.extend_from_slice(b"\r\n");
}
