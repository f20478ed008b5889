//! Ready policies: user, tenant and federation isolation.
//!
//! An event that names an owner is seen by that user only; an event that names a tenant is seen by that tenant
//! only. What an event does not name is the difference between the two modes of [`Tenancy`]. An event that was published
//! for a service of a federation, or an id in it, is seen by readers of the same service and the same id.

use super::{
    Channels,
    constant::Constant,
    function::Function,
    ir::{Expr, Kind, Position},
    parse::logic,
    program::Root,
    scope::{EVENT, KNOWN, Scope},
};

/// What an event without a tenant means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tenancy {
    /// It is for every tenant.
    #[default]
    Permissive,
    /// It is for nobody.
    Strict,
}

/// The rules of isolation on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Isolation {
    /// What an event without a tenant means.
    pub tenancy: Tenancy,
    /// The document's key that names the owner, where the publisher gave no user. `None`: the channel has no owner
    /// rule at all (a chat room, where the user in an event is its author).
    pub owner: Option<Box<str>>,
    /// The document's key that names the tenant, where the publisher gave none.
    pub tenant: Box<str>,
}

impl Default for Isolation {
    fn default() -> Self {
        Self { tenancy: Tenancy::Permissive, owner: Some("user_id".into()), tenant: "tenant_id".into() }
    }
}

impl Isolation {
    /// The rules as an expression; `scope` gets the roots that they read.
    pub(super) fn expr(&self, part: u16, scope: &mut Scope) -> Expr {
        let at = Position { part, ..Position::default() };
        let mut clauses = Vec::new();
        let tenant = scope.hidden(Root::Tenant(self.tenant.clone()));
        clauses.extend(belongs(
            tenant,
            select(context(scope, at), "tenant_id"),
            self.tenancy == Tenancy::Permissive,
            at,
        ));
        if let Some(owner) = &self.owner {
            let user = scope.hidden(Root::User(owner.clone()));
            clauses.extend(belongs(user, select(context(scope, at), "user_id"), true, at));
        }
        for (root, field) in [(Root::Service, "service"), (Root::FederationId, "id")] {
            let root = scope.hidden(root);
            let context = Expr::new(Kind::Select(Box::new(context(scope, at)), "federation".into()), at);
            clauses.extend(belongs(root, select(context, field), true, at));
        }
        Expr::new(Kind::And(clauses), at)
    }
}

/// What must hold for events of some channels only: each clause, unless the event is on another one.
pub(super) fn unless_off(channels: Channels<'_>, expr: Expr, scope: &Scope) -> Expr {
    let at = expr.at;
    let names = channels.names.iter().map(|name| Constant::Text((*name).into())).collect();
    let event = Expr::new(Kind::Root(scope.root(EVENT).unwrap_or(0)), at);
    let names = Expr::literal(Constant::List(names), at);
    let is_named = Expr::call(Function::In, vec![select(event, "channel"), names], at);
    let passes = if channels.others { is_named } else { Expr::call(Function::Not, vec![is_named], at) };
    let clauses = match expr.kind {
        Kind::And(clauses) => clauses,
        kind => vec![Expr::new(kind, at)],
    };
    let unless = |clause: Expr| {
        let at = clause.at;
        logic(false, vec![passes.clone(), clause], at)
    };
    Expr::new(Kind::And(clauses.into_iter().map(unless).collect()), at)
}

fn context(scope: &Scope, at: Position) -> Expr {
    Expr::new(Kind::Root(scope.root(KNOWN[0]).unwrap_or(0)), at)
}

fn select(of: Expr, field: &str) -> Expr {
    let at = of.at;
    Expr::new(Kind::Select(Box::new(of), field.into()), at)
}

/// The event's `root` is the reader's `own`; where it is absent, `permissive` decides.
fn belongs(root: u16, own: Expr, permissive: bool, at: Position) -> Vec<Expr> {
    let null = || Expr::literal(Constant::Null, at);
    let found = Expr::new(Kind::Root(root), at);
    let is_own = Expr::call(Function::Equal, vec![found.clone(), own.clone()], at);
    if permissive {
        vec![Expr::new(Kind::Or(vec![Expr::call(Function::Equal, vec![found, null()], at), is_own]), at)]
    } else {
        // Both absent are not equal: no tenant is not a tenant.
        vec![Expr::call(Function::NotEqual, vec![own, null()], at), is_own]
    }
}
