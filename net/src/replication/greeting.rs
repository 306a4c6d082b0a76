//! The first words on a link: who speaks, in which version, and the proof that both know the secret.
//!
//! ```text
//! dialer                                  acceptor
//!   Hello, nonce            --->
//!                           <---          Hello, nonce, proof over both
//!   proof over both         --->
//! ```
//!
//! A proof is HMAC-SHA-256 under the shared secret over the side's name and both hellos, so that it is good for this
//! pair of nonces and this direction only. Without a secret on either side the proofs are zeros; a side that has a
//! secret refuses one that has not. The proof says who speaks; only TLS keeps what follows from being read or changed.

use ring::hmac;
use subtle::ConstantTimeEq;

use super::message::Fields;

/// Version of everything that goes over a link.
pub const LINK_VERSION: u16 = 1;
const MAGIC: [u8; 8] = *b"RINGLINK";
const PROOF_BYTES: usize = 32;
/// Bytes of a hello.
const HELLO_BYTES: usize = 8 + 2 + 2 + 16 + 8 + 1 + 1 + 2 + 2 + 32 + 4;

/// Bytes that each side says before its frames: its hello and its proof.
pub const GREETING_BYTES: usize = HELLO_BYTES + PROOF_BYTES;

/// What a connection between two nodes is for; the dialer says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Following the acceptor's log.
    Link = 0,
    /// Comparing the records of both.
    Comparison = 1,
}

impl Purpose {
    fn of(byte: u8) -> Result<Self, GreetingError> {
        let known = [Purpose::Link, Purpose::Comparison];
        known.into_iter().find(|known| *known as u8 == byte).ok_or(GreetingError::Purpose(byte))
    }
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The node's name: random, kept as long as its files.
    pub node: u128,
    /// Counts its starts.
    pub incarnation: u64,
    /// What its versions carry, 0 to 63.
    pub number: u8,
    /// What the dialer wants.
    pub purpose: Purpose,
    /// Its shards.
    pub shards: u16,
    /// The acceptor's shard that the link is about.
    pub shard: u16,
    /// Never used before.
    pub nonce: [u8; 32],
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// Something else speaks there.
    #[error("what answers is no Ringcache node")]
    Foreign,
    /// A version that this one can't speak with.
    #[error("the other node speaks version {0} of the link, this one {LINK_VERSION}")]
    Version(u16),
    /// Something that only a later version knows.
    #[error("the other node wants something that this one does not know ({0})")]
    Purpose(u8),
    /// The proof is wrong, or missing.
    #[error("the other node does not know the secret")]
    Secret,
    /// It dialled itself.
    #[error("the other node is this one")]
    Itself,
    /// The shard that is asked for does not exist.
    #[error("the other node asks for shard {0}, which is not there")]
    Shard(u16),
    /// Damaged on the way.
    #[error("a damaged greeting")]
    Damaged,
}

impl Hello {
    fn to_bytes(self) -> [u8; HELLO_BYTES] {
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&LINK_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.to_le_bytes());
        bytes.extend_from_slice(&[self.number, self.purpose as u8]);
        bytes.extend_from_slice(&self.shards.to_le_bytes());
        bytes.extend_from_slice(&self.shard.to_le_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().expect("a hello has a fixed size")
    }

    fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, GreetingError> {
        if bytes[..8] != MAGIC {
            return Err(GreetingError::Foreign);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != LINK_VERSION {
            return Err(GreetingError::Version(version));
        }
        let (front, crc) = bytes.split_at(HELLO_BYTES - 4);
        if crc32c::crc32c(front).to_le_bytes() != crc {
            return Err(GreetingError::Damaged);
        }
        let mut fields = Fields(&front[12..]);
        let read = |_| GreetingError::Damaged;
        let (node, incarnation) = (fields.u128().map_err(read)?, fields.u64().map_err(read)?);
        let number = fields.u8().map_err(read)?;
        let purpose = Purpose::of(fields.u8().map_err(read)?)?;
        let (shards, shard) = (fields.u16().map_err(read)?, fields.u16().map_err(read)?);
        Ok(Self { node, incarnation, number, purpose, shards, shard, nonce: fields.take().map_err(read)? })
    }
}

/// One side of a greeting: bytes in, bytes out.
pub struct Greeting {
    own: Hello,
    secret: Option<Vec<u8>>,
    is_dialer: bool,
    received: Vec<u8>,
    unsent: Vec<u8>,
    other: Option<Hello>,
    is_done: bool,
}

impl Greeting {
    /// The side that asks for `hello.shard` of the other.
    pub fn dial(hello: Hello, secret: Option<&[u8]>) -> Self {
        Self { unsent: hello.to_bytes().to_vec(), ..Self::new(hello, secret, true) }
    }

    /// The side that is asked.
    pub fn accept(hello: Hello, secret: Option<&[u8]>) -> Self {
        Self::new(hello, secret, false)
    }

    fn new(own: Hello, secret: Option<&[u8]>, is_dialer: bool) -> Self {
        let secret = secret.map(<[u8]>::to_vec);
        Self { own, secret, is_dialer, received: Vec::new(), unsent: Vec::new(), other: None, is_done: false }
    }

    /// What has to be sent.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unsent)
    }

