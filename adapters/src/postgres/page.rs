//! What the reader is answered: where the horizon is, and the events below it.

use std::time::SystemTime;

use coulis::limits::Limits;
use tokio_postgres::{Row, types::FromSql};

use super::{config::PostgresConfig, link::Trouble};
use crate::{feed::Arrived, wire::WireEvent};

/// Bits of a position that are the place in its transaction.
const PLACE_BITS: u32 = 20;

/// One answer, of one snapshot.
#[derive(Debug)]
pub(super) struct Page {
    pub epoch: i64,
    /// Retention took events up to here.
    pub dropped_through: i64,
    /// Every transaction with a lower number has ended; the events of those that committed are known here.
    pub horizon: i64,
    /// Whether transactions above the horizon have ended.
    pub holding: bool,
    pub events: Vec<Arrived>,
    /// Position and moment of each row, events or not.
    pub places: Vec<(i64, SystemTime)>,
    pub malformed: usize,
}

/// By how much a page of one event may take longer than others.
const PATIENCE_MAX: u32 = 32;

/// How much a page may hold, and how many times `answer_max` it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub events: usize,
    pub bytes: usize,
    pub patience: u32,
}

impl Bounds {
    pub(super) fn of(config: &PostgresConfig) -> Self {
        Self { events: config.batch_events_max, bytes: config.batch_bytes_max, patience: 1 }
    }

    /// Half as much; of one event, in twice the time.
    pub(super) fn halved(self) -> Self {
        match self.events {
            0 | 1 => Self { patience: (self.patience * 2).min(PATIENCE_MAX), ..self },
            events => Self { events: events / 2, bytes: (self.bytes / 2).max(1), ..self },
        }
    }

    /// Twice as much, up to `most`.
    pub(super) fn doubled(self, most: Self) -> Self {
        let twice = |bound: usize, most: usize| bound.saturating_mul(2).min(most);
        Self { events: twice(self.events, most.events), bytes: twice(self.bytes, most.bytes), ..most }
    }
}

/// The events after `$1` (position), at most as many and as large as the bounds say, and one at least. All of it is of
/// one snapshot: a horizon that is newer than the rows would pass over some. `order by` twice: what is joined has no
/// order. The bounds stand in the text: a plan for any number of rows would not be the one for a few.
pub(super) fn query(schema: &str, Bounds { events, bytes, .. }: Bounds) -> String {
    format!(
        "select meta.epoch, meta.dropped_through, now.horizon, now.horizon < now.top, page.position, page.created_at,
            page.channel, page.event_type, page.data::text, page.before::text, page.tenant_id, page.user_id,
            page.federation_service, page.federation_id, page.id
        from (
            select pg_snapshot_xmin(taken)::text::bigint as horizon, pg_snapshot_xmax(taken)::text::bigint as top
            from pg_current_snapshot() as taken
        ) as now
        cross join {schema}.meta as meta
        left join lateral (
            select * from (
                select sized.*, sum(sized.bytes) over (order by sized.position) - sized.bytes as bytes_before
                from (
                    select * from {schema}.outbox
                    where position > $1 and position < now.horizon << {PLACE_BITS}
                    order by position limit {events}
                ) as sized
            ) as bounded
            where bytes_before < {bytes}
        ) as page on true
        order by page.position"
    )
}

/// Where a reader begins that has read nothing: `$1` events before the horizon, or where retention ended; and the last
/// event before the horizon.
pub(super) fn start_query(schema: &str) -> String {
    let below = format!(
        "from {schema}.outbox
        where position < (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint << {PLACE_BITS})
        order by position desc"
    );
    format!(
        "select meta.epoch, coalesce(first.position, meta.dropped_through), first.created_at, last.position
        from {schema}.meta as meta
        left join (select position, created_at {below} offset $1 limit 1) as first
            on first.position > meta.dropped_through
        left join (select position {below} limit 1) as last on true"
    )
}

impl Page {
    pub(super) fn decode(rows: &[Row], limits: &Limits) -> Result<Self, Trouble> {
        let first =
            rows.first().ok_or_else(|| Trouble::Lost("the schema's row about itself is gone".into()))?;
        let mut page = Self {
            epoch: get(first, 0)?,
            dropped_through: get(first, 1)?,
            horizon: get(first, 2)?,
            holding: get(first, 3)?,
            events: Vec::with_capacity(rows.len()),
            places: Vec::with_capacity(rows.len()),
            malformed: 0,
        };
        for row in rows {
            let Some(position) = get::<Option<i64>>(row, 4)? else { break };
            page.places.push((position, get(row, 5)?));
            match arrived(row, position, limits) {
                Ok(event) => page.events.push(event),
                Err(_) => page.malformed += 1,
            }
        }
        Ok(page)
    }
}

/// The event of a row. One without a name gets its position for one: the same on every node.
fn arrived(row: &Row, position: i64, limits: &Limits) -> Result<Arrived, String> {
    let text = |index| row.try_get::<_, Option<&str>>(index).map_err(|error| error.to_string());
    let required = |index| text(index)?.ok_or_else(|| format!("column {index} is null"));
    let own = position.to_string();
    let event = WireEvent {
        channel: required(6)?,
        event_type: required(7)?,
        data: required(8)?.as_bytes(),
        before: text(9)?.map(str::as_bytes),
        tenant: text(10)?,
        user: text(11)?,
        federation_service: text(12)?,
        federation_id: text(13)?,
        id: text(14)?.unwrap_or(&own),
    };
    let event = event.event(limits).map_err(|error| error.to_string())?;
    Ok(Arrived { offset: position.unsigned_abs(), event })
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Trouble> {
    row.try_get(index).map_err(|error| Trouble::Lost(format!("an answer of another form: {error}")))
}
