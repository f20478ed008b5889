//! Compiled documents, kept by their text.

use std::sync::Arc;

use super::{OperationName, Plan, schema::Schema};
use crate::{error::GraphQlError, limits::Limits};

/// Plans by document and operation name. At `plans_max` all are forgotten and the cache starts anew: a client that
/// sends ever new documents slows its own registrations, not the engine (running subscriptions keep their plans).
#[derive(Debug)]
pub struct Plans {
    plans: papaya::HashMap<(Box<str>, OperationName), Arc<Plan>>,
    schema: Option<Schema>,
    limits: Limits,
}

impl Plans {
    /// An empty cache of plans held against `schema`.
    pub fn new(schema: Option<Schema>, limits: &Limits) -> Self {
        Self { plans: papaya::HashMap::new(), schema, limits: limits.clone() }
    }

    /// The plan of an operation, compiled at the first call.
    ///
    /// # Errors
    /// As [`Plan::compile`]; failures are not kept.
    pub fn plan(&self, document: &str, operation: &OperationName) -> Result<Arc<Plan>, Vec<GraphQlError>> {
        let plans = self.plans.pin();
        let key = (Box::from(document), operation.clone());
        if let Some(plan) = plans.get(&key) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::compile(document, operation, self.schema.as_ref(), &self.limits)?);
        if plans.len() >= self.limits.plans_max {
            plans.clear();
        }
        Ok(Arc::clone(plans.get_or_insert(key, plan)))
    }
}
