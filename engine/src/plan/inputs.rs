//! Input values against a schema, where the library looks no further than the outermost value: variables inside
//! lists and input objects (GraphQL specification, section 5.8.5), and `@oneOf` (section 5.6.5).

use std::collections::HashSet;

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{Type, Value, VariableDefinition},
    executable::{Operation, Selection},
    parser::SourceSpan,
    schema::{ExtendedType, InputObjectType},
};

use super::schema::Schema;

/// What is wrong, and where.
pub(super) type Found = (Option<SourceSpan>, String);

/// Every input value of the document that breaks these rules.
pub(super) fn check(document: &ExecutableDocument, schema: &Schema) -> Vec<Found> {
    let mut found = Vec::new();
    for operation in document.operations.iter() {
        let seen = HashSet::new();
        let mut inputs = Inputs { document, schema, operation, seen, found: Vec::new() };
        for variable in &operation.variables {
            variable.default_value.iter().for_each(|value| inputs.value(&variable.ty, value));
        }
        inputs.selections(&operation.selection_set.selections);
        found.append(&mut inputs.found);
    }
    found
}

struct Inputs<'a> {
    document: &'a ExecutableDocument,
    schema: &'a Schema,
    operation: &'a Operation,
    /// Fragments that were followed.
    seen: HashSet<&'a Name>,
    found: Vec<Found>,
}

impl<'a> Inputs<'a> {
    fn selections(&mut self, selections: &'a [Selection]) {
        for selection in selections {
            match selection {
                Selection::Field(field) => {
                    for argument in &field.arguments {
                        if let Some(declared) = field.definition.argument_by_name(&argument.name) {
                            self.value(&declared.ty, &argument.value);
                        }
                    }
                    self.selections(&field.selection_set.selections);
                }
                Selection::InlineFragment(inline) => self.selections(&inline.selection_set.selections),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                        && self.seen.insert(&fragment.name)
                    {
                        self.selections(&fragment.selection_set.selections);
                    }
                }
            }
        }
    }

    fn value(&mut self, ty: &Type, value: &Node<Value>) {
        match &**value {
            Value::List(items) => {
                let item = if ty.is_list() { ty.item_type() } else { ty };
                items.iter().for_each(|one| self.inner(item, one, false));
            }
            Value::Object(entries) => {
                let Some(ExtendedType::InputObject(object)) =
                    self.schema.valid().types.get(ty.inner_named_type())
                else {
                    return;
                };
                for (name, one) in entries {
                    if let Some(field) = object.fields.get(name) {
                        self.inner(&field.ty, one, field.default_value.is_some());
                    }
                }
                if is_one_of(object) {
                    self.one_of(object, value, entries);
                }
            }
            _ => {}
        }
    }

    /// A value inside another, where the place may have a default value of its own.
    fn inner(&mut self, ty: &Type, value: &Node<Value>, has_default: bool) {
        match value.as_variable().and_then(|name| self.variable(name)) {
            Some(variable) if !may_stand(variable, ty, has_default) => {
                let message =
                    format!("variable `${}` is `{}` where `{ty}` is expected", variable.name, variable.ty);
                self.found.push((value.location(), message));
            }
            Some(_) => {}
            None => self.value(ty, value),
        }
    }

    fn one_of(&mut self, object: &InputObjectType, value: &Node<Value>, entries: &[(Name, Node<Value>)]) {
        let right = matches!(entries, [(_, only)] if !only.is_null()
            && only.as_variable().and_then(|name| self.variable(name)).is_none_or(|one| one.ty.is_non_null()));
        if !right {
            let message = format!("`{}` takes exactly one field, and not `null`", object.name);
            self.found.push((value.location(), message));
        }
    }

    fn variable(&self, name: &Name) -> Option<&'a Node<VariableDefinition>> {
        self.operation.variables.iter().find(|variable| variable.name == *name)
    }
}

/// `IsVariableUsageAllowed` (section 5.8.5).
fn may_stand(variable: &VariableDefinition, ty: &Type, has_default: bool) -> bool {
    let given = variable.default_value.as_ref().is_some_and(|value| !value.is_null());
    if ty.is_non_null() && !variable.ty.is_non_null() {
        (given || has_default) && variable.ty.is_assignable_to(&ty.clone().nullable())
    } else {
        variable.ty.is_assignable_to(ty)
    }
}

pub(super) fn is_one_of(object: &InputObjectType) -> bool {
    object.directives.has("oneOf")
}
