//! One connection: opened, asked and given up within bounds of time.
//!
//! A thread of the bus has a runtime of its own that runs nothing but its connection: the blocking client would do as
//! well, if its waits had an end. A server that stands still, or a network that swallows everything, would hold it
//! for ever.

use std::{
    error::Error as _,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use coulis::bus::BusError;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::{runtime::Runtime, sync::Notify, task::JoinHandle, time};
use tokio_postgres::{
    AsyncMessage, Client, Config, Row,
    error::{Severity, SqlState},
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::config::{PostgresConfig, refused};

/// Why something was not done.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The connection is lost, or has to be given up; what was asked last may have been done.
    Lost(String),
    /// The server refused it; nothing was done.
    Refused {
        /// What it said.
        reason: String,
        /// Whether it may be done another time.
        transient: bool,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(reason) | Self::Refused { reason, .. } => f.write_str(reason),
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = reason(&error);
        let told = error.as_db_error().filter(|told| told.parsed_severity() == Some(Severity::Error));
        let Some(code) = told.map(|told| told.code().code().to_owned()) else { return Self::Lost(reason) };
        // A server that only reads is not the one to write to: it was another one's turn meanwhile.
        if code == SqlState::READ_ONLY_SQL_TRANSACTION.code() {
            return Self::Lost(reason);
        }
        let transient = ["40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class));
        Self::Refused { reason, transient }
    }
}

/// What an error says to a person, the server's hint with it.
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => match told.hint() {
            Some(hint) => format!("{}: {hint}", told.message()),
            None => told.message().to_owned(),
        },
        None => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Whether the server, or its operator, ended the session.
pub(super) fn is_shutdown(error: &tokio_postgres::Error) -> bool {
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].iter().any(|state| error.code() == Some(state))
}

/// A value of a statement. Types are given, so that nothing is prepared: a pooler may send the next statement elsewhere.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection in use.
#[derive(Debug)]
pub(super) struct Link {
    /// The client; what is asked by it goes through [`Link::within`].
    pub client: Client,
    /// Rung by the server's doorbell, and when the connection ends.
    pub bell: Arc<Notify>,
    /// The last bell that was rung since anybody asked.
    rung: Arc<AtomicI64>,
    answer_max: Duration,
    driver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Opens connections to one place.
#[derive(Clone)]
pub(super) struct Opener {
    target: Config,
    tls: MakeRustlsConnect,
    answer_max: Duration,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl Opener {
    pub(super) fn new(config: &PostgresConfig, target: Config) -> Result<Self, BusError> {
        Ok(Self { tls: tls(config)?, target, answer_max: config.answer_max })
    }

    /// A connection to a server that can be written to.
    pub(super) async fn open(&self) -> Result<Link, Trouble> {
        let hosts = self.target.get_hosts().len().max(self.target.get_hostaddrs().len()).max(1);
        let connecting = self.target.connect(self.tls.clone());
        let opened = time::timeout(self.answer_max * hosts as u32, connecting).await;
        let (client, mut connection) =
            opened.map_err(|_| Trouble::Lost("the server does not answer".into()))??;
        let bell = Arc::new(Notify::new());
        let rung = Arc::new(AtomicI64::new(0));
        let (ringer, ringing) = (Arc::clone(&bell), Arc::clone(&rung));
        let driver = tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(told))) => {
                        ringing.fetch_max(told.payload().parse().unwrap_or(0), Relaxed);
                        ringer.notify_one();
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                }
            }
            drop(connection);
            ringer.notify_one();
        });
        let link = Link { client, bell, rung, answer_max: self.answer_max, driver };
        let encoding = link.row("select current_setting('server_encoding')", &[]).await?;
        if encoding.try_get::<_, String>(0)? != "UTF8" {
            return Err(Trouble::Lost(
                "the database's encoding is not UTF8: make it with `encoding UTF8`".into(),
            ));
        }
        Ok(link)
    }
}

impl Link {
    /// What `asked` answers, unless that takes too long.
    pub(super) async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        self.within_time(self.answer_max, asked).await
    }

    /// The same with another patience.
    pub(super) async fn within_time<T>(
        &self,
        patience: Duration,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        match time::timeout(patience, pin!(asked)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Trouble::Lost("the server does not answer".into())),
        }
    }

    /// Runs statements whose answers nobody needs.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Trouble> {
        self.within(self.client.batch_execute(sql)).await
    }

    /// The one row that a statement gives.
    pub(super) async fn row(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, Trouble> {
        self.within(self.client.query_typed_one(sql, parameters)).await
    }

    /// Returns when `bell` is rung, or the connection ends. A ring that was meant for earlier ones is none.
    pub(super) async fn wait_for(&self, bell: i64) {
        loop {
            self.bell.notified().await;
            if self.rung.swap(0, Relaxed) >= bell || self.is_lost() {
                return;
            }
        }
    }

    /// Whether the connection is known to have ended.
    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }
}

/// A runtime for the connection of one thread.
pub(super) fn runtime() -> Result<Runtime, BusError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| refused(format!("no runtime for connections: {error}")))
}

/// How servers are verified: by the given authorities, or by those of the system.
pub(super) fn tls(config: &PostgresConfig) -> Result<MakeRustlsConnect, BusError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &config.tls_ca {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| refused(format!("`tls_ca` is not PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(refused("`tls_ca` holds no certificate: give it the PEM text of one".into()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| refused(format!("`tls_ca`: {error}")))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| refused(format!("no TLS: {error}")))?;
    Ok(MakeRustlsConnect::new(versions.with_root_certificates(roots).with_no_client_auth()))
}
