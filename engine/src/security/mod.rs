//! Who the reader is, and how often it may ask.
//!
//! Identity comes from the server's side only (an authentication hook, the caller of the API), never from the
//! client's query or variables.

use std::sync::Arc;

use crate::{event::Federation, id::Identity, policy::Constant, value::Value};

pub mod access;
mod pace;
pub mod rate;
mod rules;
#[cfg(feature = "jwt")]
pub mod token;
mod variables;

pub use variables::VariableScope;

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

    /// The context as policies see it, under the name `ctx`.
    pub fn constant(&self) -> Constant {
        let id = |identity: &Option<Identity>| match identity {
            Some(identity) => Constant::Id(identity.shared()),
            None => Constant::Null,
        };
        let texts =
            |texts: &[Box<str>]| Constant::List(texts.iter().map(|text| Constant::from(&**text)).collect());
        let Federation { service, id: federated } = &self.federation;
        let federation = [("service", id(service)), ("id", id(federated))];
        let map = |entries: Vec<(&str, Constant)>| {
            Constant::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
        };
        map(vec![
            ("user_id", id(&self.user)),
            ("tenant_id", id(&self.tenant)),
            ("roles", texts(&self.roles)),
            ("scopes", texts(&self.scopes)),
            ("claims", (&*self.claims).into()),
            ("federation", map(federation.into())),
        ])
    }
}
