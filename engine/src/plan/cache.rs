//! Compiled documents, kept by their text.

use std::sync::Arc;

use super::{Admission, OperationName, Plan, schema::Schema};
use crate::{error::GraphQlError, limits::Limits};

/// Plans by document and operation name. At `plans_max` all are forgotten and the cache starts anew: a client that
/// sends ever new documents slows its own registrations, not the engine (running subscriptions keep their plans).
#[derive(Debug)]
pub struct Plans {
    plans: papaya::HashMap<(Box<str>, OperationName), Arc<Plan>>,
    schema: Option<Schema>,
    limits: Limits,
    admission: Admission,
}

impl Plans {
    /// An empty cache of plans held against `schema`.
    pub fn new(schema: Option<Schema>, limits: &Limits) -> Self {
        let admission = Admission::default();
        Self { plans: papaya::HashMap::new(), schema, limits: limits.clone(), admission }
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
        if plans.len() >= self.limits.plans_max {
            plans.clear();
        }
        Ok(Arc::clone(plans.get_or_insert(key, plan)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
