//! `LoopReader`: what one event loop reads from the engine, behind one file descriptor.
//!
//! Threads of the engine never touch the interpreter: they put what happened into queues and ring the bell, at most
//! once until the loop has looked. The loop then takes everything in one call.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

use coulis::{
    engine::{Job, PublishError, Receipt},
    event::Event,
    notifier::Mailbox,
    payload::Payload,
};
use pyo3::{
    prelude::*,
    types::{PyString, PyTuple},
};

use crate::{
    core::{Attributes, Core, publish_error},
    doorbell::Doorbell,
    errors::{CoulisError, QueueFull, guarded},
    executor::SubscriptionExecutor,
    forks::Native,
    lock::Lock,
    resolver::{Function, JOBS_MAX, Task},
};

/// Publishes of one loop that wait for their report.
const PUBLISHES_MAX: usize = 65_536;
/// Texts of one body that are kept for other connections.
const TEXTS_MAX: usize = 64;
/// Bodies whose texts are kept, until the loop looks again or there are so many.
const BODIES_MAX: usize = 256;

/// The part of a reader that threads of the engine hold.
#[derive(Debug)]
pub(crate) struct Lane {
    bell: Arc<Doorbell>,
    pub(crate) mailbox: Arc<Mailbox>,
    jobs: (flume::Sender<Task>, flume::Receiver<Task>),
    finished: (flume::Sender<u64>, flume::Receiver<u64>),
    publishes: Lock<HashMap<u64, Publish>>,
    numbered: AtomicU64,
    closed: AtomicBool,
    texts: Lock<Texts>,
}

/// A publish that a task of the loop awaits.
#[derive(Debug)]
struct Publish {
    future: Py<PyAny>,
    receipt: Receipt,
}

/// Texts by body, then by id.
type Texts = HashMap<usize, (Payload, HashMap<Box<str>, Py<PyString>>)>;

/// Wakes the loop when one publish is done.
struct Finished {
    lane: Arc<Lane>,
    number: u64,
}

impl Wake for Finished {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    // The queue is as long as there are publishes at most, so there is room.
    fn wake_by_ref(self: &Arc<Self>) {
        let _full = self.lane.finished.0.try_send(self.number);
        self.lane.mailbox.nudge();
    }
}

impl Lane {
    fn new() -> std::io::Result<Self> {
        let bell = Arc::new(Doorbell::new()?);
        Ok(Self {
            mailbox: Mailbox::new(Waker::from(Arc::clone(&bell))),
            bell,
            jobs: flume::bounded(JOBS_MAX),
            finished: flume::bounded(PUBLISHES_MAX),
            publishes: Lock::default(),
            numbered: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            texts: Lock::default(),
        })
    }

    /// Takes a job for the loop over, from a thread of the engine.
    pub(crate) fn offer(&self, task: Task) -> Result<(), Task> {
        if self.closed.load(Ordering::Acquire) {
            return Err(task);
        }
        self.jobs.0.try_send(task).map_err(flume::TrySendError::into_inner)?;
        self.mailbox.nudge();
        Ok(())
    }

    /// Sets `future` when everything about an accepted event is done.
    pub(crate) fn finish(self: &Arc<Self>, future: Py<PyAny>, receipt: Receipt) {
        let number = self.numbered.fetch_add(1, Ordering::Relaxed);
        let waker = Waker::from(Arc::new(Finished { lane: Arc::clone(self), number }));
        let mut publishes = self.publishes.lock();
        receipt.on_done(waker);
        publishes.insert(number, Publish { future, receipt });
    }

    /// # Errors
    /// `QueueFull` when so many publishes wait that their ends might not fit the queue.
    pub(crate) fn check_room(&self) -> PyResult<()> {
        if self.publishes.lock().len() < PUBLISHES_MAX {
            return Ok(());
        }
        Err(QueueFull::new_err(format!("{PUBLISHES_MAX} publishes of this loop wait: await some of them")))
    }

