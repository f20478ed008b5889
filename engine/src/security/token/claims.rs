//! What a verified token says: when it holds, for whom, and who its bearer is.

use std::sync::Arc;

use super::error::{TokenError, shown};
use crate::{id::Identity, value::Value};

/// The last second that is taken for a date, the end of the year 9999: what is later is a mistake or an attempt.
const DATE_MAX: i64 = 253_402_300_799;

/// The claims of a token that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// All claims, an object.
    pub all: Arc<Value>,
    /// The second since 1970 from which on the token does not hold (`exp` and the leeway); a fraction is
    /// cut off. `None` only where the verifier takes tokens without.
    pub expires: Option<u64>,
}

/// What a verifier wants of claims.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) issuers: Option<Vec<Box<str>>>,
    pub(super) audiences: Option<Vec<Box<str>>>,
    pub(super) any_audience: bool,
    /// In seconds.
    pub(super) leeway: u64,
    pub(super) required: Vec<Box<str>>,
    pub(super) expiry_optional: bool,
}

impl Expected {
    /// Checks the registered claims (RFC 7519, section 4.1) at `now`, in seconds since 1970.
    pub(super) fn check(&self, all: Value, now: u64) -> Result<Claims, TokenError> {
        if !matches!(all, Value::Object(_)) {
            return Err(TokenError::malformed("claims", &"not an object"));
        }
        let expires = date(&all, "exp")?.map(|date| date.floor);
        if expires.is_none() && !self.expiry_optional {
            return Err(TokenError::Missing("exp".into()));
        }
        let absent = |claim: &&str| matches!(all.get(claim), None | Some(Value::Null));
        if let Some(claim) = self.required.iter().map(AsRef::as_ref).find(absent) {
            return Err(TokenError::Missing(claim.into()));
        }
        self.check_issuer(&all)?;
        self.check_audience(&all)?;
        date(&all, "iat")?;
        if let Some(not_before) = date(&all, "nbf")?
            && now.saturating_add(self.leeway) < not_before.ceiling
        {
            return Err(TokenError::NotYet(not_before.ceiling));
        }
        // On the second itself it is over already.
        match expires {
            Some(at) if now >= at.saturating_add(self.leeway) => Err(TokenError::Expired(at)),
            _ => {
                let expires = expires.map(|at| at.saturating_add(self.leeway));
                Ok(Claims { all: Arc::new(all), expires })
            }
        }
    }

    fn check_issuer(&self, all: &Value) -> Result<(), TokenError> {
        let Some(issuers) = &self.issuers else { return Ok(()) };
        match all.get("iss") {
            None => Err(TokenError::Missing("iss".into())),
            Some(Value::String(issuer)) if issuers.iter().any(|known| **known == **issuer) => Ok(()),
            Some(Value::String(issuer)) => Err(TokenError::Issuer(shown(issuer))),
            Some(_) => Err(TokenError::Invalid("iss".into(), "a string")),
        }
    }

    fn check_audience(&self, all: &Value) -> Result<(), TokenError> {
        if self.any_audience {
            return Ok(());
        }
        let named = match all.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::List(several)) => several
                .iter()
                .map(|one| {
                    one.as_str().ok_or(TokenError::Invalid("aud".into(), "a string or a list of them"))
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(TokenError::Invalid("aud".into(), "a string or a list of them")),
        };
        match (&self.audiences, all.get("aud")) {
            (None, None) => Ok(()),
            // RFC 7519, section 4.1.3: who is not named must refuse, and nobody is who has no name.
            (None, Some(_)) => Err(TokenError::NoAudience),
            (Some(_), None) => Err(TokenError::Missing("aud".into())),
            (Some(ours), Some(_)) if ours.iter().any(|our| named.contains(&&**our)) => Ok(()),
            (Some(_), Some(_)) => Err(TokenError::Audience),
        }
    }
}

/// A `NumericDate` (RFC 7519, section 2) in whole seconds since 1970, as it may be read against the bearer.
struct Date {
    floor: u64,
    ceiling: u64,
}

