//! One rule: which field, who may read it, and what the others get.

use super::AccessError;

/// What a reader gets of a field whose rule it does not meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// The subscription is refused.
    #[default]
    Reject,
    /// Null; where the schema says non-null, as [`Otherwise::Reject`].
    Mask,
    /// This text. In a list it stands once, so that the length is not told; where the schema wants a number, a
    /// boolean or an enum, as [`Otherwise::Mask`]. Of an object it stands in every field.
    Replace(Box<str>),
    /// `***` and the last characters of a text or an integer, so many; one that has no more shows none of them.
    /// Otherwise as [`Otherwise::Replace`].
    KeepLast(usize),
}

/// Who may read one field, or several. See [`super::Access`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) target: Target,
    pub(super) roles: Option<Words>,
    pub(super) scopes: Option<Words>,
    pub(super) public: bool,
    pub(super) otherwise: Option<Otherwise>,
}

/// What a rule is about, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A type where the first letter is a capital, a path where it is not.
    Text(Box<str>),
    Type(Box<str>),
    Path(Box<str>),
}

/// Words of which a reader must have one, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Words {
    Any(Box<[Box<str>]>),
    All(Box<[Box<str>]>),
}

/// One name of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Name(Box<str>),
    /// `*`: any one field.
    One,
    /// `**`, the last: everything below.
    Below,
}

impl Rule {
    /// A rule for `"User.email"` (a field of a type of the schema; `"User.*"`: all of its fields) or `"users.email"`
    /// (a path of field names from the root field): a capital says that it is a type. In a path `*` stands for any
    /// one field, and `**` at its end for everything below. Aliases are no names.
    pub fn at(field: impl Into<Box<str>>) -> Self {
        Self::new(Target::Text(field.into()))
    }

    /// A rule for a field of a type, whatever its first letter.
    pub fn at_type(field: impl Into<Box<str>>) -> Self {
        Self::new(Target::Type(field.into()))
    }

    /// A rule for a path from the root field, whatever its first letter.
    pub fn at_path(path: impl Into<Box<str>>) -> Self {
        Self::new(Target::Path(path.into()))
    }

    fn new(target: Target) -> Self {
        Self { target, roles: None, scopes: None, public: false, otherwise: None }
    }

    /// For readers with one of these roles. Roles and scopes, where both are asked for, must both be there.
    #[must_use]
    pub fn any_role<S: Into<Box<str>>>(self, roles: impl IntoIterator<Item = S>) -> Self {
        Self { roles: Some(Words::Any(words(roles))), ..self }
    }

    /// For readers with all of these roles.
    #[must_use]
    pub fn all_roles<S: Into<Box<str>>>(self, roles: impl IntoIterator<Item = S>) -> Self {
        Self { roles: Some(Words::All(words(roles))), ..self }
    }

    /// For readers with one of these OAuth scopes (RFC 6749, section 3.3).
    #[must_use]
    pub fn any_scope<S: Into<Box<str>>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        Self { scopes: Some(Words::Any(words(scopes))), ..self }
    }

    /// For readers with all of these OAuth scopes.
    #[must_use]
    pub fn all_scopes<S: Into<Box<str>>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        Self { scopes: Some(Words::All(words(scopes))), ..self }
    }

    /// For every reader: what [`super::Access::deny_by_default`] must be told.
    #[must_use]
    pub fn public(self) -> Self {
        Self { public: true, ..self }
    }

    /// What the others get. A rule that says only this holds for every reader.
    #[must_use]
    pub fn otherwise(self, otherwise: Otherwise) -> Self {
        Self { otherwise: Some(otherwise), ..self }
    }

    /// Refuses a rule that contradicts itself or says nothing.
    pub(super) fn check(&self) -> Result<(), AccessError> {
        let refuse = |reason: &str| Err(AccessError::Rule(self.target.text().into(), reason.into()));
        let needs = [&self.roles, &self.scopes];
        let asked = needs.iter().any(|words| words.is_some());
        if self.public && (asked || self.otherwise.is_some()) {
            return refuse("it is public: leave the rest out");
        }
        if !self.public && !asked && self.otherwise.is_none() {
            return refuse("it says nothing: name roles or scopes, or what readers get");
        }
        for words in needs.into_iter().flatten() {
            if words.list().is_empty() || words.list().iter().any(|word| word.is_empty()) {
                return refuse("a list of roles or scopes is empty, or holds an empty text");
            }
        }
        match self.otherwise {
            Some(Otherwise::KeepLast(0)) => refuse("0 characters are kept: replace by a text instead"),
            _ => Ok(()),
        }
    }

    /// Whether a reader with these roles and scopes may read what the rule is about.
    pub(super) fn is_met(&self, roles: &[Box<str>], scopes: &[Box<str>]) -> bool {
        let asked = self.roles.is_some() || self.scopes.is_some();
        let has = |words: &Option<Words>, given| words.as_ref().is_none_or(|words| words.are_among(given));
        self.public || (asked && has(&self.roles, roles) && has(&self.scopes, scopes))
    }
}

impl Words {
    fn list(&self) -> &[Box<str>] {
        let (Self::Any(words) | Self::All(words)) = self;
        words
    }

    fn are_among(&self, given: &[Box<str>]) -> bool {
        match self {
            Self::Any(words) => words.iter().any(|word| given.contains(word)),
            Self::All(words) => words.iter().all(|word| given.contains(word)),
        }
    }
}

impl Target {
    pub(super) fn text(&self) -> &str {
        let (Self::Text(text) | Self::Type(text) | Self::Path(text)) = self;
        text
    }

    /// Whether it is a field of a type.
    pub(super) fn is_type(&self) -> bool {
        match self {
            Self::Text(text) => text.starts_with(|first: char| first.is_uppercase()),
            Self::Type(_) => true,
            Self::Path(_) => false,
        }
    }

    /// The names and stars between its dots.
    pub(super) fn segments(&self) -> Result<Box<[Segment]>, AccessError> {
        let refuse = |reason: &str| AccessError::Rule(self.text().into(), reason.into());
        let segments: Option<Box<[Segment]>> = self.text().split('.').map(Segment::read).collect();
        let segments = segments.ok_or_else(|| refuse("write names or stars with dots between them"))?;
        if segments.iter().rev().skip(1).any(|segment| *segment == Segment::Below) {
            return Err(refuse("`**` stands at the end only"));
        }
        Ok(segments)
    }
}

impl Segment {
    fn read(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::One),
            "**" => Some(Self::Below),
            name => is_name(name).then(|| Self::Name(name.into())),
        }
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => **own == *name,
            Self::One | Self::Below => true,
        }
    }
}

/// A name of GraphQL (specification, section 2.1.9).
pub(super) fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn words<S: Into<Box<str>>>(words: impl IntoIterator<Item = S>) -> Box<[Box<str>]> {
    words.into_iter().map(Into::into).collect()
}
