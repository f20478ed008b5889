//! A wire between a client and a server that breaks on demand.

#![expect(clippy::disallowed_types, reason = "a wire for tests is no data path")]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use rustix::net::sockopt;

/// What becomes of bytes, and of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    Pass,
    /// They pass after so much time.
    Slow(Duration),
    /// They vanish; connections stay open.
    Hole,
    /// Connections that are there are reset, new ones pass.
    Reset,
    /// Of the server's answers so many bytes pass, then the connection is reset; new ones pass.
    Cut(usize),
    /// New connections are closed at once, and those that are there are reset.
    Refuse,
}

/// Listens on a port of its own until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    server: u16,
    over: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    fault: Fault,
    /// Both ends of each connection.
    ends: Vec<TcpStream>,
    /// Connections that there were.
    connections: usize,
    /// Connections that were cut in the middle of an answer.
    cuts: usize,
}

impl Proxy {
    /// A proxy before the server on a port of 127.0.0.1.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let inner = Inner { fault: Fault::Pass, ends: Vec::new(), connections: 0, cuts: 0 };
        let state = Arc::new(State { server, over: AtomicBool::new(false), inner: Mutex::new(inner) });
        let accepting = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &accepting));
        Self { port, state }
    }

    /// Where clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What happens from now on.
    pub fn set(&self, fault: Fault) {
        let mut inner = self.state.lock();
        inner.fault = fault;
        if matches!(fault, Fault::Reset | Fault::Refuse) {
            inner.ends.drain(..).for_each(|end| reset(&end));
        }
        if fault == Fault::Reset {
            inner.fault = Fault::Pass;
        }
    }

    /// Connections that there were.
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    /// Connections that were cut in the middle of an answer.
    pub fn cuts(&self) -> usize {
        self.state.lock().cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, SeqCst);
        self.set(Fault::Refuse);
        // Wakes the thread that accepts.
        _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.over.load(SeqCst) {
            return;
        }
        if let Ok(client) = client {
            join(client, state);
        }
    }
}

/// Joins a client with the server by two threads, which end with the connection.
fn join(client: TcpStream, state: &Arc<State>) {
    let mut inner = state.lock();
    if inner.fault == Fault::Refuse {
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", state.server)) else { return reset(&client) };
    _ = client.set_nodelay(true);
    _ = server.set_nodelay(true);
    let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    inner.connections += 1;
    inner.ends.extend([clone(&client), clone(&server)]);
    let (there, back) = ((clone(&client), clone(&server)), (server, client));
    for ((from, to), answers) in [(there, false), (back, true)] {
        let state = Arc::clone(state);
        thread::spawn(move || carry(from, to, answers, &state));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, answers: bool, state: &State) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut bytes = &buffer[..count];
        let fault = state.lock().fault;
        match fault {
            Fault::Hole => continue,
            Fault::Slow(time) => thread::park_timeout(time),
            Fault::Cut(left) if answers => {
                let mut inner = state.lock();
                if count >= left {
                    bytes = &bytes[..left];
                    _ = to.write_all(bytes);
                    inner.fault = Fault::Pass;
                    inner.cuts += 1;
                    // Both ways: the other handles are of the same connection.
                    return [&from, &to].into_iter().for_each(reset);
                }
                inner.fault = Fault::Cut(left - count);
            }
            _ => {}
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // A connection that is reset gets no orderly end: it is reset when its last handle goes.
    if !matches!(sockopt::socket_linger(&from), Ok(Some(_))) {
        _ = to.shutdown(Shutdown::Both);
        _ = from.shutdown(Shutdown::Both);
    }
}

/// Wakes the thread that reads from a connection, and has it end with a reset.
fn reset(stream: &TcpStream) {
    _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    _ = stream.shutdown(Shutdown::Read);
}
