//! A channel against a client that is rustls' own, with the bytes between them cut and damaged.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion, version,
};

use super::handshake::{Failure, Handshake};
use super::{Broken, Channel, Greeting};
use crate::driver::Outgoing;
use crate::limits::{HANDSHAKE_BYTES_MAX, TLS_RECORD_BYTES, TLS_RECORD_FRAME_BYTES};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// Both ends of a connection with nothing between them but these tests.
struct Ends {
    client: ClientConnection,
    server: Channel,
}

/// Of a client, and of a server with a certificate that it trusts.
pub(crate) fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    (Arc::new(client), Arc::new(server))
}

fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap()
}

/// Shakes hands, with what the client sends in pieces of `piece` bytes and `first` said as early as it can.
fn shake(version: &'static SupportedProtocolVersion, piece: usize, first: &[u8]) -> (Ends, Vec<u8>) {
    let (client_config, server_config) = configs(version);
    let mut client = client(&client_config);
    let mut server = Handshake::new(server_config).unwrap();
    client.writer().write_all(first).unwrap();
    while client.is_handshaking() || !server.is_done() {
        for bytes in sent(&mut client).chunks_mut(piece) {
            server.handle_bytes(bytes).unwrap();
        }
        receive(&mut client, &server.take_unsent());
    }
    let (server, early) = server.finish();
    (Ends { client, server }, early)
}

/// What a client has to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives bytes to a client and says what they mean.
fn receive(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
        // What there is ends in an error, because the connection does not end.
        let _ = client.reader().read_to_end(&mut plain);
    }
    plain
}

fn records(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    client.writer().write_all(plain).unwrap();
    sent(client)
}

/// Gives bytes to the server in pieces and says what they mean.
fn take(server: &mut Channel, bytes: &mut [u8], piece: usize) -> Result<Vec<u8>, Broken> {
    let mut plain = Vec::new();
    for bytes in bytes.chunks_mut(piece) {
        server.handle_bytes(bytes, |part| plain.extend_from_slice(part))?;
    }
    Ok(plain)
}

fn answer(text: &[u8]) -> Outgoing {
    let mut outgoing = Outgoing::default();
    outgoing.output.push(text);
    outgoing
}

#[test]
fn a_handshake_in_pieces_of_any_size() {
    for version in VERSIONS {
        for piece in [1, 2, 3, 5, 7, 100, 517, usize::MAX] {
            let (mut ends, early) = shake(version, piece, b"");
            assert_eq!(early, b"");
            let mut records = records(&mut ends.client, b"mn\r\n");
            assert_eq!(take(&mut ends.server, &mut records, piece).unwrap(), b"mn\r\n");
            assert!(ends.server.is_new_session());
        }
    }
}

#[test]
fn what_is_said_with_the_last_message_is_not_lost() {
    for version in VERSIONS {
        for piece in [1, 16, usize::MAX] {
            let (mut ends, mut plain) = shake(version, piece, b"version\r\n");
            plain.extend(take(&mut ends.server, &mut sent(&mut ends.client), piece).unwrap());
            assert_eq!(plain, b"version\r\n", "{version:?} {piece}");
        }
    }
}

/// Goal: requests do not depend on where the stream of records is cut, and nothing is kept behind its end.
#[test]
fn pipelines_are_cut_at_every_byte() {
    for version in VERSIONS {
        let (mut ends, _) = shake(version, usize::MAX, b"");
        let texts: [&[u8]; 3] = [b"get a\r\n", b"", b"set b 0 0 3\r\nxyz\r\nget b\r\n"];
        let all = texts.concat();
        let length = texts.iter().map(|text| records(&mut ends.client, text).len()).sum::<usize>();
        let (mut ends, _) = shake(version, usize::MAX, b"");
        for cut in 0..=length {
            let mut bytes: Vec<u8> = texts.iter().flat_map(|text| records(&mut ends.client, text)).collect();
            assert_eq!(bytes.len(), length);
            let (front, back) = bytes.split_at_mut(cut);
            let mut plain = take(&mut ends.server, front, usize::MAX).unwrap();
            plain.extend(take(&mut ends.server, back, usize::MAX).unwrap());
            assert_eq!(plain, all, "cut at {cut}");
            assert_eq!((ends.server.kept.capacity(), ends.server.has_unsent()), (0, false));
        }
    }
}

#[test]
fn answers_of_any_size_are_encrypted_part_by_part() {
    for version in VERSIONS {
        let (mut ends, _) = shake(version, usize::MAX, b"");
        for size in [1, 100, TLS_RECORD_BYTES - 1, TLS_RECORD_BYTES, TLS_RECORD_BYTES + 1, 300_000] {
            let text: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            let mut outgoing = answer(&text);
            let mut got = Vec::new();
            while outgoing.left() > 0 {
                let mut bytes = Vec::new();
                let sealed = ends.server.seal(&mut outgoing, 40_000, &mut bytes).unwrap();
                assert_eq!(sealed, (size - got.len()).min(40_000));
                let records = sealed.div_ceil(TLS_RECORD_BYTES);
                assert!(
                    bytes.len() <= sealed + records * TLS_RECORD_FRAME_BYTES,
                    "one record for each 16 KiB"
                );
                got.extend(receive(&mut ends.client, &bytes));
            }
            assert_eq!(got, text);
        }
    }
}

