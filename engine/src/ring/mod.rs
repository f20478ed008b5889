//! The bounded ring between one shard (producer) and one reader (consumer), whose producer may evict.
//!
//! A single-producer single-consumer queue over a growing power-of-two buffer. What is unusual: a full ring does not
//! stop the producer, it takes back the oldest item ([`Producer::push_or_evict`]), so that a reader that stands
//! still harms only itself. Both sides therefore move `head`, by compare-and-swap, as thief and owner do in the
//! deque of Chase and Lev (SPAA 2005, doi:10.1145/1073970.1073974), from which the growing buffer is taken too.
//!
//! # Invariants
//! - R1: `head <= tail`, both only grow; `tail` is stored by the producer alone.
//! - R2: slots `head..tail` of the current buffer hold items; the side that moves `head` past a slot owns its item.
//! - R3: the producer writes slot `i` only after it saw `head > i - capacity`.
//! - R4: buffers are freed with the ring, never before: the consumer may still read an outgrown one.
//!
//! # Orderings
//! - `tail.store(Release)` publishes the slot and the buffer pointer; the consumer's `tail.load(Acquire)` sees both.
//! - The consumer copies slots *before* it owns them and then swaps `head` (`AcqRel`): if the swap succeeds no
//!   eviction came between (R2); if it fails the copies are thrown away, which is sound because slots are atomics
//!   and a copy is only bits until it is owned.
//! - The producer's `head.load(Acquire)` and swap see the consumer's swap, so its copies happened before the slot
//!   is written again (R3).
//!
//! Each side keeps its own index in a plain field: faster, and a model checker explores nothing where a side reads
//! its own atomic. Why not the `rtrb` crate: its producer cannot evict, and its slots are allocated up front, which
//! at a million readers is the memory budget.

#[cfg(all(test, coulis_loom))]
mod model;
#[cfg(all(test, not(coulis_loom)))]
mod tests;

use std::{fmt, marker::PhantomData, ptr};

use crate::sync::{Arc, AtomicPtr, AtomicU64, Ordering};

/// A value that is one pointer, so that it fits an atomic slot.
///
/// # Safety
/// `from_raw(into_raw(value))` gives the value back, on any thread; `into_raw` forgets it without dropping.
#[allow(unsafe_code, reason = "the contract that lets a ring hold values in atomic slots")]
pub unsafe trait Pointer: Send {
    /// Gives up the value for its pointer.
    fn into_raw(self) -> *mut ();

    /// Takes the value back.
    ///
    /// # Safety
    /// `raw` came from [`Pointer::into_raw`] of the same type, and is taken back once.
    unsafe fn from_raw(raw: *mut ()) -> Self;
}

/// Has the first `lines` cache lines at `item` fetched, where the processor can be asked to. Any address will do: this
/// is a hint.
#[allow(unsafe_code, reason = "an intrinsic of the processor")]
#[inline]
pub fn prefetch<T>(item: *const T, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(item.cast::<i8>().wrapping_add(64 * line)) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (item, lines);
}

/// A full ring, and the item that found no room.
#[derive(Debug)]
pub struct Full<P>(pub P);

/// Slots of the first buffer; it doubles from here to the ring's capacity.
const FIRST_SLOTS: usize = 8;

/// Slots at most, so that they are counted in 32 bits.
const SLOTS_MAX: usize = 1 << 30;

/// Items that the consumer takes with one swap.
const TAKEN_AT_ONCE_MAX: usize = 64;

#[derive(Debug)]
struct Slot {
    item: AtomicPtr<()>,
    tag: AtomicU64,
}

/// A power-of-two number of slots and the smaller buffer it replaced.
struct Buffer {
    slots: Box<[Slot]>,
    outgrown: *mut Buffer,
}

impl Buffer {
    fn boxed(slots: usize, outgrown: *mut Buffer) -> *mut Buffer {
        let slot = |_| Slot { item: AtomicPtr::new(ptr::null_mut()), tag: AtomicU64::new(0) };
        Box::into_raw(Box::new(Self { slots: (0..slots).map(slot).collect(), outgrown }))
    }

    fn slot(&self, index: u64) -> &Slot {
        &self.slots[index as usize & (self.slots.len() - 1)]
    }
}

/// What one side writes, on a cache line of its own. Not padded to the 128 bytes that some prefetchers take at once:
/// with a million rings that would be 128 MB.
#[repr(align(64))]
struct Line<T>(T);