fn date(all: &Value, claim: &str) -> Result<Option<Date>, TokenError> {
    let invalid =
        || TokenError::Invalid(claim.into(), "a number of seconds since 1970, of the year 9999 or before");
    match all.get(claim) {
        None => Ok(None),
        Some(Value::Int(second @ 0..=DATE_MAX)) => {
            Ok(Some(Date { floor: second.unsigned_abs(), ceiling: second.unsigned_abs() }))
        }
        #[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "between 0 and 2^53")]
        Some(Value::Float(second)) if (0.0..=DATE_MAX as f64).contains(second) => {
            Ok(Some(Date { floor: second.floor() as u64, ceiling: second.ceil() as u64 }))
        }
        Some(_) => Err(invalid()),
    }
}

/// Which claims say who the bearer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The claim that names the user, which then must be there; `None`: no user. By default `sub`.
    pub user: Option<Box<str>>,
    /// The claim that names the tenant; `None`, absent, `null` or `""`: no tenant. By default `tenant_id`.
    pub tenant: Option<Box<str>>,
    /// The claim that lists the roles; `None` or absent: no roles. By default `roles`.
    pub roles: Option<Box<str>>,
    /// The claims that may list the scopes, of which the first that is there counts. By default `scope` (RFC 8693,
    /// section 4.2), `scopes` and `scp`.
    pub scopes: Vec<Box<str>>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            user: Some("sub".into()),
            tenant: Some("tenant_id".into()),
            roles: Some("roles".into()),
            scopes: ["scope", "scopes", "scp"].map(Into::into).into(),
        }
    }
}

/// Who the bearer of a token is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identified {
    /// The user.
    pub user: Option<Identity>,
    /// The tenant.
    pub tenant: Option<Identity>,
    /// Names of roles, in the order of the claim.
    pub roles: Arc<[Arc<str>]>,
    /// Names of scopes, in the order of the claim.
    pub scopes: Arc<[Arc<str>]>,
    /// All claims, an object.
    pub claims: Arc<Value>,
    /// See [`Claims::expires`].
    pub expires: Option<u64>,
}

impl Mapping {
    /// Who the bearer of the token with these claims is. Users and tenants are texts or integers; roles and scopes
    /// are lists of texts, or one text with white space between them.
    ///
    /// # Errors
    /// `Missing` for a user that is not named; `Invalid` for a claim of another type, or an empty user.
    pub fn identify(&self, claims: &Claims) -> Result<Identified, TokenError> {
        let user = match &self.user {
            None => None,
            Some(claim) => {
                let named =
                    identity(claims, claim)?.ok_or_else(|| TokenError::Missing(claim.as_ref().into()))?;
                let empty = || TokenError::Invalid(claim.as_ref().into(), "a name: it is empty");
                Some(Identity::new(named).ok_or_else(empty)?)
            }
        };
        let tenant = match &self.tenant {
            None => None,
            Some(claim) => identity(claims, claim)?.and_then(Identity::new),
        };
        let scopes = self.scopes.iter().find(|claim| claims.all.get(claim).is_some());
        Ok(Identified {
            user,
            tenant,
            roles: words(claims, self.roles.as_deref())?,
            scopes: words(claims, scopes.map(AsRef::as_ref))?,
            claims: Arc::clone(&claims.all),
            expires: claims.expires,
        })
    }
}

/// The canonical text of a user or tenant. A float is refused, for it would be a second spelling of an integer.
fn identity(claims: &Claims, claim: &str) -> Result<Option<String>, TokenError> {
    match claims.all.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Int(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(TokenError::Invalid(claim.into(), "a string or an integer")),
    }
}

fn words(claims: &Claims, claim: Option<&str>) -> Result<Arc<[Arc<str>]>, TokenError> {
    let Some(claim) = claim else { return Ok(Arc::from([])) };
    let invalid = || TokenError::Invalid(claim.into(), "a list of strings, or one with spaces between words");
    match claims.all.get(claim) {
        None | Some(Value::Null) => Ok(Arc::from([])),
        Some(Value::String(text)) => Ok(text.split_ascii_whitespace().map(Arc::from).collect()),
        Some(Value::List(items)) => {
            items.iter().map(|item| item.as_str().map(Arc::from).ok_or_else(invalid)).collect()
        }
        Some(_) => Err(invalid()),
    }
}
