//! A service that embeds the engine behind HTTP: GraphQL over SSE on sockets of std, a thread for each client.
//!
//! What a request asks for and how results are written is decided by the state machines of `protocol`, which know no
//! sockets: a service on hyper or axum gives them the same bytes, and awaits `Subscriber::poll_next`.
//!
//! Run it with `cargo run -p coulis --example sse`, and with a port as its argument to try it with curl.

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use coulis::{
    engine::{Engine, SubscribeRequest},
    error::GraphQlError,
    event::Event,
    protocol::{
        http::{Ask, Exchange, Head, Origin, Refusal},
        stream::{Form, Stream},
    },
    subscriber::{Delivery, Message, Subscriber, SubscriberOptions},
};

const KEEP_ALIVE: Duration = Duration::from_secs(12);
const HEAD_BYTES_MAX: u64 = 16 << 10;
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);

type Outcome = Result<(), Box<dyn Error>>;

/// Serves one client, until it or the engine is gone.
fn serve(engine: &Engine, mut socket: TcpStream) -> Outcome {
    socket.set_read_timeout(Some(HEAD_WAIT_MAX))?;
    let head = BufReader::new(socket.try_clone()?.take(HEAD_BYTES_MAX)).lines();
    let lines = head.take_while(|line| !line.as_ref().is_ok_and(String::is_empty));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    match begin(engine, &lines) {
        Ok((reader, stream)) => send(engine, &mut socket, reader, stream),
        Err(refusal) => {
            let body = refusal.body();
            let head = format!("HTTP/1.1 {} No\r\ncontent-type: application/json\r\n", refusal.status);
            Ok(write!(socket, "{head}content-length: {}\r\n\r\n{body}", body.len())?)
        }
    }
}

/// Reads a request's head and subscribes to what it asks for. A real service finds out here who the client is.
fn begin(engine: &Engine, lines: &[String]) -> Result<(Subscriber, Stream), Refusal> {
    let bad = |reason: &str| Refusal::new(400, "BAD_REQUEST", reason);
    let (request, headers) = lines.split_first().ok_or_else(|| bad("there is no request"))?;
    let mut words = request.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(bad("the request line has no method and target"));
    };
    let headers = headers.iter().filter_map(|line| line.split_once(':'));
    let headers: Vec<_> = headers.map(|(name, value)| (name.to_lowercase(), value.trim())).collect();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let query = target.split_once('?').map_or("", |(_, query)| query).as_bytes();

    let exchange = Exchange::read(&Head { method, query, headers: &headers }, engine.limits())?;
    let unsupported = || Refusal::new(501, "NOT_SUPPORTED", "send GET with `Accept: text/event-stream`");
    if *exchange.ask() != Ask::Answer || exchange.has_body() {
        return Err(unsupported());
    }
    let asked = exchange.request(Vec::new())?;
    if exchange.form(&asked, Origin::Unknown)? != Form::Events {
        return Err(unsupported());
    }
    // A browser that lost its connection says by itself what it has seen.
    let resume = exchange.resume(&asked).map_err(|error| Refusal::of(vec![error]))?;
    let mut reader = engine
        .open(SubscriberOptions::default())
        .map_err(|error| Refusal::new(503, "ENGINE_CLOSED", error.to_string()))?;
    let mut stream = Stream::new(Form::Events, engine.limits());
    stream.start("1")?;
    let request = SubscribeRequest {
        id: "1".into(),
        query: asked.query,
        variables: asked.variables,
        resume,
        ..SubscribeRequest::default()
    };
    let subscribed = engine.subscribe(&mut reader, request);
    subscribed.map_err(|error| Refusal::new(400, error.code(), error.to_string()))?;
    Ok((reader, stream))
}

