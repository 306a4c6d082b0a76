//! Certificates and keys: read at the start, at SIGHUP and by `refresh_certs`, and made into what rustls wants.
//!
//! New connections take what was read last, and old ones keep what they began with. What can't be used is refused as a whole, and
//! what was in use stays.

mod ciphers;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use ringcache_engine::Seconds;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::config::{Config, Encryption, KeyFormat, TlsOptions, Verify};
use crate::limits::TLS_FILE_BYTES_MAX;
use crate::log::Seldom;
use crate::sys;

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `-Z` is not given.
    #[error("Error TLS not enabled")]
    Disabled,
    /// They were read several times in this second.
    #[error("Error loading the certificates: they were read too often in this second")]
    TooOften,
    /// `ssl_chain_cert` is missing, unreadable or no certificate.
    #[error("Error loading the certificate chain: {0}")]
    Chain(FileError),
    /// `ssl_key`.
    #[error("Error loading the key: {0}")]
    Key(FileError),
    /// The key is not the certificate's, or of a kind that can't be used.
    #[error("Error validating the certificate: {0}")]
    Mismatch(rustls::Error),
    /// `ssl_ca_cert`.
    #[error("Error loading the CA certificate: {0}")]
    Authorities(FileError),
    /// Clients have to show certificates, and nobody is named who vouches for them.
    #[error("Error loading the CA certificate: clients need certificates, so ssl_ca_cert is needed too")]
    NoAuthorities,
    /// `ssl_ciphers` leaves none.
    #[error("Error setting the provided cipher(s): {0}")]
    Ciphers(String),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Its option is not given.
    #[error("no file is given")]
    Missing,
    /// The file system.
    #[error("{} : {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// What is in it.
    #[error("{} : {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        reason: String,
    },
}

/// TLS of a node: the certificates in use and what is counted.
pub struct Tls {
    options: TlsOptions,
    /// Some listener asks for certificates whatever `ssl_verify_mode` is.
    has_mutual: bool,
    current: RwLock<Option<Loaded>>,
    /// When the certificates were read last, in coarse Unix seconds.
    refreshed_seconds: AtomicU32,
    /// A second, and in the last byte how often they were read in it.
    loads: AtomicU64,
    /// Handshakes that were no resumption; counted with `ssl_session_cache`.
    pub new_sessions: AtomicU64,
    /// Handshakes that failed.
    pub handshake_errors: AtomicU64,
    /// Connections that broke after their handshake.
    pub proto_errors: AtomicU64,
    /// Handshakes under way.
    pub handshakes: AtomicU64,
    /// Failed handshakes, as far as they are told.
    pub failed: Seldom,
    /// Connections that broke after theirs.
    pub broken: Seldom,
    /// TLS where none is spoken.
    pub misdirected: Seldom,
}

/// What was counted, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsCounts {
    /// See [`Tls::new_sessions`].
    pub new_sessions: u64,
    /// Handshakes that failed.
    pub handshake_errors: u64,
    /// Connections that broke later.
    pub proto_errors: u64,
    /// Handshakes under way.
    pub handshakes: u64,
    /// Since the certificates were read.
    pub seconds_since_refresh: u32,
}

/// One reading of the files, for each kind of listener.
#[derive(Clone)]
struct Loaded {
    by_flags: Arc<ServerConfig>,
    server_only: Arc<ServerConfig>,
    /// None where no listener is of that kind: it can't be made without authorities.
    mutual: Option<Arc<ServerConfig>>,
}

impl Tls {
    /// For what `config` asks for. Reads nothing yet.
    pub fn of(config: &Config) -> Self {
        let mut options = config.tls.clone();
        // A daemon changes its folder before the files are read again.
        for path in [&mut options.chain, &mut options.key, &mut options.authorities].into_iter().flatten() {
            *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
        }
        Self {
            options,
            has_mutual: config.listen.iter().any(|listen| listen.terms.encryption == Encryption::Mutual),
            current: RwLock::default(),
            refreshed_seconds: AtomicU32::new(0),
            loads: AtomicU64::new(0),
            new_sessions: AtomicU64::new(0),
            handshake_errors: AtomicU64::new(0),
            proto_errors: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
            failed: Seldom::default(),
            broken: Seldom::default(),
            misdirected: Seldom::default(),
        }
    }

    /// Reads the files. After an error what was read before stays in use.
    ///
    /// Cost: some file operations and about a millisecond.
    pub fn load(&self) -> Result<(), TlsError> {
        if !self.options.enabled {
            return Err(TlsError::Disabled);
        }
        // A client can ask for it, and whoever reads serves nobody meanwhile.
        if !self.may_load() {
            return Err(TlsError::TooOften);
        }
        let loaded = Loaded::read(&self.options, self.has_mutual)?;
        *self.current.write().expect("nothing panics while holding it") = Some(loaded);
        self.refreshed_seconds.store((sys::unix_millis() / 1000) as u32, Ordering::Relaxed);
        Ok(())
    }