    /// Takes what was received. Some: the other side, and the greeting is over when what is unsent is sent.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Hello>, GreetingError> {
        self.received.extend_from_slice(bytes);
        if self.other.is_none() {
            let Some(hello) = self.received.first_chunk::<HELLO_BYTES>() else {
                // A stranger is told from its first bytes, who may never send as many.
                let known = self.received.len().min(MAGIC.len());
                let is_foreign = self.received[..known] != MAGIC[..known];
                return if is_foreign { Err(GreetingError::Foreign) } else { Ok(None) };
            };
            let hello = Hello::parse(hello)?;
            self.check(&hello)?;
            self.received.drain(..HELLO_BYTES);
            self.other = Some(hello);
            if !self.is_dialer {
                self.unsent.extend_from_slice(&self.own.to_bytes());
                self.unsent.extend_from_slice(&self.proof(false));
            }
        }
        let Some(proof) = self.received.first_chunk::<PROOF_BYTES>() else { return Ok(None) };
        let is_known: bool = self.proof(!self.is_dialer).ct_eq(proof).into();
        if !is_known {
            return Err(GreetingError::Secret);
        }
        self.received.drain(..PROOF_BYTES);
        if self.is_dialer {
            self.unsent.extend_from_slice(&self.proof(true));
        }
        self.is_done = true;
        Ok(self.other)
    }

    /// What came behind the greeting. Only when it is over.
    pub fn into_early(self) -> Vec<u8> {
        assert!(self.is_done, "the greeting is over");
        self.received
    }

    fn check(&self, other: &Hello) -> Result<(), GreetingError> {
        if other.node == self.own.node {
            return Err(GreetingError::Itself);
        }
        if !self.is_dialer && other.shard >= self.own.shards {
            return Err(GreetingError::Shard(other.shard));
        }
        Ok(())
    }

    /// The proof of the dialer or of the acceptor.
    fn proof(&self, of_dialer: bool) -> [u8; PROOF_BYTES] {
        let Some(secret) = &self.secret else { return [0; PROOF_BYTES] };
        let other = self.other.expect("a proof is over both hellos").to_bytes();
        let own = self.own.to_bytes();
        let (dialer, acceptor) = if self.is_dialer { (own, other) } else { (other, own) };
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
        mac.update(if of_dialer { b"dialer" } else { b"acceptor" });
        mac.update(&dialer);
        mac.update(&acceptor);
        mac.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::{Greeting, GreetingError, HELLO_BYTES, Hello, Purpose};

    fn hello(node: u128, shard: u16) -> Hello {
        Hello {
            node,
            incarnation: 3,
            number: node as u8,
            purpose: Purpose::Link,
            shards: 2,
            shard,
            nonce: [node as u8; 32],
        }
    }

    /// Lets both talk, byte by byte; gives what each learned.
    fn talk(
        mut dialer: Greeting,
        mut acceptor: Greeting,
    ) -> (Result<Option<Hello>, GreetingError>, Result<Option<Hello>, GreetingError>) {
        let (mut learned, mut taught) = (Ok(None), Ok(None));
        for _ in 0..3 {
            for byte in dialer.take_unsent() {
                taught = acceptor.handle_bytes(&[byte]);
                if taught.is_err() {
                    return (learned, taught);
                }
            }
            for byte in acceptor.take_unsent() {
                learned = dialer.handle_bytes(&[byte]);
                if learned.is_err() {
                    return (learned, taught);
                }
            }
        }
        (learned, taught)
    }

    #[test]
    fn both_sides_learn_who_the_other_is() {
        for secret in [None, Some(&b"secret"[..])] {
            let (learned, taught) =
                talk(Greeting::dial(hello(1, 1), secret), Greeting::accept(hello(2, 0), secret));
            assert_eq!((learned, taught), (Ok(Some(hello(2, 0))), Ok(Some(hello(1, 1)))));
        }
    }

    #[test]
    fn a_wrong_or_missing_secret_is_refused_by_whoever_has_one() {
        let cases = [(Some(&b"one"[..]), Some(&b"two"[..])), (Some(b"one"), None), (None, Some(b"two"))];
        for (dials, accepts) in cases {
            let (learned, _) =
                talk(Greeting::dial(hello(1, 0), dials), Greeting::accept(hello(2, 0), accepts));
            assert_eq!(learned, Err(GreetingError::Secret), "{dials:?} {accepts:?}");
            // And a dialer that does not care is refused by the acceptor.
            let mut acceptor = Greeting::accept(hello(2, 0), Some(b"two"));
            let mut blind = Greeting::dial(hello(1, 0), None);
            acceptor.handle_bytes(&blind.take_unsent()).expect("a hello");
            assert_eq!(acceptor.handle_bytes(&[0; 32]), Err(GreetingError::Secret));
        }
    }

    #[test]
    fn strangers_are_told_apart() {
        let mut acceptor = Greeting::accept(hello(2, 0), None);
        assert_eq!(acceptor.handle_bytes(b"get x\r\n"), Err(GreetingError::Foreign));
        let (_, taught) = talk(Greeting::dial(hello(2, 0), None), Greeting::accept(hello(2, 0), None));
        assert_eq!(taught, Err(GreetingError::Itself));
        let (_, taught) = talk(Greeting::dial(hello(1, 2), None), Greeting::accept(hello(2, 0), None));
        assert_eq!(taught, Err(GreetingError::Shard(2)));
        let mut later = hello(1, 0).to_bytes();
        later[8] = 9;
        assert_eq!(Greeting::accept(hello(2, 0), None).handle_bytes(&later), Err(GreetingError::Version(9)));
        let mut wants = hello(1, 0).to_bytes();
        wants[37] = 9;
        let crc = crc32c::crc32c(&wants[..HELLO_BYTES - 4]);
        wants[HELLO_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Greeting::accept(hello(2, 0), None).handle_bytes(&wants), Err(GreetingError::Purpose(9)));
        for bit in 0..HELLO_BYTES * 8 {
            let mut damaged = hello(1, 0).to_bytes();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Greeting::accept(hello(2, 0), None).handle_bytes(&damaged).is_err(), "bit {bit}");
        }
    }
}
