//! `coulis.policy`: expressions of policies with values of Python.
//!
//! | Python | Common Expression Language |
//! |---|---|
//! | `None`, `bool`, `float`, `str`, `bytes` | `null_type`, `bool`, `double`, `string`, `bytes` |
//! | `int` | `int`; `uint` where it fits that only |
//! | `list`, `tuple` | `list` |
//! | `dict` with keys of `str`, `int` or `bool` | `map` |
//! | `datetime` with a time zone, `timedelta` | `google.protobuf.Timestamp`, `google.protobuf.Duration` |
//! | `UUID` | `string` |
//! | `SecurityContext` | the `map` that policies see as `ctx` |
//!
//! Everything else is a `TypeError`; what is beyond a range, cycles and too deep nesting are `ValueError`. Both name the
//! place, as in `bindings.x[3]`.

use coulis::{
    error::LimitExceeded,
    limits::Limits,
    policy::{self, Constant, PolicyError as Refusal, Position, Span, Time},
    security::RuleError,
};
use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

use crate::{
    context::SecurityContext,
    encode::{Failure, Fault, Step, kind},
    errors::{PolicyError, detached, value_error},
    identity::is_uuid,
    settings, times,
};

/// Nesting of bindings.
const DEPTH_MAX: usize = 128;
/// Nesting of results: an expression adds levels of its own to those of its bindings.
const RESULT_DEPTH_MAX: usize = 2 * DEPTH_MAX;

/// The value of an expression of the Common Expression Language with these bindings.
///
/// Raises `PolicyError` for an expression that cannot be read or has no value, and `ValueError` and `TypeError` for
/// bindings that have no form.
#[pyfunction]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    expression: &Bound<'py, PyAny>,
    bindings: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let expression = settings::text("expression", expression)?;
    let bindings = Reader::new().bindings(bindings).map_err(|failure| failure.raise(py, "bindings"))?;
    let value = detached(py, || {
        let bindings: Vec<_> = bindings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        policy::evaluate(&expression, &bindings)
    })?;
    write(py, &value.map_err(|error| policy_error(py, &error))?, RESULT_DEPTH_MAX)
}

/// The same with values whose types are kept apart in JSON: `{"x": {"int": "1"}}` → `{"uint": "3"}` or
/// `{"error": "…"}`.
///
/// `known` names the bindings that are folded first, as at a subscription; the others are read by the bytecode. Raises
/// `ValueError` for bindings that are not of this form.
#[pyfunction]
#[pyo3(signature = (expression, bindings_json, known=None), text_signature = "(expression, bindings_json, known=[])")]
pub(crate) fn evaluate_tagged(
    py: Python<'_>,
    expression: &Bound<'_, PyAny>,
    bindings_json: &Bound<'_, PyAny>,
    known: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let expression = settings::text("expression", expression)?;
    let bindings = settings::text("bindings_json", bindings_json)?;
    let known = settings::words("known", known)?;
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    detached(py, || policy::evaluate_tagged(&expression, &bindings, &known))?
        .map_err(|error| value_error(format!("`bindings_json` is refused: {error}")))
}

/// `PolicyError` with its place in the text.
pub(crate) fn policy_error(py: Python<'_>, error: &Refusal) -> PyErr {
    placed(py, error.to_string(), error.at)
}

/// The same for one of several policies, with its name.
pub(crate) fn rule_error(py: Python<'_>, error: &RuleError) -> PyErr {
    placed(py, error.to_string(), error.error.at)
}

fn placed(py: Python<'_>, message: String, at: Position) -> PyErr {
    let raised = PolicyError::new_err(message);
    let value = raised.value(py);
    // Counted from 1: 0 is nowhere.
    let place = |number: u32| (number > 0).then_some(number);
    let told = value.setattr("line", place(at.line)).and_then(|()| value.setattr("column", place(at.column)));
    told.err().unwrap_or(raised)
}

/// Python values to constants.
struct Reader {
    /// Addresses of the containers that are open here: a second visit to one of them is a cycle.
    open: Vec<usize>,
    /// Values, and bytes of texts.
    size: usize,
    size_max: usize,
}

