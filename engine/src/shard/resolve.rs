//! The detour of step 7: a result that the host language makes, off the shard's thread.
//!
//! The shard hands a [`Job`] over and goes on. The answer comes back through the same shard's inbox, so a ring keeps
//! one producer; answers that come out of order wait for the earlier ones, so a subscription keeps its order.

use std::{collections::VecDeque, fmt, sync::Arc};

use super::{
    facts::Image,
    group::Group,
    inbox::{Control, Inbox},
    receipt::Hold,
    render::Resolver,
};
use crate::{
    event::{Event, Stamped},
    value::Value,
};

/// Makes results in the host language.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// Takes a job over. This runs on a shard's thread: it must not wait and must not run the user's code.
    ///
    /// # Errors
    /// The job, if it cannot be taken now: its deliveries are lost, counted as failed and told to their readers.
    fn resolve(&self, job: Job) -> Result<(), Job>;

    /// Whether a blocking publish returns without waiting for these results.
    fn is_async(&self) -> bool;
}

/// One result to be made: for one event and all the subscriptions that share it.
pub struct Job {
    event: Arc<Stamped>,
    resolver: Resolver,
    /// `None` once answered.
    reply: Option<Reply>,
}

struct Reply {
    inbox: Inbox,
    render: u64,
    ticket: u64,
}

impl Job {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event.event
    }

    /// The subscription's coerced variables, an object.
    pub fn variables(&self) -> &Value {
        &self.resolver.variables
    }

    /// The id of the first of the subscriptions that share the result.
    pub fn subscription(&self) -> &str {
        &self.resolver.subscription
    }

    /// Answers with the result as JSON text, or with a message that the client may see. Never waits.
    pub fn answer(mut self, result: Result<Vec<u8>, String>) {
        self.reply_with(result);
    }

    fn reply_with(&mut self, result: Result<Vec<u8>, String>) {
        if let Some(Reply { inbox, render, ticket }) = self.reply.take() {
            inbox.control_later(Control::Answer(Answer { render, ticket, result }));
            inbox.run(|| false);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.reply_with(Err("the resolver gave no answer".into()));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("event", &self.event).finish_non_exhaustive()
    }
}

/// A result on its way back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The serial of the render that asked.
    pub(crate) render: u64,
    ticket: u64,
    result: Result<Vec<u8>, String>,
}

/// What a delivery is made of.
#[derive(Debug)]
pub(super) enum Made {
    /// What the resolver answered.
    Answer(Result<Vec<u8>, String>),
    /// Nobody was asked: what could be seen before is gone.
    Tombstone,
}

/// Deliveries that wait for a result.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) event: Arc<Stamped>,
    /// The groups that were admitted when the event was dispatched.
    pub(super) groups: Vec<Arc<Group>>,
    /// `None` until it comes.
    pub(super) result: Option<Made>,
    pub(super) hold: Option<Hold>,
}

/// What one render has asked for, in the order of the events.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The ticket of the first of `queue`.
    first: u64,
    queue: VecDeque<Pending>,
}

/// The resolver cannot take more.
#[derive(Debug)]
pub(super) struct Overloaded;

impl Asked {
    /// Adds `group` to the event's pending result, if it was asked for already.
    pub(super) fn join(&mut self, group: &Arc<Group>, event: &Arc<Stamped>, image: Image) -> bool {
        let is_same = |last: &&mut Pending| {
            let is_tombstone = matches!(last.result, Some(Made::Tombstone));
            Arc::ptr_eq(&last.event, event) && is_tombstone == (image == Image::Old)
        };
        let Some(last) = self.queue.back_mut().filter(is_same) else { return false };
        last.groups.push(Arc::clone(group));
        true
    }

    /// Adds a tombstone behind what waits. Answers what can be delivered now.
    pub(super) fn tombstone(
        &mut self,
        group: &Arc<Group>,
        event: &Arc<Stamped>,
        hold: Option<&Hold>,
        max: usize,
    ) -> Result<Vec<Pending>, Overloaded> {
        if !self.queue.is_empty() && self.queue.len() >= max {
            return Err(Overloaded);
        }
        let is_async = group.render.resolver.as_ref().is_some_and(|resolver| resolver.resolve.is_async());
        let hold = hold.map(|hold| if is_async { hold.asynchronous() } else { hold.clone() });
        let (event, groups) = (Arc::clone(event), vec![Arc::clone(group)]);
        self.queue.push_back(Pending { event, groups, result: Some(Made::Tombstone), hold });
        Ok(self.ready())
    }

    /// Asks the resolver for the event's result.
    pub(super) fn ask(
        &mut self,
        group: &Arc<Group>,
        event: &Arc<Stamped>,
        hold: Option<&Hold>,
        inbox: &Inbox,
        max: usize,
    ) -> Result<(), Overloaded> {
        let Some(resolver) = group.render.resolver.clone().filter(|_| self.queue.len() < max) else {
            return Err(Overloaded);
        };
        let (resolve, ticket) = (Arc::clone(&resolver.resolve), self.first + self.queue.len() as u64);
        let reply = Some(Reply { inbox: inbox.clone(), render: group.render.serial, ticket });
        if let Err(mut job) = resolve.resolve(Job { event: Arc::clone(event), resolver, reply }) {
            job.reply = None;
            return Err(Overloaded);
        }
        let hold = hold.map(|hold| if resolve.is_async() { hold.asynchronous() } else { hold.clone() });
        let (event, groups) = (Arc::clone(event), vec![Arc::clone(group)]);
        self.queue.push_back(Pending { event, groups, result: None, hold });
        Ok(())
    }

    /// Takes an answer in, and gives out what can be delivered now: nothing that waits for an earlier answer.
    pub(super) fn settle(&mut self, answer: Answer) -> Vec<Pending> {
        let at = answer.ticket.wrapping_sub(self.first) as usize;
        if let Some(pending) = self.queue.get_mut(at) {
            pending.result = Some(Made::Answer(answer.result));
        }
        self.ready()
    }

    fn ready(&mut self) -> Vec<Pending> {
        let ready = self.queue.iter().take_while(|pending| pending.result.is_some()).count();
        self.first += ready as u64;
        self.queue.drain(..ready).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Everything that waits, when no answer can come any more.
    pub(super) fn abandon(self) -> VecDeque<Pending> {
        self.queue
    }
}
