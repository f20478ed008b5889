//! The reading side: one reader, its ring, its subscriptions.

mod active;
mod delivery;

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

pub use delivery::{Content, Delivery, Gap, GapReason, Message, OwnedContent};

use crate::{
    control::{ControlPlane, Opened, Seat},
    error::LimitExceeded,
    frame::{self, Address},
    id::{ShardId, User},
    limits::Limits,
    link::Link,
    loss::Loss,
    metrics::{Module, Ruling},
    notifier::{self, Wake},
    overflow::Overflow,
    payload::Payload,
    ring::Consumer,
    router::Channel,
    security::SecurityContext,
    shard::{Member, resume::Outcome},
    value::quote,
};
use active::Active;

pub use crate::{
    link::End,
    shard::{log::Reload, resume::Resumed},
};

/// How a subscriber is opened.
#[derive(Clone, Debug, Default)]
pub struct SubscriberOptions {
    /// How the reader learns of its frames.
    pub wake: Wake,
    /// Frames that may wait, if that is less than `Limits::ring_frames_max`; rounded up to a power of two, 8 at least.
    pub ring_frames_max: Option<usize>,
}

/// One reader: opened by [`crate::engine::Engine::open`], it holds a ring, and any number of subscriptions up to
/// `subscriptions_per_subscriber_max`. Dropping it ends them all.
pub struct Subscriber {
    plane: Arc<ControlPlane>,
    seat: Seat,
    ring: Consumer<Payload>,
    link: crate::sync::Arc<Link>,
    /// By number, which only grows: few enough that a search by id looks at each.
    subscriptions: Vec<Active>,
    next_number: u32,
    free_lanes: Vec<u16>,
    /// Some subscription waits for the answer to its wish to resume.
    resuming: bool,
    /// Some subscription coalesces, or did: the shard may keep frames aside.
    coalesces: bool,
    /// Some subscription's context ends to be true at some time.
    expires: bool,
    /// Registrations that `Engine::admit` let in, and that have not come.
    pub(crate) admitted: u32,
    /// The context of the last registration.
    context: Option<Arc<SecurityContext>>,
    /// Whose this is, where that is counted.
    owner: Option<User>,
    /// What [`Subscriber::try_next`] has not handed out yet.
    messages: VecDeque<Message>,
}

/// A subscription that was registered; its reader keeps it.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    pub(crate) id: Arc<str>,
    pub(crate) member: Member,
    pub(crate) channels: &'a [Arc<Channel>],
    pub(crate) resolved: bool,
    pub(crate) overflow: &'a Overflow,
    pub(crate) context: Arc<SecurityContext>,
    pub(crate) outcome: Option<Outcome>,
}

