//! What changes while subscriptions live: rules, contexts, revocations. Each is one snapshot a shard.

use std::sync::Arc;

use super::{ControlPlane, Seat};
use crate::{
    id::ShardId,
    link::End,
    plan::{Projection, Refused},
    policy::{Constant, Predicate},
    security::{RuleError, Rulebook, Rules, SecurityContext},
    shard::{Judged, Recipe, Terms},
};

impl ControlPlane {
    /// The time, in seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        (self.clock.0)()
    }

    /// The rules that hold now.
    pub(crate) fn rulebook(&self) -> Arc<Rulebook> {
        self.rulebook.load_full()
    }

    /// Replaces the rules, and has every subscription judged by the new ones.
    pub(crate) fn reload(&self, rules: Rules) -> Result<usize, RuleError> {
        // Set first: a registration that is under way sees this afterwards, or is seen by the judging.
        self.rulebook.store(Arc::new(Rulebook::new(rules, &self.limits)?));
        Ok(self.shard_ids().map(|shard| self.rejudge(shard, |_| true, None)).sum())
    }

    /// Has a reader's subscriptions judged for a new context.
    pub(crate) fn refresh(&self, Seat { shard, serial, .. }: Seat, context: SecurityContext) -> usize {
        self.rejudge(shard, |(reader, _)| reader == serial, Some(&Arc::new(context)))
    }

    /// A subscription that was judged by other rules than those that hold now is judged again.
    pub(crate) fn judged_by(&self, book: &Arc<Rulebook>, Seat { shard, serial, .. }: Seat, number: u32) {
        if !Arc::ptr_eq(book, &self.rulebook.load()) {
            self.rejudge(shard, |key| key == (serial, number), None);
        }
    }

    /// Ends the subscriptions of contexts that `which` holds for. Answers how many.
    pub(crate) fn revoke(&self, which: &dyn Fn(&SecurityContext) -> bool) -> usize {
        let end = |shard| {
            let mut directory = self.directory(shard);
            let keys = directory.which(|_, recipe| which(&recipe.context));
            let count = directory.remove(shard, keys.iter().copied());
            self.counters.subscriptions.sub(count);
            for key in &keys {
                directory.tell(*key, End::Revoked);
            }
            keys.len()
        };
        self.shard_ids().map(end).sum()
    }

    pub(super) fn shard_ids(&self) -> impl Iterator<Item = ShardId> {
        (0..self.shards.len()).map(|shard| ShardId(shard as u16))
    }

    fn rejudge(
        &self,
        shard: ShardId,
        which: impl Fn((u64, u32)) -> bool,
        context: Option<&Arc<SecurityContext>>,
    ) -> usize {
        let book = self.rulebook();
        let constant = context.map(|context| context.constant());
        let mut directory = self.directory(shard);
        let keys = directory.which(|key, _| which(key));
        let ending: Vec<(_, End)> = directory.rejudge(&keys, |recipe| {
            let own = || recipe.context.constant();
            let predicates = predicates(&book, recipe, &constant.clone().unwrap_or_else(own))?;
            let readable = context.map(|context| Ok((Arc::clone(context), self.readable(recipe, context)?)));
            Ok(Judged { predicates, context: readable.transpose()? })
        });
        if let Some(context) = context {
            directory.members(&keys).for_each(|member| self.meter(shard, member, context));
        }
        let count = directory.remove(shard, ending.iter().map(|(key, _)| *key));
        self.counters.subscriptions.sub(count);
        for (key, end) in &ending {
            directory.tell(*key, end.clone());
        }
        ending.len()
    }

    /// What a reader with a new context may read of what it selected.
    fn readable(&self, recipe: &Recipe, context: &SecurityContext) -> Result<Arc<Projection>, End> {
        let refused = |refused| match refused {
            Refused::Field(field) => {
                End::Refused("FORBIDDEN_FIELD", format!("`{field}` may not be read any more").into())
            }
            Refused::Limit(error) => End::Refused(error.code, error.message.into()),
        };
        self.gate.project(&recipe.terms.projection, context).map_err(refused)
    }
}

fn predicates(book: &Rulebook, recipe: &Recipe, context: &Constant) -> Result<Vec<Predicate>, End> {
    let Terms { channels, asked, .. } = &*recipe.terms;
    let refused = |error: RuleError| End::Refused("POLICY_REFUSED", error.to_string().into());
    channels.iter().map(|(_, name)| book.predicate(name, asked, context).map_err(refused)).collect()
}
