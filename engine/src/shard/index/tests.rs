//! The index against the plain words of what it does: every group is asked.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    event::Event,
    id::{Identity, Offset},
    limits::Limits,
    overflow::Overflow,
    plan::{OperationName, Plan},
    policy::{
        Field, Op, Predicate, Program,
        standard::{Isolation, Tenancy, isolate},
    },
    shard::{
        Member,
        group::{Group, Members},
        render::Render,
    },
    value::Value,
};

const NAMES: [&str; 4] = ["", "a", "b", "c"];

fn render() -> Arc<Render> {
    let limits = Limits::default();
    let plan = Plan::compile("subscription { x }", &OperationName::Only, None, &limits).unwrap();
    let projection = plan.bind(&Value::Null, &limits).unwrap().projection;
    Arc::new(Render { serial: 1, cell: 0, projection, resolver: None })
}

/// A predicate of one of several shapes: keys that must be there, that may be absent, that come too late to be keys.
fn predicate(shape: u8, tenant: usize, user: usize) -> Predicate {
    let [tenant, user] = [tenant, user].map(|name| Identity::new(NAMES[name]));
    let rules = match shape {
        0 => Isolation::default(),
        1 => Isolation { tenancy: Tenancy::Strict, ..Isolation::default() },
        2 => Isolation { owner: None, ..Isolation::default() },
        _ => {
            // Who has no user sees everything, others their own: no equality holds for all.
            let fields = vec![Field::User("user_id".into()), Field::Tenant("tenant_id".into())];
            let code = vec![
                Op::Load(0),
                Op::SkipIfAbsent(5),
                Op::DenyUnlessEqual(1),
                Op::Load(1),
                Op::DenyUnlessEqual(0),
                Op::Allow,
            ];
            let program = Program { fields, code }.verify().unwrap();
            return Predicate::new(Arc::new(program), Arc::new([tenant, user])).unwrap();
        }
    };
    isolate(rules.compile().unwrap(), user, tenant).unwrap()
}

fn event(kind: usize, tenant: usize, user: usize) -> Stamped {
    let document = match (tenant, user) {
        // Attributes are not everything: some events bring it in the document, some bring what is no identity.
        (1, 3) => br#"{"tenant_id":"b","user_id":7}"#.to_vec(),
        (2, 3) => br#"{"tenant_id":{},"user_id":"a"}"#.to_vec(),
        _ => b"{}".to_vec(),
    };
    let names = |name: usize| if document.len() > 2 { None } else { Identity::new(NAMES[name]) };
    let (tenant, user) = (names(tenant), names(user));
    let event = Event::new(NAMES[kind], "c", document, &Limits::default()).unwrap();
    Stamped { event: event.with_tenant(tenant).with_user(user), channel: ChannelId(1), offset: Offset(1) }
}

proptest! {
    #[test]
    fn finds_what_asking_every_group_finds(
        ops in prop::collection::vec((0..4u8, 0..4usize, 0..4usize, 0..3usize, 0..4usize), 1..150),
    ) {
        let render = render();
        let (mut groups, mut model) = (Groups::default(), Vec::<Option<Arc<Group>>>::new());
        for (shape, tenant, user, kind, members) in ops {
            let number = tenant * 40 + user * 10 + usize::from(shape) * 2 + kind.min(1);
            model.resize(model.len().max(number + 1), None);
            while (groups.next_number() as usize) < model.len() {
                groups.by_number.push(None);
            }
            let known = model[number].clone();
            match (members, known) {
                (0, Some(_)) => {
                    groups.remove(number as u32);
                    model[number] = None;
                }
                (0, None) => {}
                (_, known) => {
                    let member = |lane| Member { reader: 1, slot: 0, subscription: 1, lane, resumed: false };
                    let first = Members::One(member(0));
                    let list = (1..members as u16).fold(first, |list, lane| list.and(member(lane)));
                    let events: Arc<[Box<str>]> = if kind == 0 { Arc::new([]) } else { Arc::new([NAMES[1].into()]) };
                    let group = known.map_or_else(
                        || Group {
                            predicate: predicate(shape, tenant, user),
                            events,
                            render: Arc::clone(&render),
                            overflow: Overflow::default(),
                            members: list.clone(),
                        },
                        |group| group.with(list.clone()),
                    );
                    let group = Arc::new(group);
                    groups.put(number as u32, Arc::clone(&group));
                    model[number] = Some(group);
                }
            }
        }
        let mut index = Index::default();
        index.set(ChannelId(1), Arc::new(groups.clone()));
        for (kind, tenant, user) in (1..3).flat_map(|k| (0..4).flat_map(move |t| (0..4).map(move |u| (k, t, u)))) {
            let event = event(kind, tenant, user);
            let mut found = Vec::new();
            for (postings, _) in groups.clusters.iter().filter_map(|cluster| cluster.candidates(&event)) {
                postings.for_each(|number| assert!(groups.get(number).is_some(), "{number} has gone"));
            }
            let members = index.matching(&event, |group, sure| {
                let admits = group.predicate.admits(&event);
                assert!(admits || !sure, "sure of {group:?}");
                if admits {
                    found.push(Arc::as_ptr(group));
                }
            });
            let here = model.iter().flatten().filter(|group| group.wants(event.event.event_type()));
            prop_assert_eq!(members, here.clone().map(|group| group.members.len() as u64).sum::<u64>());
            let mut wanted: Vec<_> =
                here.filter(|group| group.predicate.admits(&event)).map(Arc::as_ptr).collect();
            found.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(found, wanted);
        }
        for number in 0..model.len() {
            groups.remove(number as u32);
        }
        prop_assert!(groups.is_empty() && groups.iter().next().is_none());
    }
}
