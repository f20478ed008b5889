//! The ways to read, which is for whom, and what each costs.
//!
//! A reader is one [`Subscriber`](crate::subscriber::Subscriber). It has a ring of frames, and any number of
//! subscriptions up to `subscriptions_per_subscriber_max`. It belongs to one thread or task at a time: reading takes
//! `&mut`.
//!
//! | | for whom | sleeps | cost beside the frame |
//! |---|---|---|---|
//! | [`drain`](crate::subscriber::Subscriber::drain) | who writes bytes at once: a socket, a file | no | none: bodies are borrowed, nothing is allocated |
//! | [`try_next`](crate::subscriber::Subscriber::try_next) | who keeps messages, or handles one after the other | no | a counter of the shared body, an allocation for the id |
//! | [`next_timeout`](crate::subscriber::Subscriber::next_timeout) | a thread with one reader | the thread | the same, and the thread's waker at each call |
//! | [`poll_next`](crate::subscriber::Subscriber::poll_next) | a task of any async runtime | the task | the same, and a swap of a flag |
//! | [`Mailbox`](crate::notifier::Mailbox) | one thread or event loop with many readers | by its waker | one wake for a batch, whatever the number of readers |
//!
//! `next_timeout` and `poll_next` are `try_next` with a sleep. Where a notice stands before a result, these three hold
//! the result for the next call; a `drain` in between hands it out first.
//!
//! How a reader is woken is decided when it is opened, by [`Wake`](crate::notifier::Wake):
//!
//! - `Wake::Waiter`, the default: `next_timeout` and `poll_next` are woken.
//! - `Wake::Polling`: nobody is woken, which is the cheapest for the shard. `next_timeout` answers at once,
//!   `poll_next` wakes no task.
//! - `Wake::Mailbox`: the mailbox's waker is called; then `drain` those that it names.
//!
//! Waking a sleeping thread costs 15 to 20 µs, a frame less than one. So each wake stands for as many frames as
//! there are: after a wake, read until there is nothing left.
//!
//! # Bytes at once
//!
//! `drain` borrows: what it hands out lives until the closure returns. Notices of gaps and resumptions come between
//! the results, in their place, and do not count towards `max`.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::subscriber::SubscriberOptions;
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! let (id, query) = ("t".into(), "subscription { ticks }".into());
//! engine.subscribe(&mut reader, SubscribeRequest { id, query, ..Default::default() })?;
//! for tick in ["1", "2", "3"] {
//!     engine.publish(Event::new("tick", "ticks", tick.into(), engine.limits())?)?.wait();
//! }
//! let mut socket = Vec::new();
//! assert_eq!(reader.drain(2, |delivery| delivery.write_next(&mut socket)), 2);
//! assert_eq!(reader.drain(64, |delivery| delivery.write_next(&mut socket)), 1, "the rest waits for its turn");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One at a time
//!
//! `try_next` gives messages that live by themselves. The body is not copied: it is shared with all who got the same
//! result, and freed with the last of them.
//!
//! ```
//! use std::time::Duration;
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::subscriber::{OwnedContent, SubscriberOptions};
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! let (id, query) = ("t".into(), "subscription { ticks }".into());
//! engine.subscribe(&mut reader, SubscribeRequest { id, query, ..Default::default() })?;
//! assert!(reader.try_next().is_none());
//! engine.publish_nowait(Event::new("tick", "ticks", b"42".to_vec(), engine.limits())?)?;
//!
//! let message = reader.next_timeout(Duration::from_secs(60)).ok_or("nothing within a minute")?;
//! match message.content {
//!     OwnedContent::Result(payload) => assert!(payload.body().starts_with(br#"{"data":{"ticks":42}"#)),
//!     notice => panic!("{notice:?}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The end
//!
//! [`Engine::close`](crate::engine::Engine::close) finishes what was accepted and wakes every reader. What is in a ring
//! stays readable. After the last message `next_timeout` answers `None` at once, also where no time was given, and
//! `poll_next` is `Ready(None)`. `next_timeout` answers `None` after the timeout, too;
//! [`Engine::is_closed`](crate::engine::Engine::is_closed) tells the two apart. A mailbox names each of its readers once
//! more.
//!
//! [`Engine::close_within`](crate::engine::Engine::close_within) waits for resolvers as well, and no longer than it is
//! told: what is not readable by then is lost, told to its readers as a gap, and its events are given back.
//!
//! ```
//! use std::{task::{Context, Poll, Waker}, time::Duration};
//! use coulis::engine::Engine;
//! use coulis::notifier::{Mailbox, Wake, unparker};
//! use coulis::subscriber::SubscriberOptions;
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! let mut context = Context::from_waker(Waker::noop());
//! assert!(reader.poll_next(&mut context).is_pending());
//! engine.close();
//! assert!(matches!(reader.poll_next(&mut context), Poll::Ready(None)));
//! assert!(reader.next_timeout(Duration::MAX).is_none());
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mailbox = Mailbox::new(unparker());
//! let wake = Wake::Mailbox(mailbox.clone(), 7);
//! let _reader = engine.open(SubscriberOptions { wake, ..Default::default() })?;
//! mailbox.ready(|_| unreachable!("nothing yet"));
//! engine.close();
//! let mut named = Vec::new();
//! mailbox.ready(|token| named.push(token));
//! assert_eq!(named, [7]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Many readers, one thread
//!
//! A mailbox names the readers that have frames by the tokens that they were opened with. One wake stands for all of
//! them. Drain each one that is named: a reader that stops before its ring is empty is named again.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::notifier::{Mailbox, Wake, unparker};
//! use coulis::subscriber::{Subscriber, SubscriberOptions};
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mailbox = Mailbox::new(unparker());
//! let mut readers: Vec<Subscriber> = Vec::new();
//! for token in 0..3 {
//!     let wake = Wake::Mailbox(mailbox.clone(), token);
//!     let mut reader = engine.open(SubscriberOptions { wake, ..Default::default() })?;
//!     let query = "subscription { ticks }".into();
//!     engine.subscribe(&mut reader, SubscribeRequest { id: "t".into(), query, ..Default::default() })?;
//!     readers.push(reader);
//! }
//! engine.publish_nowait(Event::new("tick", "ticks", b"42".to_vec(), engine.limits())?)?;
//!
//! let mut seen = 0;
//! while seen < readers.len() {
//!     let mut ready = Vec::new();
//!     mailbox.ready(|token| ready.push(token as usize));
//!     if ready.is_empty() {
//!         // `ready` armed the wake before it looked: what came since has unparked this thread.
//!         std::thread::park();
//!     }
//!     for reader in ready {
//!         seen += readers[reader].drain(64, |delivery| assert_eq!(delivery.id, "t"));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The programs `engine/examples/blocking.rs` and `engine/examples/task.rs` show a thread and a task whole;
//! `engine/examples/sse.rs` shows a service behind HTTP.
