//! A service that embeds the engine: two readers with different selections, one event, ready bytes.
//!
//! Run it with `cargo run -p coulis --example embed`.

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    id::Identity,
    security::SecurityContext,
    subscriber::SubscriberOptions,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder().shards(1).build()?;
    let queries = ["subscription { trades { symbol price } }", "subscription { t: trades { symbol size } }"];
    let mut readers = Vec::new();
    for (number, query) in queries.into_iter().enumerate() {
        let mut reader = engine.open(SubscriberOptions::default())?;
        let request = SubscribeRequest {
            id: format!("reader-{number}"),
            query: query.into(),
            context: SecurityContext::new(None, Identity::new("desk-1")),
            ..SubscribeRequest::default()
        };
        engine.subscribe(&mut reader, request)?;
        readers.push(reader);
    }

    let document = br#"{"symbol": "ACME", "price": 12.5, "size": 300, "desk": "desk-1"}"#;
    let trade = Event::new("trade", "trades", document.to_vec(), engine.limits())?;
    let report = engine.publish(trade.with_tenant(Identity::new("desk-1")))?.wait();
    assert_eq!((report.matched, report.delivered), (2, 2));

    let data = [
        r#""data":{"trades":{"symbol":"ACME","price":12.5}}"#,
        r#""data":{"t":{"symbol":"ACME","size":300}}"#,
    ];
    for (reader, data) in readers.iter_mut().zip(data) {
        let mut message = Vec::new();
        reader.drain(usize::MAX, |delivery| delivery.write_next(&mut message));
        let message = String::from_utf8(message)?;
        assert!(message.contains(data), "{message}");
        println!("{message}");
    }
    Ok(())
}
