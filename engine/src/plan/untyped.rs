//! The rules that hold without a schema: names, what is defined and used, directives, variables, merging.
//!
//! With a schema the library decides all of them.

use std::collections::{HashMap, HashSet};

use apollo_compiler::{
    Name, Node,
    ast::{
        Argument, Definition, Directive, DirectiveList, OperationDefinition, Selection, Value,
        VariableDefinition,
    },
    parser::SourceSpan,
};

use super::{
    bind,
    bounds::Cycle,
    overlap, parse,
    rules::{Rules, directives_of},
};

/// A mention of a variable.
struct Use<'a> {
    name: &'a str,
    at: Option<SourceSpan>,
    /// It decides a `@skip` or `@include`, so it must be a Boolean.
    condition: bool,
}

type Uses<'a> = Vec<Use<'a>>;

impl<'a> Rules<'a> {
    pub(super) fn untyped(&mut self, cycles: &[Cycle<'_>]) {
        for Cycle { fragment, at } in cycles {
            self.refuse(*at, format!("fragment `{fragment}` uses itself"));
        }
        self.names();
        self.definitions();
        for operation in parse::operations(self.document) {
            self.variables(operation);
            if cycles.is_empty() {
                self.overlaps(operation);
            }
        }
    }

    /// Names of operations and fragments (sections 5.2.1, 5.2.2 and 5.5.1.1).
    fn names(&mut self) {
        let (mut operations, mut fragments) = (HashSet::new(), HashSet::new());
        let alone = parse::operations(self.document).count() == 1;
        for definition in &self.document.definitions {
            match definition {
                Definition::OperationDefinition(operation) => match &operation.name {
                    Some(name) => self.once("operation", name, &mut operations),
                    None if alone => {}
                    None => {
                        let message = "an anonymous operation must be the only one";
                        self.refuse(operation.location(), message.into());
                    }
                },
                Definition::FragmentDefinition(fragment) => {
                    self.once("fragment", &fragment.name, &mut fragments);
                }
                _ => {}
            }
        }
    }

    fn once(&mut self, what: &str, name: &'a Name, names: &mut HashSet<&'a str>) {
        if !names.insert(name) {
            self.refuse(name.location(), format!("{what} `{name}` occurs twice"));
        }
    }

    /// Fragments are defined and used, arguments unique, directives known (sections 5.4.2, 5.5 and 5.7).
    fn definitions(&mut self) {
        let mut used = HashSet::new();
        for definition in &self.document.definitions {
            let (set, directives) = match definition {
                Definition::OperationDefinition(one) => (&one.selection_set, &one.directives),
                Definition::FragmentDefinition(one) => (&one.selection_set, &one.directives),
                _ => continue,
            };
            self.misplaced(directives);
            parse::each(set, &mut |selection| self.selection(selection, &mut used));
        }
        for definition in &self.document.definitions {
            if let Definition::FragmentDefinition(fragment) = definition
                && !used.contains(fragment.name.as_str())
            {
                let message = format!("fragment `{}` is never used", fragment.name);
                self.refuse(fragment.name.location(), message);
            }
        }
    }

    fn selection(&mut self, selection: &'a Selection, used: &mut HashSet<&'a str>) {
        self.conditions(directives_of(selection));
        match selection {
            Selection::Field(field) => self.unique(&field.arguments),
            Selection::InlineFragment(_) => {}
            Selection::FragmentSpread(spread) => {
                let name = spread.fragment_name.as_str();
                used.insert(name);
                if !self.fragments.contains_key(name) {
                    self.refuse(spread.location(), format!("fragment `{name}` is not defined"));
                }
            }
        }
    }

    fn unique(&mut self, arguments: &'a [Node<Argument>]) {
        let mut names = HashSet::new();
        for argument in arguments {
            self.once("argument", &argument.name, &mut names);
        }
    }

    /// Only `@skip` and `@include` are known, each once, and they stand on selections.
    fn conditions(&mut self, directives: &'a DirectiveList) {
        let mut names = HashSet::new();
        for directive in directives {
            if is_condition(directive) {
                self.once("directive", &directive.name, &mut names);
                let right = matches!(&directive.arguments[..], [only] if only.name == "if"
                    && matches!(&*only.value, Value::Boolean(_) | Value::Variable(_)));
                if !right {
                    let message = format!("`@{}` takes one Boolean argument, `if`", directive.name);
                    self.refuse(directive.location(), message);
                }
            } else {
                self.unknown(directive);
            }
        }
    }

    fn misplaced(&mut self, directives: &DirectiveList) {
        for directive in directives {
            self.unknown(directive);
        }
    }

    fn unknown(&mut self, directive: &Node<Directive>) {
        let message = format!("directive `@{}` is not known here", directive.name);
        self.refuse(directive.location(), message);
    }

    /// Variables are unique, defined and used, and Boolean where they are conditions (section 5.8).
    fn variables(&mut self, operation: &'a OperationDefinition) {
        let mut mentions = Uses::new();
        self.uses(&operation.selection_set, &mut mentions, &mut HashSet::new());
        let used: HashSet<_> = mentions.iter().map(|one| one.name).collect();
        let mut defined = HashMap::new();
        for variable in &operation.variables {
            self.misplaced(&variable.directives);
            self.default_value(variable);
            let name = variable.name.as_str();
            if defined.insert(name, variable).is_some() {
                self.refuse(variable.location(), format!("variable `${name}` occurs twice"));
            } else if !used.contains(name) {
                self.refuse(variable.location(), format!("variable `${name}` is never used"));
            }
        }
        for Use { name, at, condition } in mentions {
            match defined.get(name) {
                None => self.refuse(at, format!("variable `${name}` is not defined")),
                Some(variable) if condition && !is_boolean(variable) => {
                    let ty = &variable.ty;
                    self.refuse(at, format!("variable `${name}` is `{ty}` where `Boolean!` is expected"));
                }
                Some(_) => {}
            }
        }
    }

    fn default_value(&mut self, variable: &VariableDefinition) {
        if let Some(default) = &variable.default_value
            && let Err(reason) = bind::check_literal(&variable.ty, default)
        {
            let message = format!("the default value of `${}`: {reason}", variable.name);
            self.refuse(default.location(), message);
        }
    }

    fn uses(&self, set: &'a [Selection], uses: &mut Uses<'a>, seen: &mut HashSet<&'a str>) {
        let mut spreads = Vec::new();
        parse::each(set, &mut |selection| {
            for directive in directives_of(selection) {
                let condition = is_condition(directive);
                directive.arguments.iter().for_each(|one| mentioned(&one.value, condition, uses));
            }
            match selection {
                Selection::Field(field) => {
                    field.arguments.iter().for_each(|one| mentioned(&one.value, false, uses));
                }
                Selection::InlineFragment(_) => {}
                Selection::FragmentSpread(spread) => spreads.push(spread.fragment_name.as_str()),
            }
        });
        for name in spreads {
            if let Some(fragment) = self.fragments.get(name)
                && seen.insert(name)
            {
                self.uses(&fragment.selection_set, uses, seen);
            }
        }
    }

    fn overlaps(&mut self, operation: &'a OperationDefinition) {
        for field in overlap::conflicts(&operation.selection_set, &self.fragments) {
            let message =
                format!("fields under `{}` conflict: give one another alias", field.response_name());
            self.refuse(field.location(), message);
        }
    }
}

fn is_condition(directive: &Directive) -> bool {
    matches!(directive.name.as_str(), "skip" | "include")
}

/// Whether the variable may stand where `Boolean!` is expected (section 5.8.5).
fn is_boolean(variable: &VariableDefinition) -> bool {
    let default = variable.default_value.as_ref().is_some_and(|value| !value.is_null());
    !variable.ty.is_list()
        && variable.ty.inner_named_type() == "Boolean"
        && (variable.ty.is_non_null() || default)
}

fn mentioned<'a>(value: &'a Node<Value>, condition: bool, uses: &mut Uses<'a>) {
    match &**value {
        Value::Variable(name) => uses.push(Use { name, at: name.location(), condition }),
        Value::List(items) => items.iter().for_each(|item| mentioned(item, false, uses)),
        Value::Object(fields) => fields.iter().for_each(|(_, value)| mentioned(value, false, uses)),
        _ => {}
    }
}
