//! Integers beyond 64 bits, exactly.
//!
//! By way of `decimal`, which is exact for any size and, unlike `int(text)` and `str(int)`, has no limit of digits
//! and no quadratic cost. The length is bounded by the document they stand in.

use pyo3::{prelude::*, types::PyType};

use crate::lazy::Lazy;

static DECIMAL: Lazy<PyType> = Lazy::new();

/// The class `decimal.Decimal`.
pub(crate) fn decimal(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    DECIMAL.import(py, "decimal", "Decimal")
}

/// The decimal digits of a Python integer of any size.
pub(crate) fn digits(number: &Bound<'_, PyAny>) -> PyResult<String> {
    decimal(number.py())?.call1((number,))?.str()?.extract()
}

/// The Python integer that `text`, decimal digits with an optional sign, stands for.
pub(crate) fn integer<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    match text.parse::<i64>() {
        Ok(number) => Ok(number.into_pyobject(py)?.into_any()),
        Err(_) => py.get_type::<pyo3::types::PyInt>().call1((decimal(py)?.call1((text,))?,)),
    }
}
