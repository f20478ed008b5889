//! How deep and how large a document is with its fragments followed, and which fragments use themselves.
//!
//! Every later walk relies on these bounds: a walk that enters each fragment at each use ends soon, and no walk
//! exhausts the thread's stack.

use std::collections::{HashMap, HashSet};

use apollo_compiler::{
    ast::{Definition, Document, FragmentDefinition, Selection},
    parser::SourceSpan,
};

use super::{
    parse::{too_nested, within},
    rules::directives_of,
};
use crate::{error::GraphQlError, limits::Limits};

/// How many selection sets may be nested in one another, fragments followed, whatever the depth of fields is.
const LEVELS_MAX: usize = 256;

/// How many fragments may use one another in a chain; the library follows no more than 100.
const FRAGMENTS_MAX: usize = 90;

/// A fragment that uses itself, and the spread that closes the circle.
pub(super) struct Cycle<'a> {
    pub(super) fragment: &'a str,
    pub(super) at: Option<SourceSpan>,
}

/// What a selection set holds when fragments are followed at each use.
#[derive(Clone, Copy, Default)]
struct Weight {
    fields: usize,
    aliases: usize,
    directives: usize,
    /// Fields in one another.
    depth: usize,
    /// Selection sets in one another.
    levels: usize,
    /// Fragments in one another.
    fragments: usize,
}

impl Weight {
    fn beside(self, other: Self) -> Self {
        Self {
            fields: self.fields.saturating_add(other.fields),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            depth: self.depth.max(other.depth),
            levels: self.levels.max(other.levels),
            fragments: self.fragments.max(other.fragments),
        }
    }

    fn and_directives(self, count: usize) -> Self {
        Self { directives: self.directives.saturating_add(count), ..self }
    }

    fn check(self, limits: &Limits) -> Result<(), Vec<GraphQlError>> {
        within("query_depth_max", self.depth, limits.query_depth_max)?;
        within("query_fields_max", self.fields, limits.query_fields_max)?;
        within("query_aliases_max", self.aliases, limits.query_aliases_max)?;
        within("query_directives_max", self.directives, limits.query_directives_max)?;
        if self.levels > LEVELS_MAX {
            return Err(too_nested("selection sets", LEVELS_MAX));
        }
        if self.fragments > FRAGMENTS_MAX { Err(too_nested("fragments", FRAGMENTS_MAX)) } else { Ok(()) }
    }
}

/// Weighs every operation and fragment; answers the fragments that use themselves.
pub(super) fn check<'a>(
    document: &'a Document,
    limits: &Limits,
) -> Result<Vec<Cycle<'a>>, Vec<GraphQlError>> {
    let mut scale = Scale::default();
    for definition in &document.definitions {
        if let Definition::FragmentDefinition(fragment) = definition {
            scale.fragments.entry(&fragment.name).or_default().push(fragment);
        }
    }
    for definition in &document.definitions {
        match definition {
            Definition::OperationDefinition(operation) => {
                let variables = operation.variables.iter().map(|variable| variable.directives.len());
                let own = operation.directives.len() + variables.sum::<usize>();
                scale.set(&operation.selection_set, 0)?.and_directives(own)
            }
            Definition::FragmentDefinition(fragment) => scale.fragment(&fragment.name, 0)?,
            _ => continue,
        }
        .check(limits)?;
    }
    Ok(scale.cycles)
}

#[derive(Default)]
struct Scale<'a> {
    /// By name; two with one name are a fault that is found later, and which of them a later walk enters is not ours
    /// to know: together they weigh enough for either.
    fragments: HashMap<&'a str, Vec<&'a FragmentDefinition>>,
    known: HashMap<&'a str, Weight>,
    open: HashSet<&'a str>,
    cycles: Vec<Cycle<'a>>,
}

impl<'a> Scale<'a> {
    fn set(&mut self, set: &'a [Selection], level: usize) -> Result<Weight, Vec<GraphQlError>> {
        if level > LEVELS_MAX {
            return Err(too_nested("selection sets", LEVELS_MAX));
        }
        let mut sum = Weight::default();
        for selection in set {
            let one = match selection {
                Selection::Field(field) => {
                    let inner = self.set(&field.selection_set, level + 1)?;
                    Weight {
                        fields: inner.fields.saturating_add(1),
                        aliases: inner.aliases.saturating_add(usize::from(field.alias.is_some())),
                        depth: inner.depth + 1,
                        ..inner
                    }
                }
                Selection::InlineFragment(inline) => self.set(&inline.selection_set, level + 1)?,
                Selection::FragmentSpread(spread) => {
                    self.spread(&spread.fragment_name, spread.location(), level + 1)?
                }
            };
            sum = sum.beside(one.and_directives(directives_of(selection).len()));
        }
        Ok(Weight { levels: sum.levels + 1, ..sum })
    }

    fn spread(
        &mut self,
        name: &'a str,
        at: Option<SourceSpan>,
        level: usize,
    ) -> Result<Weight, Vec<GraphQlError>> {
        if self.open.contains(name) {
            self.cycles.push(Cycle { fragment: name, at });
            // Weighed as a field, so that circles cannot hide how many spreads there are.
            return Ok(Weight { fields: 1, ..Weight::default() });
        }
        self.fragment(name, level)
    }

    fn fragment(&mut self, name: &'a str, level: usize) -> Result<Weight, Vec<GraphQlError>> {
        if let Some(weight) = self.known.get(name) {
            return Ok(*weight);
        }
        let Some(same) = self.fragments.get(name).cloned() else {
            return Ok(Weight::default());
        };
        self.open.insert(name);
        let mut inner = Weight::default();
        for fragment in same {
            let one = self.set(&fragment.selection_set, level)?;
            inner = inner.beside(one.and_directives(fragment.directives.len()));
        }
        self.open.remove(name);
        let weight = Weight { fragments: inner.fragments + 1, ..inner };
        self.known.insert(name, weight);
        Ok(weight)
    }
}
