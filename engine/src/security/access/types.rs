//! The types along a path of field names from the root of a schema.

use crate::plan::{Schema, TYPE_NAME};

/// What is known of the values that a path leads to.
#[derive(Clone, Debug)]
pub(super) struct Types<'s> {
    /// `None`: nobody described the values, and a field of any name may be there.
    schema: Option<&'s Schema>,
    /// The object types; none: what is there has no fields.
    known: Vec<&'s str>,
}

impl<'s> Types<'s> {
    /// Where root fields are.
    pub(super) fn root(schema: Option<&'s Schema>) -> Self {
        Self { schema, known: schema.and_then(Schema::subscription).into_iter().collect() }
    }

    /// The object types that have a field; `None` where none has, and none where nothing is known.
    pub(super) fn having(&self, field: &str) -> Option<Vec<&'s str>> {
        let Some(schema) = self.schema else { return Some(Vec::new()) };
        let has = |ty: &&&str| field == TYPE_NAME || schema.field_type(ty, field).is_some();
        let having: Vec<_> = self.known.iter().filter(has).copied().collect();
        (!having.is_empty()).then_some(having)
    }

    /// What a field's values are.
    pub(super) fn inside(&self, field: &str) -> Self {
        self.all_inside(|name| name == field)
    }

    /// What the values of all fields are.
    pub(super) fn inside_any(&self) -> Self {
        self.all_inside(|_| true)
    }

    /// Whether there is nothing inside that the schema describes.
    pub(super) fn are_leaves(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn may_have_fields(&self) -> bool {
        self.schema.is_none() || !self.known.is_empty()
    }

    fn all_inside(&self, takes: impl Fn(&str) -> bool) -> Self {
        let Some(schema) = self.schema else { return self.clone() };
        let mut known: Vec<&'s str> = Vec::new();
        for ty in &self.known {
            for field in schema.fields_of(ty).filter(|field| takes(field)) {
                let Some(declared) = schema.field_type(ty, field) else { continue };
                let inner = declared.inner_named_type();
                if schema.is_custom_scalar(inner) {
                    return Self { schema: None, known: Vec::new() };
                }
                known.extend(schema.object_types(inner));
            }
        }
        known.sort_unstable();
        known.dedup();
        Self { schema: Some(schema), known }
    }
}
