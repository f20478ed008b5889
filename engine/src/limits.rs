//! Every bound of the engine, with its unit and its default.
//!
//! A bound that is reached is an error that names it ([`crate::error::LimitExceeded`]) or a counted loss; it is
//! never silent. Units stand last in the names: `_max` counts things, `_bytes_max` counts bytes.

use std::time::Duration;

/// Bytes of a policy's text, whatever `policy_text_bytes_max` is: positions in it are narrow.
pub const POLICY_TEXT_BYTES_MAX: usize = 1 << 16;

/// Nesting of a policy's brackets, and of its tree where it is given as one.
pub const POLICY_DEPTH_MAX: u16 = 96;

/// Nesting of what is made of a policy's text or tree, where a macro is several levels and so is `a.b.c`: the passes
/// behind the parser recurse.
pub const POLICY_LEVELS_MAX: usize = 200;

/// Tokens of one chain in a policy (`a + b + …`), with those of the chains that it stands in: its tree is as deep.
pub const POLICY_CHAIN_TOKENS_MAX: usize = 128;

/// Programs that one policy keeps, one for each combination of kinds of known values; more share a general one.
pub const POLICY_VARIANTS_MAX: usize = 64;

/// Bytes that one compiled regular expression of a policy may take.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Projections that the rules of who may read which field keep for reuse: as many as documents and sets of rights.
pub const GUARDED_PROJECTIONS_MAX: usize = 10_000;

/// Messages to a shard that wait for other work to come, while they are no more.
pub(crate) const CONTROLS_LATER_MAX: usize = 32;

/// The bounds of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Shard threads at most; no more than 64.
    pub shards_max: usize,
    /// Commands (events, registrations, resolver answers) that wait in one shard's inbox.
    pub inbox_commands_max: usize,
    /// Commands that a shard takes out of its inbox at once.
    pub batch_commands_max: usize,
    /// How long a blocking publish waits for room in an inbox.
    pub publish_wait_max: Duration,
    /// Channels of one engine.
    pub channels_max: usize,
    /// Bytes of a channel's name, an event type or a user or tenant id.
    pub name_bytes_max: usize,
    /// Bytes of one event's document.
    pub event_bytes_max: usize,
    /// Nesting of one event's document.
    pub event_depth_max: usize,
    /// Events of one `publish_many`.
    pub publish_many_max: usize,
    /// Subscribers (connections) of one engine.
    pub subscribers_max: usize,
    /// Subscribers of one user of a tenant: those that have subscriptions of it, or that said whose they are. Not bounded by
    /// default: where nobody signs in, all are one user.
    pub subscribers_per_user_max: usize,
    /// Subscriptions of one user of a tenant, on all its subscribers. Not bounded by default, either.
    pub subscriptions_per_user_max: usize,
    /// Subscriptions of one subscriber.
    pub subscriptions_per_subscriber_max: usize,
    /// Channels, and event types, of one subscription.
    pub channels_per_subscription_max: usize,
    /// Frames that wait in one subscriber's ring; a power of two.
    pub ring_frames_max: usize,
    /// Bytes of bodies that wait in one subscriber's ring, shared ones counted in full; one frame always fits.
    pub ring_bytes_max: usize,
    /// Keys of one subscription that coalesces (`Overflow::LatestPerKey`) while its ring is full.
    pub latest_keys_max: usize,
    /// Events that one channel keeps to be resumed from; 0: none, and no cursors.
    pub log_events_max: usize,
    /// Bytes of events that one channel keeps.
    pub log_bytes_max: usize,
    /// How long an event is kept.
    pub log_age_max: Duration,
    /// Bytes of events that all channels of one shard keep.
    pub logs_bytes_max: usize,
    /// Events that one resumed subscription replays; its ring grows for them beyond `ring_frames_max`.
    pub replay_events_max: usize,
    /// Bytes of a subscription's or connection's id.
    pub subscription_id_bytes_max: usize,
    /// Bytes of a GraphQL document.
    pub query_bytes_max: usize,
    /// Tokens of a GraphQL document, with white space, commas and the end.
    pub query_tokens_max: usize,
    /// Nesting of a GraphQL document's selections, fragments followed. Gateways that guard resolvers allow fewer
    /// levels (6 is usual): there each level is a call for each object above it. Here it is a name looked up in one
    /// event, and a page of a connection alone is 4 levels.
    pub query_depth_max: usize,
    /// Fields of a GraphQL document, fragments followed at each use.
    pub query_fields_max: usize,
    /// Aliases of one operation or fragment, fragments followed at each use.
    pub query_aliases_max: usize,
    /// Directives of one operation or fragment, fragments followed at each use.
    pub query_directives_max: usize,
    /// Bytes of a subscription's variables as JSON.
    pub variables_bytes_max: usize,
    /// Bytes of one policy's or filter's text.
    pub policy_text_bytes_max: usize,
    /// Instructions that one decision may spend in loops, and 64 bytes that it looks at for each.
    pub policy_steps_max: usize,
    /// Bytes of texts and lists that one decision may make.
    pub policy_bytes_max: usize,
    /// Compiled combinations of policies kept for reuse.
    pub policies_max: usize,
    /// Compiled documents kept for reuse.
    pub plans_max: usize,
    /// Bytes of compiled documents kept for reuse, estimated as 128 for each byte of the text.
    pub plans_bytes_max: usize,
    /// Events of one group that wait for its resolver.
    pub resolver_pending_max: usize,
    /// Errors that a subscription's policy or resolver may have within `subscription_errors_window`; one more ends it.
    /// A policy errs where it asks for what an event does not have, which may be usual: any number by default.
    pub subscription_errors_max: usize,
    /// How long errors of a subscription are counted together: from the first one on, then from the next one.
    pub subscription_errors_window: Duration,
    /// Bytes of one rendered body.
    pub body_bytes_max: usize,
    /// Bytes of one message of a client.
    pub message_bytes_max: usize,
    /// Nesting of one message of a client.
    pub message_depth_max: usize,
    /// Messages of the protocol (not events) that wait to be written to one connection.
    pub replies_max: usize,
    /// Bytes of a signed token (JWT) that says who a client is.
    pub token_bytes_max: usize,
    /// Bytes of a document of keys (JWKS) that tokens are verified with.
    pub jwks_bytes_max: usize,
    /// Keys (users with their tenants) whose rate of one kind is limited at the same time.
    pub rate_keys_max: usize,
}