    /// The text of a `next` message, made once for all connections of this loop that use the same id.
    pub(crate) fn text<'py>(
        &self,
        py: Python<'py>,
        id: &str,
        payload: &Payload,
        write: impl FnOnce() -> Vec<u8>,
    ) -> PyResult<Bound<'py, PyString>> {
        let body = payload.body().as_ptr() as usize;
        let known =
            self.texts.lock().get(&body).and_then(|(_, texts)| texts.get(id).map(|text| text.clone_ref(py)));
        if let Some(text) = known {
            return Ok(text.into_bound(py));
        }
        let text = Self::own_text(py, write())?;
        if self.texts.lock().len() >= BODIES_MAX {
            self.forget_texts();
        }
        let mut bodies = self.texts.lock();
        let (_, texts) = bodies.entry(body).or_insert_with(|| (payload.clone(), HashMap::new()));
        if texts.len() < TEXTS_MAX {
            texts.insert(id.into(), text.clone().unbind());
        }
        Ok(text)
    }

    fn forget_texts(&self) {
        let texts = std::mem::take(&mut *self.texts.lock());
        drop(texts);
    }

    /// The text of a message that no other connection gets.
    pub(crate) fn own_text(py: Python<'_>, message: Vec<u8>) -> PyResult<Bound<'_, PyString>> {
        let text = String::from_utf8(message).map_err(|_| CoulisError::new_err("a message is not UTF-8"))?;
        Ok(PyString::new(py, &text))
    }

    fn take_finished(&self) -> Vec<(Py<PyAny>, u64)> {
        let mut publishes = self.publishes.lock();
        let taken: Vec<_> =
            self.finished.1.try_iter().filter_map(|number| publishes.remove(&number)).collect();
        drop(publishes);
        taken.into_iter().map(|Publish { future, receipt }| (future, receipt.report().delivered)).collect()
    }
}

/// What one event loop reads from the engine: watch `fileno()`, and call `poll()` when it is readable.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct LoopReader(Arc<Lane>);

impl LoopReader {
    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.0
    }
}

#[pymethods]
impl LoopReader {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self(Arc::new(Lane::new()?)))
    }

    /// The descriptor to watch; it lives as long as the reader.
    fn fileno(&self) -> i32 {
        self.0.bell.fileno()
    }

    /// What happened: the tokens of subscribers that have messages, the futures of finished publishes with their
    /// deliveries, and whether resolver jobs wait.
    #[expect(clippy::type_complexity, reason = "a tuple for one caller")]
    fn poll(&self) -> (Vec<u64>, Vec<(Py<PyAny>, u64)>, bool) {
        let lane = &self.0;
        lane.forget_texts();
        lane.bell.clear();
        let mut tokens = Vec::new();
        lane.mailbox.ready(|token| tokens.push(token));
        (tokens, lane.take_finished(), !lane.jobs.1.is_empty())
    }

    /// Publishes, and has `poll` name `future` when everything about the event is done.
    ///
    /// Answers the deliveries if it is done already, `None` if `future` is to be awaited, and a `PendingPublish` if
    /// the engine has no room now, or follows a bus.
    #[pyo3(signature = (executor, future, event_type, channel, data, *, tenant_id=None, user_id=None, before=None,
        federation_id=None, federation_service=None, event_id=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn publish<'py>(
        &self,
        py: Python<'py>,
        executor: &SubscriptionExecutor,
        future: Py<PyAny>,
        event_type: &str,
        channel: &str,
        data: &Bound<'_, PyAny>,
        tenant_id: Option<&Bound<'_, PyAny>>,
        user_id: Option<&Bound<'_, PyAny>>,
        before: Option<&Bound<'_, PyAny>>,
        federation_id: Option<&Bound<'_, PyAny>>,
        federation_service: Option<&Bound<'_, PyAny>>,
        event_id: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.0.check_room()?;
        let core = executor.core()?;
        let attributes =
            Attributes { tenant_id, user_id, before, federation_id, federation_service, event_id };
        let event = core.event(event_type, channel, data, &attributes)?;
        match guarded(|| core.publish_at_once(event))? {
            Ok(None) => Ok(0_u64.into_pyobject(py)?.into_any()),
            Ok(Some(receipt)) if receipt.is_done() => {
                Ok(receipt.report().delivered.into_pyobject(py)?.into_any())
            }
            Ok(Some(receipt)) => {
                self.0.finish(future, receipt);
                Ok(py.None().into_bound(py))
            }
            Err(PublishError::Full(event)) => {
                let event = Lock::new(Some(event));
                let (core, lane) = (Arc::clone(core), Arc::clone(&self.0));
                let pending = PendingPublish { core: Native::new(core), lane, future, event };
                Ok(Bound::new(py, pending)?.into_any())
            }
            Err(error) => Err(publish_error(py, error)),
        }
    }

    /// Up to `limit` resolver jobs that wait.
    fn take_jobs(&self, limit: usize) -> Vec<ResolverJob> {
        let taken = self.0.jobs.1.try_iter().take(limit);
        taken.map(ResolverJob::new).collect()
    }

    /// Takes no more jobs; those that wait are answered with an error.
    fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.jobs.1.drain().for_each(drop);
    }
}

