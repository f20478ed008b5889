//! Long-form documentation.
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
//! assert_eq!(message, br#"{"type":"next","id":"1","payload":{"data":{"orders":{"id":7,"status":"paid"}}}}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Sleeping until there is something to read
//!
//! A reader that should sleep brings a [`Mailbox`](crate::notifier::Mailbox) with the [`Waker`](std::task::Waker) of
//! its thread or event loop; one mailbox serves any number of readers, and is woken once for a batch.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::notifier::{Mailbox, Wake, unparker};
//! use coulis::subscriber::SubscriberOptions;
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mailbox = Mailbox::new(unparker());
//! let mut reader = engine.open(SubscriberOptions { wake: Wake::Mailbox(mailbox.clone(), 0), ..Default::default() })?;
//! let query = "subscription { ticks }".into();
//! engine.subscribe(&mut reader, SubscribeRequest { id: "t".into(), query, ..Default::default() })?;
//! engine.publish_nowait(Event::new("tick", "ticks", b"42".to_vec(), engine.limits())?)?;
//!
//! let mut seen = 0;
//! while seen == 0 {
//!     let mut ready = false;
//!     mailbox.ready(|_token| ready = true);
//!     if ready {
//!         seen += reader.drain(64, |delivery| assert_eq!(delivery.id, "t"));
//!     } else {
//!         std::thread::park();
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a reader is told
//!
//! A ring is bounded ([`Limits::ring_frames_max`](crate::limits::Limits)). A reader that is too slow loses its oldest
//! frames, and the next thing it reads of that subscription is a [`Gap`](crate::subscriber::Gap): how many frames are
//! missing, and between which offsets. On the wire it is a `next` message without data:
//!
//! ```json
//! {"data": null, "extensions": {"coulis": {"gap": {"from": 1, "to": 12, "count": 12, "reason": "overflow"}}}}
//! ```
//!
//! # Who sees what
//!
//! [`Isolation`](crate::policy::standard::Isolation) is compiled to predicate bytecode for each subscription: an event
//! that names a tenant or an owner reaches that tenant or owner only. What is given at publish
//! ([`Event::with_tenant`](crate::event::Event::with_tenant)) outranks the document's fields.
