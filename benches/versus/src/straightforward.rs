//! The design that comes to mind first: a map of subscriptions, a loop over all of them for each event, each result
//! serialised for its subscription and pushed into a queue behind a mutex.

use std::{collections::VecDeque, rc::Rc, sync::Arc};

use dashmap::DashMap;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::{runtime::Runtime, sync::Mutex};

use crate::{
    measure::{Stopwatch, System, Timed},
    work::{CHANNEL, DOCUMENT, EVENT_TYPE, Work},
};

/// As an async service has it, on a runtime of one thread. Its projections are compiled when it subscribes.
pub struct Straightforward {
    work: Rc<Work>,
    runtime: Runtime,
    subscriptions: DashMap<usize, Arc<Subscription>>,
    in_flight: usize,
    next: usize,
}

struct Subscription {
    channel: String,
    event_type: String,
    tenant: Option<String>,
    fields: Vec<Field>,
    queue: Mutex<VecDeque<Vec<u8>>>,
}

/// One field of a selection set.
struct Field {
    response_key: String,
    name: &'static str,
    selection: Vec<Field>,
}

struct Event {
    channel: &'static str,
    event_type: &'static str,
    tenant: Option<String>,
    document: Value,
}

impl Straightforward {
    pub fn new(work: &Rc<Work>, in_flight: usize) -> Self {
        let subscriptions = DashMap::new();
        for number in 0..work.subscriptions {
            let subscription = Subscription {
                channel: CHANNEL.into(),
                event_type: EVENT_TYPE.into(),
                tenant: work.tenant(number).map(String::from),
                fields: fields(work.magnitude_key(number)),
                queue: Mutex::default(),
            };
            subscriptions.insert(number, Arc::new(subscription));
        }
        Self { work: Rc::clone(work), runtime: crate::runtime(), subscriptions, in_flight, next: 0 }
    }

    async fn publish(&self, number: usize) {
        let event = Event {
            channel: CHANNEL,
            event_type: EVENT_TYPE,
            tenant: self.work.tenant_of_event(number).map(String::from),
            document: serde_json::from_str(DOCUMENT).expect("JSON"),
        };
        // To its favour: futures are made for those that match, not for all.
        let matching: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.wants(&event))
            .map(|subscription| Arc::clone(&subscription))
            .collect();
        join_all(matching.iter().map(|subscription| subscription.deliver(&event))).await;
    }
}

impl Subscription {
    fn wants(&self, event: &Event) -> bool {
        self.channel == event.channel
            && self.event_type == event.event_type
            && (event.tenant.is_none() || event.tenant == self.tenant)
    }

    async fn deliver(&self, event: &Event) {
        let result = json!({ "data": { self.channel.as_str(): project(&self.fields, &event.document) } });
        let body = serde_json::to_vec(&result).expect("JSON");
        self.queue.lock().await.push_back(body);
    }
}

fn project(fields: &[Field], value: &Value) -> Value {
    let pair = |field: &Field| {
        let value = &value[field.name];
        let value = if field.selection.is_empty() { value.clone() } else { project(&field.selection, value) };
        (field.response_key.clone(), value)
    };
    Value::Object(fields.iter().map(pair).collect::<Map<_, _>>())
}

/// The projection of [`crate::work::query`].
fn fields(magnitude_key: String) -> Vec<Field> {
    let leaf = |response_key: String, name| Field { response_key, name, selection: Vec::new() };
    vec![
        leaf("id".into(), "id"),
        leaf(magnitude_key, "mag"),
        leaf("place".into(), "place"),
        Field { selection: vec![leaf("depthKm".into(), "depthKm")], ..leaf("location".into(), "location") },
    ]
}

impl System for Straightforward {
    fn name(&self) -> &'static str {
        "straightforward"
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn batch(&mut self) -> Timed {
        let events = self.next..self.next + self.in_flight;
        self.next = events.end;
        let publishing = self.runtime.block_on(async {
            let start = Stopwatch::start();
            for number in events.clone() {
                self.publish(number).await;
            }
            start.stop()
        });
        let counts = (0..self.work.subscriptions).map(|number| {
            let subscription = self.subscriptions.get(&number).expect("a subscription");
            let bodies: Vec<_> = subscription.queue.blocking_lock().drain(..).collect();
            bodies.iter().for_each(|body| self.work.check_body(number, body));
            bodies.len()
        });
        self.work.check_counts(&events, counts);
        Timed { events: events.len(), deliveries: self.work.deliveries(&events), publishing, reading: None }
    }
}
