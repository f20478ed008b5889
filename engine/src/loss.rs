//! What a shard took back from a reader's ring: for each subscription the last frame that is lost.
//!
//! Why beside the ring: a subscription whose last frames were taken back has no later frame that could show the
//! hole. The ring is first in, first out, so once frame `s` of a subscription was taken back, every frame up to `s`
//! has left the ring: a reader that has read up to `q < s` has lost exactly `s - q` of them, whenever it looks.
//! Nobody has to be asked, so this holds after the shard is gone, too.

use std::{fmt, sync::OnceLock};

use crate::{
    frame::Address,
    id::Offset,
    sync::{AtomicBool, AtomicU64, Ordering},
};

/// The last frame that a subscription lost, and an offset that no loss up to it exceeds.
#[derive(Debug, Default)]
struct Cell {
    address: AtomicU64,
    offset: AtomicU64,
}

/// One lane's losses: frames that were taken back, and frames that were refused.
type Cells = [Cell; 2];

/// How a frame was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was taken back: every earlier frame has left the ring, too.
    Evicted,
    /// It found no room: earlier frames may still wait in the ring.
    Refused,
}

/// One reader's losses; its shard writes, the reader reads.
pub(crate) struct Losses {
    /// Something was noted since the reader looked.
    news: AtomicBool,
    /// By lane; made at the first loss, so that a reader that keeps up costs nothing.
    cells: OnceLock<Box<[Cells]>>,
    lanes_max: usize,
}

impl Losses {
    /// For a reader with lanes `0..lanes_max`.
    pub(crate) fn new(lanes_max: usize) -> Self {
        Self { news: AtomicBool::new(false), cells: OnceLock::new(), lanes_max }
    }

    /// The shard's side, after a frame was lost. The reader is woken after this.
    pub(crate) fn note(&self, loss: Loss, lane: usize, address: Address, Offset(offset): Offset) {
        let cells = self.cells.get_or_init(|| (0..self.lanes_max).map(|_| Cells::default()).collect());
        let Some(cell) = cells.get(lane).map(|cells| &cells[loss as usize]) else { return };
        let before = Address::from_bits(cell.address.load(Ordering::Relaxed));
        let known = cell.offset.load(Ordering::Relaxed);
        let highest = if before.subscription == address.subscription { known.max(offset) } else { offset };
        // The offset first: who sees the frame sees an offset that covers it.
        cell.offset.store(highest, Ordering::Relaxed);
        cell.address.store(address.to_bits(), Ordering::Release);
        self.news.store(true, Ordering::Release);
    }

    /// The reader's side: the last loss of each subscription, if there were losses since the last look.
    pub(crate) fn look(&self, mut each: impl FnMut(Loss, Address, Offset)) {
        if !self.news.load(Ordering::Relaxed) || !self.news.swap(false, Ordering::AcqRel) {
            return;
        }
        for cells in self.cells.get().into_iter().flatten() {
            for (cell, loss) in cells.iter().zip([Loss::Evicted, Loss::Refused]) {
                let address = Address::from_bits(cell.address.load(Ordering::Acquire));
                if address.subscription > 0 {
                    each(loss, address, Offset(cell.offset.load(Ordering::Relaxed)));
                }
            }
        }
    }
}

impl fmt::Debug for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Losses").field("news", &self.news).finish_non_exhaustive()
    }
}

#[cfg(all(test, coulis_loom))]
mod model;

#[cfg(all(test, not(coulis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_lane_keeps_its_last_loss_and_the_highest_offset() {
        let (losses, mut seen) = (Losses::new(2), Vec::new());
        losses.look(|_, _, _| panic!("no news"));
        let note = |loss, lane, subscription, sequence, offset| {
            let address = Address { subscription, sequence, limited: false };
            losses.note(loss, lane, address, Offset(offset));
        };
        note(Loss::Evicted, 0, 1, 1, 9);
        note(Loss::Evicted, 0, 1, 2, 4);
        note(Loss::Evicted, 1, 2, 1, 7);
        note(Loss::Evicted, 1, 3, 1, 5);
        note(Loss::Refused, 1, 3, 8, 8);
        losses.look(|loss, Address { subscription, sequence, .. }, offset| {
            seen.push((loss as usize, subscription, sequence, offset.0));
        });
        assert_eq!(seen, [(0, 1, 2, 9), (0, 3, 1, 5), (1, 3, 8, 8)]);
        losses.look(|_, _, _| panic!("no news since"));
    }
}
