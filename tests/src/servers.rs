//! Real servers as children of a test, and the faults between them and us.

pub mod postgres;
pub mod proxy;
pub mod redis;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Who waits longer than this waits for ever.
pub const GUARD: Duration = Duration::from_secs(30);

/// A folder that is removed with the test.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder.
    ///
    /// # Panics
    /// If there is no place for it.
    #[expect(clippy::new_without_default, reason = "making a folder is no default")]
    pub fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("coulis-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for a server");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a root (`ca.pem`), and what it vouches for as `localhost` (`server.pem`, `server.key`); answers where they are.
fn write_certificates(folder: &Path) -> [PathBuf; 3] {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.distinguished_name.push(DnType::CommonName, "the root of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = authority.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["localhost".into()]).expect("parameters");
    let server = server.signed_by(&key, &issuer).expect("a certificate").pem();
    [("ca.pem", root), ("server.pem", server), ("server.key", key.serialize_pem())].map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a certificate is written");
        path
    })
}

/// A port that is free now; whoever takes it tries another one if somebody was faster.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Waits until `fact` holds.
///
/// # Panics
/// If it does not within [`GUARD`]; `what` says what was waited for.
pub fn until(what: &str, fact: impl FnMut() -> bool) {
    assert!(holds_within(GUARD, fact), "waited {GUARD:?} in vain: {what}");
}

/// Whether `fact` holds within `time`.
pub fn holds_within(time: Duration, mut fact: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + time;
    loop {
        if fact() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        pause();
    }
}

/// Lets others run before a fact is looked at again.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}
