//! Upkeep: partitions are made ahead and dropped by a function of the schema, which one bus of all calls at a time.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time;

use super::{
    config::PostgresConfig,
    health::State,
    link::{Opener, Trouble},
};

/// Until upkeep looks again whether the reader is connected.
const CONNECTED_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Makes and drops partitions, over connections that live as long as that takes.
pub(super) struct Keeper {
    pub config: PostgresConfig,
    pub opener: Opener,
    pub state: Arc<State>,
}

impl Keeper {
    pub(super) async fn run(self) {
        loop {
            // The reader has seen to it that the schema is there.
            if !self.state.reading.load(Relaxed) {
                time::sleep(CONNECTED_LOOK_EVERY).await;
                continue;
            }
            if let Err(trouble) = self.keep().await {
                self.state.failed(format!("upkeep: {trouble}"));
            }
            time::sleep(self.config.maintain_every).await;
        }
    }

    async fn keep(&self) -> Result<(), Trouble> {
        let link = self.opener.open().await?;
        // What a drop sees has to be newer than its locks, whatever the database's default is.
        let sql =
            format!("begin isolation level read committed; select {}.maintain(); commit", self.config.schema);
        link.run(&sql).await
    }
}
