//! A handshake, from the client's first byte to keys on both sides.

use std::mem;
use std::sync::Arc;

use rustls::ServerConfig;

use super::{Broken, Channel, HANDSHAKE_RECORD};
use crate::limits::HANDSHAKE_BYTES_MAX;

/// A channel without keys yet.
pub struct Handshake {
    channel: Channel,
    /// What the client said behind its last handshake message.
    early: Vec<u8>,
    received: usize,
}

/// Why a handshake failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The first byte is none of TLS: a client that was not told to encrypt.
    #[error("what came is not TLS")]
    NotTls,
    /// See [`Broken`].
    #[error(transparent)]
    Broken(#[from] Broken),
    /// More than any handshake needs.
    #[error("more than {HANDSHAKE_BYTES_MAX} bytes came")]
    TooLong,
    /// The client ended the connection.
    #[error("the client closed the connection before the end of the handshake")]
    Closed,
}

impl Handshake {
    /// Nothing has come yet.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Broken> {
        Ok(Self { channel: Channel::new(config)?, early: Vec::new(), received: 0 })
    }

    /// Takes what was received. Afterwards there may be something to send, after an error too.
    pub fn handle_bytes(&mut self, received: &mut [u8]) -> Result<(), Failure> {
        if self.received == 0 && received.first().is_some_and(|first| *first != HANDSHAKE_RECORD) {
            return Err(Failure::NotTls);
        }
        self.received += received.len();
        if self.received > HANDSHAKE_BYTES_MAX {
            return Err(Failure::TooLong);
        }
        let early = &mut self.early;
        self.channel.handle_bytes(received, |plain| early.extend_from_slice(plain))?;
        if self.channel.has_ended() && !self.is_done() { Err(Failure::Closed) } else { Ok(()) }
    }

    /// Whether a byte has come. A connection without any is a look at the port, not a handshake.
    pub fn has_begun(&self) -> bool {
        self.received > 0
    }

    /// Both sides have keys. What is unsent still has to go.
    pub fn is_done(&self) -> bool {
        !self.channel.is_handshaking()
    }

    /// Takes what has to be sent.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        self.channel.take_unsent()
    }

    /// The channel, and what the client has said on it already. Only when [`Handshake::is_done`].
    pub fn finish(mut self) -> (Channel, Vec<u8>) {
        let early = mem::take(&mut self.early);
        (self.channel, early)
    }
}
