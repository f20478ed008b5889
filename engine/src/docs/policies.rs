//! Which events a reader gets: policies in the Common Expression Language, and what changes while they are in use.
//!
//! # What a policy may ask
//!
//! | name | is |
//! |---|---|
//! | `event` | the document; over it lie `event_type`, `channel`, `tenant_id`, `user_id`, `federation_id` and `federation_service`, where the publisher gave them |
//! | `before` | the document before the change, or `null` |
//! | `ctx` | the reader: `user_id`, `tenant_id`, `roles`, `scopes`, `claims`, `federation` |
//! | `args`, `vars` | the arguments of the root field, and the variables |
//!
//! The language is that of the [specification](https://github.com/google/cel-spec/blob/master/doc/langdef.md) without
//! messages. Ids of users and tenants are texts that also equal the integer of their digits, so
//! `event.owner == ctx.user_id` holds for `7` and for `"7"`. JSON numbers without a fraction or an exponent are `int`.
//!
//! ```
//! use coulis::engine::{Engine, SubscribeError, SubscribeRequest};
//! use coulis::event::Event;
//! use coulis::id::Identity;
//! use coulis::security::{ChannelRules, SecurityContext};
//! use coulis::subscriber::SubscriberOptions;
//!
//! let rules = ChannelRules { policy: Some("event.open || 'clerk' in ctx.roles".into()), ..ChannelRules::default() };
//! let engine = Engine::builder().shards(1).channel("orders", rules).build()?;
//! let mut reader = engine.open(SubscriberOptions::default())?;
//! let request = |id: &str, filter: &str| SubscribeRequest {
//!     id: id.into(),
//!     query: "subscription { orders { id } }".into(),
//!     filters: vec![filter.into()],
//!     context: SecurityContext::new(Identity::new("7"), None),
//!     ..SubscribeRequest::default()
//! };
//! engine.subscribe(&mut reader, request("mine", "event.owner == ctx.user_id"))?;
//! engine.subscribe(&mut reader, request("large", "event.total >= 100"))?;
//!
//! let publish = |document: &str| {
//!     let event = Event::new("changed", "orders", document.into(), engine.limits()).expect("JSON");
//!     engine.publish_blocking(event).expect("room").delivered
//! };
//! assert_eq!(publish(r#"{"id": 1, "open": true, "owner": 7, "total": 120}"#), 2);
//! assert_eq!(publish(r#"{"id": 2, "open": true, "owner": 8}"#), 0);
//! assert_eq!(publish(r#"{"id": 3, "open": false, "owner": 7}"#), 0);
//!
//! // What cannot be compiled refuses the subscription; it is never left out.
//! let refused = engine.subscribe(&mut reader, request("wrong", "event.total >= hundred")).unwrap_err();
//! assert_eq!(refused.to_string(), "filter: 1:16: undeclared reference to `hundred`");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All of these must hold for an event: isolation ([`Isolation`](crate::policy::standard::Isolation)), the policy of its
//! channel, the policy of the root field, and what the subscription brings along
//! ([`SubscribeRequest::policies`](crate::engine::SubscribeRequest::policies) and `filters`). A filter may name only
//! fields that its reader may read ([`Access`](crate::security::access::Access)).
//!
//! # Without an answer
//!
//! An expression without a value (a key that is not there, a comparison of a text with a number, an overflow, a spent
//! budget) is a no, and counted in `policy_errors`. `&&` and `||` have a value where one side decides. Ask with `has`
//! for what may be absent: `has(event.room) && event.room == vars.room`.
//!
//! # What is hidden, and what is gone
//!
//! An event with [`before`](crate::event::Event::with_before) is judged twice. Who may see what it tells gets it; who
//! could see only what was before gets a tombstone: `null`, and in `extensions.coulis.tombstone` what was selected of
//! it. A document that is `null` tells of a deletion: it is judged on what was before, and nobody gets it where that is
//! not known. What the old document says of tenant and owner outranks the attributes, which tell of the new one.
//!
//! # What changes while subscriptions live
//!
//! - [`Engine::reload`](crate::engine::Engine::reload) replaces all rules. Every subscription is judged by the new ones from
//!   the next event on, in one snapshot a shard; the numbers of its frames go on, so nothing is missed by it. One that
//!   cannot be any more ends with `POLICY_REFUSED`.
//! - [`Engine::reload_schema`](crate::engine::Engine::reload_schema) replaces the schema. A document that is still valid goes
//!   on without a gap, as what it means now; one that is not ends with `SCHEMA_CHANGED`.
//! - [`Subscriber::refresh`](crate::subscriber::Subscriber::refresh) gives a reader's subscriptions a new context, as
//!   after a new token; what may be read of each event changes with it.
//! - [`Engine::revoke`](crate::engine::Engine::revoke) ends subscriptions at once: what waits in their rings is not handed
//!   out.
//! - A context that [`expires`](crate::security::SecurityContext::expires) ends its subscriptions before the next frame.
//!
//! [`Engine::explain`](crate::engine::Engine::explain) tells, for one subscription and an event that is not published,
//! which step decides, and which clause of which policy denies; or which rate, full ring or breaker stands in the way of one
//! that it may see. [`Engine::explain_recorded`](crate::engine::Engine::explain_recorded) tells it of an event that the
//! channel's log keeps.
//!
//! # Cost
//!
//! A text is compiled once. What no event can change (`'clerk' in ctx.roles`) is computed when a subscription comes, and
//! decides which program it shares; equalities and `in` lists on fields become keys of the index, so that events meet
//! only the subscriptions that they may be for; what is left runs as bytecode on those, without memory of its own.
