//! TLS between ring and session: what is received becomes requests, answers become what is sent. No socket, no
//! clock, no thread.
//!
//! ```text
//! received --> handle_bytes --> plaintext, record by record --> session
//! sent     <-- seal         <-- output                      <--
//! ```
//!
//! Records are decrypted where they lie; only one whose end has not come is kept. rustls decides everything about
//! the protocol and makes two small allocations of its own, for each record received and each record sent.

use std::mem;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ProtocolVersion, ServerConfig};

use crate::driver::Outgoing;
use crate::limits::{TLS_KEPT_BYTES_MAX, TLS_RECORD_BYTES, TLS_RECORD_FRAME_BYTES, TLS_RECORDS_MAX};

pub mod handshake;
#[cfg(test)]
pub(crate) mod tests;

/// The first byte of a record that begins a handshake: what a client that speaks TLS sends first.
pub const HANDSHAKE_RECORD: u8 = 0x16;

/// Why a connection can't go on: the peer broke the protocol, or what it sent was changed on its way.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Broken {
    /// rustls' reason, for the log. The peer gets an alert, which is in what is unsent.
    #[error("{0}")]
    Protocol(#[from] rustls::Error),
    /// Nothing may be encrypted: there are no keys yet, or so much was sent that they are worn out.
    #[error("nothing may be sent any more")]
    NoKeys,
    /// A message of the handshake protocol has more parts than any that comes after the handshake.
    #[error("a message without end")]
    TooLong,
}

/// The keys of one connection and what is between two records.
pub struct Channel {
    connection: UnbufferedServerConnection,
    /// Received, and not done with: the front of a record whose end has not come. An idle connection holds none.
    kept: Vec<u8>,
    /// Encrypted, and not sent: handshake messages, key updates, alerts.
    unsent: Vec<u8>,
    /// The peer has said that it sends nothing any more.
    has_ended: bool,
    /// Records encrypted with keys that are never renewed (TLS 1.2).
    worn: u64,
    /// An error was found. rustls must not be asked again: it would find it again.
    is_broken: bool,
}

