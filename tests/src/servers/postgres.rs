//! A private PostgreSQL server.

#![expect(clippy::disallowed_types, reason = "one maker of templates at a time")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{Folder, GUARD, free_port, holds_within, until};

const MISSING: &str = "this test needs PostgreSQL 14 or newer: install the package `postgresql`, whose programs are \
                       looked for on the PATH and in /usr/lib/postgresql";

/// A server that is killed with the test. It keeps its port and its data over restarts.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    folder: Folder,
    port: u16,
    options: Vec<String>,
    /// Kept for the servers that are started while this one is there.
    template: Arc<Folder>,
}

impl Postgres {
    /// A server that answers, with more `options` of the form `name=value`.
    ///
    /// # Panics
    /// If there is no server to be had.
    pub fn start(options: &[&str]) -> Self {
        let mut server = Self::empty();
        server.options = options.iter().map(|option| (*option).to_owned()).collect();
        server.first();
        server
    }

    /// A server that also speaks TLS, with a certificate for `localhost` that [`Postgres::ca`] is the root of.
    ///
    /// # Panics
    /// If there is no server to be had.
    pub fn with_tls() -> Self {
        let mut server = Self::empty();
        server.make_certificates();
        let file = |name: &str| server.folder.path().join(name).display().to_string();
        server.options = vec![
            "ssl=on".into(),
            format!("ssl_cert_file={}", file("server.pem")),
            format!("ssl_key_file={}", file("server.key")),
        ];
        server.first();
        server
    }

    /// Where the server is, for the role that may everything.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Where the server is, for another role.
    pub fn url_of(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/postgres", self.port)
    }

