//! Who the reader is.
//!
//! Identity comes from the server's side only (an authentication hook, the caller of the API), never from the
//! client's query or variables.

use crate::id::Identity;

#[cfg(feature = "jwt")]
pub mod token;

/// A reader's identity, fixed when it subscribes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SecurityContext {
    /// The user, if known.
    pub user: Option<Identity>,
    /// The tenant, if any. No tenant is not a tenant called "".
    pub tenant: Option<Identity>,
}

impl SecurityContext {
    /// A reader with this user and this tenant.
    pub fn new(user: Option<Identity>, tenant: Option<Identity>) -> Self {
        Self { user, tenant }
    }
}
