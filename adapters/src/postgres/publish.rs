//! The writing thread: what waits, in batches, each one transaction.
//!
//! # Once
//! A transaction is committed when the server says so, and it may have been committed when nothing is heard any more.
//! Before COMMIT is sent the thread knows the transaction's number and the position and id of a row. After a cut it
//! asks for them over another connection, until the transaction has ended for certain: the row is there or it never
//! will be, unless retention took such rows meanwhile: then nobody knows, and nothing is sent again. The number alone
//! would not do, since a server that crashed gives numbers again that it has not written down. A batch that was cut off
//! before COMMIT was sent is sent again at once, in halves: it may have been too large to be answered in time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use coulis::{
    bus::{Accepted, BusError},
    id::Offset,
};
use tokio::{sync::watch, time};
use tokio_postgres::{Row, types::Type};

use super::{
    config::PostgresConfig,
    health::{State, add, subtract},
    item::{Item, columns},
    link::{Link, Opener, Parameter, Trouble, is_shutdown, reason},
    migrate,
    page::get,
};
use crate::retry::Backoff;

/// How often a batch is tried that another transaction stands in the way of, and an event that takes too long.
const TRIES_MAX: usize = 3;
/// How often an event is tried whose sessions break: by a network, or because the event crashes them. One whose sessions
/// are ended goes on beyond it, with a pause before each.
const CUTS_MAX: usize = 10;
/// How long a batch waits for another transaction that publishes the same id.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a transaction may wait for its COMMIT, which is sent at once.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Between two looks at a transaction that has not ended yet.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the writing thread owns.
pub(super) struct Writer {
    pub config: PostgresConfig,
    pub opener: Opener,
    pub queue: flume::Receiver<Item>,
    pub state: Arc<State>,
    pub stop: watch::Receiver<Option<Instant>>,
    pub link: Option<Link>,
    /// Whether the bus had a connection before.
    pub connected: bool,
}

/// A transaction whose end is not known.
#[derive(Debug)]
struct Mark {
    transaction: i64,
    process: i32,
    /// Position and id of its first row; `None`: it wrote none, and nothing depends on its end.
    row: Option<(i64, Option<String>)>,
}

impl Mark {
    fn first(&self) -> Option<i64> {
        self.row.as_ref().map(|row| row.0)
    }
}

/// How far a batch came that is not committed for certain.
enum Cut {
    /// The server refused it.
    Refused { reason: String, transient: bool },
    /// The server began no transaction, as one that became a replica behind a pooler.
    Unready(String),
    /// The server ended the session: it goes down, or its operator wants it so. Nothing was committed.
    Ended(String),
    /// Nothing was committed.
    Before(String),
    /// The answer to COMMIT was not heard.
    During(String, Mark),
}

/// What became of a transaction that has ended.
#[derive(Clone, Copy)]
enum End {
    Committed,
    Undone,
    /// Retention took its row, if it had one.
    Forgotten,
}

impl Writer {
    /// Sends what waits until the bus is closed and nothing waits any more, or its patience is over.
    pub(super) async fn run(mut self) {
        let (mut stop, mut under_way) = (self.stop.clone(), Vec::new());
        tokio::select! {
            () = self.work(&mut under_way) => {}
            () = patience(&mut stop) => {}
        }
        self.state.writing.store(false, Ordering::Relaxed);
        self.refuse(under_way.into_iter().flatten().collect(), &cut_off());
        for item in self.queue.drain() {
            self.leave(&item);
            self.refuse(vec![item], &closed());
        }
    }

    async fn work(&mut self, under_way: &mut Vec<Vec<Item>>) {
        while let Some(batch) = self.batch().await {
            under_way.push(batch);
            self.settle(under_way).await;
        }
    }

