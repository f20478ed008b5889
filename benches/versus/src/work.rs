//! What every system is given: the event, the subscriptions that want it, and the answers that are right.

use std::{iter::StepBy, ops::Range};

/// One earthquake, 460 bytes: the document of every event.
pub const DOCUMENT: &str = r#"{"id":"us2000crkq","mag":5.3,"magType":"mb","place":"50km NNW of Sangiang, Indonesia","time":1517364031800,"updated":1517423633040,"net":"us","status":"reviewed","tsunami":false,"sig":436,"alert":null,"felt":4,"location":{"longitude":118.7906,"latitude":-7.8628,"depthKm":15.18},"quality":{"nst":null,"dmin":2.986,"rms":1.07,"gap":53},"sources":["us"],"url":"https://example.org/us2000crkq","title":"M 5.3 - 50km NNW of Sangiang, Indonesia"}"#;

/// The root field of every query, and so the channel of every event.
pub const CHANNEL: &str = "earthquakes";

/// The type of every event.
pub const EVENT_TYPE: &str = "reported";

/// Subscriptions `0..subscriptions`, of which number `n` belongs to tenant `n % tenants`. Events are numbered too;
/// each is for one tenant.
#[derive(Clone)]
pub struct Work {
    pub name: String,
    pub subscriptions: usize,
    /// Names of the tenants; one without a name stands for a workload without tenants.
    tenants: Vec<String>,
    /// Whether each subscription of a tenant is another user's.
    users: bool,
    /// The right body of each subscription, or one for all.
    bodies: Vec<Vec<u8>>,
}

impl Work {
    /// Everybody wants every event, and the same of it.
    pub fn fan_out(readers: usize) -> Self {
        Self::new(format!("1 event to {readers}"), readers, 1, 1)
    }

    /// Everybody wants every event, each in an own form: nothing can be shared.
    pub fn own_forms(readers: usize) -> Self {
        Self::new(format!("1 event to {readers}, {readers} forms"), readers, 1, readers)
    }

    /// Each event is for `matching` of the `subscriptions`: one tenant's, each of another user. So no two have equal
    /// predicates, as it is where readers have signed in.
    pub fn selective(subscriptions: usize, matching: usize) -> Self {
        Self::new(format!("{matching} of {subscriptions}"), subscriptions, subscriptions / matching, 1)
    }

    /// The same without users: the subscriptions of a tenant are one group.
    pub fn selective_groups(subscriptions: usize, matching: usize) -> Self {
        let name = format!("{matching} of {subscriptions}, one group");
        Self { users: false, ..Self::new(name, subscriptions, subscriptions / matching, 1) }
    }

    /// As many equality predicates as subscriptions, no two alike; each event is for one.
    pub fn equalities(count: usize) -> Self {
        Self { users: false, ..Self::new(format!("{count} equality predicates"), count, count, 1) }
    }

    fn new(name: String, subscriptions: usize, tenants: usize, forms: usize) -> Self {
        let tenants = match tenants {
            1 => vec![String::new()],
            many => (0..many).map(|tenant| format!("tenant-{tenant}")).collect(),
        };
        let mut work = Self { name, subscriptions, tenants, users: true, bodies: vec![Vec::new(); forms] };
        work.bodies = (0..forms).map(|form| body(&work.magnitude_key(form))).collect();
        work
    }

    /// The GraphQL document of a subscription.
    pub fn query(&self, subscription: usize) -> String {
        query(&self.magnitude_key(subscription))
    }

    /// The response key of the field `mag`: `mag`, or an alias that makes the form an own one.
    pub fn magnitude_key(&self, subscription: usize) -> String {
        if self.bodies.len() == 1 { "mag".into() } else { format!("m{subscription}") }
    }

    /// The execution result that a subscription must get.
    pub fn body(&self, subscription: usize) -> &[u8] {
        &self.bodies[subscription % self.bodies.len()]
    }

    /// How many forms of the result there are.
    pub fn forms(&self) -> usize {
        self.bodies.len()
    }

    /// The tenant of a subscription.
    pub fn tenant(&self, subscription: usize) -> Option<&str> {
        Some(self.tenants[subscription % self.tenants.len()].as_str()).filter(|name| !name.is_empty())
    }

    /// The user of a subscription; none where there are no tenants.
    pub fn user(&self, subscription: usize) -> Option<String> {
        (self.users && self.tenants.len() > 1).then(|| format!("user-{subscription}"))
    }

    /// The tenant of an event.
    pub fn tenant_of_event(&self, event: usize) -> Option<&str> {
        self.tenant(self.target(event))
    }

    /// The subscriptions that an event is for.
    pub fn members(&self, event: usize) -> StepBy<Range<usize>> {
        (self.target(event)..self.subscriptions).step_by(self.tenants.len())
    }

    /// How many results the events make.
    pub fn deliveries(&self, events: &Range<usize>) -> usize {
        events.clone().map(|event| self.members(event).len()).sum()
    }

    /// Tenants in an order that no cache guesses: multiples of a prime.
    fn target(&self, event: usize) -> usize {
        event.wrapping_mul(7_919) % self.tenants.len()
    }

    /// Checks how many results each subscription got of `events`.
    ///
    /// # Panics
    /// If one got too many or too few.
    pub fn check_counts(&self, events: &Range<usize>, received: impl IntoIterator<Item = usize>) {
        let mut expected = vec![0; self.tenants.len()];
        for event in events.clone() {
            expected[self.target(event)] += 1;
        }
        let mut checked = 0;
        for (subscription, received) in received.into_iter().enumerate() {
            let expected = expected[subscription % expected.len()];
            assert_eq!(received, expected, "{}: subscription {subscription} of {events:?}", self.name);
            checked += 1;
        }
        assert_eq!(checked, self.subscriptions, "{}: subscriptions", self.name);
    }

    /// Checks a result's bytes.
    ///
    /// # Panics
    /// If they are not what the subscription must get.
    pub fn check_body(&self, subscription: usize, body: &[u8]) {
        assert_eq!(body, self.body(subscription), "{}: subscription {subscription}", self.name);
    }

    /// Checks a `next` message's bytes.
    ///
    /// # Panics
    /// If they are not what the subscription must get.
    pub fn check_frame(&self, subscription: usize, frame: &[u8]) {
        let head = format!(r#"{{"type":"next","id":"{subscription}","payload":"#);
        let body = frame.strip_prefix(head.as_bytes()).and_then(|rest| rest.strip_suffix(b"}"));
        self.check_body(subscription, body.expect("a `next` message with the subscription's id"));
    }
}

/// A projection of four fields; only the alias differs between forms.
pub fn query(magnitude_key: &str) -> String {
    format!("subscription {{ earthquakes {{ id {magnitude_key}: mag place location {{ depthKm }} }} }}")
}

/// What [`DOCUMENT`] gives under [`query`].
pub fn body(magnitude_key: &str) -> Vec<u8> {
    let fields = format!(
        r#""id":"us2000crkq","{magnitude_key}":5.3,"place":"50km NNW of Sangiang, Indonesia","location":{{"depthKm":15.18}}"#
    );
    format!(r#"{{"data":{{"earthquakes":{{{fields}}}}}}}"#).into_bytes()
}
