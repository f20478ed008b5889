//! Support of the promise tests: short ways to say what they are about.

pub mod carriers;
pub mod conformance;
pub mod fuzz;
pub mod random;
pub mod servers;

use std::sync::Arc;

use coulis::{
    engine::{Engine, EngineBuilder, Report, SubscribeRequest},
    event::Event,
    id::Identity,
    limits::Limits,
    security::SecurityContext,
    subscriber::{Content, Subscriber, SubscriberOptions},
};

/// An engine of `shards` shards with default settings.
///
/// # Panics
/// If it does not start.
pub fn engine(shards: usize) -> Engine {
    build(Engine::builder().shards(shards))
}

/// The engine of a builder.
///
/// # Panics
/// If it does not start.
pub fn build(builder: EngineBuilder) -> Engine {
    builder.build().expect("an engine")
}

/// An event of type `test`.
///
/// # Panics
/// If `document` is not a document.
pub fn event(channel: &str, document: &str) -> Event {
    Event::new("test", channel, document.into(), &Limits::default()).expect("an event")
}

/// The same, for a tenant and a user; an empty text is none.
pub fn event_for(channel: &str, document: &str, tenant: &str, user: &str) -> Event {
    event(channel, document).with_tenant(Identity::new(tenant)).with_user(Identity::new(user))
}

/// A subscription of `query` for nobody in particular.
pub fn request(id: &str, query: &str) -> SubscribeRequest {
    SubscribeRequest { id: id.into(), query: query.into(), ..SubscribeRequest::default() }
}

/// The same, for a user of a tenant; an empty text is none.
pub fn request_for(id: &str, query: &str, tenant: &str, user: &str) -> SubscribeRequest {
    let context = SecurityContext::new(Identity::new(user), Identity::new(tenant));
    SubscribeRequest { context, ..request(id, query) }
}

/// A reader with the given subscriptions.
///
/// # Panics
/// If one is refused.
pub fn reader(engine: &Engine, requests: impl IntoIterator<Item = SubscribeRequest>) -> Subscriber {
    let mut subscriber = engine.open(SubscriberOptions::default()).expect("a subscriber");
    for request in requests {
        engine.subscribe(&mut subscriber, request).expect("a subscription");
    }
    subscriber
}

/// Publishes and waits until it is dispatched.
///
/// # Panics
/// If it is refused.
pub fn publish(engine: &Engine, event: Event) -> Report {
    engine.publish(event).expect("a receipt").wait()
}

/// What is readable, as `id body` lines.
pub fn read(subscriber: &mut Subscriber) -> Vec<String> {
    let mut lines = Vec::new();
    while subscriber.drain(usize::MAX, |delivery| {
        let body = match delivery.content {
            Content::Result(payload) => bare(payload.body()),
            Content::Gap(gap) | Content::Ended(gap) => gap.body(),
            Content::Resumed(resumed) => resumed.body(),
            Content::Closed(end) => end.body(),
        };
        lines.push(format!("{} {body}", delivery.id));
    }) > 0
    {}
    lines
}

/// A resolver that keeps its jobs until the test answers them.
#[derive(Debug, Default)]
pub struct Kept {
    jobs: crossbeam::queue::SegQueue<coulis::engine::Job>,
    /// Whether a blocking publish returns without these results.
    pub asynchronous: bool,
}

impl Kept {
    /// A resolver whose results nobody waits for.
    pub fn asynchronous() -> Arc<Self> {
        Arc::new(Self { asynchronous: true, ..Self::default() })
    }

    /// The oldest job that was not taken yet.
    pub fn next(&self) -> Option<coulis::engine::Job> {
        self.jobs.pop()
    }
}

impl coulis::engine::Resolve for Kept {
    fn resolve(&self, job: coulis::engine::Job) -> Result<(), coulis::engine::Job> {
        self.jobs.push(job);
        Ok(())
    }

    fn is_async(&self) -> bool {
        self.asynchronous
    }
}

/// A body without its cursor, which differs from event to event and from run to run.
fn bare(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    body.split_once(r#","extensions":{"coulis":{"cursor":"#)
        .map_or_else(|| body.clone().into_owned(), |(data, _)| format!("{data}}}"))
}
