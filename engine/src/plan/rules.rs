//! The rules a document must keep: bounds through fragments, the single root field, and what the library leaves out.

use std::collections::HashSet;

use apollo_compiler::{
    ExecutableDocument, Node,
    ast::{
        Argument, Definition, DirectiveList, Document, Field, OperationDefinition, OperationType, Selection,
        Value, VariableDefinition,
    },
    diagnostic::ToCliReport,
    parser::SourceSpan,
};

use super::{
    bounds, inputs,
    parse::{self, Fragments, located, place},
    schema::Schema,
};
use crate::{error::GraphQlError, limits::Limits};

/// Root rules of the library that this file decides itself: it refuses the same field under one key.
const OURS: [&str; 3] = [
    "SubscriptionUsesMultipleFields",
    "SubscriptionUsesIntrospection",
    "SubscriptionUsesConditionalSelection",
];

/// Holds the whole document against every rule; empty when it keeps them all.
pub(super) fn check(document: &Document, schema: Option<&Schema>, limits: &Limits) -> Vec<GraphQlError> {
    let fragments = parse::fragments(document);
    let cycles = match bounds::check(document, limits) {
        Ok(cycles) => cycles,
        Err(errors) => return errors,
    };
    let mut rules = Rules { document, fragments, errors: Vec::new() };
    for definition in &document.definitions {
        rules.definition(definition);
    }
    match schema {
        Some(schema) => rules.library(schema),
        None => rules.untyped(&cycles),
    }
    rules.errors
}

/// A document, and what was found wrong with it so far.
pub(super) struct Rules<'a> {
    pub(super) document: &'a Document,
    pub(super) fragments: Fragments<'a>,
    pub(super) errors: Vec<GraphQlError>,
}

impl<'a> Rules<'a> {
    pub(super) fn refuse(&mut self, at: Option<SourceSpan>, message: String) {
        let at = place(at, &self.document.sources);
        self.errors.push(located("GRAPHQL_VALIDATION_FAILED", message, at));
    }

    /// What the library does not decide, or not as the specification does.
    fn definition(&mut self, definition: &'a Definition) {
        match definition {
            Definition::OperationDefinition(operation) => {
                self.directives(&operation.directives);
                for variable in &operation.variables {
                    self.directives(&variable.directives);
                    variable.default_value.iter().for_each(|value| self.input(value));
                }
                self.selections(&operation.selection_set);
                if operation.operation_type == OperationType::Subscription {
                    self.single_root(operation);
                }
            }
            Definition::FragmentDefinition(fragment) => {
                self.directives(&fragment.directives);
                self.selections(&fragment.selection_set);
            }
            other => self.refuse(other.location(), "only operations and fragments may stand here".into()),
        }
    }

    fn selections(&mut self, set: &[Selection]) {
        parse::each(set, &mut |selection| {
            self.directives(directives_of(selection));
            if let Selection::Field(field) = selection {
                self.arguments(&field.arguments);
            }
        });
    }

    /// Incremental delivery is refused: one event is one result.
    fn directives(&mut self, directives: &DirectiveList) {
        for directive in directives {
            if matches!(directive.name.as_str(), "defer" | "stream") {
                self.refuse(directive.location(), format!("`@{}` is not supported", directive.name));
            }
            self.arguments(&directive.arguments);
        }
    }

    fn arguments(&mut self, arguments: &[Node<Argument>]) {
        for argument in arguments {
            self.input(&argument.value);
        }
    }

    /// Input object field uniqueness (section 5.6.3).
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

    /// Exactly one response name at the root (section 5.2.4.1).
    fn single_root(&mut self, operation: &'a Node<OperationDefinition>) {
        let mut found = Vec::new();
        self.roots(&operation.selection_set, &mut found, &mut HashSet::new());
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
            self.unconditional(directives_of(selection));
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

    fn unconditional(&mut self, directives: &DirectiveList) {
        for directive in directives.iter().filter(|found| matches!(found.name.as_str(), "skip" | "include")) {
            let message = format!("`@{}` is refused at the root", directive.name);
            self.refuse(directive.location(), message);
        }
    }

    fn library(&mut self, schema: &Schema) {
        let changed = without_null_defaults(self.document);
        let document = changed.as_ref().unwrap_or(self.document);
        match document.to_executable_validate(schema.valid()) {
            Ok(document) => self.inputs(&document, schema),
            Err(found) => {
                for one in found.errors.iter() {
                    let ours = one.error.unstable_error_name().is_some_and(|name| OURS.contains(&name));
                    if !ours {
                        self.refuse(one.error.location(), one.error.to_string());
                    }
                }
                self.inputs(&found.partial, schema);
            }
        }
    }

    fn inputs(&mut self, document: &ExecutableDocument, schema: &Schema) {
        for (at, message) in inputs::check(document, schema) {
            self.refuse(at, message);
        }
    }
}

/// The document without `= null` behind nullable variables: the library takes any default value as reason to let a
/// nullable variable stand where null may not, and the specification only one that is not null (section 5.8.5).
fn without_null_defaults(document: &Document) -> Option<Document> {
    let null = |variable: &Node<VariableDefinition>| {
        !variable.ty.is_non_null() && variable.default_value.as_ref().is_some_and(|value| value.is_null())
    };
    if !parse::operations(document).any(|operation| operation.variables.iter().any(null)) {
        return None;
    }
    let mut document = document.clone();
    for definition in &mut document.definitions {
        if let Definition::OperationDefinition(operation) = definition {
            for variable in operation.make_mut().variables.iter_mut().filter(|variable| null(variable)) {
                variable.make_mut().default_value = None;
            }
        }
    }
    Some(document)
}

pub(super) fn directives_of(selection: &Selection) -> &DirectiveList {
    match selection {
        Selection::Field(field) => &field.directives,
        Selection::FragmentSpread(spread) => &spread.directives,
        Selection::InlineFragment(inline) => &inline.directives,
    }
}
