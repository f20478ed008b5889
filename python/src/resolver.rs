//! Resolvers: Python callables that make results, called off the shard threads.
//!
//! A shard hands a job over and goes on. Sync resolvers run on one thread of the executor, which attaches to the
//! interpreter once for a batch; async ones run on an event loop, which [`crate::reader`] wakes. Both queues are
//! bounded; what finds no room is a failed delivery, not a wait. A failure is answered with a message and never
//! with data of the event.
//!
//! Why Python's own code calls them, on a thread of Python: before 3.14 an interpreter that ends takes down the
//! threads that want it by unwinding their stacks, which aborts the process if it meets code of Rust on the way.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use coulis::engine::{Job, Resolve};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyTuple};

use crate::{
    core::closed,
    decode,
    encode::{self, Bounds},
    errors::detached,
    lock::Lock,
    reader::{Lane, ResolverJob},
};

/// Jobs that wait for one resolver thread or one event loop.
pub(crate) const JOBS_MAX: usize = 65_536;
/// Jobs that a resolver thread does before it lets go of the interpreter.
const BATCH_JOBS_MAX: usize = 256;
/// How long `close` waits for a resolver that does not return.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);

thread_local! {
    static IS_RESOLVER_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs sync resolvers: it must not wait for the result of one.
pub(crate) fn on_resolver_thread() -> bool {
    IS_RESOLVER_THREAD.get()
}

/// A callable and how it wants to be called.
#[derive(Debug)]
pub(crate) struct Function {
    /// `None` once the executor is closed: a resolver that knows its executor must not keep it for ever.
    callable: Lock<Option<Py<PyAny>>>,
    takes_info: bool,
    bounds: Bounds,
}

impl Function {
    /// # Errors
    /// `EngineClosed` once the executor is closed.
    pub(crate) fn callable(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.callable.lock().as_ref().map(|callable| callable.clone_ref(py)).ok_or_else(closed)
    }

    fn let_go(&self) {
        let callable = self.callable.lock().take();
        drop(callable);
    }

    /// What to call it with: the job's event and variables, and `info` if it wants it.
    pub(crate) fn arguments<'py>(&self, py: Python<'py>, job: &Job) -> PyResult<Bound<'py, PyTuple>> {
        let event = decode::node(py, job.event().document().root())?;
        let variables = decode::tree(py, job.variables())?;
        if self.takes_info {
            (event, variables, ResolverInfo::of(job)).into_pyobject(py)
        } else {
            (event, variables).into_pyobject(py)
        }
    }

    /// The JSON text of a result.
    pub(crate) fn encode(&self, result: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        encode::encode("result", result, self.bounds)
    }
}

/// What a resolver may know beside the event and the variables.
#[pyclass(frozen, get_all, module = "coulis")]
#[derive(Debug)]
pub(crate) struct ResolverInfo {
    /// The event's type.
    event_type: String,
    /// The event's channel.
    channel: String,
    /// The id of the first of the subscriptions that get this result.
    subscription_id: String,
}

impl ResolverInfo {
    fn of(job: &Job) -> Self {
        Self {
            event_type: job.event().event_type().into(),
            channel: job.event().channel().into(),
            subscription_id: job.subscription().into(),
        }
    }
}

/// A function with the place where it runs: what the engine knows a resolver by.
#[derive(Debug)]
pub(crate) struct Callback {
    function: Arc<Function>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Thread(Queue),
    Loop(Arc<Lane>),
}

impl Resolve for Callback {
    fn resolve(&self, job: Job) -> Result<(), Job> {
        let task = Task { function: Arc::clone(&self.function), job };
        match &self.place {
            Place::Thread(queue) => match queue.try_send(Order::Do(task)) {
                Err(
                    flume::TrySendError::Full(Order::Do(task))
                    | flume::TrySendError::Disconnected(Order::Do(task)),
                ) => Err(task.job),
                _ => Ok(()),
            },
            Place::Loop(lane) => lane.offer(task).map_err(|refused| refused.job),
        }
    }

