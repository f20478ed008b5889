//! Why a subscription gets an event, or does not.

use std::fmt;

use super::ControlPlane;
use crate::{
    event::Event,
    policy::{Constant, Explanation, Facts, Position, Problem},
    router,
    security::{RuleError, Rulebook},
    shard::{Old, Recipe, wants},
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
    /// It gets the event, as long as there is room.
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
            Self::Delivered => f.write_str("delivered"),
        }
    }
}

impl ControlPlane {
    /// See [`crate::engine::Engine::explain`].
    pub(crate) fn explain(&self, id: &str, reader: Option<u64>, event: &Event) -> Verdict {
        let book = self.rulebook();
        let judged =
            |shard| self.directory(shard).recipe(id, reader).map(|recipe| judge(&book, recipe, event));
        self.shard_ids().find_map(judged).unwrap_or(Verdict::NotFound)
    }
}

fn judge(book: &Rulebook, recipe: &Recipe, event: &Event) -> Verdict {
    let on = |name: &&(_, Box<str>)| *name.1 == *event.channel() || *name.1 == *router::ANY;
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
