//! What an explanation asks of a shard that runs: it looks, and spends and changes nothing.

use std::sync::{Arc, OnceLock};

use super::{Reader, Shard, group::Member, log::Reload, receipt::Hold};
use crate::{
    cursor::At,
    event::Stamped,
    id::{ChannelId, Millis},
};

/// What one more frame of a subscription would meet now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// It has ended by its errors, and its reader has not looked yet.
    Breaker,
    /// No token in the bucket of this.
    Rate(&'static str),
    /// The reader's ring is full; so many frames wait.
    Ring(usize),
}

/// Where an answer is put; the hold is dropped when it is there, or never will be.
#[derive(Debug)]
pub(crate) struct Asker<T> {
    pub(crate) answer: Arc<OnceLock<T>>,
    pub(crate) hold: Hold,
}

impl<T> Asker<T> {
    fn tell(self, value: T) {
        let Self { answer, hold } = self;
        // Asked once, so nothing is there yet.
        let _first = answer.set(value);
        // The asker takes the answer out as soon as it wakes: it is the only one then.
        drop(answer);
        drop(hold);
    }
}

/// An explanation's question.
#[derive(Debug)]
pub(crate) enum Question {
    /// What a frame of this member would meet; to its reader's shard.
    Way(Member, Asker<Option<Obstacle>>),
    /// An event of a channel; to its channel's home.
    Event(ChannelId, At, Asker<Result<Arc<Stamped>, Reload>>),
}

impl Shard {
    pub(super) fn reply(&mut self, question: Question) {
        match question {
            Question::Way(member, asker) => {
                let reader = Reader::of(&mut self.readers, &member);
                asker.tell(reader.and_then(|reader| reader.obstacle(&member, self.now)));
            }
            Question::Event(channel, at, asker) => asker.tell(self.logs.at(channel, at, self.now)),
        }
    }
}

impl Reader {
    /// What a frame for `member` would meet, in the order of its way.
    fn obstacle(&mut self, member: &Member, now: Millis) -> Option<Obstacle> {
        if self.is_broken(member) {
            return Some(Obstacle::Breaker);
        }
        if let Some(bucket) = self.empty_bucket(member, now) {
            return Some(Obstacle::Rate(bucket));
        }
        self.waiting_if_full().map(Obstacle::Ring)
    }
}
