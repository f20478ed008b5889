//! Following a carrier of events: the verbs of who feeds an engine from outside.

use std::time::Duration;

use super::{Engine, Missed, PublishManyError, RECEIPT_SPINS, Receipt};
use crate::{cursor::Epoch, event::Event, id::Offset};

impl Engine {
    /// Takes events from a carrier from here on: what comes next comes after `start` of `epoch`, an incarnation of the
    /// carrier's history that all nodes know by this name. With `missed`, each subscription is told in-band that it may
    /// lack events. Cursors are positions of the carrier then, and hold on every node that follows it.
    ///
    /// Called before the first event, and whenever the carrier's history does not go on where it was; not while
    /// [`Engine::carry`] is under way. Then only the carrier brings events: [`PublishError::Follows`](super::PublishError::Follows).
    pub fn follow(&self, epoch: Epoch, start: Offset, missed: Option<Missed>) {
        self.0.plane.follow(epoch, start, missed);
    }

    /// The same, and what [`Engine::carry`] brings up to [`Engine::recalled`] was published before: it is kept to be resumed
    /// from, and no subscription gets it. Nobody can resume meanwhile.
    pub fn recall(&self, epoch: Epoch, start: Offset, missed: Option<Missed>) {
        self.0.plane.set_recalling(true);
        self.0.plane.follow(epoch, start, missed);
    }

    /// What comes from now on is live. Called when the receipts of what was recalled are dispatched.
    pub fn recalled(&self) {
        self.0.plane.set_recalling(false);
    }

    /// Takes a carrier's events, with the offsets that it gave them, each above the last; an event that was brought
    /// before is left out. Waits for room as long as it takes, so that no number of events is too large: this is how an
    /// engine that is behind slows its carrier. Answers a receipt for each event.
    ///
    /// # Errors
    /// `Closed`.
    pub fn carry(&self, events: Vec<(Offset, Event)>) -> Result<Vec<Receipt>, PublishManyError> {
        let (receipts, holds): (Vec<_>, Vec<_>) = events.iter().map(|_| Receipt::new(RECEIPT_SPINS)).unzip();
        let mut events = events.into_iter().zip(holds).map(|((offset, event), hold)| (offset, event, hold));
        let at_once = self.limits().inbox_commands_max;
        for part in receipts.chunks(at_once) {
            let homes = self.0.plane.carry(events.by_ref().take(at_once).collect(), Duration::MAX)?;
            for home in homes {
                home.run(|| part.iter().rev().all(Receipt::is_dispatched));
            }
        }
        Ok(receipts)
    }
}
