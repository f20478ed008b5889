//! Real servers as carriers, directly or behind a wire that breaks on demand.

use std::{sync::Arc, time::Duration};

use coulis::{
    bus::{Bus, BusError},
    limits::Limits,
};
use coulis_adapters::{
    feed::Sink,
    postgres::{PostgresBus, PostgresConfig},
    redis::{RedisBus, RedisConfig},
};

use crate::{
    conformance::Carrier,
    servers::{
        postgres::Postgres,
        redis::{Keeps, Redis},
    },
};

/// A server process with a bus over it.
pub trait Server: Carrier {
    /// Where it listens.
    fn port(&self) -> u16;

    /// Connects a node over another port that leads to it. The node finds out within a second that nobody answers.
    ///
    /// # Errors
    /// Those of the bus.
    fn connect_at(&self, port: u16, limits: &Limits, sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError>;

    /// Ends the process as a crash does.
    fn kill(&mut self);

    /// Starts it again.
    fn restart(&mut self);

    /// Stops the process where it stands.
    fn stop(&self);

    /// Lets it go on.
    fn go_on(&self);
}

/// How long a node waits for an answer of a server that hangs.
const ANSWER_MAX: Duration = Duration::from_millis(800);

/// Redis that has written what it has answered.
#[derive(Debug)]
pub struct Streams(pub Redis);

/// `PostgreSQL`, with a copy of its files from before everything.
#[derive(Debug)]
pub struct Outbox(pub Postgres);

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

/// Hands what a process does on to the server inside.
macro_rules! process {
    () => {
        fn port(&self) -> u16 {
            self.0.port()
        }

        fn kill(&mut self) {
            self.0.kill();
        }

        fn restart(&mut self) {
            self.0.restart();
        }

        fn stop(&self) {
            self.0.stop();
        }

        fn go_on(&self) {
            self.0.go_on();
        }
    };
}

impl Server for Streams {
    process!();

    fn connect_at(&self, port: u16, limits: &Limits, sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError> {
        let url = format!("redis://127.0.0.1:{port}");
        let block_max = ANSWER_MAX / 2;
        let config = RedisConfig { answer_wait_max: ANSWER_MAX, block_max, ..RedisConfig::new(url, "shop") };
        Ok(Arc::new(RedisBus::start(config, limits.clone(), sink)?))
    }
}

impl Server for Outbox {
    process!();

    fn connect_at(&self, port: u16, limits: &Limits, sink: Box<dyn Sink>) -> Result<Arc<dyn Bus>, BusError> {
        let url = self.0.url().replace(&format!(":{}/", self.0.port()), &format!(":{port}/"));
        let config = PostgresConfig { answer_max: ANSWER_MAX, ..PostgresConfig::new(url) };
        Ok(Arc::new(PostgresBus::start(config, limits.clone(), sink)?))
    }
}
