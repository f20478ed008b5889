//! How rooms are held under the model checker: every interleaving and every allowed reordering, up to three
//! pre-emptions, a floor of executions (a model that explores one proves nothing), and twins that must fail.

use std::{
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Wake, Waker},
};

/// `model` holds without a bug, at `floor` executions or more, and fails with each of `bugs`.
pub(crate) fn proves<B: Copy + Debug + Send + Sync + 'static>(
    floor: usize,
    bugs: &[B],
    model: impl Fn(Option<B>) + Copy + Send + Sync + 'static,
) {
    let executions = explore(model, None);
    println!("{executions} executions explored");
    assert!(executions >= floor, "only {executions} executions explored");
    for &bug in bugs {
        let twin = catch_unwind(AssertUnwindSafe(|| explore(model, Some(bug))));
        assert!(twin.is_err(), "the seeded bug was not found: {bug:?}");
    }
}

fn explore<B: Copy + Send + Sync + 'static>(
    model: impl Fn(Option<B>) + Send + Sync + 'static,
    bug: Option<B>,
) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        model(bug);
    });
    executions.load(Relaxed)
}

/// Waits for threads of a model.
pub(crate) fn join(threads: impl IntoIterator<Item = loom::thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("loom ends a model whose thread panics");
    }
}

/// Counts wakes, unseen by loom: what orders them must be something else.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}