impl Subscriber {
    pub(crate) fn new(plane: Arc<ControlPlane>, Opened { seat, ring, link }: Opened) -> Self {
        Self {
            plane,
            seat,
            ring,
            link,
            subscriptions: Vec::new(),
            next_number: 0,
            free_lanes: Vec::new(),
            resuming: false,
            coalesces: false,
            expires: false,
            admitted: 0,
            context: None,
            owner: None,
            messages: VecDeque::new(),
        }
    }

    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }

    pub(crate) fn context(&self) -> Option<&Arc<SecurityContext>> {
        self.context.as_ref()
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.seat.shard
    }

    pub(crate) fn belongs_to(&self, plane: &Arc<ControlPlane>) -> bool {
        Arc::ptr_eq(&self.plane, plane)
    }

    /// Hands up to `max` results, oldest first, to `take`; answers how many. Notices of gaps, resumptions and ends
    /// come between and are not counted. Never waits.
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(Delivery<'_>)) -> usize {
        self.end(&mut take);
        let held = self.hand_out_messages(&mut take);
        held + self.drain_ring(max.saturating_sub(held), take)
    }

    /// Hands out only what ends subscriptions, for a host that has something of its own to send for them: what it sends
    /// afterwards is of those that go on.
    pub fn drain_ended(&mut self, mut take: impl FnMut(Delivery<'_>)) {
        self.end(&mut take);
        self.settle();
    }

    /// What [`Subscriber::try_next`] took out of the ring and has not handed out; answers how many results.
    fn hand_out_messages(&mut self, take: &mut impl FnMut(Delivery<'_>)) -> usize {
        let mut results = 0;
        for Message { id, content } in std::mem::take(&mut self.messages) {
            results += usize::from(matches!(content, OwnedContent::Result(_)));
            take(Delivery { id: &id, id_json: &quote(&id), content: content.borrow() });
        }
        results
    }

    fn drain_ring(&mut self, max: usize, mut take: impl FnMut(Delivery<'_>)) -> usize {
        self.link.doorbell.answer();
        self.notices(&mut take);
        let (mut delivered, mut discarded, mut taken) = (0, 0, 0);
        while delivered < max {
            if delivered > 0 {
                self.end(&mut take);
            }
            let Self { ring, subscriptions, link, .. } = self;
            let mut bytes = 0;
            taken = ring.take(max - delivered, |payload, bits| {
                let address = Address::from_bits(bits);
                bytes += payload.body().len() as u64;
                let done = find(subscriptions, address)
                    .is_some_and(|active| active.deliver(&payload, address, &mut take));
                delivered += usize::from(done);
                discarded += u64::from(!done && !payload.is_lost());
            });
            link.count_read(bytes);
            if taken == 0 {
                break;
            }
        }
        if taken > 0 {
            self.link.doorbell.remind();
        } else {
            self.subscriptions.iter_mut().for_each(|active| active.catch_up(&mut take));
        }
        self.plane.count_drained(self.seat.shard, delivered as u64, discarded);
        self.settle();
        delivered
    }

    /// Ends what has expired and what the engine has ended, before anything of it is handed out.
    fn end(&mut self, take: &mut impl FnMut(Delivery<'_>)) {
        let Self { plane, subscriptions, link, messages, .. } = self;
        let mut close = |active: &mut Active, end: &End| {
            messages.retain(|message| message.id != active.id);
            active.close(end, take);
        };
        while let Some((number, end)) = link.take_ended() {
            if let Ok(place) = subscriptions.binary_search_by_key(&number, Active::number) {
                close(&mut subscriptions[place], &end);
            }
        }
        if self.expires {
            let now = plane.now();
            let expired = |active: &&mut Active| active.expires.is_some_and(|expires| expires <= now);
            for active in subscriptions.iter_mut().filter(|active| !active.ended).filter(expired) {
                plane.decided(Module::Authentication, Ruling::Denied);
                close(active, &End::Expired);
            }
        }
    }

    /// What is told before the frames that follow: what was taken back so far came before all of them.
    fn notices(&mut self, take: &mut impl FnMut(Delivery<'_>)) {
        let Self { subscriptions, link, .. } = self;
        if self.resuming {
            for active in subscriptions.iter_mut() {
                active.announce(take);
            }
            self.resuming = subscriptions.iter().any(|active| active.outcome.is_some());
        }
        link.losses.look(|loss, address, offset| {
            if let Some(active) = find(subscriptions, address) {
                match loss {
                    Loss::Evicted => active.evicted(address, offset, take),
                    Loss::Refused => active.refused(address, offset, take),
                }
            }
        });
    }

    /// After a drain: subscriptions that it ended go, and a shard that waits for room is told that there is some.
    fn settle(&mut self) {
        while let Some(place) = self.subscriptions.iter().position(|active| active.ended) {
            self.remove(place);
        }
        if self.coalesces && self.link.take_kept() {
            self.plane.refill(self.seat);
        }
    }

    /// The next message, if there is one. Never waits. For many messages [`Subscriber::drain`] is cheaper: it clones
    /// nothing.
    pub fn try_next(&mut self) -> Option<Message> {
        let mut messages = VecDeque::new();
        let mut keep = |delivery: Delivery<'_>| {
            let id = Arc::from(delivery.id);
            messages.push_back(Message { id, content: delivery.content.to_owned() });
        };
        self.end(&mut keep);
        if self.messages.is_empty() {
            self.drain_ring(1, keep);
        }
        self.messages.append(&mut messages);
        self.messages.pop_front()
    }

    /// The next message; waits up to `timeout` for it. The thread sleeps meanwhile and is woken.
    ///
    /// `None` after the timeout, and at once where nothing can come any more: the engine is closed and everything
    /// was read. A subscriber that polls or has a mailbox is not woken here: then this only looks.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Message> {
        let deadline = Instant::now().checked_add(timeout);
        let waker = notifier::unparker();
        loop {
            let (wakes, over) = (self.link.doorbell.wait(&waker), self.link.is_over());
            if let Some(message) = self.try_next() {
                return Some(message);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match left {
                _ if !wakes || over => return None,
                Some(Duration::ZERO) => return None,
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
    }

    /// The next message for a task: registers its waker, then looks. `Ready(None)` when nothing can come any more.
    ///
    /// A subscriber that polls or has a mailbox does not wake the task.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.link.doorbell.wait(context.waker());
        let over = self.link.is_over();
        match self.try_next() {
            None if !over => Poll::Pending,
            message => Poll::Ready(message),
        }
    }

    /// Ends the subscription `id`. After this nothing more of it is delivered. `false` if there is none.
    pub fn cancel(&mut self, id: &str) -> bool {
        let place = self.subscriptions.iter().position(|active| &*active.id == id);
        self.messages.retain(|message| &*message.id != id);
        place.map(|place| self.remove(place)).is_some()
    }

    fn remove(&mut self, place: usize) {
        let active = self.subscriptions.remove(place);
        self.free_lanes.push(active.lane());
        self.plane.unsubscribe(self.seat, [active.number()]);
        if self.coalesces {
            // What was kept for it is of no use any more.
            self.plane.refill(self.seat);
        }
    }

    /// The ring itself.
    #[cfg(test)]
    pub(crate) fn ring_for_tests(&mut self) -> &mut Consumer<Payload> {
        &mut self.ring
    }

    /// Whether there is a subscription `id`.
    pub fn has(&self, id: &str) -> bool {
        self.subscriptions.iter().any(|active| &*active.id == id)
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// The place of a new subscription.
    pub(crate) fn reserve(&mut self, limits: &Limits) -> Result<Member, LimitExceeded> {
        LimitExceeded::check("subscriptions_per_subscriber_max", self.len() + 1, limits.lanes_max())?;
        let lifetime_max = frame::SUBSCRIPTION_MAX as usize - 1;
        LimitExceeded::check(
            "subscriptions in one subscriber's life",
            self.next_number as usize,
            lifetime_max,
        )?;
        self.next_number += 1;
        // Lanes in use are 0..len without the free ones.
        let lane = self.free_lanes.pop().unwrap_or(self.len() as u16);
        let Seat { slot, serial, .. } = self.seat;
        let limited = self.plane.is_metered();
        Ok(Member { reader: serial, slot, subscription: self.next_number, lane, resumed: false, limited })
    }

    pub(crate) fn keep(&mut self, kept: Kept<'_>) {
        self.resuming |= kept.outcome.is_some();
        if kept.outcome.as_ref().is_some_and(|outcome| outcome.get().is_some()) {
            // Answered before any shard saw it: nobody else rings.
            self.link.doorbell.remind();
        }
        self.coalesces |= matches!(kept.overflow, Overflow::LatestPerKey(_));
        self.expires |= kept.context.expires.is_some();
        self.context = Some(Arc::clone(&kept.context));
        if self.subscriptions.is_empty() {
            // Most readers of the direct API have one; a vector would start with room for four.
            self.subscriptions.reserve_exact(1);
        }
        self.subscriptions.push(Active::new(kept));
    }

    /// Counts this reader among those of the context's user from now on, with or without subscriptions.
    ///
    /// # Errors
    /// `subscribers_per_user_max`; then it is counted for nobody.
    pub fn belong_to(&mut self, context: &SecurityContext) -> Result<(), LimitExceeded> {
        self.disown();
        self.owner = self.plane.own(context, self.seat.serial)?;
        Ok(())
    }

    fn disown(&mut self) {
        if let Some(user) = self.owner.take() {
            self.plane.disown(user, self.seat.serial);
        }
    }

    /// Has all subscriptions of this reader judged anew for `context`, as after a new token: what it may not see any more
    /// does not come from the next event on, and a subscription that it may not have ends. Their number of groups and
    /// their order stay. Answers how many end.
    pub fn refresh(&mut self, context: SecurityContext) -> usize {
        self.subscriptions.iter_mut().for_each(|active| active.expires = context.expires);
        self.expires = context.expires.is_some();
        self.plane.refresh(self.seat, context)
    }
}

/// The active subscription that a frame is for.
fn find(subscriptions: &mut [Active], address: Address) -> Option<&mut Active> {
    let place = subscriptions.binary_search_by_key(&address.subscription, Active::number).ok()?;
    subscriptions.get_mut(place)
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.plane.unsubscribe(self.seat, self.subscriptions.iter().map(Active::number));
        // The shard takes back what comes from now on; if it has gone already, nobody else would.
        let mut unread = 0;
        while self.ring.take(usize::MAX, |payload, _| unread += u64::from(!payload.is_lost())) > 0 {}
        self.plane.count_drained(self.seat.shard, 0, unread);
        self.disown();
        self.plane.close_reader(self.seat, self.next_number == 0);
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("subscriptions", &self.subscriptions.len()).finish_non_exhaustive()
    }
}