impl Limits {
    /// Subscriptions of one subscriber at the same time: their numbers are 16 bits wide.
    pub(crate) fn lanes_max(&self) -> usize {
        self.subscriptions_per_subscriber_max.min(usize::from(u16::MAX))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shards_max: 64,
            inbox_commands_max: 65_536,
            batch_commands_max: 512,
            publish_wait_max: Duration::from_secs(5),
            channels_max: 1_000_000,
            name_bytes_max: 1_024,
            event_bytes_max: 1 << 20,
            event_depth_max: 128,
            publish_many_max: 65_536,
            subscribers_max: 4_000_000,
            subscribers_per_user_max: usize::MAX,
            subscriptions_per_user_max: usize::MAX,
            subscriptions_per_subscriber_max: 100,
            channels_per_subscription_max: 64,
            ring_frames_max: 1_024,
            ring_bytes_max: 16 << 20,
            latest_keys_max: 1_024,
            log_events_max: 1_024,
            log_bytes_max: 1 << 20,
            log_age_max: Duration::from_secs(300),
            logs_bytes_max: 256 << 20,
            replay_events_max: 16_384,
            subscription_id_bytes_max: 1_024,
            query_bytes_max: 15_000,
            query_tokens_max: 1_000,
            query_depth_max: 16,
            query_fields_max: 500,
            query_aliases_max: 15,
            query_directives_max: 50,
            variables_bytes_max: 64 << 10,
            policy_text_bytes_max: 16 << 10,
            policy_steps_max: 100_000,
            policy_bytes_max: 1 << 20,
            policies_max: 10_000,
            plans_max: 10_000,
            plans_bytes_max: 32 << 20,
            resolver_pending_max: 1_024,
            subscription_errors_max: usize::MAX,
            subscription_errors_window: Duration::from_secs(60),
            body_bytes_max: 4 << 20,
            message_bytes_max: 1 << 20,
            message_depth_max: 128,
            replies_max: 1_024,
            token_bytes_max: 16 << 10,
            jwks_bytes_max: 256 << 10,
            rate_keys_max: 1_000_000,
        }
    }
}
