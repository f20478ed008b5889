//! A projection rewritten for a reader who may not read all of it.
//!
//! What is hidden is part of the projection, and so of its equality: two readers share a body only if the same is
//! hidden from both. What hides is not known here; a [`Guard`] decides for each field.

use super::projection::{Field, Leaf, Object, Projection, Shape, Type, Variant};
use crate::{
    error::{GraphQlError, LimitExceeded},
    value::quote,
};

/// A field, by its names in the schema or the document; an alias is none of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The names of the fields from the root field to this one.
    pub(crate) path: &'a [Box<str>],
    /// The object types that may have it here; empty: not known.
    pub(crate) types: &'a [&'a str],
    /// Whether fields of it are selected.
    pub(crate) inner: bool,
}

/// What a reader gets of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Whole,
    Part(Hidden),
    /// Nothing, and no subscription that asks for it.
    None,
}

/// What is left of a field that may not be read as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Null.
    Null,
    /// This text.
    Text(Box<str>),
    /// The last characters.
    Last(usize),
}

/// Who decides what a reader gets.
pub(crate) trait Guard {
    /// What becomes of a field.
    fn verdict(&mut self, place: Place<'_>) -> Verdict;

    /// Whether rules are about fields of this type by name.
    fn singles_out(&self, ty: &str, field: &str) -> bool;

    /// Whether what a selected field without selections holds, if it is an object, may be read as a whole.
    fn is_open(&mut self, path: &[Box<str>]) -> bool;
}

/// Why there is no projection for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The field, by its path from the root field, may not be read.
    Field(String),
    /// The types that rules tell apart make too many variants.
    Limit(GraphQlError),
}

/// How many fields a rewritten projection may hold: as for variants of the document itself, their product is bounded.
const FIELDS_MAX: usize = 8_192;

impl Projection {
    /// What `guard` leaves of the projection; `root` is the type of the root field's parent, if there is a schema.
    pub(crate) fn guarded(&self, root: Option<&str>, guard: &mut dyn Guard) -> Result<Self, Refused> {
        let mut walk = Walk { guard, path: Vec::new(), left: FIELDS_MAX };
        let root = walk.field(&self.root, root.as_slice(), None, None)?;
        Ok(Self { root_field: self.root_field.clone(), root, response_key: self.response_key.clone() })
    }
}

struct Walk<'g> {
    guard: &'g mut dyn Guard,
    path: Vec<Box<str>>,
    left: usize,
}

/// What is hidden of everything inside an object.
type Inherited<'a> = Option<&'a Hidden>;

