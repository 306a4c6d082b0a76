//! A client's side of TLS, and certificates for servers that are started for a measurement.
//!
//! No certificate is checked: this measures servers, it doesn't trust them. Only TLS 1.3 with AES-256-GCM is offered, so that
//! every server uses the same cipher.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, version};

use crate::error::BenchError;

/// One connection's keys.
pub struct Veil {
    connection: ClientConnection,
    /// What was received, decrypted.
    plain: Vec<u8>,
}

impl Veil {
    /// Shakes hands on a connected socket, which is given back.
    pub fn shake(socket: OwnedFd, config: &Arc<ClientConfig>) -> io::Result<(OwnedFd, Veil)> {
        let mut socket = TcpStream::from(socket);
        let name = ServerName::try_from("localhost").expect("a valid name");
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        connection.set_buffer_limit(None);
        Ok((socket.into(), Veil { connection, plain: Vec::new() }))
    }

    /// What `received` says; it is overwritten by the next call.
    pub fn open(&mut self, mut received: &[u8]) -> io::Result<&[u8]> {
        self.plain.clear();
        while !received.is_empty() {
            self.connection.read_tls(&mut received)?;
            let state = self.connection.process_new_packets().map_err(io::Error::other)?;
            let ready = self.plain.len();
            self.plain.resize(ready + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut self.plain[ready..])?;
        }
        Ok(&self.plain)
    }

    /// Appends what has to be sent to say `plain`.
    pub fn seal(&mut self, plain: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        self.connection.writer().write_all(plain)?;
        while self.connection.wants_write() {
            self.connection.write_tls(output)?;
        }
        Ok(())
    }
}

/// What every connection of a measurement begins with. Sessions are never resumed.
pub fn client_config() -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_256_GCM_SHA384);
    let verifier = Arc::new(Anybody(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .expect("the suite that is left is one of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Trusts whoever answers; signatures are checked all the same, because a client has to pay for that.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate with a P-256 key, in files that are removed when this is dropped.
#[derive(Debug)]
pub struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    /// Makes one that is good for this run.
    pub fn create() -> Result<Certificate, BenchError> {
        let failed = BenchError::machine("cannot make a certificate");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.map_err(|error| failed(io::Error::other(error)))?;
        let folder = std::env::temp_dir().join(format!("ringbench-{}", std::process::id()));
        let write = |name: &str, text: String| fs::write(folder.join(name), text);
        let written = fs::create_dir_all(&folder)
            .and_then(|()| write(CHAIN, made.cert.pem()))
            .and_then(|()| write(KEY, made.signing_key.serialize_pem()));
        written.map_err(BenchError::machine("cannot write a certificate"))?;
        Ok(Certificate { folder })
    }

    /// The arguments that make a server use it.
    pub fn arguments(&self) -> [String; 3] {
        let path = |name| Path::new(&self.folder).join(name).display().to_string();
        let files = format!("ssl_chain_cert={},ssl_key={}", path(CHAIN), path(KEY));
        ["-Z".to_owned(), "-o".to_owned(), files]
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What stays is a small file in the temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";
