//! The reading thread: pages of the outbox below the horizon, in order, and the sleep between them.
//!
//! # Sleeping
//! A reader that looked every millisecond would always be in time and always be busy; a doorbell in every transaction
//! halves what the database commits, because notifying transactions commit one after the other. So the bell is rung
//! only for readers that sleep: a reader arms it first, and under load no reader sleeps.
//!
//! 1. *Awake*: it looks every millisecond, and for some milliseconds more after the last event.
//! 2. *Armed*: it arms the bell, and takes a transaction number after that. Who publishes takes its number before it
//!    looks at the bell: if it saw the bell not armed, its number is the lower one. So the reader goes on looking until
//!    all lower numbers have ended.
//! 3. *Asleep*: whoever publishes from here on rings, and the bell stays armed until the reader has heard it: a ring that
//!    is rolled back costs nobody else's. Once in `poll_every` it looks by itself, for those who publish without ringing.
//! 4. *Held*: where an old transaction does not end, nothing that is newer can be read; it disarms the bell and looks
//!    more and more seldom, up to ten times a second, until that transaction has ended.
//!
//! Bells are numbered, and who disarms one disarms those before it. A ring names the last one that was armed, so all of
//! their readers hear it; a reader that disarms a bell which was not rung rings it itself.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use coulis::limits::Limits;
use tokio::{sync::watch, time};
use tokio_postgres::{Statement, types::Type};

