//! `JWTKey` and `TokenVerifier`: tokens that say who a client is, verified by the engine.
//!
//! Files, clocks and what a client sends belong to `coulis.jwt`.

use std::time::Duration;

use coulis::{
    event::Federation,
    limits::Limits,
    security::{
        self,
        token::{Algorithm, Identified, Key, KeyError, Keys, Mapping, TokenError, Verifier},
    },
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyString},
};

use crate::{
    context::SecurityContext,
    errors::{AuthenticationFailed, guarded, value_error},
    lazy::intern,
    settings,
};

/// A key that verifies tokens, and the one algorithm it is for.
#[pyclass(frozen, module = "coulis")]
#[derive(Debug)]
pub(crate) struct JWTKey(Key);

#[pymethods]
impl JWTKey {
    /// A secret that issuer and verifier share, for HS256, HS384 or HS512.
    #[staticmethod]
    #[pyo3(signature = (algorithm, secret, *, kid=None))]
    fn hmac(algorithm: &str, secret: &Bound<'_, PyAny>, kid: Option<String>) -> PyResult<Self> {
        let secret = match secret.cast::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes().to_vec(),
            Err(_) => settings::text("secret", secret)?.into_bytes(),
        };
        Self::new(Key::hmac(self::algorithm(algorithm)?, &secret), kid)
    }

    /// A public key in PEM.
    #[staticmethod]
    #[pyo3(signature = (algorithm, pem, *, kid=None))]
    fn pem(algorithm: &str, pem: &Bound<'_, PyAny>, kid: Option<String>) -> PyResult<Self> {
        Self::new(Key::pem(self::algorithm(algorithm)?, &utf8("pem", pem)?), kid)
    }

    /// A key as JWK, in JSON.
    #[staticmethod]
    #[pyo3(signature = (jwk, *, algorithm=None))]
    fn jwk(jwk: &Bound<'_, PyAny>, algorithm: Option<&str>) -> PyResult<Self> {
        let key = Key::jwk(&utf8("jwk", jwk)?, algorithm.map(self::algorithm).transpose()?);
        Self::new(key, None)
    }

    /// The algorithm's name.
    #[getter]
    fn algorithm(&self) -> &'static str {
        self.0.algorithm().name()
    }

    /// The name that tokens use for the key, or `None`.
    #[getter]
    fn kid(&self) -> Option<&str> {
        self.0.kid()
    }

    fn __repr__(&self) -> String {
        format!("JWTKey(algorithm={:?}, kid={:?})", self.algorithm(), self.kid())
    }
}

impl JWTKey {
    fn new(key: Result<Key, KeyError>, kid: Option<String>) -> PyResult<Self> {
        let key = key.map_err(|error| refused(&error))?;
        Ok(Self(match kid {
            Some(kid) => key.named(kid),
            None => key,
        }))
    }
}

/// Verifies tokens; `coulis.JWTVerifier` is what it is used through.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct TokenVerifier {
    verifier: Verifier,
    mapping: Mapping,
}

#[pymethods]
impl TokenVerifier {
    /// `keys` is a list of `JWTKey`, or a document of keys (JWKS) as JSON text.
    #[new]
    #[pyo3(signature = (
        keys, *, algorithm, issuers, audiences, any_audience, leeway, require, require_expiry, types,
        user_claim, tenant_claim, roles_claim, scopes_claims
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        keys: &Bound<'_, PyAny>,
        algorithm: Option<&str>,
        issuers: Option<Vec<String>>,
        audiences: Option<Vec<String>>,
        any_audience: bool,
        leeway: u64,
        require: Vec<String>,
        require_expiry: bool,
        types: Vec<String>,
        user_claim: Option<String>,
        tenant_claim: Option<String>,
        roles_claim: Option<String>,
        scopes_claims: Vec<String>,
    ) -> PyResult<Self> {
        let mut verifier = Verifier::new(self::keys(keys, algorithm)?)
            .leeway(Duration::from_secs(leeway))
            .require(require)
            .types(types);
        if let Some(issuers) = issuers {
            verifier = verifier.issuers(issuers);
        }
        if let Some(audiences) = audiences {
            verifier = verifier.audiences(audiences);
        }
        if any_audience {
            verifier = verifier.any_audience();
        }
        if !require_expiry {
            verifier = verifier.expiry_optional();
        }
        let mapping = Mapping {
            user: user_claim.map(Into::into),
            tenant: tenant_claim.map(Into::into),
            roles: roles_claim.map(Into::into),
            scopes: scopes_claims.into_iter().map(Into::into).collect(),
        };
        Ok(Self { verifier, mapping })
    }

    /// Who the bearer of `token` is, if it is to be believed at `now`, in seconds since 1970.
    fn verify(&self, py: Python<'_>, token: &Bound<'_, PyString>, now: u64) -> PyResult<SecurityContext> {
        // A lone surrogate is in no base64: the verifier says so.
        let token = token.to_str().unwrap_or("?");
        let identified =
            guarded(|| self.verifier.verify(token, now).and_then(|claims| self.mapping.identify(&claims)))?;
        identified.map(context).map_err(|error| failed(py, &error))
    }

    /// Takes other keys in place of all that it had.
    #[pyo3(signature = (keys, *, algorithm))]
    fn replace_keys(&self, keys: &Bound<'_, PyAny>, algorithm: Option<&str>) -> PyResult<()> {
        self.verifier.replace_keys(self::keys(keys, algorithm)?);
        Ok(())
    }
}

/// The identity as subscriptions have it.
fn context(identified: Identified) -> SecurityContext {
    let Identified { user, tenant, roles, scopes, claims, expires } = identified;
    let words = |words: &[std::sync::Arc<str>]| words.iter().map(|word| Box::from(&**word)).collect();
    SecurityContext::of(security::SecurityContext {
        user,
        tenant,
        roles: words(&roles),
        scopes: words(&scopes),
        claims,
        federation: Federation::default(),
        expires,
    })
}

fn keys(given: &Bound<'_, PyAny>, algorithm: Option<&str>) -> PyResult<Keys> {
    let keys = if given.is_instance_of::<PyString>() {
        let pin = algorithm.map(self::algorithm).transpose()?;
        Keys::jwks(&settings::text("jwks", given)?, pin, &Limits::default())
    } else {
        let keys = given.try_iter()?.map(|key| Ok(key?.cast::<JWTKey>()?.get().0.clone()));
        Keys::new(keys.collect::<PyResult<Vec<_>>>()?)
    };
    keys.map_err(|error| refused(&error))
}

fn algorithm(name: &str) -> PyResult<Algorithm> {
    name.parse().map_err(|_| {
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        value_error(format!("`{name}` is no algorithm that is supported: pass one of {known}"))
    })
}

/// A text, or UTF-8.
fn utf8(argument: &str, given: &Bound<'_, PyAny>) -> PyResult<String> {
    match given.cast::<PyBytes>() {
        Ok(bytes) => String::from_utf8(bytes.as_bytes().to_vec())
            .map_err(|_| value_error(format!("`{argument}` is not UTF-8"))),
        Err(_) => settings::text(argument, given),
    }
}

fn refused(error: &KeyError) -> PyErr {
    value_error(error.to_string())
}

/// `AuthenticationFailed` with the word for what is wrong.
fn failed(py: Python<'_>, error: &TokenError) -> PyErr {
    let raised = AuthenticationFailed::new_err(error.to_string());
    let told = raised.value(py).setattr(intern!(py, "code"), error.code());
    told.err().unwrap_or(raised)
}
