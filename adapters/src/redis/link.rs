//! One connection to a server: TCP, TLS or a Unix socket, with bounds on every wait, and an end from outside.
//!
//! Why not the client's own connection: it cannot be ended while another thread reads from it, and a reader that
//! waits for the next event has to be.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs as _},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use redis::{Cmd, Parser, Value, cmd};
use rustls::{ClientConnection, StreamOwned};

use super::config::{Address, Host};

/// The oldest server that counts the entries of an epoch by itself.
const MAJOR_VERSION_MIN: u32 = 7;

/// Bytes of one answer; no more entries are asked for than fit.
pub(super) const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing came in time.
    Silent,
    /// The server says no; the connection is as it was.
    Refused(String),
    /// The connection cannot be used any more.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it does not answer in time"),
            Self::Refused(reason) | Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::UnexpectedEof => Self::Broken("it closed the connection".into()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<redis::RedisError> for Trouble {
    fn from(error: redis::RedisError) -> Self {
        if error.is_timeout() {
            Self::Silent
        } else if error.is_connection_dropped() {
            Self::Broken("it closed the connection".into())
        } else {
            Self::Broken(error.to_string())
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

/// A connection that is greeted: authenticated, on its database, of a version that will do.
pub(super) struct Link {
    stream: Stream,
    parser: Parser,
    /// How long an answer may take.
    answer_wait: Duration,
}

/// Ends a connection from another thread.
#[derive(Debug)]
pub(super) enum Closer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Closer {
    pub(super) fn close(&self) {
        // An error says that it is closed.
        _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Link {
    /// Connects; `kept` gets the means to end it before anything is waited for.
    pub(super) fn open(
        address: &Address,
        answer_wait: Duration,
        kept: impl FnOnce(Closer),
    ) -> Result<Self, Trouble> {
        let stream = match &address.host {
            Host::Tcp(host, port) => {
                let stream = tcp(host, *port, answer_wait)?;
                kept(Closer::Tcp(stream.try_clone()?));
                Stream::Tcp(stream)
            }
            Host::Tls(host, port, name, config) => {
                let stream = tcp(host, *port, answer_wait)?;
                kept(Closer::Tcp(stream.try_clone()?));
                let session = ClientConnection::new(Arc::clone(config), name.clone())
                    .map_err(|error| Trouble::Broken(error.to_string()))?;
                Stream::Tls(Box::new(StreamOwned::new(session, stream)))
            }
            Host::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(answer_wait))?;
                kept(Closer::Unix(stream.try_clone()?));
                Stream::Unix(stream)
            }
        };
        let mut link = Self { stream, parser: Parser::new(), answer_wait };
        link.patience(Duration::ZERO)?;
        link.greet(address)?;
        Ok(link)
    }

    fn greet(&mut self, address: &Address) -> Result<(), Trouble> {
        let mut hello = cmd("HELLO");
        hello.arg(2);
        if let Some(password) = &address.password {
            hello.arg("AUTH").arg(address.user.as_deref().unwrap_or("default")).arg(&password.0);
        }
        let server = self.ask(&hello)?;
        check_server(&server)?;
        if address.db != 0 {
            self.ask(cmd("SELECT").arg(address.db))?;
        }
        Ok(())
    }

    /// One command and its answer; an error of the server ends the connection.
    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, Trouble> {
        self.send(&command.get_packed_command())?;
        match self.receive()? {
            Value::ServerError(error) => Err(Trouble::Refused(shown(&error))),
            answer => Ok(answer),
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let stream: &mut dyn Write = match &mut self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.as_mut(),
            Stream::Unix(stream) => stream,
        };
        stream.write_all(bytes)?;
        Ok(stream.flush()?)
    }

    pub(super) fn receive(&mut self) -> Result<Value, Trouble> {
        let stream: &mut dyn Read = match &mut self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.as_mut(),
            Stream::Unix(stream) => stream,
        };
        let mut bounded = stream.take(ANSWER_BYTES_MAX);
        match self.parser.parse_value(&mut bounded) {
            Err(_) if bounded.limit() == 0 => {
                Err(Trouble::Broken(format!("it answers with more than {ANSWER_BYTES_MAX} bytes")))
            }
            answer => Ok(answer?),
        }
    }

    /// Answers may take `longer` than usual from now on.
    pub(super) fn patience(&self, longer: Duration) -> Result<(), Trouble> {
        let wait = Some(self.answer_wait + longer);
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(wait)?,
            Stream::Tls(stream) => stream.get_ref().set_read_timeout(wait)?,
            Stream::Unix(stream) => stream.set_read_timeout(wait)?,
        }
        Ok(())
    }
}

/// A server's error as it wrote it.
pub(super) fn shown(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().into(),
    }
}

fn tcp(host: &str, port: u16, wait: Duration) -> Result<TcpStream, Trouble> {
    let mut last = Trouble::Broken(format!("`{host}` has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, wait) {
            Ok(stream) => {
                // A command is one write: there is nothing to wait for.
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(wait))?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Whether the server that answers `HELLO` so is of a version that will do, and a master: a replica takes what is
/// published there, and passes it on to nobody.
pub(super) fn check_server(server: &Value) -> Result<(), Trouble> {
    if let Value::ServerError(error) = server {
        return Err(Trouble::Refused(shown(error)));
    }
    let field = |name: &str| match server {
        Value::Array(fields) => fields.chunks_exact(2).find_map(|pair| match pair {
            [Value::BulkString(field), Value::BulkString(value)] if field == name.as_bytes() => {
                Some(String::from_utf8_lossy(value).into_owned())
            }
            _ => None,
        }),
        _ => None,
    };
    if let Some(role) = field("role").filter(|role| role != "master") {
        return Err(Trouble::Broken(format!("it is a {role}: its master is needed")));
    }
    let version = field("version").unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= MAJOR_VERSION_MIN => Ok(()),
        _ => Err(Trouble::Broken(format!(
            "it is of version `{version}`: Redis {MAJOR_VERSION_MIN}.0 or newer is needed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_will_not_do_are_named() {
        let hello = |version: &str, role: &str| {
            let fields = ["server", "redis", "version", version, "role", role];
            check_server(&Value::Array(fields.map(|text| Value::BulkString(text.into())).into()))
        };
        for good in ["7.0.0", "7.0.15", "8.2.1", "10.0"] {
            hello(good, "master").unwrap();
        }
        for bad in ["6.2.14", "", "x", "5"] {
            assert!(hello(bad, "master").unwrap_err().to_string().contains(&format!("`{bad}`")));
        }
        assert!(hello("7.0.0", "replica").unwrap_err().to_string().contains("replica"));
        assert!(check_server(&Value::Nil).is_err());
    }
}
