//! Names of fields that need no memory of their own.

use bytes::Bytes;

/// A name that nearly every entry has. It needs no share of the entry's memory, whose count would change with each of them.
pub(crate) fn well_known(name: &[u8]) -> Option<Bytes> {
    let name: &'static [u8] = match name {
        b"_id" => b"_id",
        b"type" => b"type",
        b"version" => b"version",
        b"name" => b"name",
        b"domain" => b"domain",
        b"created" => b"created",
        b"data" => b"data",
        b"hash" => b"hash",
        _ => return None,
    };
    Some(Bytes::from_static(name))
}
