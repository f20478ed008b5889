//! What a shard notes and a reader looks at, under the model checker.

use std::sync::Arc;

use super::{Address, Loss, Losses, Offset, Ordering};
use crate::sync::{model::proves, thread};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    /// The news comes before what is new.
    News,
    /// The frame comes before the offset that covers it.
    Frame,
}

/// The offset of each lost frame of subscription 1, by its sequence; the second is behind the first.
const OFFSETS: [u64; 4] = [0, 5, 3, 9];

/// `Losses::note`, or what a twin makes of it.
fn note(losses: &Losses, sequence: u32, bug: Option<Bug>) {
    let (address, offset) =
        (Address { subscription: 1, sequence, limited: false }, OFFSETS[sequence as usize]);
    let cell = || &losses.cells.get().expect("made by the first note")[0][Loss::Evicted as usize];
    match bug {
        None => losses.note(Loss::Evicted, 0, address, Offset(offset)),
        Some(Bug::News) => {
            losses.news.store(true, Ordering::Release);
            cell().offset.store(offset, Ordering::Relaxed);
            cell().address.store(address.to_bits(), Ordering::Release);
        }
        Some(Bug::Frame) => {
            cell().address.store(address.to_bits(), Ordering::Release);
            cell().offset.store(offset, Ordering::Relaxed);
            losses.news.store(true, Ordering::Release);
        }
    }
}

#[test]
fn loom_a_lost_frame_is_told_with_an_offset_that_covers_it() {
    proves(100, &[Bug::News, Bug::Frame], |bug| {
        let losses = Arc::new(Losses::new(1));
        let shard = {
            let losses = Arc::clone(&losses);
            thread::spawn(move || {
                note(&losses, 1, None);
                note(&losses, 2, None);
                note(&losses, 3, bug);
            })
        };
        let mut last = 0;
        let mut look = || {
            losses.look(|_, address, Offset(offset)| {
                let sequence = address.sequence as usize;
                assert!(sequence > 0, "news of nothing");
                assert!(sequence >= last, "frame {sequence} after frame {last}");
                last = sequence;
                let highest = OFFSETS[..=sequence].iter().max();
                assert!(Some(&offset) >= highest, "frame {sequence} with offset {offset}");
            });
        };
        look();
        look();
        shard.join().unwrap();
        look();
        assert_eq!(last, 3, "a loss that nobody was told of");
    });
}