struct Shared<P: Pointer> {
    /// Written by the producer.
    back: Line<Back>,
    /// Index of the oldest item; written by both sides, by compare-and-swap.
    head: Line<AtomicU64>,
    items: PhantomData<P>,
}

struct Back {
    /// Index behind the newest item.
    tail: AtomicU64,
    /// Null until the first push: a reader that gets nothing costs no slots.
    buffer: AtomicPtr<Buffer>,
}

/// A ring for at most `capacity` items, rounded up to a power of two (at least 8, at most 2³⁰).
pub fn ring<P: Pointer>(capacity: usize) -> (Producer<P>, Consumer<P>) {
    let shared = Arc::new(Shared {
        back: Line(Back { tail: AtomicU64::new(0), buffer: AtomicPtr::new(ptr::null_mut()) }),
        head: Line(AtomicU64::new(0)),
        items: PhantomData,
    });
    let capacity = capacity.clamp(FIRST_SLOTS, SLOTS_MAX).next_power_of_two();
    let consumer = Consumer { shared: Arc::clone(&shared), head: 0, tail_seen: 0, evicted: 0 };
    (
        Producer { shared, first: ptr::null(), tail: 0, room: 0, mask: 0, capacity, buffer: ptr::null_mut() },
        consumer,
    )
}

/// The shard's side. What a push touches comes first, in 32 bytes.
#[repr(C)]
pub struct Producer<P: Pointer> {
    shared: Arc<Shared<P>>,
    /// The buffer's first slot: a push does not read the buffer's head.
    first: *const Slot,
    tail: u64,
    /// Free slots when this side last looked at `head`, less those that it has filled since: there may be more by now.
    room: u32,
    /// The number of slots less one.
    mask: u32,
    capacity: usize,
    /// Null until the first push.
    buffer: *mut Buffer,
}

/// The reader's side.
pub struct Consumer<P: Pointer> {
    shared: Arc<Shared<P>>,
    head: u64,
    /// The last `tail` this side looked at.
    tail_seen: u64,
    evicted: u64,
}

#[allow(
    unsafe_code,
    reason = "the raw pointers are the ring's own; R1-R4 hold whichever thread a side lives on"
)]
mod send {
    use super::{Consumer, Pointer, Producer, Shared};
    // SAFETY: `buffer` points into `Shared`, which lives as long as either side (R4); items are `Send` by `Pointer`.
    unsafe impl<P: Pointer> Send for Producer<P> {}
    // SAFETY: as above; the consumer holds no pointer of its own.
    unsafe impl<P: Pointer> Send for Consumer<P> {}
    // SAFETY: all fields are atomics; the buffers they lead to are shared by the rules R1-R4.
    unsafe impl<P: Pointer> Sync for Shared<P> {}
    // SAFETY: as above.
    unsafe impl<P: Pointer> Send for Shared<P> {}
}

impl<P: Pointer> Producer<P> {
    /// Adds an item, or gives it back when the ring is full.
    ///
    /// # Errors
    /// `Full` with the item.
    #[inline]
    pub fn push(&mut self, item: P, tag: u64) -> Result<(), Full<P>> {
        if !self.make_room() {
            return Err(Full(item));
        }
        self.write(item, tag);
        Ok(())
    }

    /// Adds an item; a full ring gives back its oldest one for it.
    pub fn push_or_evict(&mut self, item: P, tag: u64) -> Option<(P, u64)> {
        // If the consumer takes one first, there is room as well.
        let evicted = if self.make_room() { None } else { self.evict() };
        self.write(item, tag);
        evicted
    }

    /// Takes back the oldest item.
    pub fn reclaim(&mut self) -> Option<(P, u64)> {
        self.look();
        while self.waiting() > 0 {
            if let Some(oldest) = self.evict() {
                return Some(oldest);
            }
        }
        None
    }

