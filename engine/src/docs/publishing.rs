//! The forms of publish, when each returns, and what it tells.
//!
//! | | returns | tells |
//! |---|---|---|
//! | [`publish`](crate::engine::Engine::publish) | when the event is accepted; waits up to `publish_wait_max` (5 s) for room | a receipt |
//! | [`try_publish`](crate::engine::Engine::try_publish) | at once; without room the event comes back | a receipt |
//! | [`publish_nowait`](crate::engine::Engine::publish_nowait) | as `publish` | nothing: the cheapest form |
//!
//! *Accepted* means: it has its place in the inbox of its channel's home shard, before everything that is accepted there
//! later. Closing the engine finishes it. Only a process that ends, or a shard that panics, loses it.
//!
//! A [`Receipt`](crate::engine::Receipt) tells of the rest:
//!
//! - `wait` returns when every delivery is readable, except those of asynchronous resolvers. `wait_all` waits for
//!   these, too. Both block the thread: they spin about as long as a hand-over takes, then sleep.
//! - `is_dispatched`, `is_done` and `report` look without waiting; `on_done` wakes a [`Waker`](std::task::Waker).
//! - Dropping it cancels nothing.
//!
//! A publisher that finds the shard at rest steps it itself. Then the event is dispatched when `publish` returns, and
//! `wait` has nothing to wait for: 2.5 µs to 100 readers, instead of 18 µs with two wake-ups. So `publish` may do the
//! shard's work for a few batches; `publish_nowait` never does, it wakes the shard's thread.
//!
//! ```
//! use coulis::engine::{Engine, Report, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::id::Identity;
//! use coulis::security::SecurityContext;
//! use coulis::subscriber::SubscriberOptions;
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! for tenant in ["acme", "other"] {
//!     let context = SecurityContext::new(None, Identity::new(tenant));
//!     let (id, query) = (tenant.into(), "subscription { orders { id } }".into());
//!     engine.subscribe(&mut reader, SubscribeRequest { id, query, context, ..Default::default() })?;
//! }
//! let event = Event::new("added", "orders", br#"{"id": 7}"#.to_vec(), engine.limits())?;
//! let report = engine.publish(event.with_tenant(Identity::new("acme")))?.wait();
//! assert_eq!(report, Report { matched: 2, delivered: 1, denied: 1, ..Report::default() });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Order
//!
//! A channel has one order, that in which its home shard took its events in. Every subscription to the channel sees it.
//! Events that one thread publishes on one channel keep their order, whichever forms it uses. Between channels there is
//! no order.
//!
//! # What can go wrong
//!
//! [`Event::new`](crate::event::Event::new) checks the bounds and reads the JSON text, in one pass. Its errors are of
//! the input: an empty name, a text that is not JSON or repeats a key, a bound.
//!
//! [`PublishError`](crate::engine::PublishError) means that nothing of the event is delivered:
//!
//! | | what to do |
//! |---|---|
//! | `Full(event)` | the inbox holds `inbox_commands_max` (65,536) and the shard does not keep up: give the event again later, or let it go |
//! | `Limit` | `channels_max` channels are known: raise the limit or use fewer names |
//! | `Wildcard` | `"*"` is for subscribing: name a channel |
//! | `Closed` | the engine is closed |
//!
//! ```
//! use coulis::engine::{Engine, PublishError};
//! use coulis::event::{Event, EventError};
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let twice = Event::new("added", "orders", br#"{"id": 7, "id": 8}"#.to_vec(), engine.limits());
//! assert_eq!(twice.unwrap_err().to_string(), "duplicate key `id`: each key may occur once, at byte 10");
//! assert_eq!(Event::new("", "orders", b"1".to_vec(), engine.limits()).unwrap_err(), EventError::Empty("event_type"));
//!
//! let event = |channel: &str| Event::new("added", channel, b"1".to_vec(), engine.limits());
//! assert!(matches!(engine.publish(event("*")?), Err(PublishError::Wildcard)));
//! engine.close();
//! assert!(matches!(engine.try_publish(event("orders")?), Err(PublishError::Closed)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Several processes
//!
//! Where events cross processes, publish on a [`Bus`](crate::bus::Bus) and feed what it brings to `publish`.
