//! The floor: one shared body pushed into the rings of those whom the event is for. No parse, no match, no render.

use std::{rc::Rc, time::Instant};

use coulis::{
    envelope,
    id::{ChannelId, Offset},
    payload::Payload,
    ring::{Consumer, Producer, ring},
};

use crate::{
    measure::{Stopwatch, System, Timed},
    work::Work,
};

/// As the engine's default, `Limits::ring_frames_max`.
const FRAMES: usize = 1_024;

/// A ring for each subscription, and a loop.
pub struct Limit {
    work: Rc<Work>,
    producers: Vec<Producer<Payload>>,
    consumers: Vec<Consumer<Payload>>,
    ids: Vec<String>,
    in_flight: usize,
    next: usize,
}

impl Limit {
    pub fn new(work: &Rc<Work>, in_flight: usize) -> Self {
        let (producers, consumers) = (0..work.subscriptions).map(|_| ring(FRAMES)).unzip();
        let ids = (0..work.subscriptions).map(|subscription| format!("\"{subscription}\"")).collect();
        Self { work: Rc::clone(work), producers, consumers, ids, in_flight, next: 0 }
    }

    fn push(&mut self, event: usize) {
        let body = |form| Payload::new(ChannelId(1), Offset(event as u64 + 1), self.work.body(form).to_vec());
        let members = self.work.members(event);
        if self.work.forms() == 1 {
            let body = body(0);
            for (member, share) in members.clone().zip(body.shares(members.len())) {
                assert!(self.producers[member].push_or_evict(share, event as u64).is_none());
            }
        } else {
            for member in members {
                assert!(self.producers[member].push_or_evict(body(member), event as u64).is_none());
            }
        }
    }
}

impl System for Limit {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn batch(&mut self) -> Timed {
        let events = self.next..self.next + self.in_flight;
        self.next = events.end;
        let start = Stopwatch::start();
        events.clone().for_each(|event| self.push(event));
        let publishing = start.stop();

        let (mut out, mut counts) = (Vec::new(), Vec::with_capacity(self.consumers.len()));
        let start = Instant::now();
        for (consumer, id) in self.consumers.iter_mut().zip(&self.ids) {
            out.clear();
            let mut count = 0;
            while consumer.take(usize::MAX, |body, _| envelope::write_next(&mut out, id, body.body())) > 0 {}
            count += out.len();
            counts.push(count);
        }
        let reading = start.elapsed();

        for (subscription, bytes) in counts.iter_mut().enumerate() {
            let message = self.work.body(subscription).len()
                + self.ids[subscription].len()
                + r#"{"type":"next","id":,"payload":}"#.len();
            assert_eq!(*bytes % message, 0);
            *bytes /= message;
        }
        self.work.check_counts(&events, counts);
        let deliveries = self.work.deliveries(&events);
        let all_read = deliveries >= self.consumers.len();
        Timed { events: events.len(), deliveries, publishing, reading: all_read.then_some(reading) }
    }

    fn checked_batch(&mut self) {
        let events = self.next..self.next + self.in_flight;
        self.next = events.end;
        events.clone().for_each(|event| self.push(event));
        let Self { work, consumers, .. } = self;
        let counts: Vec<_> = consumers
            .iter_mut()
            .enumerate()
            .map(|(subscription, consumer)| {
                let mut count = 0;
                let mut take = |body: Payload, _| {
                    work.check_body(subscription, body.body());
                    count += 1;
                };
                while consumer.take(usize::MAX, &mut take) > 0 {}
                count
            })
            .collect();
        work.check_counts(&events, counts);
    }
}
