//! The rules a document must keep: bounds through fragments, the single root field, and what the library leaves out.

use std::collections::{HashMap, HashSet};

use apollo_compiler::Node;
use apollo_compiler::ast::{
    Argument, Definition, DirectiveList, Document, Field, OperationDefinition, OperationType, Selection,
    Value,
};
use apollo_compiler::diagnostic::ToCliReport;
use apollo_compiler::parser::SourceSpan;

use super::parse::{self, Fragments, located, place, within};
use super::schema::Schema;
use crate::error::GraphQlError;
use crate::limits::Limits;

/// How many fragments and selections may be nested in one another, whatever the depth of fields is.
const CHAIN_MAX: usize = 256;

/// Root rules of the library that this file decides itself: it refuses the same field under one key.
const OURS: [&str; 3] = [
    "SubscriptionUsesMultipleFields",
    "SubscriptionUsesIntrospection",
    "SubscriptionUsesConditionalSelection",
];

/// Holds the whole document against every rule; empty when it keeps them all.
pub(super) fn check(document: &Document, schema: Option<&Schema>, limits: &Limits) -> Vec<GraphQlError> {
    let fragments = parse::fragments(document);
    let mut rules = Rules { document, fragments, errors: Vec::new(), typed: schema.is_some() };
    if let Err(errors) = rules.bounds(limits) {
        return errors;
    }
    rules.definitions();
    for operation in parse::operations(document) {
        rules.operation(operation);
    }
    if let Some(schema) = schema {
        rules.library(schema);
    }
    rules.errors
}

struct Rules<'a> {
    document: &'a Document,
    fragments: Fragments<'a>,
    errors: Vec<GraphQlError>,
    typed: bool,
}

/// What one fragment adds wherever it is used.
#[derive(Clone, Copy, Default)]
struct Weight {
    fields: usize,
    depth: usize,
}

struct Scale<'r, 'a> {
    fragments: &'r Fragments<'a>,
    known: HashMap<&'a str, Weight>,
    open: HashSet<&'a str>,
}

enum Unweighed {
    Cycle(String, Option<SourceSpan>),
    TooLong,
}

impl<'a> Scale<'_, 'a> {
    fn set(&mut self, set: &'a [Selection], chain: usize) -> Result<Weight, Unweighed> {
        if chain > CHAIN_MAX {
            return Err(Unweighed::TooLong);
        }
        let mut sum = Weight::default();
        for selection in set {
            let one = match selection {
                Selection::Field(field) => {
                    let inner = self.set(&field.selection_set, chain + 1)?;
                    Weight { fields: inner.fields.saturating_add(1), depth: inner.depth + 1 }
                }
                Selection::InlineFragment(inline) => self.set(&inline.selection_set, chain + 1)?,
                Selection::FragmentSpread(spread) => {
                    self.spread(&spread.fragment_name, spread.location(), chain)?
                }
            };
            sum.fields = sum.fields.saturating_add(one.fields);
            sum.depth = sum.depth.max(one.depth);
        }
        Ok(sum)
    }

    fn spread(&mut self, name: &'a str, at: Option<SourceSpan>, chain: usize) -> Result<Weight, Unweighed> {
        if let Some(weight) = self.known.get(name) {
            return Ok(*weight);
        }
        let Some(fragment) = self.fragments.get(name).copied() else {
            return Ok(Weight::default());
        };
        if !self.open.insert(name) {
            return Err(Unweighed::Cycle(name.to_owned(), at));
        }
        let weight = self.set(&fragment.selection_set, chain + 1)?;
        self.open.remove(name);
        self.known.insert(name, weight);
        Ok(weight)
    }
}

impl<'a> Rules<'a> {
    fn refuse(&mut self, at: Option<SourceSpan>, message: String) {
        let at = place(at, &self.document.sources);
        self.errors.push(located("GRAPHQL_VALIDATION_FAILED", message, at));
    }

