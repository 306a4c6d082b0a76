//! The payloads of the small frames.

use ringcache_engine::Version;
use ringcache_engine::limits::SHARDS_MAX;

use super::frame::FrameError;
use super::history::{Extent, HistoryId, Standing};

/// Reads fixed-size fields one behind the other.
pub(super) struct Fields<'b>(pub &'b [u8]);

impl<'b> Fields<'b> {
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(FrameError::Malformed("too short"))?;
        self.0 = rest;
        Ok(*field)
    }

    pub fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.take::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, FrameError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    pub fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub fn u64(&mut self) -> Result<u64, FrameError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub fn u128(&mut self) -> Result<u128, FrameError> {
        Ok(u128::from_le_bytes(self.take()?))
    }

    pub fn version(&mut self) -> Result<Version, FrameError> {
        Ok(Version(self.u64()?))
    }

    pub fn end(self) -> Result<(), FrameError> {
        if self.0.is_empty() { Ok(()) } else { Err(FrameError::Malformed("too long")) }
    }
}

/// A replica's first frame: where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// What it has followed, and how far.
    pub standing: Standing,
    /// The full copy that it is in the middle of; zero when it is in none.
    pub copy: u64,
    /// Both sides accept writes: each follows the other.
    pub is_peer: bool,
}

impl Follow {
    /// As payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(27 + 16 * self.standing.extents.len());
        bytes.extend_from_slice(&self.standing.history.0.to_le_bytes());
        bytes.extend_from_slice(&self.copy.to_le_bytes());
        bytes.push(u8::from(self.is_peer));
        bytes.extend_from_slice(&(self.standing.extents.len() as u16).to_le_bytes());
        for extent in &self.standing.extents {
            bytes.extend_from_slice(&extent.position.0.to_le_bytes());
            bytes.extend_from_slice(&extent.reached.0.to_le_bytes());
        }
        bytes
    }

    /// From a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let history = HistoryId(fields.u128()?);
        let copy = fields.u64()?;
        let is_peer = fields.u8()? != 0;
        let shards = fields.u16()?;
        if shards > SHARDS_MAX {
            return Err(FrameError::Malformed("more shards than a node has"));
        }
        let mut extent = || Ok(Extent { position: fields.version()?, reached: fields.version()? });
        let extents = (0..shards).map(|_| extent()).collect::<Result<_, FrameError>>()?;
        fields.end()?;
        Ok(Self { standing: Standing { history, extents }, copy, is_peer })
    }
}

/// The primary's answer: what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The history that positions belong to from now on.
    pub history: HistoryId,
    /// A full copy comes under this name; zero: only what is newer than the replica's position comes.
    pub copy: u64,
    /// The copy of that name goes on where it was broken off.
    pub goes_on: bool,
    /// Everything of this shard up to here was flushed.
    pub flushed: Version,
}

impl Welcome {
    /// As payload.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(33);
        bytes.extend_from_slice(&self.history.0.to_le_bytes());
        bytes.extend_from_slice(&self.copy.to_le_bytes());
        bytes.push(u8::from(self.goes_on));
        bytes.extend_from_slice(&self.flushed.0.to_le_bytes());
        bytes
    }

    /// From a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let welcome = Self {
            history: HistoryId(fields.u128()?),
            copy: fields.u64()?,
            goes_on: fields.u8()? != 0,
            flushed: fields.version()?,
        };
        fields.end()?;
        Ok(welcome)
    }
}

/// What a replica has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Every frame up to this sequence is applied.
    pub sequence: u64,
    /// Every record up to this position is applied; zero during a full copy.
    pub position: Version,
}

impl Ack {
    /// As payload.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&self.position.0.to_le_bytes());
        bytes
    }

    /// From a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let ack = Self { sequence: fields.u64()?, position: fields.version()? };
        fields.end()?;
        Ok(ack)
    }
}

/// Why a link can't be. The other side's log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Refuse {
    /// A node that follows another has no log of its own to hand out.
    #[error("the node is a replica itself")]
    NotPrimary = 1,
    /// As many replicas as the limits allow are there.
    #[error("the node has as many replicas as it may have")]
    TooMany = 2,
    /// One of both accepts writes of clients only, the other wants to exchange writes.
    #[error("the nodes do not agree on who accepts writes")]
    Roles = 3,
    /// The node stops.
    #[error("the node stops")]
    Stopping = 4,
    /// A later version's reason.
    #[error("a reason that this version does not know")]
    Other = 255,
}

impl Refuse {
    /// From a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let code = fields.u8()?;
        fields.end()?;
        let known = [Refuse::NotPrimary, Refuse::TooMany, Refuse::Roles, Refuse::Stopping];
        Ok(known.into_iter().find(|known| *known as u8 == code).unwrap_or(Refuse::Other))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ack, Follow, Refuse, Welcome};
    use crate::replication::history::{Extent, HistoryId, Standing};
    use ringcache_engine::Version;

    #[test]
    fn messages_survive_the_link_and_nothing_shorter_or_longer_does() {
        let extents = vec![Extent::up_to(Version(5)), Extent { position: Version(9), reached: Version(11) }];
        let standing = Standing { history: HistoryId(7 << 90), extents };
        let follow = Follow { standing, copy: 3, is_peer: true };
        let welcome = Welcome { history: HistoryId(1), copy: 9, goes_on: true, flushed: Version(8) };
        let ack = Ack { sequence: 1 << 40, position: Version(6) };
        let (follow_bytes, welcome_bytes, ack_bytes) =
            (follow.to_bytes(), welcome.to_bytes(), ack.to_bytes());
        assert_eq!(Follow::parse(&follow_bytes), Ok(follow));
        assert_eq!(Welcome::parse(&welcome_bytes), Ok(welcome));
        assert_eq!(Ack::parse(&ack_bytes), Ok(ack));
        let is_refused = |bytes: &[u8], refused: fn(&[u8]) -> bool| {
            (0..bytes.len()).for_each(|length| assert!(refused(&bytes[..length])));
            assert!(refused(&[bytes, &[0]].concat()));
        };
        is_refused(&follow_bytes, |bytes| Follow::parse(bytes).is_err());
        is_refused(&welcome_bytes, |bytes| Welcome::parse(bytes).is_err());
        is_refused(&ack_bytes, |bytes| Ack::parse(bytes).is_err());
        assert_eq!(Refuse::parse(&[2]), Ok(Refuse::TooMany));
        assert_eq!(Refuse::parse(&[77]), Ok(Refuse::Other));
    }
}
