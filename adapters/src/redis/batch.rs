//! Many events as one byte string: a `MessagePack` array of their encodings.
//!
//! What a server does for an entry or a message it does once for all events in it, so that it is never the server that
//! makes a busy node wait.

use serde::{Deserialize, Serialize, Serializer};

use super::queue::Item;

/// Bytes as serde has to be told that they are.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Bytes<'a>(#[serde(borrow, serialize_with = "bin")] pub(super) &'a [u8]);

fn bin<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(super) fn events(items: &[Item]) -> Vec<Bytes<'_>> {
    items.iter().map(|item| Bytes(&item.bytes)).collect()
}

pub(super) fn pack(items: &[Item]) -> Vec<u8> {
    // Writing into memory cannot fail; an empty text would be left out by readers as malformed.
    rmp_serde::to_vec(&events(items)).unwrap_or_default()
}

/// The encodings in a packed text, at least one; nothing if it is none.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let events: Vec<Bytes<'_>> = rmp_serde::from_slice(bytes).ok()?;
    (!events.is_empty()).then(|| events.into_iter().map(|Bytes(bytes)| bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for count in [1, 2, 15, 16, 70_000] {
            let item = |number: usize| Item { bytes: number.to_string().into(), id: None, waiting: None };
            let items: Vec<_> = (0..count).map(item).collect();
            let packed = pack(&items);
            let unpacked = unpack(&packed).unwrap();
            assert!(
                unpacked.len() == count && unpacked.iter().zip(&items).all(|(one, item)| *one == item.bytes)
            );
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for bytes in [
            &b""[..],
            b"x",
            b"\x90",
            b"\x91",
            b"\x91\x01",
            b"\xdd\xff\xff\xff\xff",
            b"\x91\xc6\xff\xff\xff\xff",
        ] {
            assert_eq!(unpack(bytes), None, "{bytes:x?}");
        }
    }
}