    fn is_async(&self) -> bool {
        matches!(self.place, Place::Loop(_))
    }
}

/// A job and the function that does it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) function: Arc<Function>,
    pub(crate) job: Job,
}

/// The resolvers of one executor.
#[derive(Debug)]
pub(crate) struct Resolvers {
    bounds: Bounds,
    known: Lock<Known>,
    thread: Lock<Option<ResolverThread>>,
}

/// The callbacks that are in use, by what makes two of them the same; subscriptions share results only through the
/// same callback.
#[derive(Debug, Default)]
struct Known {
    callbacks: HashMap<Key, Weak<Callback>>,
    /// Dead entries are removed when there are this many entries.
    prune_at: usize,
}

/// The addresses of a function and of the object it is bound to. They are not reused while the callback, which holds
/// both, lives.
type Identity = (usize, usize);

/// A function, and the address of the loop it runs on; 0 is the thread.
type Key = (Identity, usize);

impl Known {
    fn get(&self, identity: Identity, lane: Option<&Arc<Lane>>) -> Option<Arc<Callback>> {
        let find = |place: usize| self.callbacks.get(&(identity, place)).and_then(Weak::upgrade);
        find(0).or_else(|| find(address(lane?)))
    }

    /// Of two threads that make the same callback the first one's is used by both.
    fn get_or_insert(&mut self, identity: Identity, callback: Callback) -> Arc<Callback> {
        let place = match &callback.place {
            Place::Thread(_) => 0,
            Place::Loop(lane) => address(lane),
        };
        if let Some(known) = self.callbacks.get(&(identity, place)).and_then(Weak::upgrade) {
            return known;
        }
        if self.callbacks.len() >= self.prune_at {
            self.callbacks.retain(|_, callback| callback.strong_count() > 0);
            self.prune_at = 64 + 2 * self.callbacks.len();
        }
        let callback = Arc::new(callback);
        self.callbacks.insert((identity, place), Arc::downgrade(&callback));
        callback
    }
}

fn address(lane: &Arc<Lane>) -> usize {
    Arc::as_ptr(lane) as usize
}

impl Resolvers {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, known: Lock::default(), thread: Lock::new(None) }
    }

    /// The callback for `callable`; async ones run on `lane`, or on a private loop.
    ///
    /// # Errors
    /// `TypeError` for what is no resolver, and what the start of a thread raises.
    pub(crate) fn callback(
        &self,
        callable: &Bound<'_, PyAny>,
        lane: Option<&Arc<Lane>>,
    ) -> PyResult<Arc<Callback>> {
        static CHECK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = callable.py();
        let identity = identity(callable);
        if let Some(known) = self.known.lock().get(identity, lane) {
            return Ok(known);
        }
        let (is_async, takes_info) =
            CHECK.import(py, "coulis.resolvers", "check_resolver")?.call1((callable,))?.extract()?;
        let place = match (is_async, lane) {
            (false, _) => Place::Thread(self.queue(py)?),
            (true, Some(lane)) => Place::Loop(Arc::clone(lane)),
            (true, None) => Place::Loop(private_lane(py)?),
        };
        let callable = Lock::new(Some(callable.clone().unbind()));
        let function = Arc::new(Function { callable, takes_info, bounds: self.bounds });
        Ok(self.known.lock().get_or_insert(identity, Callback { function, place }))
    }

    /// The queue of the resolver thread, which the first sync resolver starts.
    fn queue(&self, py: Python<'_>) -> PyResult<Queue> {
        static START: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let (queue, jobs) = {
            let mut thread = self.thread.lock();
            if let Some(thread) = &*thread {
                return Ok(thread.queue.clone());
            }
            let (started, jobs) = ResolverThread::new();
            (thread.insert(started).queue.clone(), jobs)
        };
        let started = START
            .import(py, "coulis.resolvers", "start_thread")
            .and_then(|start| start.call1((Bound::new(py, jobs)?,)));
        if let Err(error) = started {
            drop(self.thread.lock().take());
            return Err(error);
        }
        Ok(queue)
    }

    /// Lets go of all callables. Call it after `close`.
    pub(crate) fn let_go(&self) {
        let known = std::mem::take(&mut self.known.lock().callbacks);
        known.values().filter_map(Weak::upgrade).for_each(|callback| callback.function.let_go());
    }

    /// Stops the resolver thread and waits for it, unless a resolver is calling. Call it without the interpreter.
    pub(crate) fn close(&self) {
        let stopped = self.thread.lock().take();
        if let Some(thread) = stopped {
            thread.stop();
            if !on_resolver_thread() {
                let _over_or_late = thread.ended.recv_timeout(STOP_WAIT_MAX);
            }
        }
    }
}

