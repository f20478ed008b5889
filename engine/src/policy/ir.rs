//! An expression between its text and its bytecode.

use std::sync::Arc;

use super::{constant::Constant, function::Function};

/// Where an expression stands: in which text, and its line and column there, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The number of the part, of those that were compiled together.
    pub part: u16,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// A comprehension's variable, unique in its expression.
pub(super) type Local = u32;

/// A node and where it stands. Equal if they compute the same: positions do not matter.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) kind: Kind,
    pub(super) at: Position,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Literal(Constant),
    /// A binding, by its number in the scope.
    Root(u16),
    Local(Local),
    /// What was computed when the subscription came: a place in its row.
    Known(u16),
    Select(Box<Expr>, Arc<str>),
    Has(Box<Expr>, Arc<str>),
    Call(Function, Vec<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    If(Box<[Expr; 3]>),
    List(Vec<Expr>),
    Map(Vec<[Expr; 2]>),
    Fold(Box<Fold>),
}

/// A macro, expanded: goes over a list or a map's keys and makes one value of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fold {
    pub(super) range: Expr,
    pub(super) item: Local,
    pub(super) accu: Local,
    pub(super) init: Expr,
    /// Goes on unless this is false; without it to the end.
    pub(super) condition: Option<Expr>,
    pub(super) step: Expr,
    pub(super) result: Expr,
}

impl Expr {
    pub(super) fn new(kind: Kind, at: Position) -> Self {
        Self { kind, at }
    }

    pub(super) fn literal(constant: Constant, at: Position) -> Self {
        Self::new(Kind::Literal(constant), at)
    }

    pub(super) fn call(function: Function, arguments: Vec<Expr>, at: Position) -> Self {
        Self::new(Kind::Call(function, arguments), at)
    }

    /// All the parts, in order.
    pub(super) fn parts(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Literal(_) | Kind::Root(_) | Kind::Local(_) | Kind::Known(_) => Vec::new(),
            Kind::Select(of, _) | Kind::Has(of, _) => vec![of],
            Kind::Call(_, parts) | Kind::And(parts) | Kind::Or(parts) | Kind::List(parts) => parts.iter().collect(),
            Kind::If(parts) => parts.iter().collect(),
            Kind::Map(entries) => entries.iter().flatten().collect(),
            Kind::Fold(fold) => {
                let Fold { range, init, condition, step, result, .. } = &**fold;
                [range, init].into_iter().chain(condition).chain([step, result]).collect()
            }
        }
    }

    /// The same for changes.
    pub(super) fn parts_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            Kind::Literal(_) | Kind::Root(_) | Kind::Local(_) | Kind::Known(_) => Vec::new(),
            Kind::Select(of, _) | Kind::Has(of, _) => vec![of],
            Kind::Call(_, parts) | Kind::And(parts) | Kind::Or(parts) | Kind::List(parts) => {
                parts.iter_mut().collect()
            }
            Kind::If(parts) => parts.iter_mut().collect(),
            Kind::Map(entries) => entries.iter_mut().flatten().collect(),
            Kind::Fold(fold) => {
                let Fold { range, init, condition, step, result, .. } = &mut **fold;
                [range, init].into_iter().chain(condition).chain([step, result]).collect()
            }
        }
    }

    /// Whether `test` holds for this or any part.
    pub(super) fn any(&self, test: &mut impl FnMut(&Expr) -> bool) -> bool {
        test(self) || self.parts().into_iter().any(|part| part.any(test))
    }

    /// Whether it uses a variable that a comprehension outside of it declares.
    pub(super) fn is_open(&self) -> bool {
        fn open(expr: &Expr, declared: &mut Vec<Local>) -> bool {
            match &expr.kind {
                Kind::Local(local) => !declared.contains(local),
                Kind::Fold(fold) => {
                    let before = declared.len();
                    declared.extend([fold.item, fold.accu]);
                    let found = expr.parts().into_iter().any(|part| open(part, declared));
                    declared.truncate(before);
                    found
                }
                _ => expr.parts().into_iter().any(|part| open(part, declared)),
            }
        }
        open(self, &mut Vec::new())
    }
}
