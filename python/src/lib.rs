//! Python bindings of Coulis: the extension module `coulis._coulis`.
//!
//! Thin by intent: this crate turns Python values into JSON and back, joins the engine to threads and event loops
//! of Python, and names errors. It decides nothing about delivery. No room here is known to the engine.

mod endings;
mod errors;
mod forks;
mod lazy;
mod lock;

mod decode;
mod encode;
mod identity;
mod integers;
mod settings;
mod times;

mod config;
mod context;
mod message;
mod operation;
mod payload;
mod policy;

mod declarations;
mod direct;
mod doorbell;
mod reader;
mod resolver;

mod access;
mod bus;
mod core;
mod exchange;
mod executor;
mod graphql;
mod held;
mod hosted;
mod publishing;
mod session;
mod token;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native half of the package `coulis`; import from `coulis`, not from here.
#[pyo3::pymodule]
mod _coulis {
    #[pymodule_export]
    use super::{
        bus::postgres_migrations,
        config::EventBusConfig,
        context::SecurityContext,
        decode::from_json,
        encode::to_json,
        endings::end,
        errors::{
            AlreadyExists, AuthenticationFailed, AuthorizationFailed, BusError, CoulisError, EngineClosed,
            InvalidQuery, LimitExceeded, PolicyError, QueueFull, RateLimited, SubscriptionNotFound,
        },
        exchange::{Exchange, Stream},
        executor::SubscriptionExecutor,
        forks::forked,
        graphql::validate,
        message::PyGraphQLMessage,
        operation::Operation,
        payload::PySubscriptionPayload,
        policy::{evaluate, evaluate_tagged},
        reader::{LoopReader, PendingPublish, ResolverJob},
        resolver::{JobQueue, ResolverInfo},
        session::Session,
        settings::check_overflow,
        settings::check_policy,
        token::{JWTKey, TokenVerifier},
    };

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python uses for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        super::errors::prepare(module.py())
    }
}