type Read<T = Constant> = Result<T, Failure>;

impl Reader {
    fn new() -> Self {
        Self { open: Vec::new(), size: 0, size_max: Limits::default().event_bytes_max }
    }

    fn bindings(&mut self, given: &Bound<'_, PyAny>) -> Read<Vec<(String, Constant)>> {
        let Ok(dict) = given.cast::<PyDict>() else {
            return Err(Failure::new(Fault::Type(format!("is a `{}`: pass a dict", kind(given)?))));
        };
        self.entries(dict, |key| {
            if let Ok(name) = key.cast::<PyString>() {
                return characters(name);
            }
            let what = format!("has a name that is a `{}`: names are str", kind(key)?);
            Err(Failure::new(Fault::Type(what)))
        })
    }

    fn value(&mut self, value: &Bound<'_, PyAny>) -> Read {
        self.spend(1)?;
        if value.is_none() {
            Ok(Constant::Null)
        } else if let Ok(truth) = value.cast::<PyBool>() {
            Ok(Constant::Bool(truth.is_true()))
        } else if value.is_instance_of::<PyInt>() {
            integer(value)
        } else if let Ok(number) = value.cast::<PyFloat>() {
            Ok(Constant::Double(number.value()))
        } else if let Ok(text) = value.cast::<PyString>() {
            let text = characters(text)?;
            self.spend(text.len())?;
            Ok(Constant::Text(text.into()))
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            self.spend(bytes.as_bytes().len())?;
            Ok(Constant::Bytes(bytes.as_bytes().into()))
        } else if let Ok(list) = value.cast::<PyList>() {
            self.list(value, list.iter())
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.list(value, tuple.iter())
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.entries(dict, key).map(|entries| Constant::Map(entries.into()))
        } else {
            other(value)
        }
    }

    fn list<'py>(
        &mut self,
        list: &Bound<'py, PyAny>,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> Read {
        self.nested(list, |this| {
            let items = items.enumerate().map(|(position, item)| {
                this.value(&item).map_err(|failure| failure.inside(|| Step::Item(position)))
            });
            items.collect::<Read<_>>().map(Constant::List)
        })
    }

    // By the iterator of Python: it reports a dict that changes meanwhile as an exception.
    fn entries<K>(
        &mut self,
        dict: &Bound<'_, PyDict>,
        mut key_of: impl FnMut(&Bound<'_, PyAny>) -> Read<K>,
    ) -> Read<Vec<(K, Constant)>> {
        self.nested(dict, |this| {
            let mut entries = Vec::with_capacity(dict.len());
            for item in dict.call_method0("items")?.try_iter()? {
                let (name, value) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
                let known = key_of(&name)?;
                this.spend(name.cast::<PyString>().map_or(1, |name| name.to_str().map_or(1, str::len)))?;
                let value = this.value(&value);
                entries.push((known, value.map_err(|failure| failure.inside(|| step(&name)))?));
            }
            Ok(entries)
        })
    }

    /// Shared references can unfold into exponentially more values: the bound holds while reading.
    fn spend(&mut self, size: usize) -> Read<()> {
        self.size = self.size.saturating_add(size);
        LimitExceeded::check("event_bytes_max", self.size, self.size_max)
            .map_err(|limit| Failure::new(Fault::Limit(limit)))
    }

    fn nested<T>(
        &mut self,
        container: &Bound<'_, PyAny>,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<T> {
        let address = container.as_ptr() as usize;
        if self.open.contains(&address) {
            return Err(Failure::new(Fault::Value("contains itself".into())));
        }
        // The bindings themselves are no level of a value.
        if self.open.len() > DEPTH_MAX {
            return Err(Failure::new(Fault::Value(format!("is nested deeper than {DEPTH_MAX} levels"))));
        }
        self.open.push(address);
        let read = read(self)?;
        self.open.pop();
        Ok(read)
    }
}