impl Drop for Resolvers {
    // Without a join: whoever drops the last executor may hold the interpreter, which the thread needs to end.
    fn drop(&mut self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.stop();
        }
    }
}

fn identity(callable: &Bound<'_, PyAny>) -> Identity {
    let address = |name: &str| callable.getattr(name).ok().map(|part| part.as_ptr() as usize);
    // A bound method is a new object each time it is looked up.
    match (address("__func__"), address("__self__")) {
        (Some(function), Some(object)) => (function, object),
        _ => (callable.as_ptr() as usize, 0),
    }
}

fn private_lane(py: Python<'_>) -> PyResult<Arc<Lane>> {
    static READER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let reader = READER.import(py, "coulis.loops", "private_reader")?.call0()?;
    Ok(Arc::clone(reader.cast::<crate::reader::LoopReader>()?.get().lane()))
}

/// What a resolver thread is told.
#[derive(Debug)]
enum Order {
    Do(Task),
    /// Look whether to stop.
    Look,
}

type Queue = flume::Sender<Order>;

/// The engine's side of the thread on which the sync resolvers of one executor run, one after the other.
#[derive(Debug)]
struct ResolverThread {
    queue: Queue,
    stopping: Arc<AtomicBool>,
    /// Disconnected when the thread has ended.
    ended: flume::Receiver<()>,
}

impl ResolverThread {
    fn new() -> (Self, JobQueue) {
        let (queue, orders) = flume::bounded(JOBS_MAX);
        let (ends, ended) = flume::bounded(1);
        let stopping = Arc::new(AtomicBool::new(false));
        let jobs = JobQueue { orders, stopping: Arc::clone(&stopping), ends: Lock::new(Some(ends)) };
        (Self { queue, stopping, ended }, jobs)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // In a full queue is enough to look at already.
        let _full = self.queue.try_send(Order::Look);
    }
}

/// The thread's side: where it waits for jobs. What is left in it when the thread ends is answered with an error.
#[pyclass(frozen, module = "coulis._coulis")]
#[derive(Debug)]
pub(crate) struct JobQueue {
    orders: flume::Receiver<Order>,
    stopping: Arc<AtomicBool>,
    /// Taken when the thread ends. Its drop alone would not do: a traceback in somebody's log keeps the queue.
    ends: Lock<Option<flume::Sender<()>>>,
}

#[pymethods]
impl JobQueue {
    /// Waits for jobs and answers a batch of them; none means that the thread is to end.
    fn wait(&self, py: Python<'_>) -> PyResult<Vec<ResolverJob>> {
        IS_RESOLVER_THREAD.set(true);
        let batch = detached(py, || {
            let first = self.orders.recv().ok().filter(|_| !self.stopping.load(Ordering::Acquire));
            let rest = self.orders.try_iter().take(BATCH_JOBS_MAX - 1);
            first.map_or_else(Vec::new, |first| std::iter::once(first).chain(rest).collect())
        })?;
        let jobs: Vec<_> = batch
            .into_iter()
            .filter_map(|order| match order {
                Order::Do(task) => Some(ResolverJob::new(task)),
                Order::Look => None,
            })
            .collect();
        if jobs.is_empty() {
            drop(self.ends.lock().take());
        }
        Ok(jobs)
    }
}
