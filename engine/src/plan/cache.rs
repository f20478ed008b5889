//! Compiled documents, kept by their text.

use std::sync::Arc;

use super::{Admission, OperationKind, OperationName, Plan, parse, schema::Schema};
use crate::{
    error::GraphQlError,
    limits::Limits,
    sync::{AtomicUsize, Ordering},
};

/// What a plan takes for each byte of its document, measured and a little more: its tree and its projection.
const PLAN_BYTES_PER_TEXT_BYTE: usize = 128;

/// Plans by document and operation name. At `plans_max` or `plans_bytes_max` all are forgotten and the cache starts anew: a client that
/// sends ever new documents slows its own registrations, not the engine (running subscriptions keep their plans).
#[derive(Debug)]
pub struct Plans {
    plans: papaya::HashMap<(Box<str>, OperationName), Arc<Plan>>,
    /// An estimate of what they take, in bytes.
    bytes: AtomicUsize,
    schema: Option<Schema>,
    limits: Limits,
    admission: Admission,
}

impl Plans {
    /// An empty cache of plans held against `schema`.
    pub fn new(schema: Option<Schema>, limits: &Limits) -> Self {
        let admission = Admission::default();
        Self {
            plans: papaya::HashMap::new(),
            bytes: AtomicUsize::new(0),
            schema,
            limits: limits.clone(),
            admission,
        }
    }

    /// The same, for the documents that `admission` lets in. Default: all.
    #[must_use]
    pub fn admitting(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// The plan of an operation, compiled at the first call.
    ///
    /// # Errors
    /// As [`Plan::compile`], and `OPERATION_NOT_ALLOWED` or `INTROSPECTION_DISABLED` where [`Admission`] says so;
    /// failures are not kept.
    pub fn plan(&self, document: &str, operation: &OperationName) -> Result<Arc<Plan>, Vec<GraphQlError>> {
        let plans = self.plans.pin();
        let key = (Box::from(document), operation.clone());
        if let Some(plan) = plans.get(&key) {
            return Ok(Arc::clone(plan));
        }
        self.admission.text(document, &self.limits)?;
        let (schema, introspection) = (self.schema.as_ref(), self.admission.introspection);
        let plan = Arc::new(Plan::admitted(document, operation, schema, &self.limits, introspection)?);
        let bytes = PLAN_BYTES_PER_TEXT_BYTE * document.len();
        if plans.len() >= self.limits.plans_max || self.bytes() + bytes > self.limits.plans_bytes_max {
            plans.clear();
            self.bytes.store(0, Ordering::Relaxed);
        }
        if bytes > self.limits.plans_bytes_max {
            return Ok(plan);
        }
        // Of two that make the same plan at once both are counted: too much, until the cache starts anew.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Arc::clone(plans.get_or_insert(key, plan)))
    }

    /// What kind of operation is meant; the document keeps every rule that a plan's does.
    ///
    /// # Errors
    /// As [`Plans::plan`], but for operations that are no subscriptions.
    pub fn kind(
        &self,
        document: &str,
        operation: &OperationName,
    ) -> Result<OperationKind, Vec<GraphQlError>> {
        self.admission.text(document, &self.limits)?;
        let (schema, introspection) = (self.schema.as_ref(), self.admission.introspection);
        let tree = super::checked(document, schema, &self.limits, introspection).map_err(super::together)?;
        Ok(parse::operation(&tree, operation)?.operation_type.into())
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_documents_do_not_grow_the_cache_beyond_its_bytes() {
        let padded = |number: usize| format!("{:1$}", format!("subscription {{ a{number} }}"), 1_000);
        let limits = Limits { plans_bytes_max: PLAN_BYTES_PER_TEXT_BYTE * 10 * 1_000, ..Limits::default() };
        let plans = Plans::new(None, &limits);
        let mut most = 0;
        for number in 0..100 {
            plans.plan(&padded(number), &OperationName::Only).unwrap();
            assert!(plans.bytes() <= limits.plans_bytes_max);
            most = most.max(plans.plans.len());
        }
        assert_eq!(most, 10);
        // One that is larger than all of the cache is made, and not kept.
        let large = format!("{:1$}", "subscription { a }", 10_001);
        let [one, two] = [0, 1].map(|_| plans.plan(&large, &OperationName::Only).unwrap());
        assert!(!Arc::ptr_eq(&one, &two));
        let [one, two] = [0, 1].map(|_| plans.plan(&padded(1), &OperationName::Only).unwrap());
        assert!(Arc::ptr_eq(&one, &two));
    }

    /// One client sends 100,000 documents, half of them refused; what is running keeps its plan.
    #[test]
    fn ever_new_documents_do_not_grow_the_cache() {
        let limits = Limits { plans_max: 100, ..Limits::default() };
        let plans = Plans::new(None, &limits);
        let plan = |text: &str, name: &OperationName| plans.plan(text, name);
        let running = plan("subscription { a }", &OperationName::Only).unwrap();
        let mut largest = 0;
        for number in 0..50_000 {
            let text = format!("subscription {{ a{number} }}");
            plan(&text, &OperationName::Only).unwrap();
            plan(&text[1..], &OperationName::Only).unwrap_err();
            // Labels are a client's words too.
            plan(&text, &OperationName::Label(format!("L{number}"))).unwrap();
            largest = largest.max(plans.plans.len());
        }
        // Looked at after every second one.
        assert!((99..=limits.plans_max).contains(&largest), "{largest}");
        let again = plan("subscription { a }", &OperationName::Only).unwrap();
        assert!(!Arc::ptr_eq(&running, &again), "the cache has forgotten it");
        assert_eq!(running.root_field(), "a");
    }
}
