//! The promises of every bus, on each of them.

use std::sync::Arc;

use coulis::{
    bus::{Bus, BusError},
    limits::Limits,
};
use coulis_adapters::{
    feed::Sink,
    memory::{MemoryBus, MemoryHub},
    postgres::{PostgresBus, PostgresConfig},
    redis::{RedisBus, RedisConfig},
};
use coulis_tests::{
    conformance::Carrier,
    servers::{
        postgres::Postgres,
        redis::{Keeps, Redis},
    },
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

    struct Streams(Redis);

    impl Carrier for Streams {
        fn new() -> Self {
            Self(Redis::start(Keeps::Everything, &[]))
        }

        fn connect(&self, limits: &Limits, sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError> {
            Ok(Arc::new(RedisBus::start(RedisConfig::new(self.0.url(), "shop"), limits.clone(), sink)?))
        }

        fn crash(&mut self) -> bool {
            self.0.kill();
            self.0.restart();
            true
        }

        fn lose_history(&mut self) {
            self.0.ask(&["FLUSHALL"]);
        }
    }

    coulis_tests::conformance!(Streams);
}

mod postgres {
    use super::*;

    struct Outbox(Postgres);

    impl Carrier for Outbox {
        fn new() -> Self {
            let mut server = Postgres::start(&[]);
            server.kill();
            server.save();
            server.restart();
            Self(server)
        }

        fn connect(&self, limits: &Limits, sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError> {
            Ok(Arc::new(PostgresBus::start(PostgresConfig::new(self.0.url()), limits.clone(), sink)?))
        }

        fn crash(&mut self) -> bool {
            self.0.kill();
            self.0.restart();
            true
        }

        fn lose_history(&mut self) {
            self.0.kill();
            self.0.load();
            self.0.restart();
        }
    }

    coulis_tests::conformance!(Outbox);
}
