//! Python values to JSON text, in one walk that writes bytes and builds no tree.
//!
//! | Python | JSON |
//! |---|---|
//! | `None`, `bool`, `str`, `int` of any size, finite `float` | the same, exactly |
//! | `dict` with `str` keys; dataclass instance | object, in its order |
//! | `list`, `tuple` | array |
//! | `datetime`, `date`, `time` | string: `isoformat()` |
//! | `UUID`, `Decimal` | string: `str()` |
//! | `Enum` | its value, by these rules |
//!
//! Everything else is a `TypeError`; NaN, infinities, lone surrogates, cycles and too deep nesting are
//! `ValueError`. Both name the place, as in `data.items[3].price`. Nothing is replaced or left out silently.

use std::fmt::Write as _;

use coulis::{error::LimitExceeded, limits::Limits, value::write_string};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType},
};

use crate::{
    endings::Inside,
    errors, integers,
    lazy::{Lazy, intern},
};

/// Bounds of one encoded value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes_limit: &'static str,
    pub(crate) bytes_max: usize,
    pub(crate) depth_max: usize,
}

impl Bounds {
    /// Those of an event's document.
    pub(crate) fn event(limits: &Limits) -> Self {
        Self {
            bytes_limit: "event_bytes_max",
            bytes_max: limits.event_bytes_max,
            depth_max: limits.event_depth_max,
        }
    }

    /// Those of a subscription's variables.
    pub(crate) fn variables(limits: &Limits) -> Self {
        Self {
            bytes_limit: "variables_bytes_max",
            bytes_max: limits.variables_bytes_max,
            depth_max: limits.message_depth_max,
        }
    }
}

/// JSON text of a value, by the rules that events, variables and results of resolvers follow.
#[pyfunction]
#[pyo3(signature = (value, /))]
pub(crate) fn to_json(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    encode("value", value, Bounds::event(&Limits::default()))
}

/// JSON text of `value`, which messages call `name`.
pub(crate) fn encode(name: &str, value: &Bound<'_, PyAny>, bounds: Bounds) -> PyResult<Vec<u8>> {
    let mut encoder = Encoder { out: Vec::with_capacity(256), open: Vec::new(), bounds };
    match encoder.value(value) {
        Ok(()) => Ok(encoder.out),
        Err(failure) => Err(failure.raise(value.py(), name)),
    }
}

struct Encoder {
    out: Vec<u8>,
    /// Addresses of the containers that are open here: a second visit to one of them is a cycle.
    open: Vec<usize>,
    bounds: Bounds,
}

type Encoded = Result<(), Failure>;

impl Encoder {
    // The exact types first: they need no import, call no Python code, and are nearly all there is.
    fn value(&mut self, value: &Bound<'_, PyAny>) -> Encoded {
        if let Ok(text) = value.cast_exact::<PyString>() {
            self.string(text)
        } else if value.is_none() {
            self.raw(b"null")
        } else if let Ok(truth) = value.cast::<PyBool>() {
            self.raw(if truth.is_true() { b"true" } else { b"false" })
        } else if value.is_exact_instance_of::<PyInt>() {
            self.integer(value)
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.float(number.value())
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.object(dict)
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.array(value, list.iter())
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.array(value, tuple.iter())
        } else {
            self.other(value)
        }
    }

    /// Enums before the types they may inherit from, then subclasses, then the types of the standard library.
    fn other(&mut self, value: &Bound<'_, PyAny>) -> Encoded {
        let _inside = Inside::enter()?;
        let types = Types::get(value.py())?;
        if value.is_instance(&types.enumeration)? {
            let inner = value.getattr(intern!(value.py(), "value"))?;
            self.nested(value, |this| this.value(&inner))
        } else if let Ok(text) = value.cast::<PyString>() {
            self.string(text)
        } else if value.is_instance_of::<PyInt>() {
            self.integer(value)
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.float(number.value())
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.object(dict)
        } else if let Ok(list) = value.cast::<PyList>() {
            self.array(value, list.iter())
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.array(value, tuple.iter())
        } else if value.is_instance(&types.date)? || value.is_instance(&types.time)? {
            self.text_of(&value.call_method0(intern!(value.py(), "isoformat"))?)
        } else if value.is_instance(&types.uuid)? {
            self.text_of(value.str()?.as_any())
        } else if value.is_instance(integers::decimal(value.py())?)? {
            self.decimal(value)
        } else {
            self.dataclass(value)
        }
    }

