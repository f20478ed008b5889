//! Result bytes that all readers of a group share, with a counter that takes N references at once.
//!
//! Why not `Arc`: a body that goes to N readers needs N references, and `Arc` takes them one atomic operation at a
//! time, which is most of the cost of a delivery.

use std::{fmt, ptr::NonNull};

use crate::{
    id::{ChannelId, Offset},
    ring::Pointer,
    sync::{AtomicUsize, Ordering, Witness, fence},
};

struct Inner {
    references: AtomicUsize,
    channel: ChannelId,
    offset: Offset,
    body: Box<[u8]>,
    witness: Witness,
}

/// A shared, immutable body: the JSON text of one execution result, and the event it came from.
///
/// Invariant: `references` counts the `Payload`s (and those inside [`Shares`]) that point here.
pub struct Payload(NonNull<Inner>);

impl Payload {
    /// A body, rendered for the event at `offset` of `channel`.
    pub fn new(channel: ChannelId, offset: Offset, body: Vec<u8>) -> Self {
        let (references, body) = (AtomicUsize::new(1), body.into_boxed_slice());
        let inner = Inner { references, channel, offset, body, witness: Witness::new() };
        Self(NonNull::from(Box::leak(Box::new(inner))))
    }

    /// Stands for a result that could not be made: its reader is told that the event is missing.
    pub(crate) fn lost(channel: ChannelId, offset: Offset) -> Self {
        Self::new(channel, offset, Vec::new())
    }

    /// Whether this is a [`Payload::lost`].
    pub(crate) fn is_lost(&self) -> bool {
        self.inner().body.is_empty()
    }

    #[allow(unsafe_code, reason = "the pointer is dereferenced here only")]
    fn inner(&self) -> &Inner {
        // SAFETY: this payload is counted, so the allocation lives.
        unsafe { self.0.as_ref() }
    }

    /// The execution result as JSON text: `{"data":…}`.
    pub fn body(&self) -> &[u8] {
        let inner = self.inner();
        inner.witness.used();
        &inner.body
    }

    /// The event's channel.
    pub fn channel(&self) -> ChannelId {
        self.inner().channel
    }

    /// The event's offset in its channel.
    pub fn offset(&self) -> Offset {
        self.inner().offset
    }

    /// Whether both are the same allocation.
    pub fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Takes `count` references in one atomic operation.
    pub fn shares(&self, count: usize) -> Shares {
        self.inner().references.fetch_add(count, Ordering::Relaxed);
        Shares { of: self.0, left: count }
    }
}

impl Clone for Payload {
    fn clone(&self) -> Self {
        self.inner().references.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        release(self.0, 1, Ordering::Release);
    }
}

/// Gives up `count` references; the last one frees the body. As in `Arc`: decrement with `order`, which is `Release`,
/// and the last one acquires what the others did before it frees.
#[allow(unsafe_code, reason = "the last reference frees the allocation")]
fn release(inner: NonNull<Inner>, count: usize, order: Ordering) {
    // SAFETY: the caller gives up references that it holds, so the allocation lives until here.
    if unsafe { inner.as_ref() }.references.fetch_sub(count, order) == count {
        fence(Ordering::Acquire);
        // SAFETY: no reference is left, and `new` leaked a box.
        let inner = unsafe { Box::from_raw(inner.as_ptr()) };
        inner.witness.changed();
    }
}

/// References taken in advance; those that are not used are given back.
pub struct Shares {
    of: NonNull<Inner>,
    left: usize,
}

impl Iterator for Shares {
    type Item = Payload;

    fn next(&mut self) -> Option<Payload> {
        self.left = self.left.checked_sub(1)?;
        Some(Payload(self.of))
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        if self.left > 0 {
            release(self.of, self.left, Ordering::Release);
        }
    }
}

#[allow(unsafe_code, reason = "the body is immutable and its counter atomic")]
mod shared {
    use super::{Inner, NonNull, Payload, Pointer};
    // SAFETY: the body is immutable and the counter atomic.
    unsafe impl Send for Payload {}
    // SAFETY: as above.
    unsafe impl Sync for Payload {}
    // SAFETY: `into_raw` keeps the reference counted; `from_raw` takes that reference over.
    unsafe impl Pointer for Payload {
        fn into_raw(self) -> *mut () {
            std::mem::ManuallyDrop::new(self).0.as_ptr().cast()
        }

        unsafe fn from_raw(raw: *mut ()) -> Self {
            // SAFETY: `into_raw` gave a pointer that is not null.
            Self(unsafe { NonNull::new_unchecked(raw.cast::<Inner>()) })
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("channel", &self.channel())
            .field("offset", &self.offset())
            .field("body", &String::from_utf8_lossy(self.body()))
            .finish()
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(all(test, coulis_loom))]
mod model;

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use super::*;

    fn references(payload: &Payload) -> usize {
        payload.inner().references.load(Ordering::Relaxed)
    }

    #[test]
    fn shares_are_counted_at_once_and_given_back() {
        let payload = Payload::new(ChannelId(1), Offset(2), b"{}".to_vec());
        let mut shares = payload.shares(3);
        assert_eq!(references(&payload), 4);
        let one = shares.next().unwrap();
        drop(shares);
        assert_eq!(references(&payload), 2);
        assert!(one.same(&payload) && one.body() == b"{}" && one.offset() == Offset(2));
        drop(one);
        assert_eq!(references(&payload), 1);
        drop(payload.clone());
        assert_eq!(references(&payload), 1);
        assert!(payload.shares(0).next().is_none());
    }
}
