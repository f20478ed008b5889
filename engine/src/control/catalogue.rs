//! What documents are held against: the schema, the plans made with it, and who may read which field. Replaced as a
//! whole, while subscriptions live.

use std::{collections::HashMap, fmt, sync::Arc};

use super::ControlPlane;
use crate::{
    error::GraphQlError,
    limits::Limits,
    link::End,
    plan::{Admission, OperationKind, OperationName, Plan, Plans, Refused, Schema},
    policy::Constant,
    security::{
        Asked, RuleError, Rulebook, SecurityContext,
        access::{Access, AccessError, Gate},
    },
    shard::{Recipe, Terms},
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Catalogue {
    plans: Plans,
    pub(crate) gate: Arc<Gate>,
}

/// Why a subscription of a live reader cannot be any more.
pub(super) fn changed(message: impl fmt::Display) -> End {
    End::Refused("SCHEMA_CHANGED", format!("the schema has changed: {message}").into())
}

impl Catalogue {
    /// What `access` says is held against the schema here.
    pub(crate) fn new(
        schema: Option<Schema>,
        access: Access,
        admission: Admission,
        limits: &Limits,
    ) -> Result<Self, AccessError> {
        let gate = Arc::new(access.compile(schema.as_ref())?);
        Ok(Self { plans: Plans::new(schema, limits).admitting(admission), gate })
    }

    /// The compiled operation of a document.
    pub(crate) fn plan(
        &self,
        document: &str,
        operation: &OperationName,
    ) -> Result<Arc<Plan>, Vec<GraphQlError>> {
        self.plans.plan(document, operation)
    }

    /// What kind of operation is meant.
    pub(crate) fn kind(
        &self,
        document: &str,
        operation: &OperationName,
    ) -> Result<OperationKind, Vec<GraphQlError>> {
        self.plans.kind(document, operation)
    }

    /// The first field that a filter asks about and its reader may not read: who filters by a field reads it.
    pub(crate) fn hidden_from(
        &self,
        book: &Rulebook,
        asked: &Asked,
        context: &SecurityContext,
    ) -> Result<Option<String>, RuleError> {
        if self.gate.is_open() {
            return Ok(None);
        }
        let fields = book.filters_read(asked)?.into_iter();
        let mut fields = fields.map(|path| [&*asked.field, &path].join(".").trim_end_matches('.').to_owned());
        Ok(fields.find(|field| !self.gate.may_read(field, &context.roles, &context.scopes)))
    }

    /// What was asked for under another schema, as it is under this one.
    fn terms(&self, terms: &Terms, limits: &Limits) -> Result<Terms, Vec<GraphQlError>> {
        let Terms { asked, channels, events, document, operation, variables, .. } = terms;
        let plan = self.plan(document, operation)?;
        let bound = plan.bind(variables, limits)?;
        let same = bound.projection == terms.projection;
        Ok(Terms {
            asked: Asked {
                arguments: Constant::from(&plan.arguments(&bound.variables)),
                variables: Constant::from(&bound.variables),
                ..asked.clone()
            },
            channels: channels.clone(),
            events: Arc::clone(events),
            document: Arc::clone(document),
            operation: operation.clone(),
            variables: bound.variables,
            projection: if same { Arc::clone(&terms.projection) } else { bound.projection },
        })
    }
}

/// The new terms of each that there was, by its address: equal subscriptions share them again. The old ones are kept, so
/// that an address means nothing else meanwhile.
#[derive(Debug, Default)]
pub(super) struct Renewed(HashMap<usize, (Arc<Terms>, Outcome)>);

type Outcome = Result<Arc<Terms>, End>;

impl Renewed {
    pub(super) fn terms(
        &mut self,
        catalogue: &Catalogue,
        recipe: &Recipe,
        limits: &Limits,
    ) -> Result<Arc<Terms>, End> {
        let renew = || {
            let renewed = catalogue.terms(&recipe.terms, limits).map(Arc::new);
            let message = |errors: Vec<GraphQlError>| {
                changed(errors.first().map_or_else(String::new, GraphQlError::to_string))
            };
            (Arc::clone(&recipe.terms), renewed.map_err(message))
        };
        self.0.entry(Arc::as_ptr(&recipe.terms).addr()).or_insert_with(renew).1.clone()
    }
}

impl ControlPlane {
    /// What documents are held against now.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// Replaces the schema, and has every subscription's document held against the new one.
    pub(crate) fn reload_schema(&self, schema: Option<Schema>) -> Result<usize, AccessError> {
        let (access, admission) = (self.access.clone(), self.admission.clone());
        let catalogue = Catalogue::new(schema, access, admission, &self.limits)?;
        // Set first: a registration that is under way sees this afterwards, or is seen by the judging.
        self.catalogue.store(Arc::new(catalogue));
        self.terms.pin().clear();
        Ok(self.shard_ids().map(|shard| self.renew(shard, |_| true)).sum())
    }
}

/// Why a reader cannot have what it selected any more.
pub(super) fn refused(refused: Refused) -> End {
    match refused {
        Refused::Field(field) => hidden(&field),
        Refused::Limit(error) => End::Refused(error.code, error.message.into()),
    }
}

pub(super) fn hidden(field: &str) -> End {
    End::Refused("FORBIDDEN_FIELD", format!("`{field}` may not be read any more").into())
}