    /// Depth, number of fields and fragment cycles: all later work relies on them.
    fn bounds(&self, limits: &Limits) -> Result<(), Vec<GraphQlError>> {
        let mut scale = Scale { fragments: &self.fragments, known: HashMap::new(), open: HashSet::new() };
        for definition in &self.document.definitions {
            let set = match definition {
                Definition::OperationDefinition(operation) => &operation.selection_set,
                Definition::FragmentDefinition(fragment) => &fragment.selection_set,
                _ => continue,
            };
            match scale.set(set, 0) {
                Ok(weight) => {
                    within("query_depth_max", weight.depth, limits.query_depth_max)?;
                    within("query_fields_max", weight.fields, limits.query_fields_max)?;
                }
                Err(Unweighed::TooLong) => {
                    within("query_depth_max", CHAIN_MAX + 1, limits.query_depth_max.min(CHAIN_MAX))?;
                }
                Err(Unweighed::Cycle(name, at)) => {
                    let at = place(at, &self.document.sources);
                    let message = format!("fragment `{name}` uses itself");
                    return Err(vec![located("GRAPHQL_VALIDATION_FAILED", message, at)]);
                }
            }
        }
        Ok(())
    }

    /// Rules about the document's definitions (GraphQL specification, sections 5.1, 5.2.1, 5.2.2 and 5.5.1).
    fn definitions(&mut self) {
        let (mut names, mut fragments) = (HashSet::new(), HashSet::new());
        let mut used = HashSet::new();
        let count = parse::operations(self.document).count();
        for definition in &self.document.definitions {
            match definition {
                Definition::OperationDefinition(operation) => {
                    self.walk(&operation.selection_set, &mut used);
                    self.directives(&operation.directives, false);
                    match &operation.name {
                        Some(name) if !self.typed && !names.insert(name.as_str()) => {
                            self.refuse(name.location(), format!("operation `{name}` occurs twice"))
                        }
                        None if !self.typed && count > 1 => self.refuse(
                            operation.location(),
                            "an anonymous operation must be the only one".into(),
                        ),
                        _ => {}
                    }
                }
                Definition::FragmentDefinition(fragment) => {
                    self.walk(&fragment.selection_set, &mut used);
                    self.directives(&fragment.directives, false);
                    if !self.typed && !fragments.insert(fragment.name.as_str()) {
                        let message = format!("fragment `{}` occurs twice", fragment.name);
                        self.refuse(fragment.name.location(), message);
                    }
                }
                _ => self.refuse(None, "only operations and fragments may stand here".into()),
            }
        }
        self.unused(&used);
    }

    fn unused(&mut self, used: &HashSet<&str>) {
        let unused: Vec<_> = self
            .fragments
            .values()
            .copied()
            .filter(|f| !used.contains(f.name.as_str()))
            .map(|f| f.name.clone())
            .collect();
        let untyped = !self.typed;
        for name in unused.into_iter().filter(|_| untyped) {
            self.refuse(name.location(), format!("fragment `{name}` is never used"));
        }
    }