    fn may_load(&self) -> bool {
        let second = sys::unix_millis() / 1000;
        let count = |loads: u64| {
            let before = if loads >> 8 == second { loads & 0xff } else { 0 };
            (before < LOADS_PER_SECOND_MAX).then_some(second << 8 | (before + 1))
        };
        self.loads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// As [`Tls::load`], in the words of the log.
    pub fn reload(&self) -> Result<String, String> {
        match self.load() {
            Ok(()) => Ok("certificates read".to_owned()),
            Err(error) => Err(format!("{error}; the certificates stay what they were")),
        }
    }

    /// What a new connection of such a listener begins with; none where it is not encrypted.
    pub fn config(&self, encryption: Encryption) -> Option<Arc<ServerConfig>> {
        let current = self.current.read().expect("nothing panics while holding it");
        let loaded = current.as_ref()?;
        match encryption {
            Encryption::Off => None,
            Encryption::ByFlags => Some(Arc::clone(&loaded.by_flags)),
            Encryption::ServerOnly => Some(Arc::clone(&loaded.server_only)),
            Encryption::Mutual => loaded.mutual.clone(),
        }
    }

    /// How much is encrypted for one send, in bytes.
    pub fn send_bytes(&self) -> usize {
        self.options.send_bytes
    }

    /// What `stats` shows.
    pub fn counts(&self, now: Seconds) -> TlsCounts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TlsCounts {
            new_sessions: count(&self.new_sessions),
            handshake_errors: count(&self.handshake_errors),
            proto_errors: count(&self.proto_errors),
            handshakes: count(&self.handshakes),
            seconds_since_refresh: now.0.saturating_sub(self.refreshed_seconds.load(Ordering::Relaxed)),
        }
    }

    /// Counts the end of a handshake.
    pub fn note_session(&self, is_new: bool) {
        if is_new && self.options.session_cache {
            self.new_sessions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets what was counted.
    pub fn reset(&self) {
        for count in [&self.new_sessions, &self.handshake_errors, &self.proto_errors] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

impl Loaded {
    fn read(options: &TlsOptions, has_mutual: bool) -> Result<Self, TlsError> {
        let provider = Arc::new(ciphers::provider(options.ciphers.as_deref())?);
        let chain = read_chain(options)?;
        let key = read_key(options)?;
        let authorities = options.authorities.as_deref().map(read_authorities).transpose()?;
        let verifier = |is_needed| verifier(authorities.as_ref(), &provider, is_needed);
        let config = |verifier| server_config(options, &provider, &chain, &key, verifier);
        let by_flags = match options.verify {
            Verify::Nothing => no_verifier(),
            // Nobody's certificate could be good, and none is needed.
            Verify::Request if authorities.is_none() => no_verifier(),
            Verify::Request => verifier(false)?,
            Verify::Require | Verify::Once => verifier(true)?,
        };
        Ok(Self {
            by_flags: config(by_flags)?,
            server_only: config(no_verifier())?,
            mutual: if has_mutual { Some(config(verifier(true)?)?) } else { None },
        })
    }
}

fn no_verifier() -> Arc<dyn ClientCertVerifier> {
    Arc::new(NoClientAuth)
}

/// Asks clients for a certificate of one of `authorities`.
fn verifier(
    authorities: Option<&Arc<RootCertStore>>,
    provider: &Arc<CryptoProvider>,
    is_needed: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let authorities = authorities.ok_or(TlsError::NoAuthorities)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), Arc::clone(provider));
    let builder = if is_needed { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|_| TlsError::NoAuthorities)
}

fn server_config(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions(options.least_version))
        .map_err(|_| TlsError::Ciphers(options.ciphers.clone().unwrap_or_default()))?;
    let asks_clients = verifier.offer_client_auth();
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(TlsError::Mismatch)?;
    // Sessions are resumed by tickets, which the client keeps: no memory here, however many there are.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    // A resumed session shows no certificate again: who has to have one shows it each time.
    if options.session_cache && !asks_clients {
        config.ticketer = ring::Ticketer::new().map_err(TlsError::Mismatch)?;
        config.send_tls13_tickets = SESSION_TICKETS;
    }
    Ok(Arc::new(config))
}

/// Certificates are read at most so often in a second.
const LOADS_PER_SECOND_MAX: u64 = 8;

/// Tickets that a client gets for later connections, as from OpenSSL.
const SESSION_TICKETS: usize = 2;

static VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The versions from `least` on; there are none below 1.2 here.
fn versions(least: u8) -> &'static [&'static SupportedProtocolVersion] {
    if least >= 3 { &VERSIONS[..1] } else { &VERSIONS }
}

fn read_chain(options: &TlsOptions) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || {
        let path = options.chain.as_deref().ok_or(FileError::Missing)?;
        certificates(path, &read_file(path)?)
    };
    read().map_err(TlsError::Chain)
}

fn read_authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let read = || {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path, &read_file(path)?)? {
            roots.add(certificate).map_err(|error| malformed(path, error))?;
        }
        Ok(Arc::new(roots))
    };
    read().map_err(TlsError::Authorities)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = read.map_err(|error| malformed(path, error))?;
    if certificates.is_empty() {
        Err(malformed(path, "there is no certificate in it"))
    } else {
        Ok(certificates)
    }
}

fn read_key(options: &TlsOptions) -> Result<PrivateKeyDer<'static>, TlsError> {
    let read = || {
        let path = options.key.as_deref().or(options.chain.as_deref()).ok_or(FileError::Missing)?;
        let bytes = read_file(path)?;
        if options.key_format == KeyFormat::Der {
            return PrivateKeyDer::try_from(bytes).map_err(|reason| malformed(path, reason));
        }
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => malformed(path, "there is no key in it, or one behind a password"),
            error => malformed(path, error),
        })
    };
    read().map_err(TlsError::Key)
}

fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > TLS_FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {TLS_FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    };
    read().map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}

fn malformed(path: &Path, reason: impl ToString) -> FileError {
    FileError::Malformed { path: path.to_owned(), reason: reason.to_string() }
}
