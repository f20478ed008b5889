//! Items that are worked on together: the memory of all is asked for before the first is looked at, so that it comes
//! at the same time.
//!
//! Where few of very many subscriptions want an event, each of them lies somewhere else in memory, and a delivery is
//! a chain of cache misses: group, reader, ring. Asked for side by side they cost what the longest costs (as in the
//! group prefetching of Chen, Ailamaki, Gibbons and Mowry, ICDE 2004, doi:10.1109/ICDE.2004.1319989).

/// As many as a core fetches at the same time, and a few more.
const ITEMS: usize = 16;

/// See the module's documentation.
pub(super) struct Window<T> {
    items: [Option<T>; ITEMS],
    len: usize,
}

impl<T: Copy> Window<T> {
    pub(super) fn new() -> Self {
        Self { items: [None; ITEMS], len: 0 }
    }

    /// Puts an item at the end; answers whether the window is full now, and to be taken.
    #[inline]
    pub(super) fn put(&mut self, item: T) -> bool {
        self.items[self.len] = Some(item);
        self.len += 1;
        self.len == ITEMS
    }

    /// What was put since the last time.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + Clone + use<'_, T> {
        let len = std::mem::take(&mut self.len);
        self.items[..len].iter().copied().flatten()
    }
}