    /// What waits, up to the bounds of a transaction; `None` when the bus is closed and nothing waits.
    async fn batch(&mut self) -> Option<Vec<Item>> {
        let first = loop {
            let (mut stop, queue) = (self.stop.clone(), self.queue.clone());
            tokio::select! {
                () = self.stay_connected() => {}
                // Nobody waits for a connection that has nothing to do.
                _ = stop.wait_for(Option::is_some), if queue.is_empty() => return None,
            }
            let Some(link) = &self.link else { continue };
            tokio::select! {
                biased;
                item = self.queue.recv_async() => break item.ok()?,
                () = link.bell.notified() => continue,
                _ = stop.wait_for(Option::is_some) => return None,
                () = time::sleep(self.config.answer_max) => {}
            }
            // A connection that nobody uses may be dead without anybody's knowing.
            if let Err(trouble) = link.run("").await {
                self.lose(trouble.to_string());
            }
        };
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < self.config.batch_events_max && bytes < self.config.batch_bytes_max {
            let Ok(item) = self.queue.try_recv() else { break };
            bytes += item.bytes();
            batch.push(item);
        }
        for item in &batch {
            self.leave(item);
        }
        batch.retain(Item::claim);
        Some(batch)
    }

    fn leave(&self, item: &Item) {
        subtract(&self.state.buffered, 1);
        subtract(&self.state.buffered_bytes, item.bytes());
    }

    /// Commits what is under way, the last batch first. One that is refused or cut off is halved until the event that is
    /// to blame stands alone; one that may have been committed is never sent again.
    async fn settle(&mut self, under_way: &mut Vec<Vec<Item>>) {
        while let Some(batch) = under_way.last() {
            let result = if batch.is_empty() { Ok(None) } else { self.commit(batch).await };
            let mut batch = under_way.pop().unwrap_or_default();
            match result {
                Ok(first) => {
                    add(&self.state.accepted, batch.len());
                    accept(batch, first);
                }
                Err(error) if batch.len() > 1 && !error.unknown => {
                    under_way.push(batch.split_off(batch.len() / 2));
                    under_way.push(batch);
                }
                Err(error) => {
                    self.state.failed(error.reason.clone());
                    self.refuse(batch, &error);
                }
            }
        }
    }

    /// Tells the publishers of `items` that they were not taken, or may not have been; counts those that nobody waits for.
    fn refuse(&self, items: Vec<Item>, error: &BusError) {
        add(&self.state.refused, items.iter().filter(|item| item.is_unheard()).count());
        for item in items {
            item.answer(Err(error.clone()));
        }
    }

    /// Commits a batch as one transaction, over as many connections as it takes. Answers the position of its first event
    /// that is new. A server that cannot be written to is waited for.
    async fn commit(&mut self, batch: &[Item]) -> Result<Option<i64>, BusError> {
        let (mut tries, mut slow_tries, mut cuts, mut ends) = (0, 0, 0, 0);
        let mut backoff = Backoff::default();
        loop {
            self.stay_connected().await;
            let Some(link) = &self.link else { continue };
            let begun = Instant::now();
            match send(link, &self.config, batch).await {
                Ok(first) => return Ok(first),
                Err(Cut::Refused { reason, transient }) => {
                    tries += 1;
                    if !transient || batch.len() > 1 || tries >= TRIES_MAX {
                        return Err(BusError { reason, transient, unknown: false });
                    }
                }
                Err(Cut::Before(reason)) => {
                    let slow = begun.elapsed() >= idle_max(&self.config);
                    (slow_tries, cuts) = (slow_tries + usize::from(slow), cuts + 1);
                    self.lose(reason.clone());
                    if batch.len() > 1 {
                        return Err(BusError { reason, transient: true, unknown: false });
                    }
                    if slow_tries >= TRIES_MAX || cuts >= CUTS_MAX {
                        return Err(in_vain(batch, &reason, slow));
                    }
                }
                Err(Cut::Unready(reason)) => self.lose(reason),
                Err(Cut::Ended(reason)) => {
                    ends += 1;
                    self.lose(reason.clone());
                    // Whoever ends what takes long ends it again: a part of it takes less.
                    if batch.len() > 1 && ends >= TRIES_MAX {
                        return Err(BusError { reason, transient: true, unknown: false });
                    }
                    if ends < CUTS_MAX {
                        continue;
                    }
                }
                Err(Cut::During(reason, mark)) => {
                    self.lose(reason);
                    match self.end(&mark).await {
                        End::Committed => return Ok(mark.first()),
                        End::Undone => {}
                        End::Forgotten => return Err(forgotten()),
                    }
                }
            }
            time::sleep(backoff.wait()).await;
        }
    }

