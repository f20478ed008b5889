//! Following a carrier of events, where they are handed to their channels' homes with its offsets.

use std::{sync::atomic::Ordering, time::Duration};

use super::{ControlPlane, PublishManyError};
use crate::{
    cursor::Epoch,
    event::Event,
    id::Offset,
    shard::{
        carried::{Follow, Missed},
        inbox::{Carried, Control, Inbox, Publish},
        receipt::{Hold, Receipt},
    },
};

impl ControlPlane {
    /// Begins to follow a carrier, or goes on after what it lost; waits until all shards have done so.
    pub(crate) fn follow(&self, epoch: Epoch, start: Offset, missed: Option<Missed>) {
        if let Some(begun) = self.begin_to_follow(epoch, start, missed) {
            begun.wait();
        }
    }

    /// The same without the wait; `None` if the engine is closed.
    pub(crate) fn begin_to_follow(
        &self,
        epoch: Epoch,
        start: Offset,
        missed: Option<Missed>,
    ) -> Option<Receipt> {
        let _under_way = self.enter()?;
        self.follows.store(true, Ordering::Relaxed);
        self.reached.store(start.0, Ordering::Relaxed);
        let (receipt, hold) = Receipt::new(0);
        for shard in &self.shards {
            shard.inbox.control(Control::Follow(Follow { epoch, start, missed, hold: hold.clone() }));
        }
        Some(receipt)
    }

    /// Whether what [`ControlPlane::carry`] brings is for the logs alone.
    pub(crate) fn set_recalling(&self, recalling: bool) {
        self.recalling.store(recalling, Ordering::Release);
    }

    /// Hands events of a carrier to their channels' homes; waits up to `wait` for room. An event on a channel
    /// that cannot be is left out and counted.
    pub(crate) fn carry(
        &self,
        events: Vec<(Offset, Event, Hold)>,
        wait: Duration,
    ) -> Result<Vec<&Inbox>, PublishManyError> {
        let Some(_under_way) = self.enter() else { return Err(PublishManyError::Closed) };
        let recalled = self.recalling.load(Ordering::Acquire);
        let mut publishes = Vec::with_capacity(events.len());
        for (offset, event, hold) in events {
            self.reached.store(offset.0, Ordering::Relaxed);
            match self.channel_of(&event) {
                Ok(channel) => {
                    let carried = Some(Carried { offset, recalled });
                    publishes.push(Publish { channel, event, carried, hold: Some(hold) });
                }
                Err(_) => _ = self.counters.refused_events.add(1),
            }
        }
        // What a shard that is lost should have got is told to be so; the others go on.
        self.hand_over(publishes, wait).map(|(homes, _)| homes)
    }
}
