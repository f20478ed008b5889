//! Field selection merging (GraphQL specification, section 5.3.2) as far as it is decidable without types.
//!
//! Fields with one response key must be the same field with the same arguments, unless they stand under different
//! type conditions somewhere above: then no object has both. Either way both have a selection set, or neither.

use std::collections::HashSet;

use apollo_compiler::{
    Node,
    ast::{Argument, Field, Selection, Value},
};

use super::parse::Fragments;

/// The type condition over a field at each level from the root; `None` where there is none.
type Lineage<'a> = Vec<Option<&'a str>>;

struct Found<'a> {
    lineage: Lineage<'a>,
    field: &'a Node<Field>,
}

/// The fields that cannot be merged with an earlier one. No fragment may use itself.
pub(super) fn conflicts<'a>(set: &'a [Selection], fragments: &Fragments<'a>) -> Vec<&'a Node<Field>> {
    let mut merger = Merger { fragments, conflicts: Vec::new() };
    merger.merge(vec![(Lineage::new(), set)]);
    merger.conflicts
}

struct Merger<'r, 'a> {
    fragments: &'r Fragments<'a>,
    conflicts: Vec<&'a Node<Field>>,
}

impl<'a> Merger<'_, 'a> {
    /// Holds selection sets that become one against each other, then the sets inside them.
    fn merge(&mut self, sets: Vec<(Lineage<'a>, &'a [Selection])>) {
        let mut by_key: Vec<(&str, Vec<Found<'a>>)> = Vec::new();
        for (lineage, set) in sets {
            self.collect(set, &lineage, None, &mut by_key, &mut HashSet::new());
        }
        for (_, same) in by_key {
            let clash = |at: &usize| same[..*at].iter().any(|other| clash(other, &same[*at]));
            self.conflicts.extend((1..same.len()).find(clash).map(|at| same[at].field));
            let inner: Vec<_> = same
                .into_iter()
                .filter(|found| !found.field.selection_set.is_empty())
                .map(|found| (found.lineage, &found.field.selection_set[..]))
                .collect();
            if !inner.is_empty() {
                self.merge(inner);
            }
        }
    }

    fn collect(
        &self,
        set: &'a [Selection],
        above: &Lineage<'a>,
        on: Option<&'a str>,
        by_key: &mut Vec<(&'a str, Vec<Found<'a>>)>,
        seen: &mut HashSet<&'a str>,
    ) {
        for selection in set {
            match selection {
                Selection::Field(field) => push(by_key, field, above, on),
                Selection::InlineFragment(inline) => {
                    let on = inline.type_condition.as_ref().map_or(on, |name| Some(name.as_str()));
                    self.collect(&inline.selection_set, above, on, by_key, seen);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str()).copied()
                        && seen.insert(&fragment.name)
                    {
                        let on = Some(fragment.type_condition.as_str());
                        self.collect(&fragment.selection_set, above, on, by_key, seen);
                    }
                }
            }
        }
    }
}

fn push<'a>(
    by_key: &mut Vec<(&'a str, Vec<Found<'a>>)>,
    field: &'a Node<Field>,
    above: &Lineage<'a>,
    on: Option<&'a str>,
) {
    let lineage = above.iter().copied().chain([on]).collect();
    let (key, found) = (field.response_name().as_str(), Found { lineage, field });
    match by_key.iter_mut().find(|(known, _)| *known == key) {
        Some((_, same)) => same.push(found),
        None => by_key.push((key, vec![found])),
    }
}

fn clash(one: &Found<'_>, other: &Found<'_>) -> bool {
    let (a, b) = (one.field, other.field);
    if a.selection_set.is_empty() != b.selection_set.is_empty() {
        return true;
    }
    let differ = |(a, b): (&Option<&str>, &Option<&str>)| a.is_some() && b.is_some() && a != b;
    let apart = one.lineage.iter().zip(&other.lineage).any(differ);
    !apart && (a.name != b.name || !alike(&a.arguments, &b.arguments))
}

/// The same arguments, whatever their order.
fn alike(one: &[Node<Argument>], other: &[Node<Argument>]) -> bool {
    let same = |a: &Node<Argument>| other.iter().any(|b| a.name == b.name && equal(&a.value, &b.value));
    one.len() == other.len() && one.iter().all(same)
}

/// The same value, whatever the order of input fields.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let same = |(name, a): &(_, Node<Value>)| b.iter().any(|(other, b)| name == other && equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => one == other,
    }
}
