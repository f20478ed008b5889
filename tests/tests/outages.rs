//! What a subscriber sees of each fault between it and a carrier: every event once, in order, and no gap.
//!
//! A publisher goes on meanwhile. Each of its events has an id, so what nobody knows the fate of is published again.

use std::{thread, time::Duration};

use coulis_tests::{
    carriers::{Outbox, Server, Streams},
    conformance::{Client, PATIENCE, client_of},
    servers::proxy::{Fault, Proxy},
};

/// Events before, during and after a fault.
const EACH: u64 = 20;

/// A node behind a wire, with a subscriber of `a`.
fn node<S: Server>(server: &S, proxy: &Proxy) -> Client {
    client_of(|limits, sink| server.connect_at(proxy.port(), limits, sink), 2, &["a"])
}

fn publish(client: &Client, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        let event = client.event("a", number);
        client.publish(&event.with_id(format!("n{number}"), client.node.engine().limits()).expect("an id"));
    }
}

/// Has `fault` happen while a publisher goes on; it returns when it is over.
fn survive<S: Server>(fault: impl FnOnce(&mut S, &Proxy)) {
    let mut server = S::new();
    let proxy = Proxy::start(server.port());
    let mut clients = [node(&server, &proxy), node(&server, &proxy)];
    publish(&clients[0], 0..EACH);
    thread::scope(|scope| {
        let writer = &clients[0];
        let publishing = scope.spawn(move || publish(writer, EACH..2 * EACH));
        fault(&mut server, &proxy);
        publishing.join().expect("a publisher");
    });
    publish(&clients[0], 2 * EACH..3 * EACH);
    for client in &mut clients {
        assert_eq!(client.numbers(3 * EACH as usize), (0..3 * EACH).collect::<Vec<_>>());
        assert!(client.is_quiet(), "something came twice");
        client.node.close(PATIENCE);
    }
}

fn wait(millis: u64) {
    thread::park_timeout(Duration::from_millis(millis));
}

macro_rules! faults {
    ($server:ty) => {
        use super::*;

        #[test]
        fn killed() {
            survive::<$server>(|server, _| {
                server.kill();
                wait(300);
                server.restart();
            });
        }

        #[test]
        fn restarted() {
            survive::<$server>(|server, _| {
                server.kill();
                server.restart();
            });
        }

        #[test]
        fn stopped_for_longer_than_an_answer_may_take() {
            survive::<$server>(|server, _| {
                server.stop();
                wait(1_500);
                server.go_on();
            });
        }

        #[test]
        fn reset() {
            survive::<$server>(|_, proxy| {
                for _ in 0..5 {
                    proxy.set(Fault::Reset);
                    wait(50);
                }
            });
        }

        #[test]
        fn swallowed_by_a_black_hole() {
            survive::<$server>(|_, proxy| {
                proxy.set(Fault::Hole);
                wait(1_200);
                proxy.set(Fault::Reset);
            });
        }

        #[test]
        fn cut_in_the_middle_of_an_answer() {
            survive::<$server>(|_, proxy| {
                for bytes in [1, 7, 20, 60, 150, 400] {
                    let cuts = proxy.cuts();
                    proxy.set(Fault::Cut(bytes));
                    // Publishing ends before everything is cut, where it is quick.
                    for _ in 0..100 {
                        if proxy.cuts() == cuts {
                            wait(5);
                        }
                    }
                }
                proxy.set(Fault::Pass);
            });
        }

        #[test]
        fn slow() {
            survive::<$server>(|_, proxy| {
                proxy.set(Fault::Slow(Duration::from_millis(200)));
                wait(1_000);
                proxy.set(Fault::Pass);
            });
        }

        #[test]
        fn refused() {
            survive::<$server>(|_, proxy| {
                proxy.set(Fault::Refuse);
                wait(500);
                proxy.set(Fault::Pass);
            });
        }
    };
}

mod redis {
    faults!(Streams);
}

mod postgres {
    faults!(Outbox);
}