/// What is no value of JSON.
fn other(value: &Bound<'_, PyAny>) -> Read {
    let out_of = |range| move |_| Failure::new(Fault::Value(format!("is out of range: {range}")));
    if let Some(nanos) = times::moment(value)? {
        let Ok(nanos) = nanos else {
            let what = "has no time zone: give it one, as in `datetime.now(timezone.utc)`";
            return Err(Failure::new(Fault::Value(what.into())));
        };
        return Time::from_nanos(nanos).map(Constant::Time).map_err(out_of("the years are 1 to 9999 in UTC"));
    }
    if let Some(nanos) = times::span(value)? {
        return Span::from_nanos(nanos)
            .map(Constant::Span)
            .map_err(out_of("a duration is 292 years at most"));
    }
    if is_uuid(value)? {
        return Ok(Constant::Text(value.str()?.to_str()?.into()));
    }
    if let Ok(context) = value.cast::<SecurityContext>() {
        return Ok(context.get().security().constant());
    }
    let what = format!("is a `{}`, which expressions do not know: convert it before", kind(value)?);
    Err(Failure::new(Fault::Type(what)))
}

fn integer(value: &Bound<'_, PyAny>) -> Read {
    match (value.extract::<i64>(), value.extract::<u64>()) {
        (Ok(number), _) => Ok(Constant::Int(number)),
        (_, Ok(number)) => Ok(Constant::Uint(number)),
        _ => Err(Failure::new(Fault::Value("is an int beyond 64 bits".into()))),
    }
}

fn characters(text: &Bound<'_, PyString>) -> Read<String> {
    let text = text.to_str().map_err(|_| Failure::new(Fault::Value("holds a lone surrogate".into())))?;
    Ok(text.to_owned())
}

fn key(given: &Bound<'_, PyAny>) -> Read {
    if let Ok(text) = given.cast::<PyString>() {
        characters(text).map(|text| Constant::Text(text.into()))
    } else if let Ok(truth) = given.cast::<PyBool>() {
        Ok(Constant::Bool(truth.is_true()))
    } else if given.is_instance_of::<PyInt>() {
        integer(given).map_err(|failure| failure.inside(|| Step::Key("key".into())))
    } else {
        let what = format!("has a key that is a `{}`: keys of a map are str, int or bool", kind(given)?);
        Err(Failure::new(Fault::Type(what)))
    }
}

/// The way to the value under a key.
fn step(key: &Bound<'_, PyAny>) -> Step {
    match key.cast::<PyString>() {
        Ok(text) => Step::Key(text.to_string_lossy().into()),
        Err(_) => Step::Key(key.str().map_or_else(|_| "?".into(), |text| text.to_string_lossy().into())),
    }
}

/// A constant as a value of Python, of `depth` levels at most.
fn write<'py>(py: Python<'py>, constant: &Constant, depth: usize) -> PyResult<Bound<'py, PyAny>> {
    let deeper = || {
        depth.checked_sub(1).ok_or_else(|| value_error("the value is nested too deep: ask for a part of it"))
    };
    Ok(match constant {
        Constant::Null => py.None().into_bound(py),
        Constant::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Constant::Int(number) => number.into_pyobject(py)?.into_any(),
        Constant::Uint(number) => number.into_pyobject(py)?.into_any(),
        Constant::Double(number) => PyFloat::new(py, *number).into_any(),
        Constant::Text(text) | Constant::Id(text) => PyString::new(py, text).into_any(),
        Constant::Pattern(pattern) => PyString::new(py, pattern.text()).into_any(),
        Constant::Type(name) => PyString::new(py, name).into_any(),
        Constant::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Constant::Time(time) => times::datetime(py, time.nanos())?,
        Constant::Span(span) => times::timedelta(py, span.nanos())?,
        Constant::List(items) => {
            let (list, depth) = (PyList::empty(py), deeper()?);
            for item in &**items {
                list.append(write(py, item, depth)?)?;
            }
            list.into_any()
        }
        Constant::Map(entries) => {
            let (dict, depth) = (PyDict::new(py), deeper()?);
            for (key, value) in &**entries {
                dict.set_item(write(py, key, depth)?, write(py, value, depth)?)?;
            }
            dict.into_any()
        }
        Constant::Error(problem) => {
            return Err(PolicyError::new_err(problem.to_string()));
        }
    })
}
