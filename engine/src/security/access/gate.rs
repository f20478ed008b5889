//! Compiled rules: what they leave of a projection for a reader, made once for all readers with the same rights.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    AccessError, Otherwise, Rule,
    lookup::{Covered, Lookup},
    rule::is_name,
    types::Types,
};
use crate::{
    limits::GUARDED_PROJECTIONS_MAX,
    plan::{Guard, Hidden, Place, Projection, Refused, Schema, TYPE_NAME, Verdict},
    security::SecurityContext,
};

/// Rules that were held against a schema. It is shared freely.
#[derive(Debug, Default)]
pub struct Gate {
    rules: Box<[Rule]>,
    lookup: Lookup,
    deny_by_default: bool,
    schema: Option<Schema>,
    matters: papaya::HashMap<Arc<Projection>, Arc<Matters>, foldhash::fast::RandomState>,
    made: papaya::HashMap<Key, Made, foldhash::fast::RandomState>,
}

/// The rules that are about something in a projection: all else of a reader's rights makes no difference.
#[derive(Debug)]
struct Matters(Box<[usize]>);

/// The address of what matters, and which of that is met.
type Key = (usize, Box<[u64]>);

/// What became of a projection. What mattered lives as long, so that its address means nothing else.
#[derive(Clone, Debug)]
struct Made {
    result: Result<Arc<Projection>, Refused>,
    _matters: Arc<Matters>,
}

impl Gate {
    pub(super) fn new(
        rules: Vec<Rule>,
        deny_by_default: bool,
        schema: Option<&Schema>,
    ) -> Result<Self, AccessError> {
        let lookup = Lookup::new(&rules, schema)?;
        let (rules, schema) = (rules.into(), schema.cloned());
        Ok(Self { rules, lookup, deny_by_default, schema, ..Self::default() })
    }

    /// Whether a reader with these roles and scopes may read all of what `path` names: field names from the root field
    /// with dots between them, as in `users.email`. For filters: who filters by a field reads it.
    ///
    /// What is not a path of fields is not readable, nor is an object of which a part is hidden. Positions in lists
    /// (`users.0.email`) are passed over. O(rules); allocates.
    pub fn may_read(&self, path: &str, roles: &[Box<str>], scopes: &[Box<str>]) -> bool {
        if self.is_open() {
            return true;
        }
        let is_index = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let names: Vec<Box<str>> = path.split('.').filter(|name| !is_index(name)).map(Box::from).collect();
        if names.is_empty() || !names.iter().all(|name| is_name(name)) {
            return false;
        }
        let is_met = |rule: usize| self.rules[rule].is_met(roles, scopes);
        let mut sight = Sight { gate: self, is_met };
        let mut types = Types::root(self.schema.as_ref());
        for (depth, name) in names.iter().enumerate() {
            let Some(having) = types.having(name) else { return false };
            let place = Place { path: &names[..=depth], types: &having, inner: depth + 1 < names.len() };
            if sight.verdict(place) != Verdict::Whole {
                return false;
            }
            types = types.inside(name);
        }
        let whole = || !self.deny_by_default && self.lookup.of_types().all(is_met);
        (types.are_leaves() || whole()) && sight.is_open(&names)
    }

