//! Keyword arguments of an executor as the engine's settings.

use std::time::Duration;

use coulis::{
    limits::Limits,
    overflow::Overflow,
    plan::DocumentDigest,
    policy::{Budget, Part, Policy},
    security::{Condition, DeliveryRates, Pace, RuleError, rate::Rate},
};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyInt, PyString},
};

use crate::{
    encode::{Bounds, encode},
    endings::Inside,
    errors::value_error,
    policy::rule_error,
};

/// Nesting that the walks over values, which recurse, have stack for in any thread.
const DEPTH_MAX: usize = 512;

/// Sets each named bound; the names are those of the engine's `Limits`.
macro_rules! named_limits {
    ($limits:ident, $name:ident, $value:ident: $($field:ident)+) => {
        match $name {
            $(stringify!($field) => $limits.$field = count($name, $value)?,)+
            "publish_wait_max" => $limits.publish_wait_max = seconds($name, $value)?,
            "subscription_errors_window" => $limits.subscription_errors_window = seconds($name, $value)?,
            "log_age_max" => $limits.log_age_max = seconds($name, $value)?,
            // None at all turns the logs off.
            "log_events_max" => $limits.log_events_max = or_zero($name, $value)?,
            _ => return Err(unknown("limits", $name)),
        }
    };
}

/// The bounds that `limits` names, and the defaults for all others.
pub(crate) fn limits(given: Option<&Bound<'_, PyAny>>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    for (name, value) in pairs("limits", given)? {
        let (name, value) = (name.as_str(), &value);
        named_limits!(limits, name, value:
            shards_max inbox_commands_max batch_commands_max channels_max name_bytes_max event_bytes_max
            event_depth_max publish_many_max subscribers_max subscriptions_per_subscriber_max ring_frames_max
            subscription_id_bytes_max query_bytes_max query_tokens_max query_depth_max query_fields_max
            query_aliases_max query_directives_max variables_bytes_max plans_max resolver_pending_max body_bytes_max message_bytes_max
            message_depth_max replies_max ring_bytes_max latest_keys_max log_bytes_max logs_bytes_max
            replay_events_max policy_text_bytes_max policy_steps_max policy_bytes_max policies_max
            subscription_errors_max subscribers_per_user_max subscriptions_per_user_max plans_bytes_max
        );
    }
    for (name, depth) in
        [("event_depth_max", limits.event_depth_max), ("message_depth_max", limits.message_depth_max)]
    {
        if depth > DEPTH_MAX {
            return Err(value_error(format!("`{name}` is {depth}: pass {DEPTH_MAX} at most")));
        }
    }
    Ok(limits)
}

/// The entries of a mapping with str keys.
pub(crate) fn pairs<'py>(
    argument: &str,
    given: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let _inside = Inside::enter()?;
    let items = given.call_method0("items").map_err(|_| not(argument, "a mapping", given))?;
    items.try_iter()?.map(|item| item?.extract()).collect()
}

