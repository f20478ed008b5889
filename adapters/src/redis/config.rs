//! What a Redis bus is told: where the server is, what its keys are called, and every bound with its unit.

use std::{fmt, fs, path::PathBuf, sync::Arc, time::Duration};

use coulis::{bus::BusError, limits::Limits};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use super::link::ANSWER_BYTES_MAX;
use crate::wire;

/// Schemes of addresses.
const SCHEMES: &str = "`redis://`, `rediss://`, `unix://` or `redis+unix://`";
/// Bytes of a prefix.
const PREFIX_BYTES_MAX: usize = 128;
/// Any wait: what is longer overflows clocks, here or in the server.
pub(super) const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Entries of one answer.
const ENTRIES_MAX: usize = 64;
/// Bytes of an entry beside its events.
const ENTRY_FRAME_BYTES: usize = 128;
/// What the entries of a stream may have of an answer; the inlet has as much.
const STREAM_BYTES_MAX: usize = ANSWER_BYTES_MAX as usize / 2;

/// How events get through Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A stream, which keeps a history: nothing is lost while a node is away for less than the history holds.
    #[default]
    Streams,
    /// `PUBLISH` and `SUBSCRIBE`: no history. What comes while a node is away is lost to it, which is told; positions
    /// are each node's own, so that no client resumes on another node.
    PubSub,
}

/// The settings of a Redis bus.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://[user[:password]@]host[:port][/db]`, `rediss://` for TLS, or
    /// `unix:///path[?db=0&user=…&pass=…]`.
    pub url: String,
    /// The cluster's name, which all its keys start with: nodes that share it share their events.
    pub prefix: String,
    /// Whether there is a history.
    pub mode: Mode,
    /// Events that the stream keeps, at least; the server trims in whole nodes of its own (`MINID ~`).
    pub stream_events_max: usize,
    /// Events before the end of the stream with which a node begins, at most.
    pub history_events_max: usize,
    /// How long a publisher waits for each next answer before it is told that there was none.
    pub publish_wait_max: Duration,
    /// Events that wait to be sent, such as while the server is away.
    pub buffer_events_max: usize,
    /// Bytes of the events that wait to be sent; one event always fits.
    pub buffer_bytes_max: usize,
    /// Events of one call to the server, for writing and for reading.
    pub batch_events_max: usize,
    /// Bytes of the events of one call that writes; one event always fits.
    pub batch_bytes_max: usize,
    /// How long an event's own id is remembered, so that it is taken once.
    pub id_age_max: Duration,
    /// How long connecting may take, and an answer of the server.
    pub answer_wait_max: Duration,
    /// How long a read waits at the server for the next event; then the server is asked whether all is as it was.
    pub block_max: Duration,
    /// Certificates (PEM) that the server's is checked against; none: those of the system.
    pub tls_ca: Option<PathBuf>,
    /// A certificate chain and its key (PEM), if the server asks for one.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
}

impl RedisConfig {
    /// The settings with their defaults, for the server at `url` and the cluster `prefix`.
    pub fn new(url: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: prefix.into(),
            mode: Mode::Streams,
            stream_events_max: 1_000_000,
            history_events_max: 65_536,
            publish_wait_max: Duration::from_secs(5),
            buffer_events_max: 65_536,
            buffer_bytes_max: 64 << 20,
            batch_events_max: 512,
            batch_bytes_max: 1 << 20,
            id_age_max: Duration::from_secs(24 * 60 * 60),
            answer_wait_max: Duration::from_secs(2),
            block_max: Duration::from_secs(2),
            tls_ca: None,
            tls_identity: None,
        }
    }
}

impl RedisConfig {
    /// Refuses what can never work.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self) -> Result<(), BusError> {
        self.address().map(drop)
    }

    fn address(&self) -> Result<Address, BusError> {
        check_prefix(&self.prefix)?;
        check_bounds(self)?;
        Address::new(self)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &redacted(&self.url))
            .field("prefix", &self.prefix)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A configuration that was checked, with its keys and its address.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) config: RedisConfig,
    pub(super) limits: Limits,
    pub(super) address: Address,
    /// The stream, or the channel of `PubSub`.
    pub(super) stream: String,
    /// Where producers that are no nodes leave their events.
    pub(super) inlet: String,
    /// What the keys of remembered ids start with.
    pub(super) ids: String,
    /// What the keys of producers start with.
    pub(super) producers: String,
}

