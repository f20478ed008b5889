//! async-graphql: a subscription stream for each reader, fed by a broadcast channel, executed for each event and
//! serialised to the `next` message, in a task of its own as its WebSocket integrations do it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use ::async_graphql::{
    Context, EmptyMutation, Object, Request, Response, Schema, SimpleObject, Subscription,
};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, sync::broadcast, task};

use crate::{
    measure::{Stopwatch, System, Timed},
    work::{DOCUMENT, Work},
};

/// Channels are never fuller than a batch.
const CHANNEL_EVENTS: usize = 256;

#[derive(Deserialize, SimpleObject)]
#[serde(rename_all = "camelCase")]
struct Earthquake {
    id: String,
    mag: f64,
    place: String,
    title: String,
    location: Location,
}

#[derive(Deserialize, SimpleObject)]
#[serde(rename_all = "camelCase")]
struct Location {
    longitude: f64,
    latitude: f64,
    depth_km: f64,
}

#[derive(Clone)]
struct Published {
    tenant: Option<Arc<str>>,
    earthquake: Arc<Earthquake>,
}

struct Tenant(Option<String>);

struct Query;

#[Object]
impl Query {
    async fn version(&self) -> i32 {
        1
    }
}

struct Subscriptions(broadcast::Sender<Published>);

#[Subscription]
impl Subscriptions {
    async fn earthquakes(&self, context: &Context<'_>) -> impl Stream<Item = Arc<Earthquake>> + use<> {
        let tenant = context.data_opt::<Tenant>().and_then(|Tenant(tenant)| tenant.clone());
        stream::unfold((self.0.subscribe(), tenant), |(mut receiver, tenant)| async {
            loop {
                let event = receiver.recv().await.ok()?;
                if event.tenant.is_none() || event.tenant.as_deref() == tenant.as_deref() {
                    return Some((event.earthquake, (receiver, tenant)));
                }
            }
        })
    }
}

type Service = Schema<Query, EmptyMutation, Subscriptions>;

fn service() -> (Service, broadcast::Sender<Published>) {
    let (sender, _) = broadcast::channel(CHANNEL_EVENTS);
    (Schema::build(Query, EmptyMutation, Subscriptions(sender.clone())).finish(), sender)
}

/// A message of graphql-transport-ws.
#[derive(Serialize)]
struct Next<'a> {
    r#type: &'static str,
    id: &'a str,
    payload: &'a Response,
}

type Frames = Rc<RefCell<Vec<Vec<u8>>>>;

/// The service and its readers' tasks, on one thread.
pub struct AsyncGraphql {
    work: Rc<Work>,
    sender: broadcast::Sender<Published>,
    frames: Vec<Frames>,
    arrived: Rc<Cell<usize>>,
    in_flight: usize,
    next: usize,
    tasks: task::LocalSet,
    runtime: Runtime,
}

impl AsyncGraphql {
    pub fn new(work: &Rc<Work>, in_flight: usize) -> Self {
        let (service, sender) = service();
        let (tasks, arrived) = (task::LocalSet::new(), Rc::default());
        let subscribe = |subscription: usize| {
            let frames = Frames::default();
            let tenant = Tenant(work.tenant(subscription).map(String::from));
            let responses = service.execute_stream(Request::new(work.query(subscription)).data(tenant));
            let write = write(responses, subscription.to_string(), Rc::clone(&frames), Rc::clone(&arrived));
            tasks.spawn_local(write);
            frames
        };
        let frames = (0..work.subscriptions).map(subscribe).collect();
        let runtime = crate::runtime();
        let system =
            Self { work: Rc::clone(work), sender, frames, arrived, in_flight, next: 0, tasks, runtime };
        system.wait_for_receivers();
        system
    }

    /// A stream subscribes to the channel when it is first asked for something.
    fn wait_for_receivers(&self) {
        self.tasks.block_on(&self.runtime, async {
            while self.sender.receiver_count() < self.work.subscriptions {
                task::yield_now().await;
            }
        });
    }

    fn publish(&self, number: usize) {
        let tenant = self.work.tenant_of_event(number).map(Arc::from);
        let earthquake = serde_json::from_str(DOCUMENT).expect("an earthquake");
        let event = Published { tenant, earthquake: Arc::new(earthquake) };
        assert!(self.sender.send(event).is_ok(), "no receivers");
    }
}

async fn write(
    mut responses: impl Stream<Item = Response> + Unpin,
    id: String,
    frames: Frames,
    arrived: Rc<Cell<usize>>,
) {
    while let Some(payload) = responses.next().await {
        let next = Next { r#type: "next", id: &id, payload: &payload };
        frames.borrow_mut().push(serde_json::to_vec(&next).expect("JSON"));
        arrived.set(arrived.get() + 1);
    }
}

impl System for AsyncGraphql {
    fn name(&self) -> &'static str {
        "async-graphql"
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
            events.clone().for_each(|number| self.publish(number));
            // Those who do not want an event have to look at it as well.
            while self.arrived.get() < deliveries || !self.sender.is_empty() {
                task::yield_now().await;
            }
            start.stop()
        });
        let counts = self.frames.iter().enumerate().map(|(subscription, frames)| {
            let mut frames = frames.borrow_mut();
            frames.iter().for_each(|frame| self.work.check_frame(subscription, frame));
            frames.drain(..).count()
        });
        self.work.check_counts(&events, counts);
        Timed { events: events.len(), deliveries, publishing, reading: None }
    }
}

/// How long registering the queries takes: parsed, validated and polled until it waits for its first event.
pub fn registration(queries: &[String]) -> Duration {
    let (service, sender) = service();
    let requests: Vec<_> = queries.iter().map(Request::new).collect();
    let mut streams = Vec::with_capacity(queries.len());
    let start = Instant::now();
    for request in requests {
        let mut stream = service.execute_stream(request).boxed_local();
        assert!(stream.next().now_or_never().is_none(), "nothing was published");
        streams.push(stream);
    }
    let spent = start.elapsed();
    assert_eq!(sender.receiver_count(), queries.len());
    spent
}
