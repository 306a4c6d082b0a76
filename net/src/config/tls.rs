//! What `-Z` and the `ssl_*` options of `-o` ask for. The files are named here and read by `server/tls.rs`.

use std::path::PathBuf;

use super::flags::Flags;
use super::{Config, ConfigError, EXIT_SYSTEM, usage};
use crate::limits::{TLS_SEND_BYTES, TLS_SEND_KIBIBYTES_MAX};

/// `-Z` and `-o ssl_*`. The options may be given without `-Z`, and then only show in `stats settings`.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOptions {
    /// `-Z`: connections over TCP are encrypted unless their listener says otherwise.
    pub enabled: bool,
    /// `ssl_chain_cert`: the server's certificate and those between it and its authority, PEM.
    pub chain: Option<PathBuf>,
    /// `ssl_key`: its key; in the file of the chain when this is not given.
    pub key: Option<PathBuf>,
    /// `ssl_keyformat`.
    pub key_format: KeyFormat,
    /// `ssl_verify_mode`.
    pub verify: Verify,
    /// `ssl_ca_cert`: who vouches for clients, PEM.
    pub authorities: Option<PathBuf>,
    /// `ssl_ciphers`, as given.
    pub ciphers: Option<String>,
    /// `ssl_min_version`: 0 to 3 are TLS 1.0 to 1.3.
    pub least_version: u8,
    /// `ssl_session_cache`: sessions may be resumed.
    pub session_cache: bool,
    /// `ssl_wbuf_size`: how much is encrypted for one send, in bytes.
    pub send_bytes: usize,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// Base64 between two lines that say what it is.
    Pem,
    /// Its bytes.
    Der,
}

/// What is asked of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Nothing.
    Nothing,
    /// There may be none, but one that comes has to be good.
    Request,
    /// There has to be a good one.
    Require,
    /// The same. In memcached a renegotiation would not ask again; here as there, there is none.
    Once,
}

/// How a listener's connections are encrypted: the prefixes of `-l`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As `-Z` and `ssl_verify_mode` say.
    #[default]
    ByFlags,
    /// `notls:`.
    Off,
    /// `btls:`: no certificate is asked of clients.
    ServerOnly,
    /// `mtls:`: clients need one.
    Mutual,
}

impl Default for TlsOptions {
    /// memcached's defaults.
    fn default() -> Self {
        Self {
            enabled: false,
            chain: None,
            key: None,
            key_format: KeyFormat::Pem,
            verify: Verify::Nothing,
            authorities: None,
            ciphers: None,
            least_version: 2,
            session_cache: false,
            send_bytes: TLS_SEND_BYTES,
        }
    }
}

impl Config {
    /// `-Z` and what it goes together with. Certificates are read when the server starts.
    pub(super) fn read_encryption(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        self.tls.enabled = flags.given("enable-ssl");
        if !self.tls.enabled {
            let prefix = self.listen.iter().find_map(|listen| listen.terms.encryption.prefix());
            return match prefix {
                None => Ok(()),
                Some(name) => Err(ConfigError::new(
                    EXIT_SYSTEM,
                    format!("'{name}' option is valid only when SSL is enabled (-l, -Z)"),
                )),
            };
        }
        if self.socket_path.is_none() && self.port.is_none() {
            return Err(usage("ERROR: You cannot enable SSL without a TCP port. (-Z)"));
        }
        let needs_certificates = matches!(self.tls.verify, Verify::Require | Verify::Once)
            || self.listen.iter().any(|listen| listen.terms.encryption == Encryption::Mutual);
        if self.udp_port.is_some() && needs_certificates {
            return Err(usage("Cannot use UDP where clients need certificates (-U 0 to disable)"));
        }
        if self.udp_port.is_some() && !self.listen.iter().any(|one| one.terms.encryption == Encryption::Off) {
            return Err(usage("-U: with -Z only notls: addresses take datagrams, which nothing encrypts"));
        }
        if self.socket_path.is_some() {
            self.warnings.push("-Z does not encrypt the Unix socket".into());
        }
        if self.tls.least_version < 2 {
            self.warnings.push("ssl_min_version: there is nothing below TLS 1.2 here".into());
        }
        if self.tls.verify == Verify::Request && self.tls.authorities.is_none() {
            self.warnings.push("ssl_verify_mode=1 without ssl_ca_cert: no certificate is asked for".into());
        }
        Ok(())
    }
}

impl TlsOptions {
    /// Takes a sub-option of `-o` whose value has been checked. False when it has no effect here.
    pub(super) fn take_option(&mut self, name: &str, value: Option<&str>) -> bool {
        let text = value.unwrap_or_default();
        let number = || text.parse::<usize>().expect("checked as a number");
        match name {
            "ssl_chain_cert" => self.chain = Some(text.into()),
            "ssl_key" => self.key = Some(text.into()),
            "ssl_keyformat" => self.key_format = KeyFormat::of(text),
            "ssl_verify_mode" => self.verify = Verify::of(number()),
            "ssl_ca_cert" => self.authorities = Some(text.into()),
            "ssl_ciphers" => self.ciphers = Some(text.to_owned()),
            "ssl_min_version" => self.least_version = number() as u8,
            "ssl_session_cache" => self.session_cache = true,
            "ssl_wbuf_size" => self.send_bytes = number().min(TLS_SEND_KIBIBYTES_MAX) * 1024,
            _ => return false,
        }
        true
    }

    /// The least version as `stats settings` names it.
    pub fn least_version_name(&self) -> &'static str {
        ["tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3"][usize::from(self.least_version)]
    }
}

impl KeyFormat {
    fn of(text: &str) -> Self {
        if matches!(text, "DER" | "2") { KeyFormat::Der } else { KeyFormat::Pem }
    }

    /// OpenSSL's number, which `stats settings` shows.
    pub fn number(self) -> u8 {
        match self {
            KeyFormat::Pem => 1,
            KeyFormat::Der => 2,
        }
    }
}

impl Verify {
    fn of(mode: usize) -> Self {
        match mode {
            0 => Verify::Nothing,
            1 => Verify::Request,
            2 => Verify::Require,
            _ => Verify::Once,
        }
    }

    /// OpenSSL's bits, which `stats settings` shows: verify, fail without, once.
    pub fn bits(self) -> u8 {
        match self {
            Verify::Nothing => 0,
            Verify::Request => 1,
            Verify::Require => 3,
            Verify::Once => 7,
        }
    }
}