/// Where the server is, and who we are there.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: Host,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: i64,
    /// For a person.
    pub(super) shown: String,
}

#[derive(Clone, Debug)]
pub(super) enum Host {
    Tcp(String, u16),
    Tls(String, u16, ServerName<'static>, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// A text that is not shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Settings {
    pub(super) fn new(config: RedisConfig, limits: Limits) -> Result<Self, BusError> {
        let address = config.address()?;
        check_entry(&config, &limits)?;
        // The braces are a hash tag: all keys of a cluster of nodes lie in one slot of a cluster of servers.
        let key = |name: &str| format!("{{{}}}:{name}", config.prefix);
        let (stream, inlet, ids, producers) = (key("events"), key("in"), key("id:"), key("producer:"));
        Ok(Self { config, limits, address, stream, inlet, ids, producers })
    }

    /// Entries that an answer has room for, however large they are.
    pub(super) fn entries_max(&self) -> usize {
        let events = batch_entry_bytes(&self.config).max(event_entry_bytes(&self.limits));
        (STREAM_BYTES_MAX / events).clamp(1, ENTRIES_MAX)
    }
}

/// Bytes of an entry that holds a whole batch: the frame of an event in it has 5 bytes, which is less than half of it.
fn batch_entry_bytes(config: &RedisConfig) -> usize {
    let bytes = config.batch_bytes_max;
    bytes.saturating_add(bytes / 2).saturating_add(ENTRY_FRAME_BYTES)
}

/// Bytes of an entry that holds one event.
fn event_entry_bytes(limits: &Limits) -> usize {
    wire::encoded_bytes_max(limits).saturating_add(ENTRY_FRAME_BYTES)
}

/// An entry that no answer has room for would never be read.
fn check_entry(config: &RedisConfig, limits: &Limits) -> Result<(), BusError> {
    let entries = [
        ("batch_bytes_max", config.batch_bytes_max, batch_entry_bytes(config)),
        ("event_bytes_max", limits.event_bytes_max, event_entry_bytes(limits)),
    ];
    match entries.into_iter().find(|(_, _, bytes)| *bytes > STREAM_BYTES_MAX) {
        Some((name, value, bytes)) => Err(refused(format!(
            "`{name}` is {value}: an entry of the stream could have {bytes} bytes, more than the \
             {STREAM_BYTES_MAX} that are read at once: lower it"
        ))),
        None => Ok(()),
    }
}

impl Address {
    fn new(config: &RedisConfig) -> Result<Self, BusError> {
        let shown = redacted(&config.url);
        let wrong = |reason: String| refused(format!("`{shown}` is no address of a Redis server: {reason}"));
        let url = redis::parse_redis_url(&config.url)
            .ok_or_else(|| wrong(format!("it starts with none of {SCHEMES}, or is no URL")))?;
        let unix = matches!(url.scheme(), "unix" | "redis+unix");
        if url.scheme().starts_with("valkey") {
            return Err(wrong(format!("it starts with none of {SCHEMES}")));
        }
        let known: &[&str] = if unix { &["db", "user", "pass"] } else { &[] };
        // What stands there may be the rest of a password: it is not named.
        let torn =
            || wrong("an `@` follows a `?` or `#`: write `%3F` and `%23` in a user or password".into());
        let hides = has_late_at(&config.url);
        if let Some((option, _)) = url.query_pairs().find(|(option, _)| !known.contains(&option.as_ref())) {
            return Err(if hides { torn() } else { wrong(format!("there is no option `{option}`")) });
        }
        if let Some(fragment) = url.fragment() {
            let odd = || wrong(format!("there is no `#{fragment}`: give `tls_ca` to trust a certificate"));
            return Err(if hides { torn() } else { odd() });
        }
        let info: ConnectionInfo = url.into_connection_info().map_err(|error| wrong(error.to_string()))?;
        let host = host(info.addr(), config).map_err(wrong)?;
        let server = info.redis_settings();
        Ok(Self {
            host,
            user: server.username().map(Into::into),
            password: server.password().map(|password| Secret(password.into())),
            db: server.db(),
            shown,
        })
    }
}

fn host(address: &ConnectionAddr, config: &RedisConfig) -> Result<Host, String> {
    let tls = config.tls_ca.is_some() || config.tls_identity.is_some();
    match address {
        ConnectionAddr::TcpTls { host, port, .. } => {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| format!("`{host}` is no name that a certificate can have"))?;
            Ok(Host::Tls(host.clone(), *port, name, Arc::new(tls_of(config)?)))
        }
        _ if tls => Err("certificates are of no use without TLS: write `rediss://`".into()),
        ConnectionAddr::Tcp(host, port) => Ok(Host::Tcp(host.clone(), *port)),
        ConnectionAddr::Unix(path) => Ok(Host::Unix(path.clone())),
        _ => Err(format!("it starts with none of {SCHEMES}")),
    }
}