    /// How many projections are known, and how many were made of them.
    #[cfg(all(test, not(coulis_loom)))]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.matters.len(), self.made.len())
    }

    /// Whether everything may be read by everybody.
    /// Whether everybody may read everything.
    pub(crate) fn is_open(&self) -> bool {
        self.rules.is_empty() && !self.deny_by_default
    }

    /// What a reader gets in place of `projection`: an equal one for equal rights, made once.
    pub(crate) fn project(
        &self,
        projection: &Arc<Projection>,
        context: &SecurityContext,
    ) -> Result<Arc<Projection>, Refused> {
        if self.is_open() {
            return Ok(Arc::clone(projection));
        }
        let matters = self.matters(projection)?;
        let mut rights = vec![0_u64; matters.0.len().div_ceil(64)];
        for (position, &rule) in matters.0.iter().enumerate() {
            let is_met = self.rules[rule].is_met(&context.roles, &context.scopes);
            rights[position / 64] |= u64::from(is_met) << (position % 64);
        }
        let key = (Arc::as_ptr(&matters).addr(), rights.into_boxed_slice());
        let table = self.made.pin();
        if let Some(made) = table.get(&key) {
            return made.result.clone();
        }
        let result = self.make(projection, |rule| match matters.0.binary_search(&rule) {
            Ok(position) => key.1[position / 64] >> (position % 64) & 1 == 1,
            Err(_) => false,
        });
        // As with documents, where there are more all are forgotten and made anew.
        if table.len() >= GUARDED_PROJECTIONS_MAX {
            table.clear();
        }
        table.get_or_insert(key, Made { result, _matters: matters }).result.clone()
    }

    fn make(
        &self,
        projection: &Arc<Projection>,
        is_met: impl Fn(usize) -> bool,
    ) -> Result<Arc<Projection>, Refused> {
        let guarded = projection.guarded(self.root(), &mut Sight { gate: self, is_met })?;
        Ok(if guarded == **projection { Arc::clone(projection) } else { Arc::new(guarded) })
    }

    fn matters(&self, projection: &Arc<Projection>) -> Result<Arc<Matters>, Refused> {
        let table = self.matters.pin();
        if let Some(matters) = table.get(projection) {
            return Ok(Arc::clone(matters));
        }
        let mut found = Found { gate: self, rules: BTreeSet::new() };
        projection.guarded(self.root(), &mut found)?;
        let matters = Arc::new(Matters(found.rules.into_iter().collect()));
        if table.len() >= GUARDED_PROJECTIONS_MAX {
            table.clear();
        }
        Ok(Arc::clone(table.get_or_insert(Arc::clone(projection), matters)))
    }

    fn root(&self) -> Option<&str> {
        self.schema.as_ref().and_then(Schema::subscription)
    }

    fn denies_unless(&self, covered: Covered, place: Place<'_>) -> bool {
        let ruled = covered.by_path || covered.by_types;
        let typed = || place.path.last().is_some_and(|name| **name == *TYPE_NAME);
        let on_the_way = || {
            let mut below = false;
            self.lookup.below(place.path, |_| below = true);
            place.inner && below
        };
        self.deny_by_default && !ruled && !typed() && !on_the_way()
    }
}

/// The rules as one reader meets them.
struct Sight<'g, F> {
    gate: &'g Gate,
    is_met: F,
}

impl<F: Fn(usize) -> bool> Guard for Sight<'_, F> {
    fn verdict(&mut self, place: Place<'_>) -> Verdict {
        let mut verdict = Verdict::Whole;
        let covered = self.gate.lookup.about(place, |rule| {
            if !(self.is_met)(rule) {
                let left = self.gate.rules[rule].left();
                verdict = std::mem::replace(&mut verdict, Verdict::Whole).and(left);
            }
        });
        if self.gate.denies_unless(covered, place) { Verdict::None } else { verdict }
    }

    fn singles_out(&self, ty: &str, field: &str) -> bool {
        self.gate.lookup.singles_out(ty, field)
    }

    fn is_open(&mut self, path: &[Box<str>]) -> bool {
        let gate = self.gate;
        let mut open = !gate.deny_by_default || gate.schema.is_some();
        gate.lookup.all_below(path, |rule| open |= (self.is_met)(rule));
        gate.lookup.below(path, |rule| open &= (self.is_met)(rule));
        open
    }
}

/// Finds the rules about what a projection selects; it hides nothing.
struct Found<'g> {
    gate: &'g Gate,
    rules: BTreeSet<usize>,
}

impl Guard for Found<'_> {
    fn verdict(&mut self, place: Place<'_>) -> Verdict {
        self.gate.lookup.about(place, |rule| _ = self.rules.insert(rule));
        Verdict::Whole
    }

    fn singles_out(&self, ty: &str, field: &str) -> bool {
        self.gate.lookup.singles_out(ty, field)
    }

    fn is_open(&mut self, path: &[Box<str>]) -> bool {
        self.gate.lookup.below(path, |rule| _ = self.rules.insert(rule));
        true
    }
}

impl Rule {
    /// What is left of a field for who does not meet its rule.
    fn left(&self) -> Verdict {
        match self.otherwise.clone().unwrap_or_default() {
            Otherwise::Reject => Verdict::None,
            Otherwise::Mask => Verdict::Part(Hidden::Null),
            Otherwise::Replace(text) => Verdict::Part(Hidden::Text(text)),
            Otherwise::KeepLast(count) => Verdict::Part(Hidden::Last(count)),
        }
    }
}