/// A policy or a filter: a text, a tree, or none.
pub(crate) fn condition(argument: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<Condition>> {
    if given.is_none() {
        return Ok(None);
    }
    if given.is_instance_of::<PyString>() {
        return Ok(Some(Condition::from(&*text(argument, given)?)));
    }
    let limits = Limits::default();
    let tree = encode(argument, given, Bounds::variables(&limits))?;
    let tree = String::from_utf8(tree).map_err(|_| not(argument, "a str or a tree", given))?;
    Ok(Some(Condition::Tree(tree.into())))
}

/// The same as a list.
pub(crate) fn conditions(argument: &str, given: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Condition>> {
    Ok(given.map(|given| condition(argument, given)).transpose()?.flatten().into_iter().collect())
}

/// How often subscriptions may be registered, as in `{"user": (5, 20)}`: so many a second, and so many at once.
pub(crate) fn pace(given: &Bound<'_, PyAny>) -> PyResult<Pace> {
    let [user, tenant, subscriber] = rates("rates", given, ["user", "tenant", "connection"])?;
    Ok(Pace { user, tenant, subscriber })
}

/// How often messages may be delivered, in the same form.
pub(crate) fn delivery_rates(given: &Bound<'_, PyAny>) -> PyResult<DeliveryRates> {
    let names = ["user", "tenant", "connection", "subscription"];
    let [user, tenant, subscriber, subscription] = rates("delivery_rates", given, names)?;
    Ok(DeliveryRates { user, tenant, subscriber, subscription })
}

/// The rates that have `names`.
fn rates<const N: usize>(
    argument: &str,
    given: &Bound<'_, PyAny>,
    names: [&str; N],
) -> PyResult<[Option<Rate>; N]> {
    let mut rates = [None; N];
    for (name, value) in pairs(argument, Some(given))? {
        let (per_second, burst): (f64, u32) =
            value.extract().map_err(|_| not(argument, "pairs of a number a second and a burst", &value))?;
        let rate =
            Rate::new(per_second, burst).map_err(|error| value_error(format!("`{argument}`: {error}")))?;
        let Some(at) = names.iter().position(|known| *known == name) else {
            let known = names.map(|name| format!("`{name}`")).join(", ");
            return Err(value_error(format!("`{argument}` has `{}`: pass some of {known}", short(&name))));
        };
        rates[at] = Some(rate);
    }
    Ok(rates)
}

/// Refuses what is no policy.
#[pyfunction]
pub(crate) fn check_policy(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(condition) = condition(argument, value)? else { return Ok(()) };
    let part = match &condition {
        Condition::Text(text) => Part::Text(text),
        Condition::Tree(text) => Part::Tree(text),
    };
    let compiled = Policy::new(&[part], Budget::default());
    let named = |error| RuleError { rule: argument.into(), error };
    compiled.map(drop).map_err(|error| rule_error(value.py(), &named(error)))
}

/// One text, several, or none.
pub(crate) fn words(argument: &str, given: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let _inside = Inside::enter()?;
    let words = match given.cast::<PyString>() {
        Ok(word) => vec![text(argument, word.as_any())?],
        Err(_) => given
            .try_iter()
            .map_err(|_| not(argument, "a str or several", given))?
            .map(|word| text(argument, &word?))
            .collect::<PyResult<Vec<_>>>()?,
    };
    if words.iter().any(String::is_empty) {
        return Err(value_error(format!("`{argument}` holds an empty text: leave it out instead")));
    }
    Ok(words)
}

/// The digests of documents, each given as its text or as its digest: no document is 64 hexadecimal digits.
pub(crate) fn digests(given: &Bound<'_, PyAny>) -> PyResult<Vec<DocumentDigest>> {
    let digest = |text: &String| match text.parse() {
        Ok(digest) => Ok(digest),
        Err(_) if text.contains('{') => Ok(DocumentDigest::of(text)),
        // A digest with a slip would let nothing in, and nobody would know why.
        Err(error) => Err(value_error(format!(
            "`allowed_operations` holds `{}`, which is no document, and {error}",
            short(text)
        ))),
    };
    words("allowed_operations", Some(given))?.iter().map(digest).collect()
}

/// A str without lone surrogates.
pub(crate) fn text(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value.cast::<PyString>().map_err(|_| not(argument, "a str", value))?;
    text.to_str().map(str::to_owned).map_err(|_| value_error(format!("`{argument}` holds a lone surrogate")))
}

/// Refuses a text that is no overflow policy.
#[pyfunction]
pub(crate) fn check_overflow(value: &Bound<'_, PyAny>) -> PyResult<()> {
    overflow(value).map(drop)
}

/// What happens when too many messages wait.
pub(crate) fn overflow(value: &Bound<'_, PyAny>) -> PyResult<Overflow> {
    text("overflow", value)?.parse().map_err(|error| value_error(format!("`overflow`: {error}")))
}

/// A whole number, zero or more.
fn or_zero(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    if value.is_instance_of::<PyInt>() && matches!(value.extract(), Ok(0_usize)) {
        return Ok(0);
    }
    count(name, value)
}

/// A whole number above zero.
pub(crate) fn count(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(not(name, "an int", value));
    }
    match value.extract::<usize>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(PyValueError::new_err(format!("`{name}` must be above 0 and fit a machine word"))),
    }
}

pub(crate) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds: f64 = value.extract().map_err(|_| not(name, "a number of seconds", value))?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("`{name}` is `{seconds}`: pass seconds, 0 or more")))
}

fn not(name: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    match value.get_type().name() {
        Ok(kind) => PyTypeError::new_err(format!("`{name}` is a `{kind}`: pass {expected}")),
        Err(error) => error,
    }
}

/// Refuses a keyword or key that means nothing.
pub(crate) fn unknown(argument: &str, name: &str) -> PyErr {
    value_error(format!("`{argument}` has nothing called `{}`", short(name)))
}

fn short(name: &str) -> &str {
    name.char_indices().nth(64).map_or(name, |(end, _)| &name[..end])
}
