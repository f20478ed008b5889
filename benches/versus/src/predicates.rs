//! Rivals that only match: they say who wants an event, and render and deliver nothing, which is in their favour.

use std::rc::Rc;

use a_tree::{ATree, AttributeDefinition};
use wirefilter::{ExecutionContext, Filter, Scheme, Type};

use crate::{
    measure::{Stopwatch, System, Timed},
    work::Work,
};

/// What both are asked: which subscriptions' tenant is the event's.
const FIELD: &str = "tenant";

/// Says which of the subscriptions want an event for `tenant`.
trait Matches {
    const NAME: &'static str;
    fn of(work: &Work) -> Self;
    fn matching(&self, tenant: &'static str, each: impl FnMut(usize));
}

/// One matcher at one workload, an event after the other.
struct Matching<M> {
    /// For the whole run: wirefilter borrows the events' fields for as long as its filters live.
    work: &'static Work,
    matcher: M,
    next: usize,
}

/// The tree of expressions of the crate `a-tree`.
struct Tree(ATree<usize>);

/// Compiled filters of the crate `wirefilter-engine`, asked one by one: it has no index.
struct Filters {
    scheme: &'static Scheme,
    filters: Vec<Filter<'static>>,
}

pub fn a_tree(work: &Rc<Work>, _: usize) -> Box<dyn System> {
    Box::new(Matching::<Tree>::new(work))
}

pub fn wirefilter(work: &Rc<Work>, _: usize) -> Box<dyn System> {
    Box::new(Matching::<Filters>::new(work))
}

impl Matches for Tree {
    const NAME: &'static str = "a-tree";

    fn of(work: &Work) -> Self {
        let mut tree = ATree::new(&[AttributeDefinition::string(FIELD)]).expect("a tree");
        for subscription in 0..work.subscriptions {
            let expression = format!("{FIELD} = \"{}\"", work.tenant(subscription).expect("a tenant"));
            tree.insert(&subscription, &expression).expect("an expression");
        }
        Self(tree)
    }

    fn matching(&self, tenant: &'static str, each: impl FnMut(usize)) {
        let mut event = self.0.make_event();
        event.with_string(FIELD, tenant).expect("a string");
        let report = self.0.search(&event.build().expect("an event")).expect("an answer");
        report.matches().iter().map(|subscription| **subscription).for_each(each);
    }
}

impl Matches for Filters {
    const NAME: &'static str = "wirefilter";

    fn of(work: &Work) -> Self {
        let mut scheme = Scheme::default();
        scheme.add_field(FIELD.into(), Type::Bytes).expect("a field");
        // Its filters borrow it; there is one for a run.
        let scheme: &'static Scheme = Box::leak(Box::new(scheme));
        let filter = |subscription| {
            let text = format!("{FIELD} == \"{}\"", work.tenant(subscription).expect("a tenant"));
            let filter = scheme.parse(&text).expect("a filter").compile();
            filter
        };
        Self { scheme, filters: (0..work.subscriptions).map(filter).collect() }
    }

    fn matching(&self, tenant: &'static str, each: impl FnMut(usize)) {
        let mut context = ExecutionContext::new(self.scheme);
        context.set_field_value(FIELD, tenant).expect("a field");
        let wants = |subscription: &usize| self.filters[*subscription].execute(&context).expect("an answer");
        (0..self.filters.len()).filter(wants).for_each(each);
    }
}

impl<M: Matches> Matching<M> {
    fn new(work: &Rc<Work>) -> Self {
        let work: &'static Work = Box::leak(Box::new(Work::clone(work)));
        Self { work, matcher: M::of(work), next: 0 }
    }
}

impl<M: Matches> System for Matching<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn in_flight(&self) -> usize {
        1
    }

    fn batch(&mut self) -> Timed {
        let events = self.next..self.next + 1;
        self.next = events.end;
        let tenant = self.work.tenant_of_event(events.start).expect("a tenant");
        let mut counts = vec![0; self.work.subscriptions];
        let start = Stopwatch::start();
        self.matcher.matching(tenant, |subscription| counts[subscription] += 1);
        let publishing = start.stop();
        self.work.check_counts(&events, counts);
        let deliveries = self.work.deliveries(&events);
        Timed { events: events.len(), deliveries, publishing, reading: None }
    }
}