    fn raw(&mut self, text: &[u8]) -> Encoded {
        self.out.extend_from_slice(text);
        // Shared references can unfold into exponentially more text: the bound holds while writing, not after.
        LimitExceeded::check(self.bounds.bytes_limit, self.out.len(), self.bounds.bytes_max)
            .map_err(|limit| Failure::new(Fault::Limit(limit)))
    }

    fn string(&mut self, text: &Bound<'_, PyString>) -> Encoded {
        let text = text.to_str().map_err(|_| {
            Failure::new(Fault::Value("holds a lone surrogate: JSON has no such character".into()))
        })?;
        write_string(&mut self.out, text);
        self.raw(b"")
    }

    fn text_of(&mut self, text: &Bound<'_, PyAny>) -> Encoded {
        match text.cast::<PyString>() {
            Ok(text) => self.string(text),
            Err(_) => Err(unsupported(text)),
        }
    }

    fn integer(&mut self, number: &Bound<'_, PyAny>) -> Encoded {
        match number.extract::<i64>() {
            Ok(number) => self.raw(number.to_string().as_bytes()),
            Err(_) => self.raw(integers::digits(number)?.as_bytes()),
        }
    }

    fn float(&mut self, number: f64) -> Encoded {
        if !number.is_finite() {
            let message = format!("is `{number}`, which JSON cannot say: send None or a string");
            return Err(Failure::new(Fault::Value(message)));
        }
        // `{:?}` is the shortest text that reads back as the same double, and valid JSON.
        self.raw(format!("{number:?}").as_bytes())
    }

    fn decimal(&mut self, number: &Bound<'_, PyAny>) -> Encoded {
        if number.call_method0(intern!(number.py(), "is_finite"))?.is_truthy()? {
            return self.text_of(number.str()?.as_any());
        }
        let message = format!("is `{number}`, which JSON cannot say: send None or a string");
        Err(Failure::new(Fault::Value(message)))
    }

    fn array<'py>(
        &mut self,
        container: &Bound<'py, PyAny>,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> Encoded {
        self.nested(container, |this| {
            this.raw(b"[")?;
            for (position, item) in items.enumerate() {
                if position > 0 {
                    this.out.push(b',');
                }
                this.value(&item).map_err(|failure| failure.inside(|| Step::Item(position)))?;
            }
            this.raw(b"]")
        })
    }

    // By the iterator of Python: it reports a dict that changes meanwhile as an exception.
    fn object(&mut self, dict: &Bound<'_, PyDict>) -> Encoded {
        let items = dict.call_method0(intern!(dict.py(), "items"))?;
        self.nested(dict, |this| {
            this.raw(b"{")?;
            for (position, item) in items.try_iter()?.enumerate() {
                let item = item?;
                let (key, value) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
                this.member(position, &key, &value)?;
            }
            this.raw(b"}")
        })
    }

    fn member(&mut self, position: usize, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> Encoded {
        if position > 0 {
            self.out.push(b',');
        }
        let Ok(name) = key.cast::<PyString>() else {
            return Err(foreign_key(key));
        };
        self.string(name).map_err(|failure| failure.inside(|| Step::Key(name.to_string_lossy().into())))?;
        self.out.push(b':');
        self.value(value).map_err(|failure| failure.inside(|| Step::Key(name.to_string_lossy().into())))
    }

    fn dataclass(&mut self, value: &Bound<'_, PyAny>) -> Encoded {
        let py = value.py();
        if !value.get_type().hasattr(intern!(py, "__dataclass_fields__"))? || value.is_instance_of::<PyType>()
        {
            return Err(unsupported(value));
        }
        let fields = py.import(intern!(py, "dataclasses"))?.call_method1(intern!(py, "fields"), (value,))?;
        self.nested(value, |this| {
            this.raw(b"{")?;
            for (position, field) in fields.try_iter()?.enumerate() {
                let name = field?.getattr(intern!(py, "name"))?;
                let inner = value.getattr(name.cast::<PyString>().map_err(PyErr::from)?)?;
                this.member(position, &name, &inner)?;
            }
            this.raw(b"}")
        })
    }

    /// Runs `write` one level deeper, unless this level is there already or one too many.
    fn nested(&mut self, container: &Bound<'_, PyAny>, write: impl FnOnce(&mut Self) -> Encoded) -> Encoded {
        let address = container.as_ptr() as usize;
        if self.open.contains(&address) {
            return Err(Failure::new(Fault::Value("contains itself: JSON has no cycles".into())));
        }
        if self.open.len() >= self.bounds.depth_max {
            let message = format!("is nested deeper than {} levels", self.bounds.depth_max);
            return Err(Failure::new(Fault::Value(message)));
        }
        self.open.push(address);
        write(self)?;
        self.open.pop();
        Ok(())
    }
}

