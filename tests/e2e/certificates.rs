//! Certificates made for a test, the files that a server reads them from, and clients that speak TLS.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use crate::server::{Directory, REPLY_TIMEOUT, Server};

/// An authority, and the folder of what it has signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: Directory,
}

/// A certificate with its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    /// A fresh one that nobody else knows.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is a wrong one");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than what it signs has: OpenSSL takes an issuer of the same name for the certificate itself.
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let key = KeyPair::generate().expect("keys can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        let authority = Authority { issuer, directory: Directory::create() };
        authority.write("ca.pem", &authority.issuer.pem());
        authority.install(&authority.sign());
        authority
    }

    /// Signs a certificate for `localhost`.
    pub fn sign(&self) -> Identity {
        self.sign_until(2100)
    }

    /// One that is over when `year` begins.
    pub fn sign_until(&self, year: i32) -> Identity {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a valid name");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        Identity { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// Puts a certificate where the server reads its own.
    pub fn install(&self, identity: &Identity) {
        self.write("chain.pem", &identity.pem);
        self.write("key.pem", &identity.key.serialize_pem());
    }

    /// Writes a file beside them.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("the directory is ours");
        path.to_str().expect("a temporary path is text").to_owned()
    }

    /// Where a file of that name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a server with the installed certificate; `more` is added to the list of `-o`.
    pub fn server(&self, more: &str, flags: &[&str]) -> Server {
        let options = self.options(more);
        let all: Vec<&str> = ["-Z", "-o", &options].iter().chain(flags).copied().collect();
        Server::ringcached(&all)
    }

    /// The list of `-o` that names the files.
    pub fn options(&self, more: &str) -> String {
        let file = |name| self.path(name).display().to_string();
        let comma = if more.is_empty() { "" } else { "," };
        format!("ssl_chain_cert={},ssl_key={}{comma}{more}", file("chain.pem"), file("key.pem"))
    }

    /// `ssl_ca_cert`, as an option.
    pub fn trust(&self) -> String {
        format!("ssl_ca_cert={}", self.path("ca.pem").display())
    }

    /// What a client works with that trusts this authority.
    pub fn client(&self) -> Client<'_> {
        Client { authority: self, version: None, identity: None }
    }
}

/// How to connect.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    authority: &'a Authority,
    version: Option<&'static SupportedProtocolVersion>,
    identity: Option<&'a Identity>,
}

impl<'a> Client<'a> {
    /// Speaks this version only.
    pub fn version(self, version: &'static SupportedProtocolVersion) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Shows this certificate when asked.
    pub fn identity(self, identity: &'a Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// The state of a connection that has not begun.
    pub fn begin(self) -> ClientConnection {
        let versions = self.version.map_or(vec![&version::TLS12, &version::TLS13], |one| vec![one]);
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.issuer.der().clone()).expect("it is an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&versions)
            .expect("the provider has both")
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::try_from(identity.key.serialize_der()).expect("it was just made");
                config.with_client_auth_cert(vec![identity.certificate.clone()], key).expect("they match")
            }
        };
        config.resumption = Resumption::disabled();
        let name = "localhost".try_into().expect("a valid name");
        ClientConnection::new(Arc::new(config), name).expect("the settings are complete")
    }

    /// Connects; nothing has been sent yet.
    pub fn connect(self, port: u16) -> Encrypted {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a running server accepts");
        socket.set_nodelay(true).expect("a fresh socket");
        socket.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a positive time");
        socket.set_write_timeout(Some(REPLY_TIMEOUT)).expect("a positive time");
        Encrypted(BufReader::new(StreamOwned::new(self.begin(), socket)))
    }
}

/// One encrypted connection.
pub struct Encrypted(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Encrypted {
    /// Sends one command and receives its reply line, without the line end; what went wrong in words.
    pub fn try_ask(&mut self, command: &str) -> Result<String, String> {
        let sent = self.0.get_mut().write_all(format!("{command}\r\n").as_bytes());
        sent.map_err(|error| error.to_string())?;
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => Err("closed".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The same where nothing goes wrong.
    pub fn ask(&mut self, command: &str) -> String {
        self.try_ask(command).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Sends all of `bytes`.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).expect("the server takes what is sent");
    }

    /// Sends each of `parts` in a record of its own, all of them at once.
    pub fn send_records(&mut self, parts: &[&str]) {
        let StreamOwned { conn, sock } = self.0.get_mut();
        let mut records = Vec::new();
        for part in parts {
            conn.writer().write_all(part.as_bytes()).expect("the handshake is over");
            while conn.wants_write() {
                conn.write_tls(&mut records).expect("a Vec takes every write");
            }
        }
        sock.write_all(&records).expect("the server takes what is sent");
    }

    /// Receives exactly `count` bytes.
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("the server sends as much");
        bytes
    }

    /// Receives until the server says that it is over; panics when it closes without that.
    pub fn receive_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("an end that was announced");
        bytes
    }

    /// The value of `name` in a kind of statistics.
    pub fn stat(&mut self, command: &str, name: &str) -> Option<String> {
        self.send(format!("{command}\r\n"));
        let prefix = format!("STAT {name} ");
        let mut found = None;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a list of statistics ends");
            if line == "END\r\n" {
                return found;
            }
            found = found.or(line.strip_prefix(&prefix).map(|value| value.trim_end().to_owned()));
        }
    }

    /// The server's certificate.
    pub fn peer(&self) -> CertificateDer<'static> {
        let chain = self.0.get_ref().conn.peer_certificates().expect("the handshake is over");
        chain[0].clone().into_owned()
    }

    /// The socket below, to do wrong things with it.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.0.get_mut().sock
    }
}
