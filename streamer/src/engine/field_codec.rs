//! How an entry's fields lie in one blob: each name and each value as its length (LEB128) and its bytes.

use std::ops::Range;

use bytes::Bytes;

use super::field_names::well_known;
use crate::entry::Fields;

pub(crate) fn encode(fields: &Fields) -> Vec<u8> {
    let size = fields.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    let mut blob = Vec::with_capacity(size);
    let mut put = |part: &[u8]| {
        let mut length = part.len();
        while length >= 0x80 {
            blob.push(length as u8 | 0x80);
            length >>= 7;
        }
        blob.push(length as u8);
        blob.extend_from_slice(part);
    };
    for (name, value) in fields {
        put(name);
        put(value);
    }
    blob
}

/// The reverse of [`encode`]; `None` for damaged bytes. The fields share the blob's memory.
pub(crate) fn decode(whole: &Bytes) -> Option<Fields> {
    let mut fields = Fields::with_capacity(8);
    let mut at = 0;
    while at < whole.len() {
        let name = part(whole, &mut at)?;
        let name = well_known(&whole[name.clone()]).unwrap_or_else(|| whole.slice(name));
        let value = part(whole, &mut at)?;
        fields.push((name, whole.slice(value)));
    }
    Some(fields)
}

/// The part that begins there; then the next one does.
fn part(whole: &[u8], at: &mut usize) -> Option<Range<usize>> {
    let mut length: usize = 0;
    let mut shift = 0;
    loop {
        let byte = *whole.get(*at)?;
        *at += 1;
        // No blob is longer than 2^31 bytes, so no length takes more than five of these.
        if shift > 28 {
            return None;
        }
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let begin = *at;
    *at = begin.checked_add(length).filter(|end| *end <= whole.len())?;
    Some(begin..*at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_come_back_as_they_went_in(
            fields in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..300)), 0..8)
        ) {
            let fields: Fields = fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            prop_assert_eq!(decode(&encode(&fields).into()), Some(fields));
        }

        #[test]
        fn fields_of_messages_come_back_too(
            names in prop::collection::vec(0..10_usize, 0..12)
        ) {
            const NAMES: [&str; 10] =
                ["_id", "original_id", "type", "version", "name", "domain", "created", "data", "hash", "hashes"];
            let fields: Fields = names.into_iter().map(|name| (NAMES[name].into(), name.to_string().into())).collect();
            prop_assert_eq!(decode(&encode(&fields).into()), Some(fields));
        }

        #[test]
        fn damaged_bytes_are_an_error_and_no_panic(blob in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(fields) = decode(&blob.clone().into()) {
                prop_assert!(encode(&fields).len() <= blob.len());
            }
        }
    }
}
