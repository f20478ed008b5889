//! The verbs of publishing, to the engine or to the bus that it follows.

use std::collections::{HashSet, VecDeque};

use coulis::{
    bus::BusError as Refused,
    engine::{PublishError, Receipt},
    event::Event,
};
use pyo3::prelude::*;

use crate::{
    core::{Core, publish_error, publish_many_error},
    errors::{bus_error, detached, guarded},
    resolver::on_resolver_thread,
};

/// Ids of events that are remembered where there is no bus to do so.
const IDS_MAX: usize = 100_000;

/// Events with an id that were published, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Published {
    ids: HashSet<Box<str>>,
    order: VecDeque<Box<str>>,
}

impl Published {
    /// Whether an event of this id comes for the first time.
    fn is_first(&mut self, id: &str) -> bool {
        let first = self.ids.insert(id.into());
        if first {
            self.order.push_back(id.into());
        }
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        first
    }

    /// An event of this id was not published after all.
    fn forget(&mut self, id: &str) {
        self.ids.remove(id);
        if let Some(place) = self.order.iter().rposition(|known| **known == *id) {
            self.order.remove(place);
        }
    }
}

impl Core {
    /// Publishes an event unless one of its id was published before; one that is refused may come again. With a bus that
    /// is for the bus to say.
    fn once<T, E>(&self, event: Event, publish: impl FnOnce(Event) -> Result<T, E>) -> Result<Option<T>, E> {
        let Some(id) = event.id().filter(|_| self.node.is_none()).map(Box::<str>::from) else {
            return publish(event).map(Some);
        };
        if !self.published.lock().is_first(&id) {
            return Ok(None);
        }
        let published = publish(event);
        if published.is_err() {
            self.published.lock().forget(&id);
        }
        published.map(Some)
    }

    /// Publishes and waits until every delivery that needs no async resolver is readable; answers how many. On a thread
    /// that runs resolvers it does not wait: it may be the one that is waited for.
    pub(crate) fn publish(&self, py: Python<'_>, event: Event) -> PyResult<u64> {
        let wait = !on_resolver_thread();
        let publish = |event| match &self.node {
            None => detached(py, || self.engine.publish(event).map(|receipt| delivered(&receipt, wait)))?
                .map_err(|error| publish_error(py, error)),
            Some(node) if wait => detached(py, || node.publish(&event))?
                .map(|receipt| receipt.map_or(0, |receipt| receipt.report().delivered))
                .map_err(|error| bus_error(py, &error)),
            Some(node) => {
                detached(py, || node.bus().publish(&event))?.map(|_| 0).map_err(|error| bus_error(py, &error))
            }
        };
        self.once(event, publish).map(Option::unwrap_or_default)
    }

    /// Publishes without waiting for anything.
    pub(crate) fn publish_nowait(&self, py: Python<'_>, event: Event) -> PyResult<()> {
        let publish = |event| match &self.node {
            None => guarded(|| self.engine.try_publish(event))?
                .map(drop)
                .map_err(|error| publish_error(py, error)),
            Some(node) => guarded(|| node.bus().enqueue(&event))?.map_err(|error| bus_error(py, &error)),
        };
        self.once(event, publish).map(drop)
    }

    /// Publishes in order and waits for all; answers each one's deliveries.
    pub(crate) fn publish_many(&self, py: Python<'_>, events: Vec<Event>) -> PyResult<Vec<u64>> {
        let wait = !on_resolver_thread();
        let Some(node) = &self.node else {
            return detached(py, || {
                let receipts = self.engine.publish_many(events)?;
                Ok(receipts.iter().map(|receipt| delivered(receipt, wait)).collect())
            })?
            .map_err(|error| publish_many_error(py, &error));
        };
        let answers: Vec<Result<u64, Refused>> = detached(py, || {
            if wait {
                let receipts = node.publish_many(&events).into_iter();
                receipts.map(|receipt| Ok(receipt?.map_or(0, |receipt| receipt.report().delivered))).collect()
            } else {
                node.bus().publish_many(&events).into_iter().map(|accepted| accepted.map(|_| 0)).collect()
            }
        })?;
        let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
        let all = answers.len();
        answers.into_iter().collect::<Result<_, _>>().map_err(|error| {
            let reason = format!("{accepted} of {all} events were accepted: {error}");
            bus_error(py, &Refused { reason, ..error })
        })
    }

    /// Publishes for a loop, which is not to be blocked.
    pub(crate) fn publish_at_once(&self, event: Event) -> Result<Option<Receipt>, PublishError> {
        if self.node.is_some() {
            // The bus takes its time: for a thread that may wait.
            return Err(PublishError::Full(Box::new(event)));
        }
        self.once(event, |event| self.engine.try_publish(event))
    }

    /// The same, waiting. `None`: nothing more comes of it here.
    pub(crate) fn publish_later(&self, py: Python<'_>, event: Event) -> PyResult<Option<Receipt>> {
        let publish = |event| match &self.node {
            None => detached(py, || self.engine.publish(event))?
                .map(Some)
                .map_err(|error| publish_error(py, error)),
            Some(node) => detached(py, || node.publish(&event))?.map_err(|error| bus_error(py, &error)),
        };
        self.once(event, publish).map(Option::flatten)
    }
}

fn delivered(receipt: &Receipt, wait: bool) -> u64 {
    let report = if wait { receipt.wait() } else { receipt.report() };
    report.delivered
}
