//! The promises of every bus, on each of them.

use std::sync::Arc;

use coulis::{
    bus::{Bus, BusError},
    limits::Limits,
};
use coulis_adapters::{
    feed::Sink,
    memory::{MemoryBus, MemoryHub},
};
use coulis_tests::{
    carriers::{Outbox, Streams},
    conformance::Carrier,
};

mod memory {
    use super::*;

    struct Memory(MemoryHub);

    impl Carrier for Memory {
        fn new() -> Self {
            Self(MemoryHub::new(10_000))
        }

        fn connect(&self, limits: &Limits, sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError> {
            Ok(Arc::new(MemoryBus::start(&self.0, limits.clone(), sink)))
        }

        fn crash(&mut self) -> bool {
            false
        }

        fn lose_history(&mut self) {
            self.0.lose_history();
        }
    }

    coulis_tests::conformance!(Memory);
}

mod redis {
    use super::*;
    coulis_tests::conformance!(Streams);
}

mod postgres {
    use super::*;
    coulis_tests::conformance!(Outbox);
}
