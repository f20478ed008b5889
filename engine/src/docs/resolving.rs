//! Results that need code: resolvers in Rust.
//!
//! Without a resolver an event's document is projected: the selection set copies what it names. A resolver makes the
//! value instead. It is given with the subscription, as
//! [`SubscribeRequest::resolver`](crate::engine::SubscribeRequest), and implements [`Resolve`](crate::engine::Resolve):
//!
//! - [`resolve`](crate::engine::Resolve::resolve) takes a [`Job`](crate::engine::Job) over. It runs on the thread that
//!   steps the shard, so it must not wait and must not compute: hand the job to a thread or a task, by a bounded queue.
//! - A job that cannot be taken is returned as `Err(job)`. Its deliveries are lost, counted as `failed`, and told to
//!   their readers as gaps.
//! - [`Job::answer`](crate::engine::Job::answer) brings the result from any thread. A job that is dropped answers by
//!   itself, with an error.
//! - [`is_async`](crate::engine::Resolve::is_async) decides who waits: with `false`,
//!   [`Receipt::wait`](crate::engine::Receipt::wait) waits for these results; with `true`, only
//!   [`wait_all`](crate::engine::Receipt::wait_all) does. The thread that answers must not wait for a receipt of
//!   results that it has to make itself.
//!
//! Answers may come in any order; a subscription gets its results in the order of the events. At most
//! `resolver_pending_max` (1,024) events wait for the answers of one shared result; what is above is lost and told.
//!
//! # What an answer is
//!
//! `Ok(json)` is the JSON text of the root field's value. An object whose only key is the root field's name (or its
//! alias) is taken for the value under that key, so that a resolver may answer in the shape of the query. It is projected
//! like an event's document: what was not selected does not leave. `Err(message)` becomes an execution result with
//! `errors` and without data; clients see the message.
//!
//! ```
//! use std::sync::Arc;
//! use coulis::engine::{Engine, Job, Resolve, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::limits::Limits;
//! use coulis::subscriber::SubscriberOptions;
//!
//! /// Answers at once, which is fine for what takes less time than a queue: this formats one number.
//! #[derive(Debug)]
//! struct Label;
//!
//! impl Resolve for Label {
//!     fn resolve(&self, job: Job) -> Result<(), Job> {
//!         let id = job.event().document().root().get("id").and_then(|id| id.as_i64());
//!         let answer = match id {
//!             Some(id) => Ok(format!(r#"{{"label": "order {id}", "cost": 3}}"#).into_bytes()),
//!             None => Err("an order without id".to_owned()),
//!         };
//!         job.answer(answer);
//!         Ok(())
//!     }
//!
//!     fn is_async(&self) -> bool {
//!         false
//!     }
//! }
//!
//! let limits = Limits { log_events_max: 0, ..Limits::default() }; // no log, so no cursor in the bodies
//! let engine = Engine::builder().shards(1).limits(limits).build()?;
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! engine.subscribe(&mut reader, SubscribeRequest {
//!     id: "l".into(),
//!     query: "subscription { orders { label } }".into(),
//!     resolver: Some(Arc::new(Label)),
//!     ..SubscribeRequest::default()
//! })?;
//! for order in [r#"{"id": 7}"#, "{}"] {
//!     engine.publish(Event::new("added", "orders", order.into(), engine.limits())?)?.wait();
//! }
//! let mut messages = Vec::new();
//! reader.drain(64, |delivery| delivery.write_next(&mut messages));
//! assert_eq!(
//!     String::from_utf8(messages)?,
//!     concat!(
//!         r#"{"type":"next","id":"l","payload":{"data":{"orders":{"label":"order 7"}}}}"#,
//!         r#"{"type":"next","id":"l","payload":{"data":null,"#,
//!         r#""errors":[{"message":"an order without id","path":["orders"]}]}}"#,
//!     )
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who shares a result
//!
//! Subscriptions with the same resolver (the same `Arc`), equal variables and an equal projection share one job for
//! each event and shard, also where they belong to different users or tenants. Who may not see the event gets nothing of
//! the result; but a resolver must not depend on who asks: [`Job`](crate::engine::Job) has the event, the variables and
//! the id of the subscription that came first, and no identity. Where the result differs by subscription, set
//! [`SubscribeRequest::per_subscription`](crate::engine::SubscribeRequest), or give each its own `Arc`.
//!
//! The program `engine/examples/resolver.rs` shows a worker thread behind a channel.
