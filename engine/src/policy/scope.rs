//! What names mean in an expression, and which of them are known when a subscription comes.

use super::program::{Attribute, Field, Root};

/// A binding.
#[derive(Clone, Debug)]
struct Name {
    name: Box<str>,
    root: Root,
    /// Known before any event.
    known: bool,
    /// All it can have, where that is fixed.
    fields: &'static [&'static str],
}

/// The bindings of an expression.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    names: Vec<Name>,
    /// Names that mean nothing have no value, instead of refusing the expression; so have wrong types.
    pub(super) lenient: bool,
}

/// What a policy may ask of the reader's context.
pub(super) const CONTEXT_FIELDS: [&str; 6] =
    ["user_id", "tenant_id", "roles", "scopes", "claims", "federation"];

/// The bindings of a policy that are known when a subscription comes, in the order of their numbers.
pub(super) const KNOWN: [&str; 3] = ["ctx", "args", "vars"];

/// The binding of the event that is judged.
pub(super) const EVENT: &str = "event";

impl Scope {
    /// The names of a policy.
    pub(super) fn policy() -> Self {
        let name = |name: &str, root, known, fields| Name { name: name.into(), root, known, fields };
        let mut names = vec![
            name(KNOWN[0], Root::Named(0), true, &CONTEXT_FIELDS[..]),
            name(KNOWN[1], Root::Named(1), true, &[]),
            name(KNOWN[2], Root::Named(2), true, &[]),
        ];
        names.push(name(EVENT, Root::Event, false, &[]));
        names.push(name("before", Root::Before, false, &[]));
        Self { names, lenient: false }
    }

    /// Any names; those of `known` are known before the others.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>, known: &[&str]) -> Self {
        let name = |(number, name): (usize, &str)| Name {
            name: name.into(),
            root: Root::Named(number as u16),
            known: known.contains(&name),
            fields: &[],
        };
        Self { names: names.enumerate().map(name).collect(), lenient: true }
    }

    /// The number of the binding called `name`.
    pub(super) fn root(&self, name: &str) -> Option<u16> {
        self.names.iter().position(|known| *known.name == *name).map(|number| number as u16)
    }

    /// Whether a binding is known before any event.
    pub(super) fn is_known(&self, root: u16) -> bool {
        self.names.get(usize::from(root)).is_some_and(|name| name.known)
    }

    /// Whether a binding can have a field.
    pub(super) fn may_have(&self, root: u16, field: &str) -> bool {
        let fields = self.names.get(usize::from(root)).map_or(&[][..], |name| name.fields);
        fields.is_empty() || fields.contains(&field)
    }

    /// Adds a root that no expression can name; answers its number.
    pub(super) fn hidden(&mut self, root: Root) -> u16 {
        self.names.push(Name { name: "".into(), root, known: false, fields: &[] });
        self.names.len() as u16 - 1
    }

    /// Whether a root has no keys and is `null` where it is absent.
    pub(super) fn is_pseudo(&self, root: u16) -> bool {
        self.names.get(usize::from(root)).is_some_and(|name| name.root.is_pseudo())
    }

    /// Whether this is a field of what is not known before the event.
    pub(super) fn is_field(&self, root: u16, path: &[&str]) -> bool {
        !self.is_known(root) && (!path.is_empty() || self.is_pseudo(root))
    }

    /// Whether this field may hold an identity, which is the equal of texts and integers.
    pub(super) fn is_identity(&self, root: u16, path: &[&str]) -> bool {
        let root = self.field(root, path).root;
        root.is_pseudo() || matches!(root, Root::Attribute(_))
    }

    /// A binding's name.
    pub(super) fn name(&self, root: u16) -> &str {
        self.names.get(usize::from(root)).map_or("", |name| &name.name)
    }

    /// Where the machine finds a binding's field.
    pub(super) fn field(&self, root: u16, path: &[&str]) -> Field {
        let root = self.names.get(usize::from(root)).map_or(Root::Before, |name| name.root.clone());
        let root = match (root, path) {
            (Root::Event, [first, ..]) => Attribute::named(first).map_or(Root::Event, Root::Attribute),
            (root, _) => root,
        };
        Field { root, path: path.iter().map(|key| Box::from(*key)).collect() }
    }
}