/// Types of the standard library, imported once.
struct Types<'py> {
    enumeration: Bound<'py, PyType>,
    date: Bound<'py, PyType>,
    time: Bound<'py, PyType>,
    uuid: Bound<'py, PyType>,
}

impl<'py> Types<'py> {
    fn get(py: Python<'py>) -> PyResult<Self> {
        static ENUM: Lazy<PyType> = Lazy::new();
        static DATE: Lazy<PyType> = Lazy::new();
        static TIME: Lazy<PyType> = Lazy::new();
        static UUID: Lazy<PyType> = Lazy::new();
        Ok(Self {
            enumeration: ENUM.import(py, "enum", "Enum")?.clone(),
            date: DATE.import(py, "datetime", "date")?.clone(),
            time: TIME.import(py, "datetime", "time")?.clone(),
            uuid: UUID.import(py, "uuid", "UUID")?.clone(),
        })
    }
}

/// What is wrong with a value, and the way to it, innermost step first. Boxed: nearly every value is without fault.
#[derive(Debug)]
pub(crate) struct Failure(Box<(Fault, Vec<Step>)>);

#[derive(Debug)]
pub(crate) enum Fault {
    Type(String),
    Value(String),
    Limit(LimitExceeded),
    /// Raised by code of the value itself, such as a property.
    Raised(PyErr),
}

#[derive(Debug)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Failure::new(Fault::Raised(error))
    }
}

impl Failure {
    pub(crate) fn new(fault: Fault) -> Self {
        Self(Box::new((fault, Vec::new())))
    }

    pub(crate) fn inside(mut self, step: impl FnOnce() -> Step) -> Self {
        self.0.1.push(step());
        self
    }

    pub(crate) fn raise(self, py: Python<'_>, name: &str) -> PyErr {
        let (fault, path) = *self.0;
        let place = place(name, &path);
        match fault {
            Fault::Type(what) => PyTypeError::new_err(format!("`{place}` {what}")),
            Fault::Value(what) => PyValueError::new_err(format!("`{place}` {what}")),
            Fault::Limit(limit) => errors::limit(py, &limit),
            Fault::Raised(error) => error,
        }
    }
}

/// `data.items[3].price`; a key that is no plain word is quoted, and a long one cut.
fn place(name: &str, path: &[Step]) -> String {
    let mut text = name.to_owned();
    for step in path.iter().rev() {
        let _infallible = match step {
            Step::Item(position) => write!(text, "[{position}]"),
            Step::Key(key) if is_word(key) => write!(text, ".{key}"),
            Step::Key(key) => write!(text, "[{:?}]", key.chars().take(64).collect::<String>()),
        };
    }
    text
}

fn is_word(key: &str) -> bool {
    (1..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The name of a value's type.
pub(crate) fn kind<'py>(value: &Bound<'py, PyAny>) -> Result<Bound<'py, PyString>, Failure> {
    Ok(value.get_type().name()?)
}

fn unsupported(value: &Bound<'_, PyAny>) -> Failure {
    match kind(value) {
        Ok(kind) => {
            let what = format!("is a `{kind}`, which has no JSON form: convert it before publishing");
            Failure::new(Fault::Type(what))
        }
        Err(failure) => failure,
    }
}

fn foreign_key(key: &Bound<'_, PyAny>) -> Failure {
    match kind(key) {
        Ok(kind) => {
            Failure::new(Fault::Type(format!("has a key that is a `{kind}`: keys of an object are str")))
        }
        Err(failure) => failure,
    }
}
