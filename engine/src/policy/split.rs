//! What is known when a subscription comes is taken out of an expression, and what is left is folded and sorted.
//!
//! Partial evaluation in two steps. [`hoist`] replaces each largest part that no event can change by a place in the
//! subscription's row, once for a policy. [`fold`] then drops what the kinds of the values in a row decide (a
//! condition that is true, an alternative that is false), once for each combination of kinds; all subscriptions of
//! one combination share a program. [`keys`] brings the equalities to the front that the index can answer.

use bumpalo::Bump;

use super::{
    Bindings, Budget, PolicyError,
    constant::{Constant, Pattern},
    emit,
    function::Function,
    ir::{Expr, Kind},
    parse::logic,
    program::KEYS_MAX,
    scope::Scope,
    value_of,
};

/// A part that is computed when a subscription comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) expr: Expr,
    /// It is used as a regular expression.
    pub(super) pattern: bool,
}

/// What kind of value a row has in one place: all that [`fold`] and [`keys`] want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    True,
    False,
    Text,
    Identity,
    /// Something else that one key can stand for.
    Scalar,
    /// A list of what keys can stand for.
    Scalars,
    Other,
}

impl Class {
    pub(super) fn of(constant: &Constant) -> Self {
        match constant {
            Constant::Bool(true) => Self::True,
            Constant::Bool(false) => Self::False,
            Constant::Text(_) => Self::Text,
            Constant::Id(_) => Self::Identity,
            constant if is_scalar(constant) => Self::Scalar,
            Constant::List(items) if items.iter().all(is_scalar) && items.len() <= LIST_MAX => Self::Scalars,
            _ => Self::Other,
        }
    }
}

/// Elements of a list that becomes keys, at most.
const LIST_MAX: usize = 256;

fn is_scalar(constant: &Constant) -> bool {
    use Constant::{Bool, Double, Int, Null, Text, Uint};
    matches!(constant, Null | Bool(_) | Int(_) | Uint(_) | Double(_) | Text(_))
}

/// Has literal regular expressions compiled; those that do not compile become no value.
pub(super) fn patterns(expr: &mut Expr) {
    expr.parts_mut().into_iter().for_each(patterns);
    if let Kind::Call(Function::Matches, arguments) = &mut expr.kind
        && let Some(Expr { kind: Kind::Literal(literal), .. }) = arguments.get_mut(1)
    {
        compile(literal);
    }
}

/// A text as the regular expression that it is used as.
pub(super) fn compile(constant: &mut Constant) {
    if let Constant::Text(text) = constant {
        *constant = Pattern::new(text).map_or_else(Constant::Error, |pattern| Constant::Pattern(pattern.into()));
    }
}

/// Takes out what no event can change; what nothing at all can change becomes a literal.
pub(super) fn hoist(expr: &mut Expr, scope: &Scope, known: &mut Vec<Known>) -> Result<(), PolicyError> {
    take_out(expr, false, scope, known)
}

fn take_out(expr: &mut Expr, pattern: bool, scope: &Scope, known: &mut Vec<Known>) -> Result<(), PolicyError> {
    // The empty list is where macros begin to make one.
    if matches!(&expr.kind, Kind::Literal(_) | Kind::Known(_)) || expr.kind == Kind::List(Vec::new()) {
        return Ok(());
    }
    let at = expr.at;
    let is_closed = !expr.is_open();
    if is_closed && !expr.any(&mut |part| matches!(part.kind, Kind::Root(_))) {
        let program = emit::emit(expr, &[], scope)?;
        let mut constant = value_of(&program, &[], &Bindings(&[]), &Bump::new(), Budget::default());
        if pattern {
            compile(&mut constant);
        }
        *expr = Expr::literal(constant, at);
        return Ok(());
    }
    let changes = |part: &Expr| matches!(part.kind, Kind::Root(root) if !scope.is_known(root));
    if is_closed && !expr.any(&mut { changes }) && known.len() < usize::from(u16::MAX) {
        let part = Known { expr: expr.clone(), pattern };
        let place = known.iter().position(|other| *other == part).unwrap_or_else(|| {
            known.push(part);
            known.len() - 1
        });
        *expr = Expr::new(Kind::Known(place as u16), at);
        return Ok(());
    }
    let is_matches = matches!(expr.kind, Kind::Call(Function::Matches, _));
    for (number, part) in expr.parts_mut().into_iter().enumerate() {
        take_out(part, is_matches && number == 1, scope, known)?;
    }
    Ok(())
}

/// Drops what the kinds of the row's values decide.
pub(super) fn fold(expr: &Expr, classes: &[Class]) -> Expr {
    let mut folded = expr.clone();
    fold_in_place(&mut folded, classes);
    folded
}

fn fold_in_place(expr: &mut Expr, classes: &[Class]) {
    for part in expr.parts_mut() {
        fold_in_place(part, classes);
    }
    let at = expr.at;
    match &mut expr.kind {
        Kind::Known(place) => match classes.get(usize::from(*place)) {
            Some(Class::True) => *expr = Expr::literal(Constant::Bool(true), at),
            Some(Class::False) => *expr = Expr::literal(Constant::Bool(false), at),
            _ => {}
        },
        Kind::And(parts) => {
            let parts = std::mem::take(parts);
            *expr = chain(true, parts, at);
        }
        Kind::Or(parts) => {
            let parts = std::mem::take(parts);
            *expr = chain(false, parts, at);
        }
        Kind::Call(Function::Not, arguments) => {
            if let [Expr { kind: Kind::Literal(Constant::Bool(truth)), .. }] = **arguments {
                *expr = Expr::literal(Constant::Bool(!truth), at);
            }
        }
        Kind::If(parts) => {
            let taken = match parts[0].kind {
                Kind::Literal(Constant::Bool(true)) => 1,
                Kind::Literal(Constant::Bool(false)) => 2,
                _ => return,
            };
            *expr = parts[taken].clone();
        }
        _ => {}
    }
}

