//! `SecurityContext`: who a subscription belongs to, as the server side knows it.

use std::sync::Arc;

use coulis::{event::Federation, id::Identity, limits::Limits, security, value::Value};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

use crate::{
    decode,
    encode::{self, Bounds},
    endings::Inside,
    errors::value_error,
    identity::identity,
    settings, times,
};

/// The last second that is taken for a date, the end of the year 9999: what is later is in milliseconds, or a mistake.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Who a subscription belongs to. It comes from the server side only, never from a message of the client.
#[pyclass(frozen, module = "coulis")]
#[derive(Debug)]
pub(crate) struct SecurityContext(security::SecurityContext);

#[pymethods]
impl SecurityContext {
    #[new]
    #[pyo3(signature = (user_id=None, tenant_id=None, roles=None, scopes=None, federation=None, claims=None, *,
        expires=None))]
    fn new(
        user_id: Option<&Bound<'_, PyAny>>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        roles: Option<&Bound<'_, PyAny>>,
        scopes: Option<&Bound<'_, PyAny>>,
        federation: Option<&Bound<'_, PyAny>>,
        claims: Option<&Bound<'_, PyAny>>,
        expires: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self(security::SecurityContext {
            user: identity("user_id", user_id)?,
            tenant: identity("tenant_id", tenant_id)?,
            roles: names("roles", roles)?,
            scopes: names("scopes", scopes)?,
            claims: claims.map_or_else(|| Ok(Arc::default()), self::claims)?,
            federation: federation.map_or_else(|| Ok(Federation::default()), self::federation)?,
            expires: expires.map(self::expires).transpose()?,
        }))
    }

    /// The user's canonical text, or `None` for nobody.
    #[getter]
    fn user_id(&self) -> Option<&str> {
        self.0.user.as_ref().map(Identity::as_str)
    }

    /// The tenant's canonical text, or `None` for none.
    #[getter]
    fn tenant_id(&self) -> Option<&str> {
        self.0.tenant.as_ref().map(Identity::as_str)
    }

    /// Names of roles.
    #[getter]
    fn roles<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.roles.iter().map(|name| &**name))
    }

    /// Names of scopes.
    #[getter]
    fn scopes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.scopes.iter().map(|name| &**name))
    }

    /// Where the identity belongs in a federation, `{"service": …, "id": …}`, or `None`.
    #[getter]
    fn federation<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let federation = &self.0.federation;
        if *federation == Federation::default() {
            return Ok(None);
        }
        let dict = PyDict::new(py);
        dict.set_item("service", federation.service.as_ref().map(Identity::as_str))?;
        dict.set_item("id", federation.id.as_ref().map(Identity::as_str))?;
        Ok(Some(dict))
    }

    /// What else is known of the identity: a copy, by the rules of values.
    #[getter]
    fn claims<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &*self.0.claims {
            Value::Null => Ok(PyDict::new(py).into_any()),
            claims => decode::tree(py, claims),
        }
    }

    /// The second since 1970 from which on this does not hold, or `None`.
    #[getter]
    fn expires(&self) -> Option<u64> {
        self.0.expires
    }

    fn __repr__(&self) -> String {
        format!("SecurityContext(user_id={:?}, tenant_id={:?})", self.user_id(), self.tenant_id())
    }
}

impl SecurityContext {
    /// For an identity that the engine has found.
    pub(crate) fn of(context: security::SecurityContext) -> Self {
        Self(context)
    }

    /// The same as the engine knows it.
    pub(crate) fn security(&self) -> &security::SecurityContext {
        &self.0
    }
}

/// A sequence of texts. One text is none: it would be taken apart into letters, or be a list with spaces.
fn names(argument: &str, given: Option<&Bound<'_, PyAny>>) -> PyResult<Arc<[Box<str>]>> {
    let Some(given) = given else { return Ok(Arc::default()) };
    let not = || -> PyResult<_> {
        let kind = given.get_type().name()?;
        Ok(PyTypeError::new_err(format!("`{argument}` is a `{kind}`: pass several str, as in a list")))
    };
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyDict>() {
        return Err(not()?);
    }
    let _inside = Inside::enter()?;
    let Ok(items) = given.try_iter() else { return Err(not()?) };
    items.map(|item| settings::text(argument, &item?).map(Into::into)).collect()
}

/// A dict, read by the rules of values.
fn claims(given: &Bound<'_, PyAny>) -> PyResult<Arc<Value>> {
    if !given.is_instance_of::<PyDict>() {
        let kind = given.get_type().name()?;
        return Err(PyTypeError::new_err(format!("`claims` is a `{kind}`: pass a dict")));
    }
    let limits = Limits::default();
    let mut text = encode::encode("claims", given, Bounds::event(&limits))?;
    Value::parse(&mut text, limits.event_depth_max)
        .map(Arc::new)
        .map_err(|error| value_error(format!("`claims` is refused: {error}")))
}

/// A dict with `service` and `id`, or the two in this order.
fn federation(given: &Bound<'_, PyAny>) -> PyResult<Federation> {
    let of = |service: Option<Bound<'_, PyAny>>, id: Option<Bound<'_, PyAny>>| {
        Ok(Federation {
            service: identity("federation.service", service.as_ref())?,
            id: identity("federation.id", id.as_ref())?,
        })
    };
    if let Ok(dict) = given.cast::<PyDict>() {
        for key in dict.keys() {
            let known = key.cast::<PyString>().is_ok_and(|key| key == "service" || key == "id");
            if !known {
                let key = key.repr()?;
                return Err(value_error(format!(
                    "`federation` has the key {key}: `service` and `id` are known"
                )));
            }
        }
        return of(dict.get_item("service")?, dict.get_item("id")?);
    }
    if given.is_instance_of::<PyTuple>() || given.is_instance_of::<PyList>() {
        let pair: Vec<Bound<'_, PyAny>> = given.extract()?;
        return match <[_; 2]>::try_from(pair) {
            Ok([service, id]) => of(Some(service), Some(id)),
            Err(other) => {
                Err(value_error(format!("`federation` has {} parts: pass a service and an id", other.len())))
            }
        };
    }
    let kind = given.get_type().name()?;
    let what =
        format!("`federation` is a `{kind}`: pass a dict with `service` and `id`, or the two as a tuple");
    Err(PyTypeError::new_err(what))
}

/// Seconds since 1970, or a moment with a time zone; a fraction is cut off.
fn expires(given: &Bound<'_, PyAny>) -> PyResult<u64> {
    const NANOS: i128 = 1_000_000_000;
    let refused = |what| Err(value_error(format!("`expires` {what}")));
    let seconds = if let Some(moment) = times::moment(given)? {
        let Ok(nanos) = moment else {
            return refused("has no time zone: give it one, as in `datetime.now(timezone.utc)`");
        };
        i64::try_from(nanos.div_euclid(NANOS)).unwrap_or(-1)
    } else if given.is_instance_of::<PyInt>() && !given.is_instance_of::<PyBool>() {
        given.extract().unwrap_or(-1)
    } else if let Ok(number) = given.cast::<PyFloat>() {
        // What is no number becomes 0, and what is beyond the range its end.
        if number.value().is_nan() { -1 } else { number.value().floor() as i64 }
    } else {
        let kind = given.get_type().name()?;
        let what =
            format!("`expires` is a `{kind}`: pass seconds since 1970, or a datetime with a time zone");
        return Err(PyTypeError::new_err(what));
    };
    match u64::try_from(seconds) {
        Ok(expires) if seconds <= SECONDS_MAX => Ok(expires),
        _ => refused("is out of range: pass seconds since 1970, of the year 9999 or before"),
    }
}