    /// Has the slot of the next item fetched, and what is written beside it.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(ptr::from_ref(&self.shared.back), 1);
        prefetch(self.first.wrapping_add(self.tail as usize & self.mask as usize), 1);
    }

    /// Whether [`Producer::push`] would find room.
    pub fn has_room(&mut self) -> bool {
        self.make_room()
    }

    /// Makes room for `count` items that come at once, if need be beyond the capacity; the ring stays that large.
    pub fn reserve(&mut self, count: usize) {
        self.look();
        while (self.room as usize) < count && self.slots() < SLOTS_MAX {
            self.grow();
        }
    }

    /// How many items wait; more than that never do, fewer may by now.
    pub fn len(&self) -> usize {
        (self.tail - self.shared.head.0.load(Ordering::Acquire)) as usize
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a free slot, after looking at the consumer's progress and growing if need be.
    #[inline]
    fn make_room(&mut self) -> bool {
        self.room > 0 || self.find_room()
    }

    #[cold]
    fn find_room(&mut self) -> bool {
        self.look();
        if self.room > 0 {
            return true;
        }
        self.slots() < self.capacity && {
            self.grow();
            true
        }
    }

    /// Looks at the consumer's progress.
    fn look(&mut self) {
        let head = self.shared.head.0.load(Ordering::Acquire);
        self.saw(head);
    }

    fn saw(&mut self, head: u64) {
        self.room = self.slots() as u32 - (self.tail - head) as u32;
    }

    /// The last `head` this side looked at: it may be older than the real one, never newer.
    fn head_seen(&self) -> u64 {
        self.tail - self.waiting() as u64
    }

    fn waiting(&self) -> usize {
        self.slots() - self.room as usize
    }

    fn slots(&self) -> usize {
        if self.buffer.is_null() { 0 } else { self.mask as usize + 1 }
    }

    /// Doubles the buffer. The waiting items keep their positions; the outgrown buffer stays for the consumer (R4).
    #[allow(unsafe_code, reason = "the current buffer is reached through its raw pointer")]
    fn grow(&mut self) {
        let (before, head) = (self.slots(), self.head_seen());
        let slots = if before == 0 { FIRST_SLOTS } else { before * 2 };
        let larger = Buffer::boxed(slots, self.buffer);
        if !self.buffer.is_null() && !seeded(Bug::Grow) {
            // SAFETY: R4: both buffers live as long as `shared`.
            let (from, to) = unsafe { (&*self.buffer, &*larger) };
            for index in head..self.tail {
                let (old, new) = (from.slot(index), to.slot(index));
                new.item.store(old.item.load(Ordering::Relaxed), Ordering::Relaxed);
                new.tag.store(old.tag.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        self.shared.back.0.buffer.store(larger, Ordering::Release);
        self.buffer = larger;
        // SAFETY: `larger` was just made, and lives as long as `shared` (R4).
        self.first = unsafe { &*larger }.slots.as_ptr();
        (self.mask, self.room) = ((slots - 1) as u32, self.room + (slots - before) as u32);
    }

    /// Takes back the item at the `head` seen last, unless the consumer was first; there is room either way.
    #[allow(unsafe_code, reason = "the evicted item is taken out of its slot")]
    fn evict(&mut self) -> Option<(P, u64)> {
        let head = self.head_seen();
        if seeded(Bug::Evict) {
            self.shared.head.0.store(head, Ordering::Release);
        }
        match self.shared.head.0.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.saw(head + 1);
                // SAFETY: a full ring has a buffer (R4).
                let slot = unsafe { &*self.buffer }.slot(head);
                let raw = slot.item.load(Ordering::Relaxed);
                // SAFETY: R2: we moved `head` past this slot, so its item is ours, once.
                Some((unsafe { P::from_raw(raw) }, slot.tag.load(Ordering::Relaxed)))
            }
            Err(moved) => {
                self.saw(moved);
                None
            }
        }
    }

    #[allow(unsafe_code, reason = "the current buffer is reached through its raw pointer")]
    #[inline]
    fn write(&mut self, item: P, tag: u64) {
        // SAFETY: there is room, so there is a buffer (R4) of `mask + 1` slots, a power of two, and the one at `tail` is
        // not in use (R3).
        let slot = unsafe { &*self.first.add(self.tail as usize & self.mask as usize) };
        slot.item.store(item.into_raw(), Ordering::Relaxed);
        slot.tag.store(tag, Ordering::Relaxed);
        (self.tail, self.room) = (self.tail + 1, self.room - 1);
        let publish = if seeded(Bug::Publish) { Ordering::Relaxed } else { Ordering::Release };
        self.shared.back.0.tail.store(self.tail, publish);
    }
}

impl<P: Pointer> Consumer<P> {
    /// Takes up to `max` items (at most 64 in one call), oldest first, and hands each to `take`. Answers how many.
    pub fn take(&mut self, max: usize, take: impl FnMut(P, u64)) -> usize {
        // Where little waits, clearing a large array would cost more than the items.
        match self.waiting(max.min(TAKEN_AT_ONCE_MAX)) {
            0 => 0,
            1..=4 => self.take_at_once::<4>(max, take),
            _ => self.take_at_once::<TAKEN_AT_ONCE_MAX>(max, take),
        }
    }

    fn take_at_once<const N: usize>(&mut self, max: usize, mut take: impl FnMut(P, u64)) -> usize {
        let mut bits = [(ptr::null_mut(), 0); N];
        let count = self.claim(&mut bits[..max.min(N)]);
        let mut owned = Owned::<P> { bits: &bits[..count], items: PhantomData };
        while let Some((item, tag)) = owned.next() {
            take(item, tag);
        }
        count
    }

    /// Items that the producer took back before this side came to them, so far.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many of `wanted` items wait now; looks at the producer's progress only if it may matter.
    fn waiting(&mut self, wanted: usize) -> usize {
        if self.tail_seen < self.head + wanted as u64 {
            self.tail_seen = self.shared.back.0.tail.load(Ordering::Acquire);
        }
        wanted.min((self.tail_seen - self.head) as usize)
    }

    /// Copies waiting slots and becomes their owner; answers how many.
    fn claim(&mut self, bits: &mut [(*mut (), u64)]) -> usize {
        loop {
            let count = self.waiting(bits.len());
            if count == 0 {
                return 0;
            }
            self.copy(&mut bits[..count]);
            let next = self.head + count as u64;
            match self.shared.head.0.compare_exchange(self.head, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.head = next;
                    return count;
                }
                Err(moved) => {
                    self.evicted += moved - self.head;
                    self.head = moved;
                    self.tail_seen = self.tail_seen.max(moved);
                }
            }
        }
    }

    #[allow(unsafe_code, reason = "the current buffer is reached through its raw pointer")]
    fn copy(&self, bits: &mut [(*mut (), u64)]) {
        // SAFETY: something waits, so the buffer was published before `tail` (Acquire in `waiting`), and lives (R4).
        let buffer = unsafe { &*self.shared.back.0.buffer.load(Ordering::Acquire) };
        for (index, bits) in (self.head..).zip(bits) {
            let slot = buffer.slot(index);
            *bits = (slot.item.load(Ordering::Relaxed), slot.tag.load(Ordering::Relaxed));
        }
    }
}