impl Drop for LoopReader {
    fn drop(&mut self) {
        self.close();
    }
}

/// An event that is not published at once: the engine has no room, or it goes to a bus.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct PendingPublish {
    core: Native<Arc<Core>>,
    lane: Arc<Lane>,
    future: Py<PyAny>,
    event: Lock<Option<Box<Event>>>,
}

#[pymethods]
impl PendingPublish {
    /// Publishes, waiting for room or for the bus. `False`: nothing more comes of it, and the future stays as it is. Call
    /// it outside the loop's thread, once.
    fn publish(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(event) = self.event.lock().take() else { return Ok(false) };
        let receipt = self.core.get()?.publish_later(py, *event)?;
        let Some(receipt) = receipt else { return Ok(false) };
        self.lane.finish(self.future.clone_ref(py), receipt);
        Ok(true)
    }
}

/// One result to be made by a resolver. A job that is dropped is answered with an error.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct ResolverJob {
    function: Arc<Function>,
    /// `None` once answered.
    job: Lock<Option<Job>>,
}

#[pymethods]
impl ResolverJob {
    /// The callable; raises `EngineClosed` once its executor is closed.
    #[getter]
    fn resolver(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.function.callable(py)
    }

    /// What the executor was told about resolvers.
    #[getter]
    fn settings(&self, py: Python<'_>) -> Py<PyAny> {
        self.function.settings.clone_ref(py)
    }

    /// Seconds that the resolver may take; `None`: as the settings say.
    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.function.timeout
    }

    /// What to call the resolver with.
    #[pyo3(signature = (loaders=None))]
    fn arguments<'py>(&self, py: Python<'py>, loaders: Option<Py<PyAny>>) -> PyResult<Bound<'py, PyTuple>> {
        let job = self.take()?;
        let arguments = self.function.arguments(py, &job, loaders);
        *self.job.lock() = Some(job);
        arguments
    }

    /// Answers with the resolver's result; `TypeError` or `ValueError` if it has no JSON form.
    fn answer(&self, result: &Bound<'_, PyAny>) -> PyResult<()> {
        let answer = match self.function.callable(result.py()) {
            Ok(_) => Ok(self.function.encode(result)?),
            Err(closed) => Err(closed.to_string()),
        };
        self.take()?.answer(answer);
        Ok(())
    }

    /// Answers with a message that the client may see.
    fn fail(&self, message: String) -> PyResult<()> {
        self.take()?.answer(Err(message));
        Ok(())
    }
}

impl ResolverJob {
    pub(crate) fn new(Task { function, job }: Task) -> Self {
        Self { function, job: Lock::new(Some(job)) }
    }

    fn take(&self) -> PyResult<Job> {
        self.job.lock().take().ok_or_else(answered)
    }
}

fn answered() -> PyErr {
    CoulisError::new_err("the job is answered already")
}