    /// The port of the server on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the server's Unix socket.
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// The root certificate of a server with TLS, as PEM.
    ///
    /// # Panics
    /// If it has none.
    pub fn ca(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("ca.pem")).expect("a server with TLS")
    }

    /// What statements answer, one line a row, columns parted by `|`.
    ///
    /// # Panics
    /// If the server refuses them.
    pub fn sql(&self, statements: &str) -> String {
        let mut command = Command::new(program("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", statements]);
        String::from_utf8(succeed(&mut command).stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// Ends all processes of the server at once, as a crash would.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let processes = family(child.id());
        signal("-KILL", &processes);
        _ = child.wait();
        until("the server's processes are gone", || {
            processes.iter().all(|process| parent(*process).is_none())
        });
    }

    /// Starts it again on the same port and data.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        until("the server starts again", || self.spawn());
    }

    /// Stops all processes without ending them.
    pub fn stop(&self) {
        self.child.iter().for_each(|child| signal("-STOP", &family(child.id())));
    }

    /// Lets stopped processes go on.
    pub fn go_on(&self) {
        self.child.iter().for_each(|child| signal("-CONT", &family(child.id())));
    }

    /// Lets no file of the server grow beyond so many bytes, which it takes for a full disk; `None`: as it likes.
    ///
    /// # Panics
    /// If the system does not allow it.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".into(), |bytes| bytes.to_string());
        for process in self.child.iter().flat_map(|child| family(child.id())) {
            // The soft one alone, which may be raised again.
            let limit = format!("--fsize={limit}:unlimited");
            succeed(as_user("prlimit".as_ref()).args(["--pid", &process.to_string(), &limit]));
        }
    }

    /// Has `role` come with a password.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn ask_for_password(&self, role: &str) {
        let file = self.data().join("pg_hba.conf");
        let rules = fs::read_to_string(&file).expect("rules");
        let rules = format!("host all {role} 127.0.0.1/32 scram-sha-256\n{rules}");
        fs::write(&file, rules).expect("rules");
        self.sql("select pg_reload_conf()");
    }

    /// A copy of the data files of a server that does not run.
    ///
    /// # Panics
    /// If it runs.
    pub fn save(&self) {
        assert!(self.child.is_none(), "it runs");
        _ = fs::remove_dir_all(self.folder.path().join("saved"));
        succeed(Command::new("cp").arg("-a").arg(self.data()).arg(self.folder.path().join("saved")));
    }

    /// Takes the copy for the data.
    ///
    /// # Panics
    /// If the server runs.
    pub fn load(&self) {
        assert!(self.child.is_none(), "it runs");
        fs::remove_dir_all(self.data()).expect("data");
        succeed(Command::new("cp").arg("-a").arg(self.folder.path().join("saved")).arg(self.data()));
    }

    fn empty() -> Self {
        let template = new_data();
        let server = Self { child: None, folder: Folder::new(), port: 0, options: Vec::new(), template };
        give_away(server.folder.path());
        succeed(Command::new("cp").arg("-a").arg(server.template.path().join("data")).arg(server.data()));
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn first(&mut self) {
        until("a free port for a server", || {
            self.port = free_port();
            self.spawn()
        });
    }

    /// Starts the process; whether it answers.
    fn spawn(&mut self) -> bool {
        let folder = self.folder.path();
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
        let mut command = as_server("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(folder).args(["-p", &self.port.to_string()]);
        // Crashes of processes are survived without waiting for disks, which only crashes of machines need.
        for option in ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=32MB", "max_connections=60"]
        {
            command.args(["-c", option]);
        }
        for option in &self.options {
            command.args(["-c", option]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{MISSING} ({error})"));
        let mut ended = false;
        let answers = holds_within(GUARD, || {
            ended = child.try_wait().is_ok_and(|status| status.is_some());
            ended || self.is_ready()
        });
        self.child = Some(child);
        answers && !ended
    }

    fn is_ready(&self) -> bool {
        let mut command = Command::new(program("pg_isready"));
        command.arg("-q").arg("-h").arg(self.folder.path()).args(["-p", &self.port.to_string()]);
        command.status().is_ok_and(|status| status.success())
    }

    fn make_certificates(&self) {
        for path in super::write_certificates(self.folder.path()) {
            // The server refuses a key that others may read.
            succeed(Command::new("chmod").arg("600").arg(&path));
            give_away(&path);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The data files of a new server, made once for all servers that are there at the same time.
fn new_data() -> Arc<Folder> {
    static TEMPLATE: Mutex<Weak<Folder>> = Mutex::new(Weak::new());
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    template.upgrade().unwrap_or_else(|| {
        let folder = Folder::new();
        give_away(folder.path());
        let mut command = as_server("initdb");
        command.args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"]);
        succeed(command.arg(folder.path().join("data")));
        let folder = Arc::new(folder);
        *template = Arc::downgrade(&folder);
        folder
    })
}

/// The server refuses to run as root, so its files belong to its own user then.
fn give_away(path: &Path) {
    if is_root() {
        succeed(Command::new("chown").arg("postgres").arg(path));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of the server, run by the server's user.
fn as_server(name: &str) -> Command {
    as_user(&program(name))
}

/// Any program, run by the server's user.
fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

/// Where a program of PostgreSQL is: of the newest version beside the PATH, or on it.
fn program(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = installed.map(|entry| entry.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|folder| folder.join(name)).collect::<Vec<_>>());
    let mut on_path = on_path.filter(|path| path.exists());
    on_path.next().or_else(|| found.pop()).unwrap_or_else(|| panic!("{MISSING}: no `{name}`"))
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}. {MISSING}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A process and those that it started: each of them leads a group of its own.
fn family(process: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = processes.filter(|child| parent(*child) == Some(process));
    std::iter::once(process).chain(children).collect()
}

/// The parent of a process; `None`: there is no such process.
fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // One that has ended is there until its parent asks for it.
    if field("State:").is_some_and(|state| state.starts_with('Z')) {
        return None;
    }
    field("PPid:")?.parse().ok()
}

fn signal(signal: &str, processes: &[u32]) {
    let mut command = Command::new("kill");
    command.arg(signal).args(processes.iter().map(ToString::to_string));
    // Some may have ended meanwhile.
    _ = command.stderr(Stdio::null()).status();
}
