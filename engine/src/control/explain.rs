//! Why a subscription gets an event, or does not.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::ControlPlane;
use crate::{
    cursor::At,
    event::{Event, Stamped},
    id::{ANY, ShardId},
    overflow::Overflow,
    policy::{Constant, Explanation, Facts, Position, Problem},
    security::{RuleError, Rulebook},
    shard::{
        Old, Recipe,
        inbox::Control,
        log::Reload,
        question::{Asker, Obstacle, Question},
        receipt::Receipt,
        wants,
    },
};

/// What becomes of an event for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no such subscription.
    NotFound,
    /// It is on other channels.
    Channel(Vec<Box<str>>),
    /// It wants other types of events.
    Type(Vec<Box<str>>),
    /// A policy does not let it through.
    Denied {
        /// Which policy.
        rule: Box<str>,
        /// Where its clause stands; line 0 for isolation, which has no text.
        at: Position,
        /// Why the clause has no answer; `None`: it is false.
        problem: Option<Problem>,
    },
    /// It is told that something that it could see is gone.
    Tombstone,
    /// It has failed too often and ends as soon as its reader looks.
    Breaker,
    /// It may see the event, and there is no token for one more result: of the `subscription`, its `connection`, its
    /// `user` or its `tenant`. None was taken.
    Rate(&'static str),
    /// It may see the event, but its reader's ring is full.
    Ring {
        /// Frames that wait.
        waiting: usize,
        /// What happens then.
        overflow: Overflow,
    },
    /// It gets the event.
    Delivered,
}

impl Verdict {
    /// A stable word for the step that decided.
    pub fn step(&self) -> &'static str {
        match self {
            Self::NotFound => "subscription",
            Self::Channel(_) => "channel",
            Self::Type(_) => "event_type",
            Self::Denied { .. } => "policy",
            Self::Tombstone => "tombstone",
            Self::Breaker => "breaker",
            Self::Rate(_) => "rate",
            Self::Ring { .. } => "ring",
            Self::Delivered => "delivered",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such subscription"),
            Self::Channel(channels) => write!(f, "it is on the channels {}", channels.join(", ")),
            Self::Type(types) => write!(f, "it wants the event types {}", types.join(", ")),
            Self::Denied { rule, at, problem } => {
                write!(f, "denied by {rule}")?;
                if at.line > 0 {
                    write!(f, " at {}:{}", at.line, at.column)?;
                }
                problem.map_or(Ok(()), |problem| write!(f, ": {problem}"))
            }
            Self::Tombstone => f.write_str("it could see what was before and is told that it is gone"),
            Self::Breaker => f.write_str("its policy or its resolver failed too often: it ends"),
            Self::Rate(of) => write!(f, "the rate of its {of} lets no more results through now"),
            Self::Ring { waiting, overflow } => {
                write!(f, "its reader's ring is full, {waiting} frames wait: {overflow}")
            }
            Self::Delivered => f.write_str("delivered"),
        }
    }
}

impl ControlPlane {
    /// See [`crate::engine::Engine::explain`].
    pub(crate) fn explain(&self, id: &str, reader: Option<u64>, event: &Event) -> Verdict {
        let book = self.rulebook();
        let judged = |shard| {
            let directory = self.directory(shard);
            let (recipe, member, overflow) = directory.named(id, reader)?;
            Some((judge(&book, recipe, event), shard, member, overflow))
        };
        match self.shard_ids().find_map(judged) {
            None => Verdict::NotFound,
            Some((verdict @ (Verdict::Delivered | Verdict::Tombstone), shard, member, overflow)) => {
                let way = self.ask(shard, |asker| Question::Way(member, asker)).flatten();
                match way {
                    None => verdict,
                    Some(Obstacle::Breaker) => Verdict::Breaker,
                    Some(Obstacle::Rate(of)) => Verdict::Rate(of),
                    Some(Obstacle::Ring(waiting)) => Verdict::Ring { waiting, overflow },
                }
            }
            Some((verdict, ..)) => verdict,
        }
    }

    /// See [`crate::engine::Engine::explain_recorded`].
    pub(crate) fn recorded(&self, channel: &str, at: At) -> Result<Arc<Stamped>, Reload> {
        let channel = self.router.find(channel).ok_or(Reload::Future)?;
        // Who does not answer has no log any more.
        self.ask(channel.home, |asker| Question::Event(channel.id, at, asker)).unwrap_or(Err(Reload::Epoch))
    }

    /// Asks a shard and waits for the answer; `None` if the engine is closed or the shard is lost.
    fn ask<T>(&self, shard: ShardId, question: impl FnOnce(Asker<T>) -> Question) -> Option<T> {
        let _under_way = self.enter()?;
        let (receipt, hold) = Receipt::new(0);
        let answer = Arc::new(OnceLock::new());
        let inbox = self.inbox(shard);
        inbox.control(Control::Ask(question(Asker { answer: Arc::clone(&answer), hold })));
        receipt.wait();
        Arc::into_inner(answer)?.into_inner()
    }
}

fn judge(book: &Rulebook, recipe: &Recipe, event: &Event) -> Verdict {
    let on = |name: &&(_, Box<str>)| *name.1 == *event.channel() || *name.1 == *ANY;
    let names = |names: &mut dyn Iterator<Item = &Box<str>>| names.cloned().collect();
    let terms = &*recipe.terms;
    let Some((_, channel)) = terms.channels.iter().find(on) else {
        return Verdict::Channel(names(&mut terms.channels.iter().map(|(_, name)| name)));
    };
    if !wants(&terms.events, event.event_type()) {
        return Verdict::Type(names(&mut terms.events.iter()));
    }
    let context = recipe.context.constant();
    let old = Old::of(event).map(|old| denied(book, channel, recipe, &context, &old));
    let new = if event.is_deletion() { None } else { Some(denied(book, channel, recipe, &context, event)) };
    match (new, old) {
        (Some(None), _) => Verdict::Delivered,
        (_, Some(None)) => Verdict::Tombstone,
        (Some(Some(denied)), _) | (None, Some(Some(denied))) => denied,
        (None, None) => {
            let problem = Some(Problem::NoSuchKey);
            Verdict::Denied {
                rule: "a deletion without what was before".into(),
                at: Position::default(),
                problem,
            }
        }
    }
}

fn denied(
    book: &Rulebook,
    channel: &str,
    recipe: &Recipe,
    context: &Constant,
    facts: &impl Facts,
) -> Option<Verdict> {
    match book.explain(channel, &recipe.terms.asked, context, facts) {
        Ok(found) => found.map(|(rule, Explanation { at, problem })| Verdict::Denied { rule, at, problem }),
        Err(RuleError { rule, error }) => Some(Verdict::Denied { rule, at: error.at, problem: None }),
    }
}
