//! How a reader that was away gets what it missed.
//!
//! Each channel keeps its last events: at most `log_events_max` of them (1,024), `log_bytes_max` bytes (1 MiB),
//! `log_age_max` (300 s), and `logs_bytes_max` bytes (256 MiB) for all channels of a shard. The log lies in the memory
//! of the process: it ends with the engine.
//!
//! # The cursor
//!
//! A [`Cursor`](crate::cursor::Cursor) is a position in one channel: everything up to its offset was seen. Each result
//! carries one, at `extensions.coulis.cursor` of its body. In Rust it is also made of what is at hand: epoch and channel
//! of [`Resumed::cursor`](crate::subscriber::Resumed), the offset of
//! [`Payload::offset`](crate::payload::Payload::offset).
//!
//! # The wish
//!
//! [`SubscribeRequest::resume`](crate::engine::SubscribeRequest) has three forms:
//!
//! | `resume` | what comes first |
//! |---|---|
//! | `None` | nothing is told; the first frame is the first event from now on |
//! | `Some("")` | the present position, so that the reader has a cursor before the first event |
//! | `Some(cursor)` | what came after the cursor, or the reason why not |
//!
//! The answer is [`Content::Resumed`](crate::subscriber::Content::Resumed), told before every frame of that
//! subscription. If its `result` is `Ok`, everything after the given cursor follows, and then what is live: nothing
//! twice, nothing between. `Resumed::cursor` is the position before what follows. A replay renders anew what was missed,
//! by the policy and the selection of the subscription of now.
//!
//! ```
//! use coulis::cursor::Cursor;
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::subscriber::{OwnedContent, Reload, Resumed, Subscriber, SubscriberOptions};
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let open = |resume: String| -> Result<(Subscriber, Resumed), Box<dyn std::error::Error>> {
//!     let mut reader = engine.open(SubscriberOptions::default())?;
//!     let (id, query) = ("t".into(), "subscription { ticks }".into());
//!     engine.subscribe(&mut reader, SubscribeRequest { id, query, resume: Some(resume), ..Default::default() })?;
//!     let message = reader.next_timeout(std::time::Duration::from_secs(60)).ok_or("no answer")?;
//!     let OwnedContent::Resumed(resumed) = message.content else { panic!("{message:?}") };
//!     Ok((reader, resumed))
//! };
//! let publish = |ticks: std::ops::Range<u32>| -> Result<(), Box<dyn std::error::Error>> {
//!     for tick in ticks {
//!         let event = Event::new("tick", "ticks", tick.to_string().into(), engine.limits())?;
//!         engine.publish(event)?.wait();
//!     }
//!     Ok(())
//! };
//!
//! let (first, present) = open(String::new())?;
//! assert_eq!(present.result, Err(Reload::New));
//! let cursor = present.cursor.ok_or("one channel has a cursor")?;
//! drop(first);
//!
//! publish(0..3)?;
//! let (mut second, resumed) = open(cursor.to_string())?;
//! assert_eq!((resumed.result, resumed.cursor), (Ok(()), Some(cursor)));
//! assert_eq!(std::iter::from_fn(|| second.try_next()).count(), 3);
//!
//! publish(3..2_000)?;
//! let (_, resumed) = open(cursor.to_string())?;
//! assert_eq!(resumed.result, Err(Reload::Trimmed), "the log keeps 1,024 events");
//!
//! let ahead = Cursor { offset: coulis::id::Offset(1_000_000), ..cursor };
//! assert_eq!(open(ahead.to_string())?.1.result, Err(Reload::Future));
//! let other = Cursor { epoch: coulis::cursor::Epoch::random(), ..cursor };
//! assert_eq!(open(other.to_string())?.1.result, Err(Reload::Epoch));
//! assert_eq!(open("yesterday".into())?.1.result, Err(Reload::Cursor));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When not
//!
//! A replay is complete or refused; there are no halves. [`Reload`](crate::subscriber::Reload) says why it was refused.
//! The subscription lives all the same: it is registered, and live from `Resumed::cursor` on. So whoever is told to
//! reload loads the present state from where it is kept, and goes on with what comes.
//!
//! | reason | on the wire | what it means |
//! |---|---|---|
//! | `New` | `new` | the text was empty: no position was given |
//! | `Cursor` | `cursor` | no cursor of this version, or one of another channel; or the subscription has several channels |
//! | `Epoch` | `epoch` | the engine was started anew since, and its logs with it |
//! | `Trimmed` | `trimmed` | the log has let go of events after the cursor; or they are more than `replay_events_max` (16,384), more bytes than the ring takes, or more than the resolver does |
//! | `Future` | `future` | the cursor is ahead of the channel |
//!
//! On the wire the answer is a `next` message without data:
//!
//! ```json
//! {"data": null, "extensions": {"coulis": {"resumed": false, "reason": "trimmed", "cursor": "1.5eed.2.1f"}}}
//! ```
//!
//! With `log_events_max: 0` nothing is kept and bodies carry no cursor, which saves some 60 bytes a body.
//!
//! The program `engine/examples/resume.rs` shows a reader that goes and comes back.