use super::{
    config::PostgresConfig,
    health::{State, add},
    link::{Link, Opener, Parameter, Trouble},
    migrate,
    page::{self, Bounds, Page, get},
};
use crate::{
    feed::{Missed, Position, Sink},
    retry::Backoff,
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long the reader stays awake after an event.
const AWAKE: Duration = Duration::from_millis(10);
/// How long a transaction may keep an armed reader from its sleep.
const ARMED_MAX: Duration = Duration::from_millis(50);
/// Between two looks at what an old transaction holds back.
const HELD_LOOK_MAX: Duration = Duration::from_millis(100);
/// Rows by which the reader finds out how much of what it read is still there.
const RECENT_MAX: usize = 1_024;

/// What the reading thread owns.
pub(super) struct Reader {
    pub config: PostgresConfig,
    pub limits: Limits,
    pub opener: Opener,
    pub sink: Box<dyn Sink>,
    pub state: Arc<State>,
    pub stop: watch::Receiver<Option<Instant>>,
    /// What was read; `None`: nothing yet.
    pub at: Option<At>,
    /// The last event that was there when this node came, until it is read.
    pub end: Option<i64>,
    /// What the next page may hold: less than the settings say after one that did not come.
    pub bounds: Bounds,
}

/// How far the reader is.
pub(super) struct At {
    epoch: i64,
    position: i64,
    /// The last rows that were read: the moment tells them from others that were given their position again.
    recent: VecDeque<(i64, SystemTime)>,
}

/// Where the reader is between awake and asleep.
#[derive(Clone, Copy)]
enum Rest {
    Awake { since: Instant },
    Armed { bell: i64, transaction: i64, since: Instant },
    Held { transaction: i64, since: Instant },
}

impl Reader {
    /// Reads until the bus is closed.
    pub(super) async fn run(mut self) {
        let mut stop = self.stop.clone();
        let mut backoff = Backoff::default();
        loop {
            let trouble = tokio::select! {
                _ = stop.changed() => return,
                trouble = self.session(&mut backoff) => trouble,
            };
            if self.state.reading.swap(false, Relaxed) {
                self.state.reconnects.fetch_add(1, Relaxed);
            }
            self.state.failed(trouble.to_string());
            tokio::select! {
                _ = stop.changed() => return,
                () = time::sleep(backoff.wait()) => {}
            }
        }
    }

    /// Reads over one connection until it is lost.
    async fn session(&mut self, backoff: &mut Backoff) -> Trouble {
        match self.connect().await {
            Ok(link) => match self.read(&link, backoff).await {
                Ok(never) => match never {},
                Err(trouble) => trouble,
            },
            Err(trouble) => trouble,
        }
    }

    async fn connect(&mut self) -> Result<Link, Trouble> {
        let link = self.opener.open().await?;
        // Arming the bell is nobody's data: its commit waits for no disk.
        let schema = &self.config.schema;
        // The order of the index is the only plan that stays cheap, whatever the statistics say.
        let settings = format!(
            "set synchronous_commit = off; set default_transaction_isolation = 'read committed'; set jit = off;
            set enable_seqscan = off; set enable_bitmapscan = off; listen {schema}"
        );
        link.run(&settings).await?;
        migrate::prepare(&self.config, &link).await?;
        link.run(&format!("select {schema}.check_history()")).await?;
        self.find_place(&link).await?;
        Ok(link)
    }

    /// Says where reading goes on: where it was, if that is still the history that was read.
    async fn find_place(&mut self, link: &Link) -> Result<(), Trouble> {
        let schema = &self.config.schema;
        let Some(at) = &mut self.at else { return self.start(link, None).await };
        let (positions, moments): (Vec<i64>, Vec<SystemTime>) = at.recent.iter().copied().unzip();
        let sql = format!(
            "select meta.epoch, meta.dropped_through, (
                select max(outbox.position) from {schema}.outbox
                join unnest($1, $2) as known (position, moment)
                on outbox.position = known.position and outbox.created_at = known.moment
            ) from {schema}.meta as meta"
        );
        let parameters: [Parameter<'_>; 2] =
            [(&positions, Type::INT8_ARRAY), (&moments, Type::TIMESTAMPTZ_ARRAY)];
        let row = link.row(&sql, &parameters).await?;
        let (epoch, dropped): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
        let found: Option<i64> = get(&row, 2)?;
        let intact = found == Some(at.position) || dropped >= at.position;
        if intact && epoch == at.epoch {
            return Ok(());
        }
        // The newest of what was read is gone, or another reader missed something that this one may never have got:
        // what is left of the history is gone on with.
        let epoch = if intact { epoch } else { renew(link, schema, at.epoch, epoch).await? };
        match found {
            // The rest of what was there when this node came would go to subscriptions as if it were live.
            Some(found) if self.end.is_none() => {
                let left = at.recent.iter().copied().filter(|(position, _)| *position <= found).collect();
                self.begin(epoch, found, Some(Missed { count: None }), left);
                Ok(())
            }
            _ => self.start(link, Some(Missed { count: None })).await,
        }
    }

    /// Begins with what the history holds, or, where something was missed, with what comes from now on.
    async fn start(&mut self, link: &Link, missed: Option<Missed>) -> Result<(), Trouble> {
        let history = if missed.is_some() { 0 } else { self.config.history_events_max };
        let history = i64::try_from(history).unwrap_or(i64::MAX);
        let sql = page::start_query(&self.config.schema);
        let row = link.row(&sql, &[(&history, Type::INT8)]).await?;
        let (epoch, position, moment) = (get(&row, 0)?, get(&row, 1)?, get::<Option<SystemTime>>(&row, 2)?);
        let last: Option<i64> = get(&row, 3)?;
        self.begin(epoch, position, missed, moment.map(|moment| (position, moment)).into_iter().collect());
        self.end = match missed {
            None => Some(last.unwrap_or(position)),
            Some(_) => self.end.map(|_| position),
        };
        self.catch_up();
        Ok(())
    }

    fn begin(
        &mut self,
        epoch: i64,
        position: i64,
        missed: Option<Missed>,
        recent: VecDeque<(i64, SystemTime)>,
    ) {
        let at = At { epoch, position, recent };
        if missed.is_some() {
            self.state.gaps.fetch_add(1, Relaxed);
        }
        self.sink.begin(at.place(), missed);
        self.at = Some(at);
        self.catch_up();
    }

    /// Reads pages until the connection is lost. Only a page shows that the trouble before is over.
    async fn read(&mut self, link: &Link, backoff: &mut Backoff) -> Result<Infallible, Trouble> {
        let mut statement = self.prepare(link).await?;
        let mut rest = Rest::Awake { since: Instant::now() };
        let mut horizon = (0, Instant::now());
        self.state.reading.store(true, Relaxed);
        loop {
            if statement.0 != self.bounds {
                statement = self.prepare(link).await?;
            }
            let page = self.page(link, &statement.1).await?;
            *backoff = Backoff::default();
            if page.horizon != horizon.0 {
                horizon = (page.horizon, Instant::now());
            }
            self.state.hold_back(page.holding.then(|| horizon.1.elapsed()));
            let (floor, full) = (page.horizon, page.places.len() >= statement.0.events);
            match self.take(page) {
                Taken::Nothing => rest = self.rest(link, rest, floor).await?,
                Taken::Events if full => {}
                Taken::Events => rest = self.stay_awake(link, rest).await?,
                Taken::AnotherHistory => self.find_place(link).await?,
            }
        }
    }

    async fn prepare(&self, link: &Link) -> Result<(Bounds, Statement), Trouble> {
        let sql = page::query(&self.config.schema, self.bounds);
        Ok((self.bounds, link.within(link.client.prepare(&sql)).await?))
    }

    /// The next page. One that does not come may be too large to come within `answer_max`: the next one is half as
    /// large, or, where it is of one event, may take twice as long. They grow again while they come in a quarter of
    /// `answer_max`.
    async fn page(&mut self, link: &Link, statement: &Statement) -> Result<Page, Trouble> {
        let after = self.at.as_ref().map_or(0, |at| at.position);
        let asked = Instant::now();
        let patience = self.config.answer_max * self.bounds.patience;
        let answer = link.within_time(patience, link.client.query(statement, &[&after])).await;
        if answer.is_err() {
            self.bounds = self.bounds.halved();
        } else if asked.elapsed() < self.config.answer_max / 4 {
            self.bounds = self.bounds.doubled(Bounds::of(&self.config));
        }
        Page::decode(&answer?, &self.limits)
    }

    /// Says so when everything was read that was there when this node came.
    fn catch_up(&mut self) {
        if self.end.zip(self.at.as_ref()).is_some_and(|(end, at)| at.position >= end) {
            self.end = None;
            self.sink.caught_up();
        }
    }

    /// Hands a page to the node.
    fn take(&mut self, page: Page) -> Taken {
        let Some(at) = &mut self.at else { return Taken::AnotherHistory };
        if page.epoch != at.epoch {
            return Taken::AnotherHistory;
        }
        if page.dropped_through > at.position {
            // Before the rows of this page: some of those that retention took lie before them. Who listens by now has
            // missed nothing of what was there when this node came.
            let is_live = self.end.is_none_or(|end| page.dropped_through > end);
            let missed = is_live.then_some(Missed { count: None });
            self.begin(page.epoch, page.dropped_through, missed, VecDeque::new());
            return Taken::Events;
        }
        let Some((last, _)) = page.places.last() else { return Taken::Nothing };
        at.position = *last;
        at.recent.extend(page.places.iter().copied());
        at.recent.drain(..at.recent.len().saturating_sub(RECENT_MAX));
        add(&self.state.malformed, page.malformed);
        add(&self.state.received, page.events.len());
        let (old, new): (Vec<_>, Vec<_>) = match self.end {
            Some(end) => page.events.into_iter().partition(|arrived| arrived.offset <= end.unsigned_abs()),
            None => (Vec::new(), page.events),
        };
        if !old.is_empty() {
            self.sink.deliver(old);
        }
        self.catch_up();
        if !new.is_empty() {
            self.sink.deliver(new);
        }
        Taken::Events
    }

    /// After events: more may come, so the bell is not needed.
    async fn stay_awake(&self, link: &Link, rest: Rest) -> Result<Rest, Trouble> {
        if let Rest::Armed { bell, .. } = rest {
            give_up(link, &self.config.schema, bell).await?;
        }
        time::sleep(LOOK_EVERY).await;
        Ok(Rest::Awake { since: Instant::now() })
    }

    /// One step on the way to sleep, or the sleep itself.
    async fn rest(&self, link: &Link, rest: Rest, horizon: i64) -> Result<Rest, Trouble> {
        let schema = &self.config.schema;
        match rest {
            Rest::Awake { since } if since.elapsed() >= AWAKE => {
                let (bell, transaction) = arm(link, schema).await?;
                return Ok(Rest::Armed { bell, transaction, since: Instant::now() });
            }
            Rest::Armed { bell, transaction, .. } if horizon >= transaction => {
                let rung = time::timeout(self.config.poll_every, link.wait_for(bell)).await;
                if link.is_lost() {
                    return Err(Trouble::Lost("the connection was closed".into()));
                }
                if rung.is_ok() {
                    disarm(link, schema, bell).await?;
                    return Ok(Rest::Awake { since: Instant::now() });
                }
            }
            Rest::Armed { bell, transaction, since } if since.elapsed() >= ARMED_MAX => {
                give_up(link, schema, bell).await?;
                return Ok(Rest::Held { transaction, since });
            }
            Rest::Held { transaction, .. } if horizon >= transaction => {
                return Ok(Rest::Awake { since: Instant::now() });
            }
            Rest::Held { since, .. } => {
                time::sleep((since.elapsed() / 8).clamp(LOOK_EVERY, HELD_LOOK_MAX)).await;
            }
            Rest::Awake { .. } | Rest::Armed { .. } => time::sleep(LOOK_EVERY).await,
        }
        Ok(rest)
    }
}

/// What came of a page.
enum Taken {
    Nothing,
    Events,
    AnotherHistory,
}

impl At {
    fn place(&self) -> Position {
        Position { epoch: self.epoch.unsigned_abs(), offset: self.position.unsigned_abs() }
    }
}

/// Another epoch than `known`, unless there is one already.
async fn renew(link: &Link, schema: &str, known: i64, now: i64) -> Result<i64, Trouble> {
    if known != now {
        return Ok(now);
    }
    let sql = format!("select {schema}.renew($1)");
    let row = link.row(&sql, &[(&known, Type::INT8)]).await?;
    get(&row, 0)
}

async fn arm(link: &Link, schema: &str) -> Result<(i64, i64), Trouble> {
    let sql = format!("select bell, transaction from {schema}.arm()");
    let row = link.row(&sql, &[]).await?;
    Ok((get(&row, 0)?, get(&row, 1)?))
}

/// Disarms a bell that was rung: whoever sleeps by an earlier one has heard the same ring.
async fn disarm(link: &Link, schema: &str, bell: i64) -> Result<(), Trouble> {
    let sql = format!("select {schema}.disarm($1)");
    link.row(&sql, &[(&bell, Type::INT8)]).await?;
    Ok(())
}

/// Disarms a bell that was not rung, and wakes those who sleep by an earlier one, which is disarmed with it.
async fn give_up(link: &Link, schema: &str, bell: i64) -> Result<(), Trouble> {
    let sql = format!("select {schema}.disarm($1), pg_notify('{schema}', $1::text)");
    link.row(&sql, &[(&bell, Type::INT8)]).await?;
    Ok(())
}
