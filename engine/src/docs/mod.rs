//! Long-form documentation: this page is the whole way once, the modules below have a subject each.
//!
//! # From publish to bytes
//!
//! An [`Engine`](crate::engine::Engine) has shards, threads that each own their readers. A reader is a
//! [`Subscriber`](crate::subscriber::Subscriber): it holds subscriptions and a ring of frames.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::subscriber::SubscriberOptions;
//!
//! let engine = Engine::builder().shards(1).build()?;
//!
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! engine.subscribe(&mut reader, SubscribeRequest {
//!     id: "1".into(),
//!     query: "subscription { orders { id status } }".into(),
//!     ..SubscribeRequest::default()
//! })?;
//!
//! let document = br#"{"id": 7, "status": "paid", "secret": "not selected"}"#;
//! let event = Event::new("orderChanged", "orders", document.to_vec(), engine.limits())?;
//! let report = engine.publish(event)?.wait();
//! assert_eq!(report.delivered, 1);
//!
//! let mut message = Vec::new();
//! reader.drain(1, |delivery| delivery.write_next(&mut message));
//! // Then `"extensions"` with a cursor, from which a reader that was away resumes.
//! assert!(message.starts_with(br#"{"type":"next","id":"1","payload":{"data":{"orders":{"id":7,"status":"paid"}}"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`publishing`]: the forms of publish, when each returns, and what it tells;
//! - [`reading`]: as a thread, as a task, as an event loop; what each costs;
//! - [`overflow`]: what a reader that is too slow loses, and how it is told;
//! - [`resume`]: how a reader that was away gets what it missed;
//! - [`resolving`]: results that need code;
//! - [`policies`]: which events a reader gets, and what changes while it reads.
//!
//! # Who sees what
//!
//! [`Isolation`](crate::policy::standard::Isolation) is compiled to predicate bytecode for each subscription: an event
//! that names a tenant or an owner reaches that tenant or owner only. What is given at publish
//! ([`Event::with_tenant`](crate::event::Event::with_tenant)) outranks the document's fields. [`policies`] of your own hold
//! beside it.
//!
//! [`Access`](crate::security::access::Access) says which fields of what it gets a reader may read, by its roles and
//! OAuth scopes; [`VariableScope`](crate::security::VariableScope) which variables must name the reader's own user and
//! tenant.

pub mod overflow;
pub mod policies;
pub mod publishing;
pub mod reading;
pub mod resolving;
pub mod resume;
