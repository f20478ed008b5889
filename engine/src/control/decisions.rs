//! Who decided what about a registration: one counter for each mechanism and outcome.

use super::ControlPlane;
use crate::{
    error::GraphQlError,
    metrics::{Module, Ruling},
    plan::Introspection,
    policy::standard::Tenancy,
    security::{Asked, RuleError, Rulebook, SecurityContext},
};

impl ControlPlane {
    /// Counts one decision.
    pub(crate) fn decided(&self, module: Module, outcome: Ruling) {
        self.decisions.add(module, outcome);
    }

    /// Counts what became of a document: whether it is allowed, and may ask what it asks.
    pub(crate) fn decided_document<T>(&self, planned: &Result<T, Vec<GraphQlError>>) {
        let admission = &self.admission;
        let code = planned.as_ref().err().and_then(|errors| errors.first()).map(|error| error.code);
        let not_allowed = code == Some("OPERATION_NOT_ALLOWED");
        if admission.operations.is_some() {
            self.decided(Module::AllowedOperations, denied_if(not_allowed));
        }
        if admission.introspection == Introspection::Refused && !not_allowed {
            self.decided(Module::Introspection, denied_if(code == Some("INTROSPECTION_DISABLED")));
        }
    }

    /// Counts what isolation, policies and filters made of a registration on one channel.
    pub(crate) fn decided_channel<T>(
        &self,
        book: &Rulebook,
        channel: &str,
        asked: &Asked,
        context: &SecurityContext,
        judged: &Result<T, RuleError>,
    ) {
        if let Err(RuleError { rule, .. }) = judged {
            let module = match &**rule {
                "filter" => Module::ClientFilter,
                _ => Module::CustomPolicy,
            };
            return self.decided(module, Ruling::Error);
        }
        let guards = book.guards(channel, asked);
        let without_tenant = guards.isolation.tenancy == Tenancy::Strict && context.tenant.is_none();
        self.decided(Module::TenantIsolation, denied_if(without_tenant));
        for (module, is_on) in [
            (Module::UserIsolation, guards.isolation.owner.is_some()),
            (Module::Federation, true),
            (Module::CustomPolicy, guards.has_policy),
            (Module::ClientFilter, !asked.filters.is_empty()),
        ] {
            if is_on {
                self.decided(module, Ruling::Allowed);
            }
        }
    }
}

fn denied_if(denied: bool) -> Ruling {
    if denied { Ruling::Denied } else { Ruling::Allowed }
}
