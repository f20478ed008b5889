//! The verbs about subscriptions that live: other rules, another schema, revocations, explanations.

use super::Engine;
use crate::{
    control::Verdict,
    cursor::At,
    event::Event,
    metrics::{Module, Ruling},
    plan::Schema,
    security::{RuleError, Rules, SecurityContext, access::AccessError},
    subscriber::{Reload, Subscriber},
};

impl Engine {
    /// Replaces the row policies while subscriptions live: each is judged by the new ones from the next event on, in one
    /// snapshot a shard, and loses nothing by that. One that cannot be any more ends with `POLICY_REFUSED`. Answers how many
    /// end.
    ///
    /// # Errors
    /// A policy that does not compile; then the old ones stay.
    pub fn reload(&self, rules: Rules) -> Result<usize, RuleError> {
        self.0.plane.reload(rules)
    }

    /// Replaces the schema while subscriptions live, in one snapshot a shard. Every document is held against the new one:
    /// where it means what it did nothing changes, where it selects or decides something else that holds from the next
    /// event on, and nothing is lost by that. A subscription whose document is no longer valid ends with `SCHEMA_CHANGED`,
    /// one that may not read what it selects with `FORBIDDEN_FIELD`. Answers how many end.
    ///
    /// New documents, introspection and the rules of [`Access`](crate::security::access::Access) are about the new schema at once; `None`: there is none.
    ///
    /// # Errors
    /// Rules of [`Access`](crate::security::access::Access) that the new schema does not bear; then the old one stays.
    pub fn reload_schema(&self, schema: Option<Schema>) -> Result<usize, AccessError> {
        self.0.plane.reload_schema(schema)
    }

    /// What becomes of `event` for the subscription called `id`, and which step of its way decides that: policies as they
    /// stand, rates and the reader's ring as they are now. The event is not published, and no token is taken.
    /// `reader`: whose subscription, where several have one of this id.
    ///
    /// It waits for a shard, so a [`Resolve`](crate::engine::Resolve) must not ask.
    pub fn explain(&self, id: &str, reader: Option<&Subscriber>, event: &Event) -> Verdict {
        self.0.plane.explain(id, reader.map(|reader| reader.seat().serial), event)
    }

    /// The same for an event that was published: one that the log of `channel` keeps.
    ///
    /// # Errors
    /// It is not kept any more ([`Reload::Trimmed`]), was not published yet ([`Reload::Future`]), or the cursor is of another
    /// channel or of a log that is gone.
    pub fn explain_recorded(
        &self,
        id: &str,
        reader: Option<&Subscriber>,
        channel: &str,
        at: At,
    ) -> Result<Verdict, Reload> {
        let recorded = self.0.plane.recorded(channel, at)?;
        Ok(self.explain(id, reader, &recorded.event))
    }

    /// Ends the subscriptions whose context `which` holds for, at once: after this returned no frame of them is handed out
    /// but those that a reader has just taken, 64 at most. Their readers are told. Answers how many there were.
    pub fn revoke(&self, which: impl Fn(&SecurityContext) -> bool) -> usize {
        self.0.plane.revoke(&which)
    }

    /// Counts that a server let a reader in, refused it, or could not tell, so that the counters of
    /// [`Module::Authentication`] know: authentication itself is not the engine's.
    pub fn count_authentication(&self, ruling: Ruling) {
        self.0.plane.decided(Module::Authentication, ruling);
    }
}
