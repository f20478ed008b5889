//! What the benchmarks share: the allocator, an event, readers.

use coulis::{
    engine::{Engine, SubscribeRequest},
    event::Event,
    limits::Limits,
    notifier::Wake,
    subscriber::{Subscriber, SubscriberOptions},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One earthquake, 460 bytes.
pub const DOCUMENT: &str = r#"{"id":"us2000crkq","mag":5.3,"magType":"mb","place":"50km NNW of Sangiang, Indonesia","time":1517364031800,"updated":1517423633040,"net":"us","status":"reviewed","tsunami":false,"sig":436,"alert":null,"felt":4,"location":{"longitude":118.7906,"latitude":-7.8628,"depthKm":15.18},"quality":{"nst":null,"dmin":2.986,"rms":1.07,"gap":53},"sources":["us"],"url":"https://example.org/us2000crkq","title":"M 5.3 - 50km NNW of Sangiang, Indonesia"}"#;

/// The selection that the benchmarks subscribe with.
pub const QUERY: &str = "subscription { earthquakes { id mag place location { depthKm } } }";

/// The body that [`DOCUMENT`] gives under [`QUERY`].
pub const BODY: &str = r#"{"data":{"earthquakes":{"id":"us2000crkq","mag":5.3,"place":"50km NNW of Sangiang, Indonesia","location":{"depthKm":15.18}}}}"#;

/// An event with [`DOCUMENT`].
///
/// # Panics
/// If it is refused.
pub fn event() -> Event {
    Event::new("reported", "earthquakes", DOCUMENT.into(), &Limits::default()).expect("an event")
}

/// Readers that look by themselves, so that a dispatch wakes nobody.
pub fn polling() -> SubscriberOptions {
    SubscriberOptions { wake: Wake::Polling, ..SubscriberOptions::default() }
}

/// `count` readers with one subscription each.
///
/// # Panics
/// If one is refused.
pub fn readers(engine: &Engine, count: usize) -> Vec<Subscriber> {
    let reader = |_| {
        let mut reader = engine.open(polling()).expect("a subscriber");
        let request = SubscribeRequest { id: "1".into(), query: QUERY.into(), ..SubscribeRequest::default() };
        engine.subscribe(&mut reader, request).expect("a subscription");
        reader
    };
    (0..count).map(reader).collect()
}

/// Reads everything that waits; answers how many results came, each checked to be [`BODY`].
pub fn drain(readers: &mut [Subscriber]) -> usize {
    let check = |delivery: coulis::subscriber::Delivery<'_>| {
        if let coulis::subscriber::Content::Result(payload) = delivery.content {
            // Behind the data comes the cursor, which is another one for each event.
            assert!(payload.body().starts_with(&BODY.as_bytes()[..BODY.len() - 1]));
        }
    };
    readers.iter_mut().map(|reader| reader.drain(usize::MAX, check)).sum()
}