    fn lose(&mut self, reason: String) {
        self.link = None;
        self.state.writing.store(false, Ordering::Relaxed);
        self.state.failed(reason);
    }

    /// Returns with a connection, however long that takes.
    async fn stay_connected(&mut self) {
        if self.link.as_ref().is_some_and(Link::is_lost) {
            self.lose("the connection was closed".into());
        }
        let mut backoff = Backoff::default();
        while self.link.is_none() {
            match self.connect().await {
                Ok(link) => {
                    if std::mem::replace(&mut self.connected, true) {
                        add(&self.state.reconnects, 1);
                    }
                    self.state.writing.store(true, Ordering::Relaxed);
                    self.link = Some(link);
                }
                Err(trouble) => {
                    self.state.failed(trouble.to_string());
                    time::sleep(backoff.wait()).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<Link, Trouble> {
        let link = self.opener.open().await?;
        migrate::prepare(&self.config, &link).await?;
        Ok(link)
    }

    /// What became of the transaction, once it has ended.
    async fn end(&mut self, mark: &Mark) -> End {
        let Some(row) = &mark.row else { return End::Committed };
        loop {
            self.stay_connected().await;
            let Some(link) = &self.link else { continue };
            match ended(link, &self.config.schema, mark, row).await {
                Ok(Some(end)) => return end,
                Ok(None) => time::sleep(LOOK_EVERY).await,
                Err(trouble) => self.lose(trouble.to_string()),
            }
        }
    }
}

/// Tells the publishers of a batch that it is committed; `first`: where its first new event stands. Those of one batch
/// stand in a row, unless one of them was there before.
fn accept(batch: Vec<Item>, first: Option<i64>) {
    let first = first.filter(|_| batch.len() == 1 || !batch.iter().any(Item::is_named));
    for (place, item) in batch.into_iter().enumerate() {
        let offset = first.map(|first| Offset(first.cast_unsigned() + place as u64));
        item.answer(Ok(Accepted { offset, epoch: None }));
    }
}

/// Sends a batch and commits it; answers the position of its first event that is new.
async fn send(link: &Link, config: &PostgresConfig, batch: &[Item]) -> Result<Option<i64>, Cut> {
    let answer_millis = config.answer_max.as_millis();
    // Should this process be cut off, its transaction must not hold back for long what others publish.
    let begin = format!(
        "begin isolation level read committed read write; set local statement_timeout = {answer_millis}; \
         set local idle_in_transaction_session_timeout = {}; set local lock_timeout = {}",
        idle_max(config).as_millis(),
        LOCK_WAIT_MAX.as_millis()
    );
    let sql = format!(
        "select transaction, pg_backend_pid(), \"position\", id \
         from {}.publish_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        config.schema
    );
    let columns = columns(batch);
    let parameters = columns.parameters();
    // One round trip for both.
    let asked = async {
        let begun = link.client.batch_execute(&begin);
        Ok(tokio::join!(begun, link.client.query_typed_one(&sql, &parameters)))
    };
    let before = |trouble: Trouble| Cut::Before(trouble.to_string());
    let (begun, published) = link.within(asked).await.map_err(before)?;
    if let Err(error) = &published
        && is_shutdown(begun.as_ref().err().unwrap_or(error))
    {
        return Err(Cut::Ended(reason(error)));
    }
    let begun = begun.map_err(Trouble::from);
    let published = published.map_err(Trouble::from).and_then(|row| mark(&row));
    let mark = match (begun, published) {
        (Ok(()), Ok(mark)) => mark,
        // Without BEGIN, it was a transaction of its own.
        (Err(trouble), Ok(mark)) => return Err(Cut::During(trouble.to_string(), mark)),
        (Err(Trouble::Refused { reason, .. }), Err(_)) => return Err(Cut::Unready(reason)),
        (Err(Trouble::Lost(reason)), Err(_)) | (Ok(()), Err(Trouble::Lost(reason))) => {
            return Err(Cut::Before(reason));
        }
        (Ok(()), Err(Trouble::Refused { reason, transient })) => {
            link.run("rollback").await.map_err(before)?;
            return Err(Cut::Refused { reason, transient });
        }
    };
    match link.run("commit").await {
        Ok(()) => Ok(mark.first()),
        Err(Trouble::Lost(reason)) => Err(Cut::During(reason, mark)),
        Err(Trouble::Refused { reason, transient }) => Err(Cut::Refused { reason, transient }),
    }
}

fn idle_max(config: &PostgresConfig) -> Duration {
    config.answer_max.min(IDLE_MAX)
}

fn mark(row: &Row) -> Result<Mark, Trouble> {
    let position: Option<i64> = get(row, 2)?;
    let id: Option<String> = get(row, 3)?;
    Ok(Mark {
        transaction: get(row, 0)?,
        process: get(row, 1)?,
        row: position.map(|position| (position, id)),
    })
}

/// What became of the transaction; `None`: it has not ended. What still runs is ended, since nobody waits for
/// its answer. A number that is not below the one of this question was given by a server that crashed since.
async fn ended(
    link: &Link,
    schema: &str,
    mark: &Mark,
    (position, id): &(i64, Option<String>),
) -> Result<Option<End>, Trouble> {
    let sql = format!(
        "select
            $1 >= pg_current_xact_id()::text::bigint
                or pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot()),
            exists (select from {schema}.outbox where position = $2 and id is not distinct from $3),
            dropped_through >= $2
        from {schema}.meta"
    );
    let parameters: [Parameter<'_>; 3] =
        [(&mark.transaction, Type::INT8), (position, Type::INT8), (id, Type::TEXT)];
    let row = link.row(&sql, &parameters).await?;
    let (over, there, dropped) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
    if over {
        let gone = if dropped { End::Forgotten } else { End::Undone };
        return Ok(Some(if there { End::Committed } else { gone }));
    }
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity
        where pid = $1 and usename = current_user and backend_xid::text::bigint = $2 & 4294967295";
    let parameters: [Parameter<'_>; 2] = [(&mark.process, Type::INT4), (&mark.transaction, Type::INT8)];
    link.within(link.client.query_typed(sql, &parameters)).await?;
    Ok(None)
}

/// Returns when the bus was closed and its patience is over.
async fn patience(stop: &mut watch::Receiver<Option<Instant>>) {
    let deadline = match stop.wait_for(Option::is_some).await {
        Ok(deadline) => *deadline,
        Err(_) => None,
    };
    if let Some(deadline) = deadline {
        time::sleep_until(deadline.into()).await;
    }
}

/// The server is there, and this did not get through to it, or the sessions that brought it ended.
fn in_vain(batch: &[Item], reason: &str, slow: bool) -> BusError {
    let bytes: usize = batch.iter().map(Item::bytes).sum();
    let way_out = if slow {
        "publish less, or over a faster connection"
    } else {
        "see in the server's log what ends the sessions"
    };
    let reason =
        format!("an event of `{bytes}` bytes was not taken, however often tried ({reason}): {way_out}");
    BusError { reason, transient: true, unknown: false }
}

/// Nobody can tell any more whether a batch was committed.
fn forgotten() -> BusError {
    let reason = "the answer to COMMIT was not heard for longer than `retention`: it may have been published; \
                  raise `retention` above the time that the database may be away";
    BusError { reason: reason.into(), transient: true, unknown: true }
}

/// The bus was closed while this was under way.
pub(super) fn cut_off() -> BusError {
    let reason = "the bus was closed before an answer came: it may have been published".into();
    BusError { reason, transient: false, unknown: true }
}

/// The bus is no more.
pub(super) fn closed() -> BusError {
    BusError { reason: "the bus is closed".into(), transient: false, unknown: false }
}

/// Who acts on an event first: the writer that sends it, or the publisher that waits no longer.
#[derive(Debug, Default)]
pub(super) struct Claim(AtomicBool);

impl Claim {
    /// Whether it is the caller's now.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}
