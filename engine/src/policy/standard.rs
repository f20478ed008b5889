//! Ready policies: user and tenant isolation.
//!
//! An event that names an owner is seen by that user only; an event that names a tenant is seen by that tenant
//! only. What an event does not name is the difference between the two modes of [`Tenancy`].

use std::sync::Arc;

use super::{
    Predicate,
    program::{Field, Op, Program, ProgramError, Verified},
};
use crate::id::Identity;

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

const TENANT: u16 = 0;
const USER: u16 = 1;

impl Isolation {
    /// The rules as a program; its constants are `[tenant, user]`.
    ///
    /// # Errors
    /// None in practice: the verifier checks what is emitted here as it checks any program.
    pub fn compile(&self) -> Result<Arc<Verified>, ProgramError> {
        let mut program =
            Program { fields: vec![Field::Tenant(self.tenant.clone())], code: vec![Op::Load(0)] };
        if self.tenancy == Tenancy::Permissive {
            program.code.push(Op::SkipIfAbsent(3));
        }
        program.code.push(Op::DenyUnlessEqual(TENANT));
        if let Some(owner) = &self.owner {
            program.fields.push(Field::User(owner.clone()));
            let end = program.code.len() as u16 + 3;
            program.code.extend([Op::Load(1), Op::SkipIfAbsent(end), Op::DenyUnlessEqual(USER)]);
        }
        program.code.push(Op::Allow);
        program.verify().map(Arc::new)
    }
}

/// The predicate of a reader with this user and tenant, under compiled [`Isolation`].
///
/// # Errors
/// `ProgramError` if `program` is not one of isolation.
pub fn isolate(
    program: Arc<Verified>,
    user: Option<Identity>,
    tenant: Option<Identity>,
) -> Result<Predicate, ProgramError> {
    Predicate::new(program, Arc::new([tenant, user]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Fact, Facts};

    struct Given(Fact<'static>, Fact<'static>);
    impl Facts for Given {
        fn fact(&self, field: &Field) -> Fact<'_> {
            match field {
                Field::Tenant(_) => self.0.clone(),
                Field::User(_) => self.1.clone(),
            }
        }
    }

    fn is(text: &'static str) -> Fact<'static> {
        Fact::Is(text.into())
    }

    #[test]
    fn events_reach_their_tenant_and_their_owner_only() {
        use Fact::{Absent, Incomparable};
        let permissive = Isolation::default();
        let strict = Isolation { tenancy: Tenancy::Strict, ..Isolation::default() };
        let ownerless = Isolation { owner: None, ..Isolation::default() };
        let row =
            |rules: &Isolation, event: (Fact<'static>, Fact<'static>), reader: (&str, &str), seen: bool| {
                let [tenant, user] = [reader.0, reader.1].map(Identity::new);
                let predicate = isolate(rules.compile().unwrap(), user, tenant).unwrap();
                assert_eq!(
                    predicate.admits(&Given(event.0.clone(), event.1.clone())),
                    seen,
                    "{rules:?} {event:?} {reader:?}"
                );
            };
        row(&permissive, (Absent, Absent), ("t", "u"), true);
        row(&permissive, (Absent, Absent), ("", ""), true);
        row(&permissive, (is("t"), Absent), ("t", "u"), true);
        row(&permissive, (is("t"), Absent), ("x", "u"), false);
        row(&permissive, (is("t"), Absent), ("", ""), false);
        row(&permissive, (is("t"), is("u")), ("t", "u"), true);
        row(&permissive, (is("t"), is("u")), ("t", "x"), false);
        row(&permissive, (Absent, is("u")), ("t", ""), false);
        row(&permissive, (Incomparable, Absent), ("t", "u"), false);
        row(&permissive, (Absent, Incomparable), ("t", "u"), false);
        row(&strict, (Absent, Absent), ("t", "u"), false);
        row(&strict, (Absent, Absent), ("", ""), false);
        row(&strict, (is("t"), Absent), ("t", "u"), true);
        row(&strict, (is("t"), is("x")), ("t", "u"), false);
        row(&ownerless, (is("t"), is("x")), ("t", "u"), true);
    }
}