impl Walk<'_> {
    /// One field of a value of one of `types`; `parent` is its selection set.
    fn field(
        &mut self,
        field: &Field,
        types: &[&str],
        parent: Option<&Object>,
        inherited: Inherited<'_>,
    ) -> Result<Field, Refused> {
        let spent = || LimitExceeded { limit: "query_fields_max", asked: FIELDS_MAX + 1, max: FIELDS_MAX };
        self.left =
            self.left.checked_sub(1).ok_or_else(|| Refused::Limit(super::parse::limited(&spent())))?;
        let Some(name) = &field.name else { return self.type_name(field, types, parent, inherited) };
        self.path.push(name.clone());
        let inner = matches!(field.shape, Shape::Object(_));
        let verdict = self.guard.verdict(Place { path: &self.path, types, inner });
        let rewritten = match (&field.shape, stricter(verdict, inherited)) {
            (_, Verdict::None) => Err(self.refused()),
            (_, Verdict::Part(Hidden::Null)) => self.null(field),
            (Shape::Object(object), Verdict::Whole) => self.inside(field, object, None),
            (Shape::Object(object), Verdict::Part(hidden)) => self.inside(field, object, Some(&hidden)),
            (Shape::Leaf(leaf), Verdict::Part(hidden)) => self.redacted(field, leaf, hidden),
            (Shape::Leaf(Leaf::Any), Verdict::Whole) if !self.guard.is_open(&self.path) => {
                Ok(Field { shape: Shape::Leaf(Leaf::Flat), ..field.clone() })
            }
            (Shape::Leaf(_) | Shape::Fixed(_), _) => Ok(field.clone()),
        };
        self.path.pop();
        rewritten
    }

    fn inside(&mut self, field: &Field, object: &Object, inherited: Inherited<'_>) -> Result<Field, Refused> {
        Ok(Field { shape: Shape::Object(self.object(object, inherited)?), ..field.clone() })
    }

    /// Null; where the schema says that there is none the field cannot be hidden.
    fn null(&self, field: &Field) -> Result<Field, Refused> {
        if matches!(field.ty, Type::One { non_null: true } | Type::List { non_null: true, .. }) {
            return Err(self.refused());
        }
        Ok(fixed(field, "null".into()))
    }

    /// A text in place of the value; where the schema wants no text, null.
    fn redacted(&self, field: &Field, leaf: &Leaf, hidden: Hidden) -> Result<Field, Refused> {
        match (leaf, hidden) {
            (Leaf::Any | Leaf::String | Leaf::Id | Leaf::Flat | Leaf::Last(_), Hidden::Text(text)) => {
                Ok(fixed(field, listed(&field.ty, quote(&text))))
            }
            (Leaf::Any | Leaf::String | Leaf::Id | Leaf::Flat, Hidden::Last(count)) => {
                Ok(Field { shape: Shape::Leaf(Leaf::Last(count)), ..field.clone() })
            }
            _ => self.null(field),
        }
    }

    /// `__typename`: where the schema fixes the type it is the schema's, and says nothing of the document.
    fn type_name(
        &mut self,
        field: &Field,
        types: &[&str],
        parent: Option<&Object>,
        inherited: Inherited<'_>,
    ) -> Result<Field, Refused> {
        if parent.is_some_and(|parent| parent.concrete.is_some()) {
            return Ok(field.clone());
        }
        match self.type_verdict(types, inherited) {
            Verdict::Whole => Ok(field.clone()),
            // `String!` where there is a schema.
            Verdict::Part(_) if parent.is_none_or(|parent| parent.possible.is_none()) => {
                Ok(fixed(field, "null".into()))
            }
            _ => Err(self.refused_type()),
        }
    }

    fn type_verdict(&mut self, types: &[&str], inherited: Inherited<'_>) -> Verdict {
        self.path.push(TYPE_NAME.into());
        let verdict = self.guard.verdict(Place { path: &self.path, types, inner: false });
        self.path.pop();
        stricter(verdict, inherited)
    }

    fn object(&mut self, object: &Object, inherited: Inherited<'_>) -> Result<Object, Refused> {
        if let Some(concrete) = object.concrete.as_deref() {
            let other = self.fields(&object.other, &[concrete], object, inherited)?;
            return Ok(Object { other, ..object.clone() });
        }
        let possible: Vec<&str> = object.possible.iter().flatten().map(|name| &**name).collect();
        // Which fields come tells the type.
        if !object.by_type.is_empty() && self.type_verdict(&possible, None) != Verdict::Whole {
            return Err(self.refused_type());
        }
        let mut by_type = Vec::with_capacity(object.by_type.len());
        for (name, fields) in &object.by_type {
            let own = [&**name];
            // Without a schema the name is a word of the client's.
            let types = if object.possible.is_some() { &own[..] } else { &[] };
            by_type.push((name.clone(), self.fields(fields, types, object, inherited)?));
        }
        let named = |ty: &&str| object.by_type.iter().any(|(name, _)| **name == **ty);
        let (apart, alike): (Vec<&str>, Vec<&str>) = possible
            .iter()
            .copied()
            .filter(|ty| !named(ty))
            .partition(|ty| self.is_singled_out(ty, &object.other));
        let other_types = if alike.is_empty() { &possible } else { &alike };
        let other = self.fields(&object.other, other_types, object, inherited)?;
        for name in apart {
            let fields = self.fields(&object.other, &[name], object, inherited)?;
            if fields != other {
                by_type.push((name.into(), fields));
            }
        }
        by_type.sort_by(|(one, _): &Variant, (other, _)| one.cmp(other));
        let unknown = match &object.unknown {
            Some(fields) => Some(self.fields(fields, &possible, object, inherited)?),
            // Where rules alone tell the types apart, who does not say its type gets what all of them may give.
            None if object.by_type.is_empty() && !by_type.is_empty() => {
                Some(self.fields(&object.other, &possible, object, inherited)?)
            }
            None => None,
        };
        let possible = object.possible.clone();
        Ok(Object { concrete: None, possible, by_type: by_type.into(), other, unknown })
    }

    fn is_singled_out(&self, ty: &str, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.guard.singles_out(ty, field.name.as_deref().unwrap_or(TYPE_NAME)))
    }

    fn fields(
        &mut self,
        fields: &[Field],
        types: &[&str],
        parent: &Object,
        inherited: Inherited<'_>,
    ) -> Result<Box<[Field]>, Refused> {
        fields.iter().map(|field| self.field(field, types, Some(parent), inherited)).collect()
    }

    fn refused(&self) -> Refused {
        Refused::Field(self.path.join("."))
    }

    fn refused_type(&self) -> Refused {
        Refused::Field(format!("{}.{TYPE_NAME}", self.path.join(".")))
    }
}

pub(crate) const TYPE_NAME: &str = "__typename";

impl Verdict {
    /// The one of both that shows less.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::Whole, other) => other,
            (own, Self::Whole) => own,
            (Self::Part(own), Self::Part(other)) => Self::Part(own.and(other)),
        }
    }
}

impl Hidden {
    /// The one of both that shows less; of two texts the first.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => Self::Null,
            (Self::Last(own), Self::Last(other)) => Self::Last(own.min(other)),
            (Self::Last(_), text) | (text, _) => text,
        }
    }
}

fn stricter(verdict: Verdict, inherited: Inherited<'_>) -> Verdict {
    inherited.cloned().map_or(verdict.clone(), |hidden| verdict.and(Verdict::Part(hidden)))
}

/// A field that is the same for every document: nothing is left of its name there.
fn fixed(field: &Field, text: Box<str>) -> Field {
    Field { key: field.key.clone(), name: None, ty: Type::Any, shape: Shape::Fixed(text) }
}

/// `text` as a value of this type; how many there are in a list is not told.
fn listed(ty: &Type, text: String) -> Box<str> {
    match ty {
        Type::List { item, .. } => format!("[{}]", listed(item, text)).into(),
        _ => text.into(),
    }
}