/// Claimed items on their way to the caller; what the caller does not take (it may panic) is dropped here.
struct Owned<'a, P: Pointer> {
    bits: &'a [(*mut (), u64)],
    items: PhantomData<P>,
}

impl<P: Pointer> Owned<'_, P> {
    #[allow(unsafe_code, reason = "claimed bits become the item they stand for")]
    fn next(&mut self) -> Option<(P, u64)> {
        let (&(raw, tag), rest) = self.bits.split_first()?;
        self.bits = rest;
        // SAFETY: R2: the claim moved `head` past this item, so it is ours; `rest` gives it up once.
        Some((unsafe { P::from_raw(raw) }, tag))
    }
}

impl<P: Pointer> Drop for Owned<'_, P> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

impl<P: Pointer> Drop for Shared<P> {
    /// Both sides are gone: the last one frees the items that nobody took, and the buffers.
    #[allow(unsafe_code, reason = "items and buffers become owned again")]
    fn drop(&mut self) {
        let mut buffer = self.back.0.buffer.load(Ordering::Acquire);
        let (head, tail) = (self.head.0.load(Ordering::Acquire), self.back.0.tail.load(Ordering::Acquire));
        for index in head..tail {
            // SAFETY: something was pushed, so there is a buffer (R4); R2: the items of `head..tail` are in it, once.
            drop(unsafe { P::from_raw((&*buffer).slot(index).item.load(Ordering::Relaxed)) });
        }
        while !buffer.is_null() {
            // SAFETY: R4: the ring is the owner, both sides are gone, and each buffer is in the chain once.
            buffer = unsafe { Box::from_raw(buffer) }.outgrown;
        }
    }
}

impl<P: Pointer> fmt::Debug for Producer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("len", &self.len()).field("capacity", &self.capacity).finish()
    }
}

impl<P: Pointer> fmt::Debug for Consumer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("head", &self.head)
            .field("evicted", &self.evicted)
            .finish_non_exhaustive()
    }
}

/// Bugs that a model seeds to see itself fail; see `model.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// `tail` is stored without `Release`.
    Publish,
    /// The producer moves `head` without asking whether the consumer did.
    Evict,
    /// A larger buffer starts empty.
    Grow,
}

#[cfg(not(all(test, coulis_loom)))]
const fn seeded(_: Bug) -> bool {
    false
}

#[cfg(all(test, coulis_loom))]
use model::seeded;