/// Sends results as they come. The thread sleeps meanwhile.
fn send(engine: &Engine, socket: &mut TcpStream, mut reader: Subscriber, mut stream: Stream) -> Outcome {
    write!(socket, "HTTP/1.1 200 OK\r\ncontent-type: {}\r\n\r\n", stream.form().content_type())?;
    loop {
        // Fails where the client has gone: the reader is dropped, and its subscription ends.
        socket.write_all(&stream.take())?;
        if stream.is_over() {
            return Ok(());
        }
        if let Some(Message { id, content }) = reader.next_timeout(KEEP_ALIVE) {
            let mut bytes = Vec::new();
            stream.write(&Delivery { id: &id, id_json: "\"1\"", content: content.borrow() }, &mut bytes);
            socket.write_all(&bytes)?;
        } else if engine.is_closed() {
            stream.end(&GraphQlError::new("ENGINE_CLOSED", "the server is closing: subscribe again"));
        } else {
            stream.keep_alive();
        }
    }
}

/// Accepts clients until the process ends.
fn listen(engine: &Engine, listener: &TcpListener) {
    for socket in listener.incoming().flatten() {
        let engine = engine.clone();
        thread::spawn(move || {
            if let Err(error) = serve(&engine, socket) {
                println!("a client is gone: {error}");
            }
        });
    }
}

fn publish(engine: &Engine, symbol: &str, price: f64) -> Outcome {
    let document = format!(r#"{{"symbol": "{symbol}", "price": {price}, "size": 300}}"#);
    engine.publish(Event::new("trade", "trades", document.into_bytes(), engine.limits())?)?.wait();
    Ok(())
}

/// A client: subscribes, and answers the lines that come.
fn subscribe(port: u16, query: &str, more: &str) -> Result<impl Iterator<Item = String>, Box<dyn Error>> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(socket, "GET /?query={query} HTTP/1.1\r\naccept: text/event-stream\r\n{more}\r\n")?;
    let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
    // The head comes when the subscription is active.
    lines.by_ref().find(String::is_empty).ok_or("there is no answer")?;
    Ok(lines)
}

fn main() -> Outcome {
    let engine = Engine::builder().shards(1).build()?;
    let chosen: Option<u16> = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let listener = TcpListener::bind(("127.0.0.1", chosen.unwrap_or(0)))?;
    let port = listener.local_addr()?.port();
    let query = "subscription%7Btrades%7Bprice%7D%7D";
    let accepting = engine.clone();
    thread::spawn(move || listen(&accepting, &listener));
    if chosen.is_some() {
        println!("curl -N -H 'Accept: text/event-stream' 'http://127.0.0.1:{port}/?query={query}'");
        println!("Each line that you write here is a price:");
        for line in std::io::stdin().lines() {
            publish(&engine, "ACME", line?.trim().parse()?)?;
        }
        return Ok(());
    }

    let mut first = subscribe(port, query, "")?;
    publish(&engine, "ACME", 12.5)?;
    let cursor = first.by_ref().find_map(|line| line.strip_prefix("id: ").map(str::to_owned));
    let cursor = cursor.ok_or("a result has a cursor")?;
    let data = first.find(|line| line.starts_with("data: ")).ok_or("a result has data")?;
    assert!(data.contains(r#""data":{"trades":{"price":12.5}}"#), "{data}");
    println!("{data}");
    drop(first);

    publish(&engine, "ACME", 13.0)?;
    let seen = format!("last-event-id: {cursor}\r\n");
    let again = subscribe(port, query, &seen)?;
    let mut data = again.filter(|line| line.starts_with("data: "));
    assert!(data.next().is_some_and(|told| told.contains(r#""resumed":true"#)));
    let missed = data.next().ok_or("what was missed comes")?;
    assert!(missed.contains(r#""price":13"#), "{missed}");
    println!("{missed}");

    let mut refused = subscribe(port, "%7Btrades%7D", "")?;
    assert!(refused.next().is_some_and(|body| body.contains("errors")));

    engine.close();
    assert!(data.any(|line| line.contains("ENGINE_CLOSED")), "who listens is told");
    Ok(())
}