fn tls_of(config: &RedisConfig) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(trusted(config)?);
    let Some((chain, key)) = &config.tls_identity else { return Ok(builder.with_no_client_auth()) };
    let unusable = |error: &dyn fmt::Display| format!("`{}` is no private key: {error}", key.display());
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(&error))?;
    builder.with_client_auth_cert(certificates(chain)?, private).map_err(|error| unusable(&error))
}

fn trusted(config: &RedisConfig) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    if let Some(path) = &config.tls_ca {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| format!("`{}`: {error}", path.display()))?;
        }
        return Ok(store);
    }
    // Systems ship certificates that nobody reads any more: those are left out, as everywhere.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err("this system trusts no certificate: give `tls_ca`".into());
    }
    Ok(store)
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let text = fs::read(path).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("`{shown}` holds no certificate in PEM form")),
        Err(error) => Err(format!("`{shown}`: {error}")),
    }
}

fn check_prefix(prefix: &str) -> Result<(), BusError> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '{' | '}' | '*' | '?' | '[' | ']');
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || prefix.contains(odd) {
        return Err(refused(format!(
            "`{prefix}` cannot start the names of keys: give 1 to {PREFIX_BYTES_MAX} bytes without space, braces, \
             brackets, `*` and `?`"
        )));
    }
    Ok(())
}

fn check_bounds(config: &RedisConfig) -> Result<(), BusError> {
    let counts = [
        ("stream_events_max", config.stream_events_max),
        ("history_events_max", config.history_events_max),
        ("buffer_events_max", config.buffer_events_max),
        ("buffer_bytes_max", config.buffer_bytes_max),
        ("batch_events_max", config.batch_events_max),
        ("batch_bytes_max", config.batch_bytes_max),
    ];
    if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
        return Err(refused(format!("`{name}` is 0: give 1 or more")));
    }
    let times = [
        ("publish_wait_max", config.publish_wait_max),
        ("id_age_max", config.id_age_max),
        ("answer_wait_max", config.answer_wait_max),
        ("block_max", config.block_max),
    ];
    if let Some((name, _)) = times.into_iter().find(|(_, time)| time.as_millis() == 0) {
        return Err(refused(format!("`{name}` is below a millisecond: give 1 ms or more")));
    }
    if let Some((name, time)) = times.into_iter().find(|(_, time)| *time > TIME_MAX) {
        return Err(refused(format!("`{name}` is {time:?}: give a year ({TIME_MAX:?}) or less")));
    }
    Ok(())
}

fn refused(reason: String) -> BusError {
    BusError { reason, transient: false, unknown: false }
}

/// An address without its password, and without what an option might give away; where it cannot be told which part is
/// which, the scheme alone.
fn redacted(url: &str) -> String {
    let is_scheme = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (&url[..scheme.len() + 3], rest),
        _ => ("", url),
    };
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let host = host.split(['?', '#']).next().unwrap_or_default();
    if has_late_at(rest) || !has_port(host) {
        return format!("{scheme}…");
    }
    match user.map(|user| user.split_once(':')) {
        Some(Some((user, _))) => format!("{scheme}{user}:…@{host}"),
        Some(None) => format!("{scheme}…@{host}"),
        None => format!("{scheme}{host}"),
    }
}