    fn walk(&mut self, set: &'a [Selection], used: &mut HashSet<&'a str>) {
        for selection in set {
            self.directives(directives_of(selection), true);
            match selection {
                Selection::Field(field) => {
                    self.arguments(&field.arguments);
                    self.walk(&field.selection_set, used);
                }
                Selection::InlineFragment(inline) => self.walk(&inline.selection_set, used),
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name.as_str();
                    used.insert(name);
                    if !self.typed && !self.fragments.contains_key(name) {
                        let message = format!("fragment `{name}` is not defined");
                        self.refuse(spread.location(), message);
                    }
                }
            }
        }
    }

    fn arguments(&mut self, arguments: &[Node<Argument>]) {
        let mut names = HashSet::new();
        for argument in arguments {
            if !self.typed && !names.insert(argument.name.as_str()) {
                let message = format!("argument `{}` occurs twice", argument.name);
                self.refuse(argument.location(), message);
            }
            self.input(&argument.value);
        }
    }

    /// Input object field uniqueness (section 5.6.3), which the library leaves out.
    fn input(&mut self, value: &Node<Value>) {
        match &**value {
            Value::List(items) => items.iter().for_each(|item| self.input(item)),
            Value::Object(fields) => {
                let mut names = HashSet::new();
                for (name, value) in fields {
                    if !names.insert(name.as_str()) {
                        self.refuse(name.location(), format!("input field `{name}` occurs twice"));
                    }
                    self.input(value);
                }
            }
            _ => {}
        }
    }

    fn directives(&mut self, directives: &DirectiveList, selection: bool) {
        let mut names = HashSet::new();
        for directive in directives.iter() {
            let (name, at) = (directive.name.as_str(), directive.location());
            self.arguments(&directive.arguments);
            if matches!(name, "defer" | "stream") {
                self.refuse(at, format!("`@{name}` is not supported"));
            } else if !self.typed {
                let conditional = matches!(name, "skip" | "include");
                let right = matches!(&directive.arguments[..], [only] if only.name == "if"
                    && matches!(&*only.value, Value::Boolean(_) | Value::Variable(_)));
                if !conditional || !selection {
                    self.refuse(at, format!("directive `@{name}` is not known here"));
                } else if !right {
                    self.refuse(at, format!("`@{name}` takes one Boolean argument, `if`"));
                } else if !names.insert(name) {
                    self.refuse(at, format!("`@{name}` occurs twice"));
                }
            }
        }
    }

    fn operation(&mut self, operation: &'a Node<OperationDefinition>) {
        for variable in &operation.variables {
            if let Some(value) = &variable.default_value {
                self.input(value);
            }
        }
        if operation.operation_type == OperationType::Subscription {
            self.single_root(operation);
        }
        if !self.typed {
            self.variables(operation);
            self.overlaps(&[&operation.selection_set]);
        }
    }

    /// Exactly one response name at the root (section 5.2.4.1).
    fn single_root(&mut self, operation: &'a Node<OperationDefinition>) {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        self.roots(&operation.selection_set, &mut found, &mut seen);
        let keys: HashSet<_> = found.iter().map(|field| field.response_name()).collect();
        if keys.len() != 1 {
            let message = format!("a subscription has one root field, not {}", keys.len());
            self.refuse(operation.location(), message);
        }
        for field in found.iter().filter(|field| field.name.starts_with("__")) {
            let message = format!("`{}` cannot be a subscription's root field", field.name);
            self.refuse(field.location(), message);
        }
    }

    fn roots(&mut self, set: &'a [Selection], found: &mut Vec<&'a Node<Field>>, seen: &mut HashSet<&'a str>) {
        for selection in set {
            for directive in directives_of(selection).iter() {
                if matches!(directive.name.as_str(), "skip" | "include") {
                    let message = format!("`@{}` is refused at the root", directive.name);
                    self.refuse(directive.location(), message);
                }
            }
            match selection {
                Selection::Field(field) => found.push(field),
                Selection::InlineFragment(inline) => self.roots(&inline.selection_set, found, seen),
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name.as_str();
                    if let Some(fragment) = self.fragments.get(name).copied()
                        && seen.insert(name)
                    {
                        self.roots(&fragment.selection_set, found, seen);
                    }
                }
            }
        }
    }

    /// Variables are unique, defined and used (sections 5.8.1, 5.8.3 and 5.8.4).
    fn variables(&mut self, operation: &'a Node<OperationDefinition>) {
        let mut uses = Vec::new();
        self.uses(&operation.selection_set, &mut uses, &mut HashSet::new());
        let used: HashSet<_> = uses.iter().map(|(name, _)| *name).collect();
        let mut defined = HashSet::new();
        for variable in &operation.variables {
            let name = variable.name.as_str();
            if !defined.insert(name) {
                self.refuse(variable.location(), format!("variable `${name}` occurs twice"));
            } else if !used.contains(name) {
                self.refuse(variable.location(), format!("variable `${name}` is never used"));
            }
        }
        for (name, at) in uses.into_iter().filter(|(name, _)| !defined.contains(name)) {
            self.refuse(at, format!("variable `${name}` is not defined"));
        }
    }

    fn uses(
        &self,
        set: &'a [Selection],
        uses: &mut Vec<(&'a str, Option<SourceSpan>)>,
        seen: &mut HashSet<&'a str>,
    ) {
        for selection in set {
            for directive in directives_of(selection).iter() {
                directive.arguments.iter().for_each(|argument| mentioned(&argument.value, uses));
            }
            match selection {
                Selection::Field(field) => {
                    field.arguments.iter().for_each(|argument| mentioned(&argument.value, uses));
                    self.uses(&field.selection_set, uses, seen);
                }
                Selection::InlineFragment(inline) => self.uses(&inline.selection_set, uses, seen),
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name.as_str();
                    if let Some(fragment) = self.fragments.get(name)
                        && seen.insert(name)
                    {
                        self.uses(&fragment.selection_set, uses, seen);
                    }
                }
            }
        }
    }

    /// Field selection merging (section 5.3.2) as far as it is decidable without types.
    fn overlaps(&mut self, sets: &[&'a [Selection]]) {
        let mut found = Vec::new();
        for set in sets {
            self.collect(set, None, &mut found, &mut HashSet::new());
        }
        let mut by_key: Vec<(&str, Vec<(Option<&str>, &'a Node<Field>)>)> = Vec::new();
        for (on, field) in found {
            let key = field.response_name().as_str();
            match by_key.iter_mut().find(|(known, _)| *known == key) {
                Some((_, same)) => same.push((on, field)),
                None => by_key.push((key, vec![(on, field)])),
            }
        }
        for (key, same) in by_key {
            for (at, (on, field)) in same.iter().enumerate() {
                let clash = same[..at].iter().any(|(other_on, other)| {
                    let apart = on.is_some() && other_on.is_some() && on != other_on;
                    !apart && (other.name != field.name || !alike(&other.arguments, &field.arguments))
                });
                if clash {
                    let message = format!("fields under `{key}` conflict: give one another alias");
                    self.refuse(field.location(), message);
                }
            }
            let inner: Vec<&'a [Selection]> =
                same.iter().map(|(_, field)| field.selection_set.as_slice()).collect();
            if inner.iter().any(|set| !set.is_empty()) {
                self.overlaps(&inner);
            }
        }
    }

    fn collect(
        &self,
        set: &'a [Selection],
        on: Option<&'a str>,
        found: &mut Vec<(Option<&'a str>, &'a Node<Field>)>,
        seen: &mut HashSet<&'a str>,
    ) {
        for selection in set {
            match selection {
                Selection::Field(field) => found.push((on, field)),
                Selection::InlineFragment(inline) => {
                    let on = inline.type_condition.as_ref().map_or(on, |name| Some(name.as_str()));
                    self.collect(&inline.selection_set, on, found, seen);
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.fragment_name.as_str();
                    if let Some(fragment) = self.fragments.get(name)
                        && seen.insert(name)
                    {
                        let on = Some(fragment.type_condition.as_str());
                        self.collect(&fragment.selection_set, on, found, seen);
                    }
                }
            }
        }
    }

    fn library(&mut self, schema: &Schema) {
        let Err(found) = self.document.to_executable_validate(schema.valid()) else { return };
        for one in found.errors.iter() {
            let ours = one.error.unstable_error_name().is_some_and(|name| OURS.contains(&name));
            if !ours {
                self.refuse(one.error.location(), one.error.to_string());
            }
        }
    }
}

fn directives_of(selection: &Selection) -> &DirectiveList {
    match selection {
        Selection::Field(field) => &field.directives,
        Selection::FragmentSpread(spread) => &spread.directives,
        Selection::InlineFragment(inline) => &inline.directives,
    }
}

fn mentioned<'a>(value: &'a Node<Value>, uses: &mut Vec<(&'a str, Option<SourceSpan>)>) {
    match &**value {
        Value::Variable(name) => uses.push((name.as_str(), name.location())),
        Value::List(items) => items.iter().for_each(|item| mentioned(item, uses)),
        Value::Object(fields) => fields.iter().for_each(|(_, value)| mentioned(value, uses)),
        _ => {}
    }
}

/// The same arguments, whatever their order.
fn alike(one: &[Node<Argument>], other: &[Node<Argument>]) -> bool {
    one.len() == other.len()
        && one.iter().all(|a| other.iter().any(|b| a.name == b.name && a.value == b.value))
}
