//! A private Redis server.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Folder, free_port, holds_within, until};

const MISSING: &str = "this test needs `redis-server` 7.0 or newer: run `scripts/servers`, or install the package \
                       `redis-server`";

/// A server that is killed with the test. It keeps its port and its folder over restarts.
#[derive(Debug)]
pub struct Redis {
    child: Option<Child>,
    folder: Folder,
    port: u16,
    tls: bool,
    options: Vec<String>,
}

/// What a server keeps over a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Everything that it answered for.
    Everything,
    /// Nothing.
    Nothing,
}

impl Redis {
    /// A server that answers, with more `options` of its command line.
    ///
    /// # Panics
    /// If there is no server to be had.
    pub fn start(keeps: Keeps, options: &[&str]) -> Self {
        let folder = Folder::new();
        let mut server = Self { child: None, folder, port: 0, tls: false, options: Vec::new() };
        server.options = options.iter().map(|option| (*option).to_owned()).collect();
        if keeps == Keeps::Everything {
            server.options.extend(["--appendonly", "yes", "--appendfsync", "always"].map(Into::into));
        }
        server.first();
        server
    }

    /// A server that speaks TLS alone, with a certificate that [`Redis::ca`] is the root of.
    ///
    /// # Panics
    /// If there is no server to be had.
    pub fn with_tls() -> Self {
        let mut server = Self { child: None, folder: Folder::new(), port: 0, tls: true, options: Vec::new() };
        super::write_certificates(server.folder.path());
        server.first();
        server
    }

    /// Where the server is.
    pub fn url(&self) -> String {
        format!("redis{}://localhost:{}", if self.tls { "s" } else { "" }, self.port)
    }

    /// The port of the server on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The Unix socket of the server.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// The root certificate of a server with TLS.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate and a key that the server accepts of its clients.
    pub fn identity(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("server.pem"), self.folder.path().join("server.key"))
    }

    /// What the server answers to a command, in lines: `["XLEN", "k"]` → `:3`.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn ask(&self, words: &[&str]) -> Vec<String> {
        self.try_ask(words).unwrap_or_else(|| panic!("no answer to {words:?}"))
    }

    /// Like [`Redis::ask`], for one line without its first character: `3`.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn get(&self, words: &[&str]) -> String {
        let mut lines = self.ask(words);
        if lines.len() > 1 { lines.remove(1) } else { lines[0][1..].to_owned() }
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// Starts it again on the same port and folder.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        until("the server starts again", || self.spawn());
    }

    /// Stops the process without ending it.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets a stopped process go on.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send {signal}");
    }

    fn first(&mut self) {
        until("a free port for a server", || {
            self.port = free_port();
            self.spawn()
        });
    }

    /// Starts the process; whether it answers.
    fn spawn(&mut self) -> bool {
        let path = self.folder.path();
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        if self.tls {
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "optional"]);
            for (option, file) in [
                ("--tls-cert-file", "server.pem"),
                ("--tls-key-file", "server.key"),
                ("--tls-ca-cert-file", "ca.pem"),
            ] {
                command.arg(option).arg(path.join(file));
            }
        } else {
            command.args(["--port", &port]);
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--dir"]).arg(path);
        command.arg("--unixsocket").arg(path.join("redis.sock")).args(&self.options);
        let log = fs::File::create(path.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{MISSING} ({error})"));
        let mut child = child;
        let answers = holds_within(super::GUARD, || {
            self.try_ask(&["PING"]).is_some_and(|lines| !lines[0].starts_with("-LOADING"))
                || child.try_wait().is_ok_and(|status| status.is_some())
        });
        // Another server on this port would answer, too: ours has to be there still.
        let alive = child.try_wait().is_ok_and(|status| status.is_none());
        self.child = Some(child);
        answers && alive
    }

    fn try_ask(&self, words: &[&str]) -> Option<Vec<String>> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(super::GUARD)).ok()?;
        write!(stream, "*{}\r\n", words.len()).ok()?;
        for word in words {
            write!(stream, "${}\r\n{word}\r\n", word.len()).ok()?;
        }
        stream.shutdown(Shutdown::Write).ok()?;
        let mut lines = Vec::new();
        for line in BufReader::new(stream).lines() {
            lines.push(line.ok()?);
        }
        (!lines.is_empty()).then_some(lines)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
