//! Which rules are about a field: by its types, and by its path.

use std::collections::HashMap;

use super::{
    AccessError,
    rule::{Rule, Segment, Target},
    types::Types,
};
use crate::plan::{Place, Schema, TYPE_NAME};

/// The rules of a gate by what they are about; a rule is its number.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// By object type: the field, or all, and the rule.
    types: HashMap<Box<str>, Vec<(Segment, usize)>>,
    paths: Vec<(Box<[Segment]>, usize)>,
}

/// How the rules about a field cover it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Covered {
    pub(super) by_path: bool,
    pub(super) by_types: bool,
}

impl Lookup {
    pub(super) fn new(rules: &[Rule], schema: Option<&Schema>) -> Result<Self, AccessError> {
        let mut lookup = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            rule.check()?;
            let segments = rule.target.segments()?;
            if rule.target.is_type() {
                lookup.add_type(&rule.target, &segments, number, schema)?;
            } else {
                if schema.is_some_and(|schema| !has_path(schema, &segments)) {
                    return Err(AccessError::Unknown(rule.target.text().into()));
                }
                lookup.paths.push((segments, number));
            }
        }
        Ok(lookup)
    }

    fn add_type(
        &mut self,
        target: &Target,
        segments: &[Segment],
        number: usize,
        schema: Option<&Schema>,
    ) -> Result<(), AccessError> {
        let text = || target.text().to_owned();
        let schema = schema.ok_or_else(|| AccessError::NoSchema(text()))?;
        let [Segment::Name(ty), field @ (Segment::Name(_) | Segment::One)] = segments else {
            return Err(AccessError::Rule(text(), "write a type and a field, as in `User.email`".into()));
        };
        let known = match field {
            Segment::Name(name) if **name != *TYPE_NAME => schema.field_type(ty, name).is_some(),
            _ => schema.is_composite(ty),
        };
        let mut objects = schema.object_types(ty).peekable();
        if !known || objects.peek().is_none() {
            return Err(AccessError::Unknown(text()));
        }
        for object in objects {
            self.types.entry(object.into()).or_default().push((field.clone(), number));
        }
        Ok(())
    }

    /// Visits the rules about a field.
    pub(super) fn about(&self, place: Place<'_>, mut visit: impl FnMut(usize)) -> Covered {
        let Some(name) = place.path.last() else { return Covered::default() };
        let mut covered = Covered { by_path: false, by_types: !place.types.is_empty() };
        for (path, rule) in &self.paths {
            if is_at(path, place.path) {
                covered.by_path = true;
                visit(*rule);
            }
        }
        for ty in place.types {
            let mut own = false;
            for (field, rule) in self.types.get(*ty).into_iter().flatten() {
                if field.takes(name) {
                    own = true;
                    visit(*rule);
                }
            }
            covered.by_types &= own;
        }
        covered
    }

    /// Visits the rules about paths below this one.
    pub(super) fn below(&self, path: &[Box<str>], mut visit: impl FnMut(usize)) {
        self.paths.iter().filter(|(rule, _)| is_below(rule, path)).for_each(|(_, rule)| visit(*rule));
    }

    /// Visits the rules about everything below this path, at any depth.
    pub(super) fn all_below(&self, path: &[Box<str>], mut visit: impl FnMut(usize)) {
        let all = |rule: &[Segment]| {
            rule.last() == Some(&Segment::Below) && rule.len() <= path.len() + 1 && is_below(rule, path)
        };
        self.paths.iter().filter(|(rule, _)| all(rule)).for_each(|(_, rule)| visit(*rule));
    }

    pub(super) fn singles_out(&self, ty: &str, field: &str) -> bool {
        self.types.get(ty).is_some_and(|rules| rules.iter().any(|(own, _)| own.takes(field)))
    }

    /// The rules about types.
    pub(super) fn of_types(&self) -> impl Iterator<Item = usize> {
        self.types.values().flatten().map(|(_, rule)| *rule)
    }
}

/// Whether a rule's path takes this one.
fn is_at(rule: &[Segment], path: &[Box<str>]) -> bool {
    let long = match rule.last() {
        Some(Segment::Below) => path.len() >= rule.len(),
        _ => path.len() == rule.len(),
    };
    long && rule.iter().zip(path).all(|(segment, name)| segment.takes(name))
}

/// Whether a rule's path takes one that goes on from this one.
fn is_below(rule: &[Segment], path: &[Box<str>]) -> bool {
    let further = rule.last() == Some(&Segment::Below) || rule.len() > path.len();
    further && rule.iter().zip(path).all(|(segment, name)| segment.takes(name))
}

/// Whether the schema has a path from a root field.
fn has_path(schema: &Schema, path: &[Segment]) -> bool {
    let mut types = Types::root(Some(schema));
    for segment in path {
        types = match segment {
            Segment::Below => return types.may_have_fields(),
            Segment::One if types.may_have_fields() => types.inside_any(),
            Segment::One => return false,
            Segment::Name(name) => match types.having(name) {
                Some(_) => types.inside(name),
                None => return false,
            },
        };
    }
    true
}
