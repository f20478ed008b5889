//! What each mechanism of security decided: allowed, denied, or without an answer, which is a no.

use std::fmt::Write as _;

use super::{Counter, Metrics};

/// A mechanism that decides.
///
/// What decides about a registration is counted by mechanism, once for each registration that it was asked about.
/// What decides about an event is one predicate, into which isolation, policies and filters are merged and which the
/// index mostly answers without asking; it is counted as [`Module::Policy`]. Which clause of it denies an event
/// [`crate::engine::Engine::explain`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Module {
    /// Who the reader is: contexts that the server let in or refused, and subscriptions whose context expired.
    Authentication,
    /// The list of allowed operations, where there is one.
    AllowedOperations,
    /// Whether documents may ask for the schema, where they may not.
    Introspection,
    /// Rates of registrations.
    Rates,
    /// Variables that name the reader's user and tenant.
    Variables,
    /// Who may read which field, by role and scope.
    FieldAccess,
    /// User isolation, where the channel has an owner rule.
    UserIsolation,
    /// Tenant isolation; denied: strict isolation, and a reader without a tenant, to whom nothing can come.
    TenantIsolation,
    /// Isolation of a federation's services.
    Federation,
    /// Policies of channels, root fields and subscriptions.
    CustomPolicy,
    /// Filters of clients; denied: one asks for a field that its reader may not read.
    ClientFilter,
    /// The predicate that isolation, policies and filters make together, asked about each event for each subscription.
    Policy,
    /// Rates of deliveries, asked about each result.
    DeliveryRates,
}

/// What a mechanism decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ruling {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// There was no answer, which is a no.
    Error,
}

/// How often a mechanism decided what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rulings {
    /// Yes.
    pub allowed: u64,
    /// No.
    pub denied: u64,
    /// There was no answer.
    pub errors: u64,
}

impl Module {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Authentication,
        Self::AllowedOperations,
        Self::Introspection,
        Self::Rates,
        Self::Variables,
        Self::FieldAccess,
        Self::UserIsolation,
        Self::TenantIsolation,
        Self::Federation,
        Self::CustomPolicy,
        Self::ClientFilter,
        Self::Policy,
        Self::DeliveryRates,
    ];

    /// A stable word, the label of its counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::AllowedOperations => "allowed_operations",
            Self::Introspection => "introspection",
            Self::Rates => "rates",
            Self::Variables => "variables",
            Self::FieldAccess => "field_access",
            Self::UserIsolation => "user_isolation",
            Self::TenantIsolation => "tenant_isolation",
            Self::Federation => "federation",
            Self::CustomPolicy => "custom_policy",
            Self::ClientFilter => "client_filter",
            Self::Policy => "policy",
            Self::DeliveryRates => "delivery_rates",
        }
    }
}

impl Rulings {
    /// Each outcome's name and count.
    pub fn rows(&self) -> [(&'static str, u64); 3] {
        [("allowed", self.allowed), ("denied", self.denied), ("error", self.errors)]
    }
}

/// Counters of what was decided about registrations; many threads write.
#[derive(Debug, Default)]
pub(crate) struct Decisions([[Counter; 3]; Module::ALL.len()]);

impl Decisions {
    pub(crate) fn add(&self, module: Module, outcome: Ruling) {
        self.0[module as usize][outcome as usize].add(1);
    }

    fn get(&self, module: Module) -> Rulings {
        let [allowed, denied, errors] = [0, 1, 2].map(|outcome| self.0[module as usize][outcome].get());
        Rulings { allowed, denied, errors }
    }
}

impl Metrics {
    /// What was decided about registrations, and what the counters say was decided about events.
    pub(crate) fn add_decisions(&mut self, decisions: &Decisions) {
        self.decisions = Module::ALL.map(|module| decisions.get(module));
        self.decisions[Module::Policy as usize] = Rulings {
            allowed: self.matched.saturating_sub(self.denied),
            denied: self.denied.saturating_sub(self.policy_errors),
            errors: self.policy_errors,
        };
        self.decisions[Module::DeliveryRates as usize] =
            Rulings { allowed: self.rate_allowed, denied: self.rate_limited, errors: 0 };
    }

    /// What a mechanism decided since the start.
    pub fn decided(&self, module: Module) -> Rulings {
        self.decisions[module as usize]
    }

    pub(super) fn write_decisions(&self, out: &mut String) {
        out.push_str("# HELP coulis_decisions_total What each mechanism of security decided.\n");
        out.push_str("# TYPE coulis_decisions_total counter\n");
        for module in Module::ALL {
            for (outcome, count) in self.decided(module).rows() {
                let name = module.name();
                // Writing into a `String` cannot fail.
                _ = writeln!(out, r#"coulis_decisions_total{{module="{name}",outcome="{outcome}"}} {count}"#);
            }
        }
    }
}
