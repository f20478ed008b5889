//! What an index key can stand for: values of which equality is equality of one canonical form.

use std::sync::Arc;

use bumpalo::Bump;

use super::{Predicate, constant::Constant, program::Key, val::Val};

/// A canonical form: numbers that are equal have one, whatever their types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar<Text> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// The bits of any other number.
    Double(u64),
    /// A string, or an identity's canonical text.
    Text(Text),
}

impl<'a> Scalar<&'a str> {
    /// The form of a value, if it has one. `identity`: the value is held against identities, which equal the integer of
    /// their digits; `arena` takes those digits.
    pub fn of(value: Val<'a>, identity: bool, arena: &'a Bump) -> Option<Self> {
        Some(match value {
            Val::Null => Self::Null,
            Val::Bool(truth) => Self::Bool(truth),
            Val::Int(number) if identity => digits(number.into(), arena),
            Val::Uint(number) if identity => digits(number.into(), arena),
            Val::Int(number) => Self::Integer(number.into()),
            Val::Uint(number) => Self::Integer(number.into()),
            Val::Double(number) if number.is_nan() => return None,
            // Whole, and small enough to be an integer's equal; none equals an identity.
            Val::Double(number) if number.fract() == 0.0 && number.abs() < 1e30 && !identity => {
                Self::Integer(number as i128)
            }
            Val::Double(number) => Self::Double(number.to_bits()),
            _ => Self::Text(value.text()?),
        })
    }

    /// The same form, owning its text.
    pub fn keep(self) -> Scalar<Arc<str>> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(truth) => Scalar::Bool(truth),
            Self::Integer(number) => Scalar::Integer(number),
            Self::Double(bits) => Scalar::Double(bits),
            Self::Text(text) => Scalar::Text(text.into()),
        }
    }
}

impl Scalar<Arc<str>> {
    /// The same form, borrowing its text.
    pub fn borrow(&self) -> Scalar<&str> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(truth) => Scalar::Bool(*truth),
            Self::Integer(number) => Scalar::Integer(*number),
            Self::Double(bits) => Scalar::Double(*bits),
            Self::Text(text) => Scalar::Text(text),
        }
    }
}

fn digits(number: i128, arena: &Bump) -> Scalar<&str> {
    Scalar::Text(bumpalo::format!(in arena, "{}", number).into_bump_str())
}

impl Predicate {
    /// The forms that `key` lets through, each once; empty: no event passes it.
    pub fn scalars(&self, key: &Key) -> Vec<Scalar<Arc<str>>> {
        let arena = Bump::new();
        let constant = self.constant(key.value);
        let constants = match constant {
            Some(Constant::List(items)) if key.list => &items[..],
            constant => constant.map_or(&[][..], std::slice::from_ref),
        };
        let mut scalars = Vec::with_capacity(constants.len());
        for scalar in constants.iter().filter_map(|constant| Scalar::of(constant.val(), key.identity, &arena)) {
            if !scalars.iter().any(|known: &Scalar<Arc<str>>| known.borrow() == scalar) {
                scalars.push(scalar.keep());
            }
        }
        scalars
    }
}
