//! A task that awaits messages. The executor is a dozen lines of std; any other one does, too.
//!
//! Run it with `cargo run -p coulis --example task`.

use std::{
    error::Error,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    subscriber::{OwnedContent, Subscriber, SubscriberOptions},
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one future on this thread, which sleeps while the future is pending.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Counts results and lost frames until nothing can come any more.
async fn count(mut reader: Subscriber) -> (u32, u32) {
    let (mut results, mut lost) = (0, 0);
    while let Some(message) = poll_fn(|context| reader.poll_next(context)).await {
        match message.content {
            OwnedContent::Result(_) => results += 1,
            OwnedContent::Gap(gap) | OwnedContent::Ended(gap) => lost += gap.count,
            OwnedContent::Resumed(_) | OwnedContent::Closed(_) => {}
        }
    }
    (results, lost)
}

fn main() -> Result<(), Box<dyn Error>> {
    const EVENTS: u32 = 5_000;
    let engine = Engine::builder().shards(1).build()?;
    // `Wake::Waiter`, the default, is the one that wakes tasks.
    let mut reader = engine.open(SubscriberOptions::default())?;
    let (id, query) = ("ticks".into(), "subscription { ticks }".into());
    engine.subscribe(&mut reader, SubscribeRequest { id, query, ..SubscribeRequest::default() })?;

    let reading = thread::spawn(move || block_on(count(reader)));
    for tick in 1..=EVENTS {
        engine.publish_nowait(Event::new(
            "tick",
            "ticks",
            tick.to_string().into_bytes(),
            engine.limits(),
        )?)?;
    }
    engine.close();

    // A task that is too slow for its ring loses the oldest frames, and is told how many: nothing is unaccounted for.
    let (results, lost) = reading.join().expect("the task does not panic");
    assert_eq!(results + lost, EVENTS);
    println!("{results} results, {lost} lost");
    Ok(())
}
