//! Who the reader is, and how often it may ask.
//!
//! Identity comes from the server's side only (an authentication hook, the caller of the API), never from the
//! client's query or variables.

use std::sync::{Arc, LazyLock};

use crate::{
    event::Federation,
    id::{Identity, User},
    policy::Constant,
    value::Value,
};

pub mod access;
mod meter;
mod pace;
pub mod rate;
mod rules;
#[cfg(feature = "jwt")]
pub mod token;
mod variables;

pub use variables::VariableScope;

pub use meter::DeliveryRates;
pub(crate) use meter::{Metered, Meters};
pub(crate) use pace::Paced;
pub use pace::{Pace, TooOften};
pub(crate) use rules::{Asked, Rulebook};
pub use rules::{ChannelRules, Condition, RuleError, Rules};

/// A reader's identity, fixed when it subscribes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecurityContext {
    /// The user, if known.
    pub user: Option<Identity>,
    /// The tenant, if any. No tenant is not a tenant called "".
    pub tenant: Option<Identity>,
    /// Roles that the server gives the user.
    pub roles: Arc<[Box<str>]>,
    /// OAuth scopes that the user was granted (RFC 6749, section 3.3).
    pub scopes: Arc<[Box<str>]>,
    /// Whatever else is known, such as the claims of a token; an object or null.
    pub claims: Arc<Value>,
    /// Where the reader belongs in a federation of services.
    pub federation: Federation,
    /// When this ends to be true, in seconds since 1970; the reader's stream ends then.
    pub expires: Option<u64>,
}

impl SecurityContext {
    /// A reader with this user and this tenant.
    pub fn new(user: Option<Identity>, tenant: Option<Identity>) -> Self {
        Self { user, tenant, ..Self::default() }
    }

    /// The user, if known, within its tenant.
    pub(crate) fn tenant_user(&self) -> Option<User> {
        Some((self.user.clone()?, self.tenant.clone()))
    }

    /// The context as policies see it, under the name `ctx`.
    pub fn constant(&self) -> Constant {
        let id = |identity: &Option<Identity>| match identity {
            Some(identity) => Constant::Id(identity.shared()),
            None => Constant::Null,
        };
        let texts = |texts: &[Box<str>]| match texts {
            [] => NOTHING.list.clone(),
            texts => Constant::List(texts.iter().map(|text| Constant::from(&**text)).collect()),
        };
        let federation = match &self.federation {
            Federation { service: None, id: None } => NOTHING.federation.clone(),
            Federation { service, id: federated } => Nothing::federation(id(service), id(federated)),
        };
        let values = [
            id(&self.user),
            id(&self.tenant),
            texts(&self.roles),
            texts(&self.scopes),
            (&*self.claims).into(),
            federation,
        ];
        Constant::Map(NOTHING.keys.iter().cloned().zip(values).collect())
    }
}

/// What most contexts have in common, made once: a registration makes its own part only.
struct Nothing {
    keys: [Constant; 6],
    list: Constant,
    federation: Constant,
}

static NOTHING: LazyLock<Nothing> = LazyLock::new(|| Nothing {
    keys: ["user_id", "tenant_id", "roles", "scopes", "claims", "federation"].map(Constant::from),
    list: Constant::List(Arc::default()),
    federation: Nothing::federation(Constant::Null, Constant::Null),
});

impl Nothing {
    fn federation(service: Constant, id: Constant) -> Constant {
        Constant::Map([("service".into(), service), ("id".into(), id)].into())
    }
}