impl Channel {
    /// A connection of which nothing has come.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Broken> {
        let connection = UnbufferedServerConnection::new(config)?;
        let (kept, unsent) = (Vec::new(), Vec::new());
        Ok(Self { connection, kept, unsent, has_ended: false, worn: 0, is_broken: false })
    }

    /// Takes what was received, which is decrypted in place, and calls `take` with the plaintext of each record.
    ///
    /// Errors: the connection is broken; what is unsent tells the peer, and nothing else can be done with it.
    pub fn handle_bytes(&mut self, received: &mut [u8], take: impl FnMut(&[u8])) -> Result<(), Broken> {
        if self.is_broken {
            return Ok(());
        }
        if self.kept.is_empty() {
            let taken = self.open_records(received, take)?;
            self.kept.extend_from_slice(&received[taken..]);
            return self.check_kept();
        }
        self.kept.extend_from_slice(received);
        let mut kept = mem::take(&mut self.kept);
        let taken = self.open_records(&mut kept, take)?;
        if taken < kept.len() {
            kept.drain(..taken);
            self.kept = kept;
        }
        self.check_kept()
    }

    /// After the handshake nothing but the front of one record is kept. rustls keeps more only for a message in parts,
    /// and bounds its length but not what is padded around the parts.
    fn check_kept(&mut self) -> Result<(), Broken> {
        if self.kept.len() <= TLS_KEPT_BYTES_MAX || self.is_handshaking() {
            return Ok(());
        }
        (self.kept, self.is_broken) = (Vec::new(), true);
        Err(Broken::TooLong)
    }

    /// Opens the records of `bytes` that are complete; tells how many bytes are done with.
    fn open_records(&mut self, bytes: &mut [u8], mut take: impl FnMut(&[u8])) -> Result<usize, Broken> {
        let Self { connection, unsent, has_ended, is_broken, .. } = self;
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = connection.process_tls_records(&mut bytes[at..]);
            let mut is_last = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.inspect_err(|_| *is_broken = true)?;
                        discard += record.discard;
                        take(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, unsent),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => *has_ended = true,
                // Early data is never allowed, and states that a later rustls adds have to be asked for.
                Ok(_) => is_last = true,
                Err(error) => {
                    encode_alert(connection, &mut bytes[at + discard..], unsent);
                    *is_broken = true;
                    return Err(error.into());
                }
            }
            at += discard;
            if is_last {
                return Ok(at);
            }
        }
    }

    /// Encrypts what `plain` has left, but no more than `most` bytes, behind what is unsent, and counts it as sent
    /// there. Tells how many bytes of it that were.
    pub fn seal(&mut self, plain: &mut Outgoing, most: usize, into: &mut Vec<u8>) -> Result<usize, Broken> {
        into.append(&mut self.unsent);
        let mut sealed = 0;
        self.with_traffic(into, |traffic, into| {
            for piece in plain.pieces() {
                for part in piece[..piece.len().min(most - sealed)].chunks(TLS_RECORD_BYTES) {
                    encrypt(traffic, part, into)?;
                    sealed += part.len();
                }
            }
            Ok(())
        })?;
        plain.advance(sealed);
        if self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
            self.worn += (into.len() / TLS_RECORD_BYTES + 1) as u64;
        }
        Ok(sealed)
    }

    /// The connection should end while it still can in order: the keys of TLS 1.2 are good for a number of records.
    pub fn is_worn(&self) -> bool {
        self.worn >= TLS_RECORDS_MAX
    }

    /// An error was found: nothing can be encrypted any more.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Encrypts the last word: nothing comes behind it.
    pub fn say_goodbye(&mut self, into: &mut Vec<u8>) -> Result<(), Broken> {
        into.append(&mut self.unsent);
        self.with_traffic(into, |traffic, into| {
            let at = into.len();
            into.resize(at + TLS_RECORD_FRAME_BYTES, 0);
            let written = traffic.queue_close_notify(&mut into[at..]).map_err(|_| Broken::NoKeys)?;
            into.truncate(at + written);
            Ok(())
        })
    }

    /// Brings rustls to where it encrypts; messages of its own that are due go first.
    fn with_traffic(
        &mut self,
        into: &mut Vec<u8>,
        mut call: impl FnMut(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        while !self.is_broken {
            // It remembers how far it has looked into what is kept, and has to be shown the same again.
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.kept);
            let done = match state.inspect_err(|_| self.is_broken = true)? {
                ConnectionState::WriteTraffic(mut traffic) => Some(call(&mut traffic, into)),
                ConnectionState::EncodeTlsData(data) => {
                    encode(data, into);
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::PeerClosed => None,
                _ => Some(Err(Broken::NoKeys)),
            };
            self.kept.drain(..discard);
            if let Some(result) = done {
                return result;
            }
        }
        Err(Broken::NoKeys)
    }

    /// The handshake has not come to its end.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The session was begun by this handshake, rather than resumed.
    pub fn is_new_session(&self) -> bool {
        self.connection.handshake_kind() != Some(rustls::HandshakeKind::Resumed)
    }

    /// The peer sends nothing any more.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Bytes that are kept because the end of their record has not come.
    pub fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Something has to be sent that the session did not say.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Takes what has to be sent and was not.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        mem::take(&mut self.unsent)
    }
}

/// What the first bytes of a connection are, where nobody decrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A record of TLS: its type, and two bytes that say the version.
    Tls,
    /// Perhaps the beginning of one.
    Begun,
    /// A request, or what shall be one.
    Other,
}

impl Greeting {
    /// Of a connection whose first bytes these are; there is one at least.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [HANDSHAKE_RECORD, 3, 0..=4, ..] => Greeting::Tls,
            [HANDSHAKE_RECORD] | [HANDSHAKE_RECORD, 3] => Greeting::Begun,
            _ => Greeting::Other,
        }
    }
}

/// Writes a message of rustls' own.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, into: &mut Vec<u8>) {
    let at = into.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        into.resize(at + size.required_size, 0);
        let written = data.encode(&mut into[at..]).expect("it has the room that it asked for");
        into.truncate(at + written);
    }
}

/// Writes the alert that tells the peer of an error, where there is one: it is what comes next.
fn encode_alert(connection: &mut UnbufferedServerConnection, rest: &mut [u8], into: &mut Vec<u8>) {
    if let Ok(ConnectionState::EncodeTlsData(data)) = connection.process_tls_records(rest).state {
        encode(data, into);
    }
}

/// Encrypts one record.
fn encrypt(
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    plain: &[u8],
    into: &mut Vec<u8>,
) -> Result<(), Broken> {
    let at = into.len();
    into.resize(at + plain.len() + TLS_RECORD_FRAME_BYTES, 0);
    let written = match traffic.encrypt(plain, &mut into[at..]) {
        // A change of the keys goes before the record now and then.
        Err(EncryptError::InsufficientSize(size)) => {
            into.resize(at + size.required_size, 0);
            traffic.encrypt(plain, &mut into[at..])
        }
        result => result,
    };
    into.truncate(at + written.map_err(|_| Broken::NoKeys)?);
    Ok(())
}