/// A chain without the truths that change nothing; one that the other truth decides is that.
fn chain(and: bool, parts: Vec<Expr>, at: super::ir::Position) -> Expr {
    let truth = |part: &Expr| if let Kind::Literal(Constant::Bool(truth)) = part.kind { Some(truth) } else { None };
    if parts.iter().any(|part| truth(part) == Some(!and)) {
        return Expr::literal(Constant::Bool(!and), at);
    }
    let kept: Vec<_> = parts.into_iter().filter(|part| truth(part) != Some(and)).collect();
    if kept.is_empty() { Expr::literal(Constant::Bool(and), at) } else { logic(and, kept, at) }
}

/// An equality that the index can answer.
#[derive(Clone, Debug)]
pub(super) struct KeyClause {
    /// A field, as an expression.
    pub(super) field: Expr,
    /// A literal or a place in the row.
    pub(super) value: Expr,
    pub(super) list: bool,
    pub(super) identity: bool,
    pub(super) optional: bool,
}

/// Brings the clauses that can be keys to the front of a conjunction, `KEYS_MAX` at most. Answers them.
pub(super) fn keys(expr: &mut Expr, scope: &Scope, classes: &[Class]) -> Vec<KeyClause> {
    if key(expr, scope, classes).is_some() {
        *expr = Expr::new(Kind::And(vec![expr.clone()]), expr.at);
    }
    let Kind::And(clauses) = &mut expr.kind else { return Vec::new() };
    let mut keys = Vec::new();
    for number in 0..clauses.len() {
        if let Some(key) = key(&clauses[number], scope, classes)
            && keys.len() < KEYS_MAX
        {
            let clause = clauses.remove(number);
            clauses.insert(keys.len(), clause);
            keys.push(key);
        }
    }
    keys
}

/// `field == value`, `field in values`, and the same where an absent field passes.
fn key(clause: &Expr, scope: &Scope, classes: &[Class]) -> Option<KeyClause> {
    if let Kind::Or(parts) = &clause.kind {
        let [first, second] = &**parts else { return None };
        let key = key(second, scope, classes).filter(|key| !key.optional)?;
        return passes_absent(first, &key.field, scope).then_some(KeyClause { optional: true, ..key });
    }
    let Kind::Call(function, arguments) = &clause.kind else { return None };
    let [a, b] = &**arguments else { return None };
    let (field, value, list) = match function {
        Function::In => (a, b, true),
        Function::Equal if field_path(a).is_some() => (a, b, false),
        Function::Equal => (b, a, false),
        _ => return None,
    };
    let class = match &value.kind {
        Kind::Literal(constant) => Class::of(constant),
        Kind::Known(place) => *classes.get(usize::from(*place))?,
        _ => return None,
    };
    let (root, path) = field_path(field).filter(|(root, path)| scope.is_field(*root, path))?;
    let identity = match (list, class) {
        (false, Class::Identity) => true,
        // `null`, which no event has there: a reader without an identity.
        (false, Class::Scalar) if scope.is_pseudo(root) => true,
        (false, Class::Text) => false,
        // An attribute equals texts and integers alike: only a text or an identity has one form for that.
        _ if scope.is_identity(root, &path) => return None,
        (false, Class::True | Class::False | Class::Scalar) | (true, Class::Scalars) => false,
        _ => return None,
    };
    Some(KeyClause { field: field.clone(), value: value.clone(), list, identity, optional: false })
}

/// The root and the keys of a field.
pub(super) fn field_path(expr: &Expr) -> Option<(u16, Vec<&str>)> {
    match &expr.kind {
        Kind::Root(root) => Some((*root, Vec::new())),
        Kind::Select(of, key) => {
            let (root, mut path) = field_path(of)?;
            path.push(key);
            Some((root, path))
        }
        Kind::Call(Function::Index, parts) => match &**parts {
            [of, Expr { kind: Kind::Literal(Constant::Text(key)), .. }] => {
                let (root, mut path) = field_path(of)?;
                path.push(key);
                Some((root, path))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether `test` is true of exactly those events that lack `field`: `!has(field)`, or for a field that is `null` where
/// it is absent `field == null`.
fn passes_absent(test: &Expr, field: &Expr, scope: &Scope) -> bool {
    let (Kind::Call(function, arguments), Some((root, path))) = (&test.kind, field_path(field)) else { return false };
    match (function, &**arguments) {
        (Function::Not, [Expr { kind: Kind::Has(of, key), .. }]) => {
            path.len() == 1 && path[0] == &**key && matches!(of.kind, Kind::Root(other) if other == root)
        }
        (Function::Equal, [tested, Expr { kind: Kind::Literal(Constant::Null), .. }]) => {
            scope.is_pseudo(root) && tested == field
        }
        _ => false,
    }
}
