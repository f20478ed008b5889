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
use pyo3::{prelude::*, types::PyTuple};

use crate::{
    core::closed,
    decode,
    encode::{self, Bounds},
    endings::Inside,
    errors::detached,
    lazy::Lazy,
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
    called: Lock<Option<Called>>,
    takes_info: bool,
    /// Seconds that it may take; `None`: as the settings say.
    pub(crate) timeout: Option<f64>,
    /// What Python wants to know of resolvers; nothing here looks at it.
    pub(crate) settings: Py<PyAny>,
    bounds: Bounds,
}

/// What is called, and the host's object of the connection that it is called for.
#[derive(Debug)]
struct Called {
    callable: Py<PyAny>,
    /// What the callable was made of: its address is an identity as long as it lives.
    #[expect(dead_code, reason = "kept alive")]
    given: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

impl Function {
    /// # Errors
    /// `EngineClosed` once the executor is closed.
    pub(crate) fn callable(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.called.lock().as_ref().map(|called| called.callable.clone_ref(py)).ok_or_else(closed)
    }

    fn context(&self, py: Python<'_>) -> Py<PyAny> {
        let called = self.called.lock();
        let context = called.as_ref().and_then(|called| called.context.as_ref());
        context.map_or_else(|| py.None(), |context| context.clone_ref(py))
    }

    fn let_go(&self) {
        let called = self.called.lock().take();
        drop(called);
    }

    /// What to call it with: the job's event and variables, and `info` if it wants it.
    pub(crate) fn arguments<'py>(
        &self,
        py: Python<'py>,
        job: &Job,
        loaders: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let event = decode::node(py, job.event().document().root())?;
        let variables = decode::tree(py, job.variables())?;
        if self.takes_info {
            let info = ResolverInfo {
                event_type: job.event().event_type().into(),
                channel: job.event().channel().into(),
                subscription_id: job.subscription().into(),
                variables: variables.clone().unbind(),
                context: self.context(py),
                loaders: loaders.unwrap_or_else(|| py.None()),
            };
            (event, variables, info).into_pyobject(py)
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
    /// The variables of the subscription.
    variables: Py<PyAny>,
    /// What `context=` of the application made for the connection; `None` without it.
    context: Py<PyAny>,
    /// Loaders that live as long as the batch of events that this one came in.
    loaders: Py<PyAny>,
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
    settings: Py<PyAny>,
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

/// A function, the address of the loop it runs on (0 is the thread), that of the host's context (0 is none), and the
/// bits of its timeout.
type Key = (Identity, usize, usize, Option<u64>);

/// A callable to be called for results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a, 'py> {
    pub(crate) callable: &'a Bound<'py, PyAny>,
    /// Where it runs, if it is async; `None`: on a private loop.
    pub(crate) lane: Option<&'a Arc<Lane>>,
    /// The host's object of the connection; whoever is not told of it shares results across connections.
    pub(crate) context: Option<&'a Py<PyAny>>,
    /// Seconds that it may take; `None`: as the settings say.
    pub(crate) timeout: Option<f64>,
}

impl Wanted<'_, '_> {
    fn key(&self, identity: Identity, place: usize, takes_info: bool) -> Key {
        let context = self.context.filter(|_| takes_info).map_or(0, |context| context.as_ptr() as usize);
        (identity, place, context, self.timeout.map(f64::to_bits))
    }
}

impl Known {
    fn get(&self, identity: Identity, wanted: &Wanted<'_, '_>) -> Option<Arc<Callback>> {
        let find = |place: usize, takes_info: bool| {
            let known = self.callbacks.get(&wanted.key(identity, place, takes_info))?.upgrade()?;
            // One that is told of the context is not for other connections.
            (wanted.context.is_none() || known.function.takes_info == takes_info).then_some(known)
        };
        let places = std::iter::once(0).chain(wanted.lane.map(address));
        places.flat_map(|place| [(place, true), (place, false)]).find_map(|(place, info)| find(place, info))
    }

    /// Of two threads that make the same callback the first one's is used by both.
    fn get_or_insert(
        &mut self,
        identity: Identity,
        wanted: &Wanted<'_, '_>,
        callback: Callback,
    ) -> Arc<Callback> {
        let place = match &callback.place {
            Place::Thread(_) => 0,
            Place::Loop(lane) => address(lane),
        };
        let key = wanted.key(identity, place, callback.function.takes_info);
        if let Some(known) = self.callbacks.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if self.callbacks.len() >= self.prune_at {
            self.callbacks.retain(|_, callback| callback.strong_count() > 0);
            self.prune_at = 64 + 2 * self.callbacks.len();
        }
        let callback = Arc::new(callback);
        self.callbacks.insert(key, Arc::downgrade(&callback));
        callback
    }
}

fn address(lane: &Arc<Lane>) -> usize {
    Arc::as_ptr(lane) as usize
}

impl Resolvers {
    /// `settings` is for the Python code that calls resolvers.
    pub(crate) fn new(bounds: Bounds, settings: Py<PyAny>) -> Self {
        Self { bounds, settings, known: Lock::default(), thread: Lock::new(None) }
    }

    /// The callback for a callable.
    ///
    /// # Errors
    /// `TypeError` for what is no resolver, and what the start of a thread raises.
    pub(crate) fn callback(&self, wanted: Wanted<'_, '_>) -> PyResult<Arc<Callback>> {
        static PREPARE: Lazy<PyAny> = Lazy::new();
        let Wanted { callable: given, lane, context, timeout } = wanted;
        let py = given.py();
        let _inside = Inside::enter()?;
        let identity = identity(given);
        if let Some(known) = self.known.lock().get(identity, &wanted) {
            return Ok(known);
        }
        let prepared = PREPARE.import(py, "coulis.resolvers", "prepare")?.call1((given,))?;
        let (is_async, takes_info, callable): (bool, bool, Py<PyAny>) = prepared.extract()?;
        let place = match (is_async, lane) {
            (false, _) => Place::Thread(self.queue(py)?),
            (true, Some(lane)) => Place::Loop(Arc::clone(lane)),
            (true, None) => Place::Loop(private_lane(py)?),
        };
        let context = context.filter(|_| takes_info).map(|context| context.clone_ref(py));
        let called = Called { callable, given: given.clone().unbind(), context };
        let function = Function {
            called: Lock::new(Some(called)),
            takes_info,
            timeout,
            settings: self.settings.clone_ref(py),
            bounds: self.bounds,
        };
        let callback = Callback { function: Arc::new(function), place };
        Ok(self.known.lock().get_or_insert(identity, &wanted, callback))
    }

    /// The queue of the resolver thread, which the first sync resolver starts.
    fn queue(&self, py: Python<'_>) -> PyResult<Queue> {
        static START: Lazy<PyAny> = Lazy::new();
        let (queue, jobs) = {
            let mut thread = self.thread.lock();
            if let Some(thread) = &*thread {
                return Ok(thread.queue.clone());
            }
            let (started, jobs) = ResolverThread::new();
            (thread.insert(started).queue.clone(), jobs)
        };
        let started = START
            .import(py, "coulis.workers", "start_thread")
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
    static READER: Lazy<PyAny> = Lazy::new();
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
    /// Tells that the calling thread runs resolvers, before it has waited.
    #[expect(clippy::unused_self, reason = "a method, as a thread knows its queue")]
    fn enter(&self) {
        IS_RESOLVER_THREAD.set(true);
    }

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
