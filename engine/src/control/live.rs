//! What changes while subscriptions live: rules, contexts, revocations. Each is one snapshot a shard.

use std::sync::Arc;

use super::{
    ControlPlane, Seat,
    catalogue::{self, Catalogue, Renewed},
};
use crate::{
    id::ShardId,
    link::End,
    plan::Projection,
    policy::{Constant, Predicate},
    security::{RuleError, Rulebook, Rules, SecurityContext},
    shard::{Directory, Judged, Key, Terms},
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

    /// Whether those rules and that schema hold now.
    pub(super) fn judges_by(&self, book: &Arc<Rulebook>, catalogue: &Arc<Catalogue>) -> bool {
        Arc::ptr_eq(catalogue, &self.catalogue.load()) && Arc::ptr_eq(book, &self.rulebook.load())
    }

    /// Ends the subscriptions of contexts that `which` holds for. Answers how many.
    pub(crate) fn revoke(&self, which: &dyn Fn(&SecurityContext) -> bool) -> usize {
        let end = |shard| {
            let mut directory = self.directory(shard);
            let keys = directory.which(|_, recipe| which(&recipe.context));
            self.give_quotas(&directory, keys.iter().copied());
            let count = directory.remove(shard, keys.iter().copied());
            self.of_readers(shard).subscriptions.sub(count);
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
        let constant = context.map(|context| context.constant());
        let mut directory = self.directory(shard);
        // Looked up under the lock: who comes last judges by what holds last.
        let (book, catalogue) = (self.rulebook(), self.catalogue());
        let keys = directory.which(|key, _| which(key));
        let before = self.contexts_of(&directory, &keys);
        let ending = directory.rejudge(&keys, |recipe| {
            let own = || recipe.context.constant();
            let terms = &recipe.terms;
            let predicates = predicates(&book, terms, &constant.clone().unwrap_or_else(own))?;
            let projection = context.map(|context| self.readable(&catalogue, &book, terms, context));
            let (context, projection) = (context.cloned(), projection.transpose()?);
            Ok(Judged { predicates, context, projection, terms: None })
        });
        for (key, before) in before {
            if let Some((_, now)) = directory.contexts([key].into_iter()).next() {
                self.move_quota(&before, now, key.0);
            }
        }
        if let Some(context) = context {
            directory.members(&keys).for_each(|member| self.meter(shard, member, context));
        }
        self.end_all(shard, &mut directory, &ending)
    }

    /// Has subscriptions judged under another schema than that of their registration.
    pub(super) fn renew(&self, shard: ShardId, which: impl Fn((u64, u32)) -> bool) -> usize {
        let mut directory = self.directory(shard);
        let (book, catalogue) = (self.rulebook(), self.catalogue());
        let keys = directory.which(|key, _| which(key));
        let mut renewed = Renewed::default();
        let ending = directory.rejudge(&keys, |recipe| {
            let terms = renewed.terms(&catalogue, recipe, &self.limits)?;
            let predicates = predicates(&book, &terms, &recipe.context.constant())?;
            let projection = Some(self.readable(&catalogue, &book, &terms, &recipe.context)?);
            Ok(Judged { predicates, context: None, projection, terms: Some(terms) })
        });
        self.end_all(shard, &mut directory, &ending)
    }

    /// The contexts of subscriptions before they are judged, where their users' things are counted.
    fn contexts_of(&self, directory: &Directory, keys: &[Key]) -> Vec<(Key, Arc<SecurityContext>)> {
        let keys = keys.iter().copied().filter(|_| self.has_quotas());
        directory.contexts(keys).map(|(key, context)| (key, Arc::clone(context))).collect()
    }

    /// What a reader may read of what it selected, if it may ask for it at all.
    fn readable(
        &self,
        catalogue: &Catalogue,
        book: &Rulebook,
        terms: &Terms,
        context: &SecurityContext,
    ) -> Result<Arc<Projection>, End> {
        self.check_variables(&terms.asked, context).map_err(|variable| foreign(&variable))?;
        if let Some(field) =
            catalogue.hidden_from(book, &terms.asked, context).map_err(|error| unjudged(&error))?
        {
            return Err(catalogue::hidden(&field));
        }
        catalogue.gate.project(&terms.projection, context).map_err(catalogue::refused)
    }

    /// Takes subscriptions that may not be any more out of the index, and tells their readers. Answers how many.
    fn end_all(&self, shard: ShardId, directory: &mut Directory, ending: &[((u64, u32), End)]) -> usize {
        self.give_quotas(directory, ending.iter().map(|(key, _)| *key));
        let count = directory.remove(shard, ending.iter().map(|(key, _)| *key));
        self.of_readers(shard).subscriptions.sub(count);
        for (key, end) in ending {
            directory.tell(*key, end.clone());
        }
        ending.len()
    }
}

fn predicates(book: &Rulebook, terms: &Terms, context: &Constant) -> Result<Vec<Predicate>, End> {
    let Terms { channels, asked, .. } = terms;
    channels
        .iter()
        .map(|(_, name)| book.predicate(name, asked, context).map_err(|error| unjudged(&error)))
        .collect()
}

fn foreign(variable: &str) -> End {
    End::Refused("FORBIDDEN_VARIABLE", format!("`{variable}` names another than you").into())
}

fn unjudged(error: &RuleError) -> End {
    End::Refused("POLICY_REFUSED", error.to_string().into())
}
