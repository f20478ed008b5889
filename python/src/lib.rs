//! Python bindings of Coulis: the extension module `coulis._coulis`.
//!
//! Thin by intent: this crate turns Python values into JSON and back, joins the engine to threads and event loops
//! of Python, and names errors. It decides nothing about delivery. No room here is known to the engine.

mod errors;
mod lock;

mod decode;
mod encode;
mod identity;
mod integers;

mod config;
mod context;
mod graphql;
mod message;
mod payload;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native half of the package `coulis`; import from `coulis`, not from here.
#[pyo3::pymodule]
mod _coulis {
    #[pymodule_export]
    use super::config::EventBusConfig;
    #[pymodule_export]
    use super::context::SecurityContext;
    #[pymodule_export]
    use super::decode::from_json;
    #[pymodule_export]
    use super::encode::to_json;
    #[pymodule_export]
    use super::errors::{
        AlreadyExists, AuthenticationFailed, AuthorizationFailed, BusError, CoulisError, EngineClosed,
        InvalidQuery, LimitExceeded, PolicyError, QueueFull, RateLimited, SubscriptionNotFound,
    };
    #[pymodule_export]
    use super::message::PyGraphQLMessage;
    #[pymodule_export]
    use super::payload::PySubscriptionPayload;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name that Python uses for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
