//! What happens to a reader that is too slow, and how it is told.
//!
//! A ring is bounded by frames (`ring_frames_max`, 1,024 unless set otherwise; less for one reader with
//! [`SubscriberOptions::ring_frames_max`](crate::subscriber::SubscriberOptions), which is rounded up to a power of
//! two and is 8 at least) and by bytes of bodies (`ring_bytes_max`, 16 MiB). Both are shared by all subscriptions of
//! the reader. What happens when there is no room is the choice of each subscription,
//! [`Overflow`](crate::overflow::Overflow):
//!
//! | policy | what is lost | for |
//! |---|---|---|
//! | `DropOldest`, the default | the oldest frames of the ring, of whichever subscription | views of the present |
//! | `DropNewest` | the new frame | who needs the beginning without holes |
//! | `LatestPerKey` | all but the newest frame of each key, while there is no room | prices, positions, states by key |
//! | `Disconnect` | the subscription ends | who would rather start anew than have a hole |
//!
//! A full ring costs nobody else anything: the publisher does not wait, other readers are not held up.
//!
//! # Gaps
//!
//! Frames of a subscription are numbered without holes. So a loss is known exactly, and told before what came after it,
//! as a [`Gap`](crate::subscriber::Gap): `count` frames are missing, whose events lie from offset `from` to offset
//! `to`. The gaps of a subscription add up to its losses.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::id::Offset;
//! use coulis::subscriber::{Gap, GapReason, OwnedContent, SubscriberOptions};
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mut reader = engine.open(SubscriberOptions { ring_frames_max: Some(8), ..Default::default() })?;
//! let (id, query) = ("t".into(), "subscription { ticks }".into());
//! engine.subscribe(&mut reader, SubscribeRequest { id, query, ..Default::default() })?;
//! for tick in 1..=11 {
//!     engine.publish(Event::new("tick", "ticks", tick.to_string().into(), engine.limits())?)?.wait();
//! }
//! let Some(OwnedContent::Gap(gap)) = reader.try_next().map(|message| message.content) else { panic!() };
//! assert_eq!(gap, Gap { from: Offset(1), to: Some(Offset(3)), count: 3, reason: GapReason::Overflow });
//! assert_eq!(std::iter::from_fn(|| reader.try_next()).count(), 8);
//! assert_eq!(engine.metrics().dropped, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `to` is `None` where it is not known: for a subscription to several channels, which have offsets of their own, and
//! for the losses of a resolver. On the wire a gap is a `next` message without data:
//!
//! ```json
//! {"data": null, "extensions": {"coulis": {"gap": {"from": 1, "to": 3, "count": 3, "reason": "overflow"}}}}
//! ```
//!
//! The `reason` is `rate` where a rate of deliveries withheld frames
//! ([`DeliveryRates`](crate::security::DeliveryRates)), else `overflow`. Where both took part the notice names one.
//!
//! What `LatestPerKey` replaced is not lost in this sense: a newer frame of its key came in its stead. It is counted as
//! `coalesced` and makes no gap.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::overflow::Overflow;
//! use coulis::subscriber::{OwnedContent, SubscriberOptions};
//!
//! let engine = Engine::builder().shards(1).build()?;
//! let mut reader = engine.open(SubscriberOptions { ring_frames_max: Some(8), ..Default::default() })?;
//! let (id, query) = ("q".into(), "subscription { quotes { symbol price } }".into());
//! let overflow = Overflow::latest_per_key("symbol");
//! engine.subscribe(&mut reader, SubscribeRequest { id, query, overflow, ..Default::default() })?;
//! for price in 1..=100 {
//!     let quote = format!(r#"{{"symbol": "ACME", "price": {price}}}"#);
//!     engine.publish(Event::new("quote", "quotes", quote.into(), engine.limits())?)?.wait();
//! }
//! let mut offsets = Vec::new();
//! while let Some(message) = reader.next_timeout(std::time::Duration::from_secs(60)) {
//!     let OwnedContent::Result(payload) = message.content else { panic!("{message:?}") };
//!     offsets.push(payload.offset().0);
//!     if offsets.len() == 9 {
//!         break;
//!     }
//! }
//! assert_eq!(offsets, [1, 2, 3, 4, 5, 6, 7, 8, 100], "what was in the ring, then the newest");
//! assert_eq!(engine.metrics().coalesced, 91);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `Disconnect` tells the loss with [`Content::Ended`](crate::subscriber::Content::Ended); nothing more of that
//! subscription comes, and its id is free again.
