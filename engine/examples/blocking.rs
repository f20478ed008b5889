//! A thread that sleeps until there is something to read, and ends with the engine.
//!
//! Run it with `cargo run -p coulis --example blocking`.

use std::{error::Error, thread, time::Duration};

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    subscriber::{OwnedContent, Subscriber, SubscriberOptions},
    value::Document,
};

/// Reads prices until the engine is closed.
fn read(mut reader: Subscriber) -> Vec<f64> {
    let mut prices = Vec::new();
    // `None` after a minute without a message, and at once when the engine is closed and everything was read.
    while let Some(message) = reader.next_timeout(Duration::from_secs(60)) {
        match message.content {
            OwnedContent::Result(payload) => {
                // `{"data":{"trades":{"price":…}},"extensions":{"coulis":{"cursor":…}}}`
                let body = Document::parse_bytes(payload.body().to_vec(), 16).expect("a body is JSON");
                let trade = body.root().get("data").and_then(|data| data.get("trades"));
                prices.extend(trade.and_then(|trade| trade.get("price")?.as_f64()));
            }
            OwnedContent::Gap(gap) => println!("{} trades are missing", gap.count),
            // Neither was asked for in the request.
            OwnedContent::Resumed(_) | OwnedContent::Ended(_) => unreachable!("{:?}", message.content),
            OwnedContent::Closed(end) => println!("ended: {}", end.message()),
        }
    }
    prices
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().shards(1).build()?;
    let mut reader = engine.open(SubscriberOptions::default())?;
    let request = SubscribeRequest {
        id: "prices".into(),
        query: "subscription { trades { price } }".into(),
        ..SubscribeRequest::default()
    };
    engine.subscribe(&mut reader, request)?;
    let reading = thread::spawn(move || read(reader));

    for price in ["12.5", "12.75", "13"] {
        let document = format!(r#"{{"price": {price}, "size": 300}}"#);
        let trade = Event::new("trade", "trades", document.into_bytes(), engine.limits())?;
        // Accepted, without a receipt. `publish(trade)?.wait()` returns when it is readable.
        engine.publish_nowait(trade)?;
    }
    // What was accepted is finished; then the reader's thread is woken and told that this was all.
    engine.close();

    let prices = reading.join().expect("the reader does not panic");
    assert_eq!(prices, [12.5, 12.75, 13.0]);
    println!("{prices:?}");
    Ok(())
}