/// Whether an `@` follows what begins an option or a fragment: a password may go on there.
fn has_late_at(url: &str) -> bool {
    url.split_once(['?', '#']).is_some_and(|(_, late)| late.contains('@'))
}

/// Whether what follows a host's name is a port, if anything does: it could be a password whose host is missing.
fn has_port(host: &str) -> bool {
    let authority = host.split('/').next().unwrap_or_default();
    let after = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    after.split_once(':').is_none_or(|(_, port)| port.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(config: RedisConfig) -> Result<Settings, String> {
        Settings::new(config, Limits::default()).map_err(|error| {
            assert!(!error.transient && !error.unknown, "{error:?}");
            error.reason
        })
    }

    #[test]
    fn addresses_are_read_and_keys_share_a_hash_tag() {
        let read = |url: &str| settings(RedisConfig::new(url, "shop")).unwrap();
        let plain = read("redis://127.0.0.1");
        assert!(matches!(&plain.address.host, Host::Tcp(host, 6379) if host == "127.0.0.1"));
        assert_eq!((&*plain.stream, &*plain.inlet), ("{shop}:events", "{shop}:in"));
        let full = read("redis://u:p%40@[::1]:7/3");
        assert!(matches!(&full.address.host, Host::Tcp(host, 7) if host == "::1"));
        assert_eq!((full.address.user.as_deref(), full.address.db), (Some("u"), 3));
        assert_eq!(full.address.password.unwrap().0, "p@");
        for url in ["unix:///tmp/r.sock?db=2&user=u&pass=p", "redis+unix:///tmp/r.sock?db=2&user=u&pass=p"] {
            let unix = read(url);
            assert!(matches!(&unix.address.host, Host::Unix(path) if path.ends_with("r.sock")));
            assert_eq!((unix.address.user.as_deref(), unix.address.db), (Some("u"), 2));
        }
        assert!(matches!(read("rediss://example.org").address.host, Host::Tls(_, 6379, ..)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let row = |url: &str, named: &str| {
            let reason = settings(RedisConfig::new(url, "shop")).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        };
        row("http://127.0.0.1", "`http://127.0.0.1`");
        row("127.0.0.1:6379", "`127.0.0.1:6379`");
        row("redis://127.0.0.1/first", "database");
        row("redis://127.0.0.1?timeout=3", "`timeout`");
        row("unix:///tmp/r.sock?socket=3", "`socket`");
        row("rediss://127.0.0.1#insecure", "`#insecure`");
        row("redis://", "redis://");
        for prefix in ["", "a b", "{a}", "a*", &"x".repeat(129)] {
            let reason = settings(RedisConfig::new("redis://127.0.0.1", prefix)).unwrap_err();
            assert!(reason.contains(&format!("`{prefix}`")), "{reason}");
        }
        let config = RedisConfig { batch_events_max: 0, ..RedisConfig::new("redis://127.0.0.1", "shop") };
        assert_eq!(settings(config).unwrap_err(), "`batch_events_max` is 0: give 1 or more");
        let config =
            RedisConfig { block_max: Duration::ZERO, ..RedisConfig::new("redis://127.0.0.1", "shop") };
        assert!(settings(config).unwrap_err().contains("`block_max`"));
    }

    #[test]
    fn times_have_an_end() {
        let usual = || RedisConfig::new("redis://127.0.0.1", "shop");
        let long = TIME_MAX + Duration::from_millis(1);
        for (config, name) in [
            (RedisConfig { publish_wait_max: long, ..usual() }, "`publish_wait_max`"),
            (RedisConfig { id_age_max: Duration::MAX, ..usual() }, "`id_age_max`"),
            (RedisConfig { answer_wait_max: long, ..usual() }, "`answer_wait_max`"),
            (RedisConfig { block_max: Duration::MAX, ..usual() }, "`block_max`"),
        ] {
            let reason = settings(config).unwrap_err();
            assert!(reason.contains(name) && reason.contains("or less"), "{reason}");
        }
        settings(RedisConfig { id_age_max: TIME_MAX, block_max: TIME_MAX, ..usual() }).unwrap();
    }

    #[test]
    fn an_answer_has_room_for_the_entries_that_are_asked_for() {
        let with = |batch_bytes_max, event_bytes_max| {
            let config = RedisConfig { batch_bytes_max, ..RedisConfig::new("redis://127.0.0.1", "shop") };
            Settings::new(config, Limits { event_bytes_max, ..Limits::default() })
        };
        let entries = |batch, event| with(batch, event).unwrap().entries_max();
        assert_eq!(entries(1 << 20, 1 << 10), 64);
        assert_eq!(entries(16 << 20, 1 << 20), 5);
        assert_eq!(entries(1 << 20, 16 << 20), 3);
        assert_eq!(entries(80 << 20, 60 << 20), 1);
        for (batch, event, name) in [
            (100 << 20, 1 << 20, "`batch_bytes_max` is 104857600"),
            (1 << 20, 64 << 20, "`event_bytes_max` is 67108864"),
            (usize::MAX, 1, "`batch_bytes_max`"),
            (1, usize::MAX, "`event_bytes_max`"),
        ] {
            let reason = with(batch, event).unwrap_err().reason;
            assert!(reason.contains(name), "{reason}");
        }
    }

    #[test]
    fn certificates_that_cannot_be_read_are_named() {
        let config =
            |url: &str, ca: &str| RedisConfig { tls_ca: Some(ca.into()), ..RedisConfig::new(url, "shop") };
        let reason = settings(config("rediss://127.0.0.1", "/nowhere/ca.pem")).unwrap_err();
        assert!(reason.contains("cannot read `/nowhere/ca.pem`"), "{reason}");
        let reason = settings(config("rediss://127.0.0.1", "Cargo.toml")).unwrap_err();
        assert!(reason.contains("`Cargo.toml` holds no certificate"), "{reason}");
        let reason = settings(config("redis://127.0.0.1", "Cargo.toml")).unwrap_err();
        assert!(reason.contains("`rediss://`"), "{reason}");
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, address) in [
            ("redis://u:secret@127.0.0.1?x=secret", "redis://u:…@127.0.0.1"),
            ("redis://u:secret@[::1]:7/3", "redis://u:…@[::1]:7/3"),
            ("redis://secret@127.0.0.1", "redis://…@127.0.0.1"),
            ("redis://u@mail:secret@127.0.0.1", "redis://u@mail:…@127.0.0.1"),
            ("unix:///tmp/r?pass=secret", "unix:///tmp/r"),
            ("unix:///tmp/r?pass=se@secret", "unix://…"),
            ("unix:///tmp/r?password=secret@1", "unix://…"),
            ("ftp://u:secret@h", "ftp://u:…@h"),
            ("redis://u:secret?1@h", "redis://…"),
            ("redis://u:1?secret@h", "redis://…"),
            ("redis://u:1?secret&2@h", "redis://…"),
            ("redis://u:1?secret#2@h", "redis://…"),
            ("redis://u:secret#1@h", "redis://…"),
            ("redis://u:1#secret@h", "redis://…"),
            ("rediss://u:1#secret@h", "rediss://…"),
            ("redis://u:1/secret@h", "redis://u:…@h"),
            ("redis://u:secret/1@h", "redis://u:…@h"),
            ("redis://u:p@1:secret", "redis://…"),
            ("redis://u:secret", "redis://…"),
            ("u:secret@h:6379", "u:…@h:6379"),
            ("u:secret://1@h", "u:…@h"),
            ("redis:/u:secret@h", "redis:…@h"),
            ("u:secret", "…"),
        ] {
            let config = RedisConfig::new(url, "shop");
            assert_eq!(redacted(url), address, "{url}");
            let shown = format!("{config:?} {:?}", settings(config.clone()).map(|settings| settings.config));
            assert!(!shown.contains("secret"), "{url}: {shown}");
        }
        let shown =
            format!("{:?}", settings(RedisConfig::new("redis://:secret@127.0.0.1", "shop")).unwrap().address);
        assert!(!shown.contains("secret"), "{shown}");
    }
}
