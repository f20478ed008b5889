//! tokio's broadcast channel with a task for each receiver: no filter, no GraphQL, no body of its own for anyone.
//! It does less than the others, which is in its favour.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use tokio::{runtime::Runtime, sync::broadcast, task};

use crate::{
    measure::{Stopwatch, System, Timed},
    work::{DOCUMENT, Work},
};

type Kept = Rc<RefCell<Vec<Arc<[u8]>>>>;

/// A channel, and for each subscription a task that keeps what it receives; one thread.
pub struct Broadcast {
    work: Rc<Work>,
    sender: broadcast::Sender<Arc<[u8]>>,
    kept: Vec<Kept>,
    arrived: Rc<Cell<usize>>,
    in_flight: usize,
    next: usize,
    tasks: task::LocalSet,
    runtime: Runtime,
}

impl Broadcast {
    pub fn new(work: &Rc<Work>, in_flight: usize) -> Self {
        let (sender, _) = broadcast::channel(in_flight);
        let (tasks, arrived) = (task::LocalSet::new(), Rc::default());
        let receive = |_| {
            let kept = Kept::default();
            tasks.spawn_local(keep(sender.subscribe(), Rc::clone(&kept), Rc::clone(&arrived)));
            kept
        };
        let kept = (0..work.subscriptions).map(receive).collect();
        let runtime = crate::runtime();
        Self { work: Rc::clone(work), sender, kept, arrived, in_flight, next: 0, tasks, runtime }
    }
}

async fn keep(mut receiver: broadcast::Receiver<Arc<[u8]>>, kept: Kept, arrived: Rc<Cell<usize>>) {
    while let Ok(event) = receiver.recv().await {
        kept.borrow_mut().push(event);
        arrived.set(arrived.get() + 1);
    }
}

impl System for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn batch(&mut self) -> Timed {
        let events = self.next..self.next + self.in_flight;
        self.next = events.end;
        let deliveries = self.work.deliveries(&events);
        self.arrived.set(0);
        let publishing = self.tasks.block_on(&self.runtime, async {
            let start = Stopwatch::start();
            for _ in events.clone() {
                self.sender.send(DOCUMENT.as_bytes().into()).expect("receivers");
            }
            while self.arrived.get() < deliveries {
                task::yield_now().await;
            }
            start.stop()
        });
        let counts = self.kept.iter().map(|kept| {
            let mut kept = kept.borrow_mut();
            assert!(kept.iter().all(|event| **event == *DOCUMENT.as_bytes()));
            kept.drain(..).count()
        });
        self.work.check_counts(&events, counts);
        Timed { events: events.len(), deliveries, publishing, reading: None }
    }
}
