//! A reader that goes away and comes back: what it missed comes first. And what a reader that is too slow is told.
//!
//! Run it with `cargo run -p coulis --example resume`.

use std::error::Error;

use coulis::{
    cursor::Cursor,
    engine::{Engine, SubscribeRequest},
    event::Event,
    id::Offset,
    subscriber::{Gap, GapReason, OwnedContent, Reload, Subscriber, SubscriberOptions},
};

fn open(engine: &Engine, options: SubscriberOptions, resume: &str) -> Result<Subscriber, Box<dyn Error>> {
    let mut reader = engine.open(options)?;
    let request = SubscribeRequest {
        id: "log".into(),
        query: "subscription { log }".into(),
        resume: Some(resume.into()),
        ..SubscribeRequest::default()
    };
    engine.subscribe(&mut reader, request)?;
    Ok(reader)
}

fn publish(engine: &Engine, numbers: std::ops::RangeInclusive<u32>) -> Result<(), Box<dyn Error>> {
    for number in numbers {
        let event = Event::new("line", "log", number.to_string().into_bytes(), engine.limits())?;
        engine.publish(event)?.wait();
    }
    Ok(())
}

/// The next result's offset; a notice is an error here.
fn offset(reader: &mut Subscriber) -> Result<Offset, String> {
    match reader.try_next().map(|message| message.content) {
        Some(OwnedContent::Result(payload)) => Ok(payload.offset()),
        other => Err(format!("{other:?}")),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().shards(1).build()?;

    // Whoever comes for the first time gives the empty text, and learns where the channel stands.
    let mut reader = open(&engine, SubscriberOptions::default(), "")?;
    let first = reader.try_next().map(|message| message.content);
    let Some(OwnedContent::Resumed(resumed)) = first else { return Err(format!("{first:?}").into()) };
    assert_eq!(resumed.result, Err(Reload::New));
    let start = resumed.cursor.ok_or("one channel has a cursor")?;

    publish(&engine, 1..=2)?;
    // Clients find this in `extensions.coulis.cursor` of each result.
    let cursor = Cursor { offset: offset(&mut reader)?, ..start };
    drop(reader);
    publish(&engine, 3..=4)?;

    // Everything after the cursor, then what is live: nothing twice, nothing between.
    let mut reader = open(&engine, SubscriberOptions::default(), &cursor.to_string())?;
    let first = reader.try_next().map(|message| message.content);
    assert!(matches!(first, Some(OwnedContent::Resumed(resumed)) if resumed.result.is_ok()), "{first:?}");
    publish(&engine, 5..=5)?;
    assert_eq!([(); 4].map(|()| offset(&mut reader)), [2, 3, 4, 5].map(|number| Ok(Offset(number))));

    // A ring for eight frames, and eleven events before its reader looks: three are lost, and it is told which.
    let options = SubscriberOptions { ring_frames_max: Some(8), ..SubscriberOptions::default() };
    let mut slow = open(&engine, options, "")?;
    assert!(slow.try_next().is_some(), "the present position");
    publish(&engine, 6..=16)?;
    let notice = slow.try_next().map(|message| message.content);
    let Some(OwnedContent::Gap(gap)) = notice else { return Err(format!("{notice:?}").into()) };
    assert_eq!(gap, Gap { from: Offset(6), to: Some(Offset(8)), count: 3, reason: GapReason::Overflow });
    assert_eq!(offset(&mut slow)?, Offset(9));
    println!("resumed after {cursor}; {gap:?}");
    Ok(())
}
