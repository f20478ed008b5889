//! A resolver in Rust: the shard hands jobs to a worker thread and goes on; the worker answers.
//!
//! Run it with `cargo run -p coulis --example resolver`.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::{error::Error, sync::Arc, thread};

use coulis::{
    engine::{Engine, Job, Resolve, SubscribeRequest},
    event::Event,
    subscriber::SubscriberOptions,
    value::{Node, Value},
};

#[derive(Debug)]
struct Worker(SyncSender<Job>);

impl Resolve for Worker {
    // On a shard's thread: never wait here. A job that is given back is a delivery that failed, and is told.
    fn resolve(&self, job: Job) -> Result<(), Job> {
        self.0.try_send(job).map_err(|(TrySendError::Full(job) | TrySendError::Disconnected(job))| job)
    }

    // `Receipt::wait` waits for these results too. With `true`, only `Receipt::wait_all` does.
    fn is_async(&self) -> bool {
        false
    }
}

/// The user's code, on a thread of its own. It may take its time; answers are delivered in the order of the events.
fn answer(job: Job) {
    let price = job.event().document().root().get("price").and_then(Node::as_f64);
    let result = match (price, job.variables().get("rate")) {
        // JSON text. It is projected as an event's document is: what was not selected does not leave.
        (Some(price), Some(Value::Float(rate))) => {
            Ok(format!(r#"{{"price":{},"internal":1}}"#, price * rate).into_bytes())
        }
        _ => Err("no price today".into()),
    };
    job.answer(result);
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().shards(1).build()?;
    let (sender, jobs) = sync_channel(1_024);
    let worker = thread::spawn(|| jobs.into_iter().map(answer).count());
    let resolver: Arc<dyn Resolve> = Arc::new(Worker(sender));

    let mut reader = engine.open(SubscriberOptions::default())?;
    for id in ["a", "b"] {
        let request = SubscribeRequest {
            id: id.into(),
            query: "subscription($rate: Float!) { quote(rate: $rate) { price } }".into(),
            variables: Value::Object(vec![("rate".into(), Value::Float(1.5))]),
            channels: vec!["quotes".into()],
            resolver: Some(Arc::clone(&resolver)),
            ..SubscribeRequest::default()
        };
        engine.subscribe(&mut reader, request)?;
    }
    for document in [r#"{"price": 10.5}"#, "{}"] {
        let event = Event::new("quote", "quotes", document.into(), engine.limits())?;
        assert_eq!(engine.publish(event)?.wait().delivered, 2);
    }

    let mut messages = Vec::new();
    reader.drain(4, |delivery| delivery.write_next(&mut messages));
    let messages = String::from_utf8(messages)?;
    assert_eq!(messages.matches(r#""data":{"quote":{"price":15.75}}"#).count(), 2);
    assert_eq!(messages.matches(r#""data":null,"errors":[{"message":"no price today""#).count(), 2);

    // The resolver goes with its last subscription; its channel then ends the worker.
    drop((reader, engine, resolver));
    let jobs = worker.join().expect("the worker does not panic");
    assert_eq!(jobs, 2, "equal subscriptions share a job: one for each event");
    println!("{jobs} jobs, 4 deliveries");
    Ok(())
}
