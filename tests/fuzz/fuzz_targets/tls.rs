//! Any bytes to a fresh channel, and to an established one between records of its client that are cut, damaged or doubled:
//! no panic, no more kept than a record, plaintext that does not depend on cuts, and nothing after damage.

#![no_main]

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use ringcache_net::driver::Outgoing;
use ringcache_net::tls::Channel;
use ringcache_net::tls::handshake::Handshake;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

static TLS12: LazyLock<Configs> = LazyLock::new(|| configs(&version::TLS12));
static TLS13: LazyLock<Configs> = LazyLock::new(|| configs(&version::TLS13));

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else { return };
    let configs = if how & 1 == 0 { &*TLS12 } else { &*TLS13 };
    if how & 2 == 0 {
        greet(configs, usize::from(how >> 2), rest);
    } else {
        converse(configs, rest);
    }
});

/// A client's greeting, damaged by what is given, or that alone.
fn greet((client, server): &Configs, kept: usize, rest: &[u8]) {
    let mut client = new_client(client);
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a Vec takes every write");
    bytes.truncate(kept * 8);
    bytes.extend_from_slice(rest);
    let mut handshake = Handshake::new(Arc::clone(server)).expect("the configuration is complete");
    let piece = rest.first().map_or(1, |piece| 1 + usize::from(*piece));
    for part in bytes.chunks_mut(piece) {
        if handshake.handle_bytes(part).is_err() {
            break;
        }
        handshake.take_unsent();
    }
}

/// Steps of two bytes, what and how much, over an established connection.
fn converse((client, server): &Configs, script: &[u8]) {
    let mut client = new_client(client);
    let mut channel = shake(&mut client, server);
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    let mut is_damaged = false;
    for step in script.chunks_exact(2) {
        let (what, amount) = (step[0] & 7, usize::from(step[1]));
        match what {
            // Below, the end of what is said is damaged or left out, or a stranger's bytes follow it.
            0..=4 => {
                let text: Vec<u8> = (0..amount * 97 % 20_000).map(|at| (at % 251) as u8).collect();
                client.writer().write_all(&text).expect("it is taken");
                said.extend_from_slice(&text);
                let mut bytes = sent(&mut client);
                match what {
                    0..=2 => {}
                    _ if bytes.is_empty() => {}
                    3 => {
                        let at = amount % bytes.len();
                        bytes[at] ^= 1 << (amount % 8);
                        is_damaged = true;
                    }
                    _ => {
                        bytes.truncate(amount % bytes.len());
                        is_damaged = true;
                    }
                }
                let piece = [usize::MAX, 1, 3, 16 * 1024, 1000][usize::from(what)];
                if !hear(&mut channel, &mut bytes, piece, &mut heard) {
                    assert!(is_damaged, "an honest client is refused");
                    break;
                }
            }
            5 => {
                let mut bytes = vec![step[1]; amount + 1];
                is_damaged = true;
                if !hear(&mut channel, &mut bytes, 7, &mut heard) {
                    break;
                }
            }
            6 => {
                // TLS 1.2 has no such thing.
                let _ = client.refresh_traffic_keys();
            }
            _ => answer(&mut channel, &mut client, amount * 89, is_damaged),
        }
        if !is_damaged {
            assert_eq!(said.len(), heard.len(), "everything complete is heard");
        }
    }
    // A byte of a header that means nothing may be another one, and everything is heard all the same.
    assert!(said.starts_with(&heard), "nothing is heard that was not said");
    let _ = channel.say_goodbye(&mut Vec::new());
}

/// Gives the channel bytes in pieces; false when it breaks.
fn hear(channel: &mut Channel, bytes: &mut [u8], piece: usize, heard: &mut Vec<u8>) -> bool {
    bytes.chunks_mut(piece).all(|part| {
        let result = channel.handle_bytes(part, |plain| heard.extend_from_slice(plain));
        assert!(channel.kept_bytes() <= 64 * 1024, "no more is kept than a record, or a message of the handshake");
        result.is_ok()
    })
}

fn answer(channel: &mut Channel, client: &mut ClientConnection, bytes: usize, is_damaged: bool) {
    let mut outgoing = Outgoing::default();
    outgoing.output.bytes.resize(bytes, b'x');
    while outgoing.left() > 0 {
        let mut records = Vec::new();
        if channel.seal(&mut outgoing, 16 * 1024, &mut records).is_err() {
            assert!(is_damaged, "an honest client is answered");
            return;
        }
        if !is_damaged {
            receive(client, &records);
        }
    }
}

fn shake(client: &mut ClientConnection, server: &Arc<ServerConfig>) -> Channel {
    let mut handshake = Handshake::new(Arc::clone(server)).expect("the configuration is complete");
    while client.is_handshaking() || !handshake.is_done() {
        handshake.handle_bytes(&mut sent(client)).expect("both are honest");
        receive(client, &handshake.take_unsent());
    }
    handshake.finish().0
}

fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a Vec takes every write");
    }
    bytes
}

fn receive(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("a slice gives every byte");
        client.process_new_packets().expect("the server is honest");
        // It ends in an error, because the connection goes on.
        let _ = client.reader().read_to_end(&mut Vec::new());
    }
}

fn new_client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = "localhost".try_into().expect("a valid name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("the configuration is complete");
    client.set_buffer_limit(None);
    client
}

fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it can be made");
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it was just made");
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("the provider has both versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("they match");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("it is a certificate");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("the provider has both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    (Arc::new(client), Arc::new(server))
}