#[test]
fn a_changed_byte_ends_the_connection_with_an_alert() {
    for version in VERSIONS {
        let (mut ends, _) = shake(version, usize::MAX, b"");
        let mut bytes = records(&mut ends.client, b"delete everything\r\n");
        bytes[20] ^= 1;
        let mut plain = Vec::new();
        let result = ends.server.handle_bytes(&mut bytes, |part| plain.extend_from_slice(part));
        assert!(matches!(result, Err(Broken::Protocol(rustls::Error::DecryptError))), "{result:?}");
        assert_eq!(plain, b"");
        let alert = ends.server.take_unsent();
        ends.client.read_tls(&mut &alert[..]).unwrap();
        let told = ends.client.process_new_packets().unwrap_err();
        assert!(matches!(told, rustls::Error::AlertReceived(_)), "{told}");
        assert!(ends.server.seal(&mut answer(b"END\r\n"), 100, &mut Vec::new()).is_err());
    }
}

#[test]
fn both_ends_say_goodbye() {
    for version in VERSIONS {
        let (mut ends, _) = shake(version, usize::MAX, b"");
        ends.client.writer().write_all(b"mn\r\n").unwrap();
        ends.client.send_close_notify();
        let plain = take(&mut ends.server, &mut sent(&mut ends.client), usize::MAX).unwrap();
        assert!(ends.server.has_ended());
        assert_eq!(plain, b"mn\r\n");
        let mut bytes = Vec::new();
        ends.server.seal(&mut answer(b"MN\r\n"), 100, &mut bytes).unwrap();
        ends.server.say_goodbye(&mut bytes).unwrap();
        let mut rest = &bytes[..];
        let mut told = Vec::new();
        while !rest.is_empty() {
            ends.client.read_tls(&mut rest).unwrap();
            ends.client.process_new_packets().unwrap();
        }
        ends.client.reader().read_to_end(&mut told).expect("an end that was told is no error");
        assert_eq!(told, b"MN\r\n");
    }
}

/// TLS 1.3 changes keys while a connection goes on; the answer to that goes before the next record.
#[test]
fn keys_change_under_way() {
    let (mut ends, _) = shake(&version::TLS13, usize::MAX, b"");
    for round in 0..3 {
        ends.client.refresh_traffic_keys().unwrap();
        let mut bytes = records(&mut ends.client, b"mn\r\n");
        let half = if round == 1 { 11 } else { usize::MAX };
        assert_eq!(take(&mut ends.server, &mut bytes, half).unwrap(), b"mn\r\n");
        let mut bytes = Vec::new();
        ends.server.seal(&mut answer(b"MN\r\n"), 100, &mut bytes).unwrap();
        assert_eq!(receive(&mut ends.client, &bytes), b"MN\r\n");
    }
}

#[test]
fn what_is_no_handshake_is_told_apart() {
    let (client_config, server_config) = configs(&version::TLS13);
    for text in [&b"get a\r\n"[..], b"\x80\x0a", b"GET / HTTP/1.1\r\n"] {
        let mut handshake = Handshake::new(Arc::clone(&server_config)).unwrap();
        assert!(!handshake.has_begun());
        let failure = handshake.handle_bytes(&mut text.to_vec()).unwrap_err();
        assert!(matches!(failure, Failure::NotTls), "{failure}");
        assert_eq!(handshake.take_unsent(), b"", "a stranger is told nothing");
    }
    let mut handshake = Handshake::new(Arc::clone(&server_config)).unwrap();
    let mut hello = sent(&mut client(&client_config));
    hello.truncate(hello.len() - 1);
    handshake.handle_bytes(&mut hello).unwrap();
    let failure = handshake.handle_bytes(&mut vec![0; HANDSHAKE_BYTES_MAX]).unwrap_err();
    assert!(matches!(failure, Failure::TooLong), "{failure}");
}

/// However the greeting is cut, it is told from a request, and a request from it.
#[test]
fn a_greeting_is_seen_where_nobody_decrypts() {
    let (client_config, _) = configs(&version::TLS13);
    let hello = sent(&mut client(&client_config));
    assert_eq!(Greeting::of(&hello[..1]), Greeting::Begun);
    assert_eq!(Greeting::of(&hello[..2]), Greeting::Begun);
    assert_eq!(Greeting::of(&hello[..3]), Greeting::Tls);
    assert_eq!(Greeting::of(&hello), Greeting::Tls);
    for request in [&b"get a\r\n"[..], b"\x80", b"\x16\r\n", b"\x16\x03\r\n"] {
        assert_eq!(Greeting::of(request), Greeting::Other, "{}", request.escape_ascii());
    }
}

#[test]
fn versions_that_do_not_meet_fail_with_an_alert() {
    let (_, server_config) = configs(&version::TLS13);
    let (client_config, _) = configs(&version::TLS12);
    let mut handshake = Handshake::new(server_config).unwrap();
    let failure = handshake.handle_bytes(&mut sent(&mut client(&client_config))).unwrap_err();
    assert!(matches!(failure, Failure::Broken(_)), "{failure}");
    assert_eq!(handshake.take_unsent()[0], 0x15, "an alert");
}
