//! What two nodes say to each other while they are compared: questions of the one, answers of the other.
//!
//! The payload of a frame is a byte that tells which question or answer it is, and fields of fixed size, little-endian.

use ringcache_engine::limits::{SHARDS_MAX, SLOTS};
use ringcache_engine::{Expiry, KeyHash, RecordDigest, Seconds, SlotDigest, SlotSet, Version};

use super::Stand;
use crate::limits::{REPLICAS_MAX, VERIFY_KEYS_PER_FRAME};
use crate::replication::frame::FrameError;
use crate::replication::message::Fields;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Where do you stand?
    Stand,
    /// The digests of records from before these positions of the primary's shards.
    Digests(Vec<Version>),
    /// The records of these slots.
    List(SlotSet),
    /// The records of these keys.
    Look(Vec<KeyHash>),
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Where it stands. The only part.
    Stand(Stand),
    /// It is being worked on.
    Working,
    /// The digests of all slots. The last part.
    Digests(Vec<SlotDigest>),
    /// Some records; more may come.
    Records(Vec<RecordDigest>),
    /// The last part.
    Done,
    /// The last part: why there is no answer.
    Failed(String),
}

const TOMBSTONE: u8 = 1;
const DAMAGED: u8 = 2;

impl Ask {
    /// As payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Ask::Stand => vec![1],
            Ask::Digests(positions) => {
                let mut bytes = vec![2];
                put_versions(positions, &mut bytes);
                bytes
            }
            Ask::List(slots) => {
                let mut bytes = vec![3];
                slots.words().iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
                bytes
            }
            Ask::Look(hashes) => {
                let mut bytes = vec![4];
                bytes.extend_from_slice(&(hashes.len() as u32).to_le_bytes());
                hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.0.to_le_bytes()));
                bytes
            }
        }
    }

    /// From a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let ask = match fields.u8()? {
            1 => Ask::Stand,
            2 => Ask::Digests(take_versions(&mut fields)?),
            3 => {
                let mut words = [0; SLOTS / 64];
                for word in &mut words {
                    *word = fields.u64()?;
                }
                Ask::List(SlotSet::from_words(words))
            }
            4 => {
                let count = bounded(fields.u32()?)?;
                Ask::Look((0..count).map(|_| fields.u64().map(KeyHash)).collect::<Result<_, _>>()?)
            }
            _ => return Err(FrameError::Malformed("an unknown question")),
        };
        fields.end()?;
        Ok(ask)
    }
}

impl Tell {
    /// As payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Tell::Stand(stand) => stand_bytes(stand),
            Tell::Working => vec![2],
            Tell::Digests(digests) => {
                let mut bytes = vec![3];
                for SlotDigest { sum, records } in digests {
                    bytes.extend_from_slice(&sum.to_le_bytes());
                    bytes.extend_from_slice(&records.to_le_bytes());
                }
                bytes
            }
            Tell::Records(records) => {
                let mut bytes = vec![4];
                bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
                records.iter().for_each(|record| put_record(record, &mut bytes));
                bytes
            }
            Tell::Done => vec![5],
            Tell::Failed(reason) => [&[6], reason.as_bytes()].concat(),
        }
    }

    /// From a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(payload);
        let tell = match fields.u8()? {
            1 => Tell::Stand(take_stand(&mut fields)?),
            2 => Tell::Working,
            3 => {
                let digest = |_| Ok(SlotDigest { sum: fields.u64()?, records: fields.u64()? });
                Tell::Digests((0..SLOTS).map(digest).collect::<Result<_, FrameError>>()?)
            }
            4 => {
                let count = bounded(fields.u32()?)?;
                Tell::Records((0..count).map(|_| take_record(&mut fields)).collect::<Result<_, _>>()?)
            }
            5 => Tell::Done,
            6 => return Ok(Tell::Failed(String::from_utf8_lossy(fields.0).into_owned())),
            _ => return Err(FrameError::Malformed("an unknown answer")),
        };
        fields.end()?;
        Ok(tell)
    }
}

fn bounded(count: u32) -> Result<usize, FrameError> {
    let count = count as usize;
    (count <= VERIFY_KEYS_PER_FRAME).then_some(count).ok_or(FrameError::Malformed("more than it may have"))
}

fn put_versions(versions: &[Version], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(versions.len() as u16).to_le_bytes());
    versions.iter().for_each(|version| bytes.extend_from_slice(&version.0.to_le_bytes()));
}

fn take_versions(fields: &mut Fields<'_>) -> Result<Vec<Version>, FrameError> {
    let count = fields.u16()?;
    if count == 0 || count > SHARDS_MAX {
        return Err(FrameError::Malformed("not as many shards as a node may have"));
    }
    (0..count).map(|_| fields.version()).collect()
}

fn stand_bytes(stand: &Stand) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&stand.node.to_le_bytes());
    put_versions(&stand.positions, &mut bytes);
    bytes.extend_from_slice(&(stand.follows.len() as u16).to_le_bytes());
    for (node, applied) in &stand.follows {
        bytes.extend_from_slice(&node.to_le_bytes());
        put_versions(applied, &mut bytes);
    }
    bytes.extend_from_slice(&stand.flushed.0.to_le_bytes());
    bytes.extend_from_slice(&stand.seconds.0.to_le_bytes());
    bytes.extend_from_slice(&stand.lost.to_le_bytes());
    bytes.extend_from_slice(&stand.records.to_le_bytes());
    bytes
}

fn take_stand(fields: &mut Fields<'_>) -> Result<Stand, FrameError> {
    let node = fields.u128()?;
    let positions = take_versions(fields)?;
    let followed = fields.u16()?;
    if usize::from(followed) > REPLICAS_MAX {
        return Err(FrameError::Malformed("it follows more nodes than it may"));
    }
    let source = |_| Ok((fields.u128()?, take_versions(fields)?));
    let follows = (0..followed).map(source).collect::<Result<_, FrameError>>()?;
    Ok(Stand {
        node,
        positions,
        follows,
        flushed: fields.version()?,
        seconds: Seconds(fields.u32()?),
        lost: fields.u64()?,
        records: fields.u64()?,
    })
}

fn put_record(record: &RecordDigest, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&record.hash.0.to_le_bytes());
    bytes.extend_from_slice(&record.version.0.to_le_bytes());
    bytes.extend_from_slice(&record.crc.to_le_bytes());
    bytes.extend_from_slice(&record.expiry.to_bits().to_le_bytes());
    let tombstone = if record.is_tombstone { TOMBSTONE } else { 0 };
    bytes.push(tombstone | if record.is_damaged { DAMAGED } else { 0 });
}

fn take_record(fields: &mut Fields<'_>) -> Result<RecordDigest, FrameError> {
    let (hash, version) = (KeyHash(fields.u64()?), fields.version()?);
    let (crc, expiry, notes) = (fields.u32()?, Expiry::from_bits(fields.u32()?), fields.u8()?);
    let (is_tombstone, is_damaged) = (notes & TOMBSTONE != 0, notes & DAMAGED != 0);
    Ok(RecordDigest { hash, version, crc, expiry, is_tombstone, is_damaged })
}

#[cfg(test)]
mod tests {
    use super::{Ask, Tell};
    use crate::replication::verify::Stand;
    use ringcache_engine::limits::SLOTS;
    use ringcache_engine::{Expiry, KeyHash, RecordDigest, Seconds, Slot, SlotDigest, SlotSet, Version};

    #[test]
    fn questions_survive_the_link_and_nothing_shorter_or_longer_does() {
        let mut slots = SlotSet::default();
        [0, 63, 64, 16_383].into_iter().for_each(|slot| slots.insert(Slot(slot)));
        for ask in [
            Ask::Stand,
            Ask::Digests(vec![Version(5), Version(u64::MAX)]),
            Ask::List(slots),
            Ask::Look(vec![KeyHash(1), KeyHash(u64::MAX)]),
        ] {
            let bytes = ask.to_bytes();
            assert_eq!(Ask::parse(&bytes), Ok(ask));
            assert!((0..bytes.len()).all(|length| Ask::parse(&bytes[..length]).is_err()));
            assert!(Ask::parse(&[&bytes[..], &[0]].concat()).is_err());
        }
        assert!(Ask::parse(&[9]).is_err() && Ask::parse(&[2, 0, 0]).is_err(), "no question, no shards");
    }

    #[test]
    fn so_do_answers() {
        let stand = Stand {
            node: 1 << 100,
            positions: vec![Version(3)],
            follows: vec![(7, vec![Version(1), Version(0)])],
            flushed: Version(2),
            seconds: Seconds(9),
            lost: 4,
            records: 1 << 40,
        };
        let record = RecordDigest {
            hash: KeyHash(11),
            version: Version(12),
            crc: 13,
            expiry: Expiry::at(Seconds(14)),
            is_tombstone: true,
            is_damaged: false,
        };
        let records = vec![record, RecordDigest { is_tombstone: false, is_damaged: true, ..record }];
        let digests = vec![SlotDigest { sum: u64::MAX, records: 2 }; SLOTS];
        for tell in [Tell::Stand(stand), Tell::Working, Tell::Records(records), Tell::Done] {
            let bytes = tell.to_bytes();
            assert_eq!(Tell::parse(&bytes), Ok(tell));
            assert!((0..bytes.len()).all(|length| Tell::parse(&bytes[..length]).is_err()));
            assert!(Tell::parse(&[&bytes[..], &[0]].concat()).is_err());
        }
        for tell in [Tell::Digests(digests), Tell::Failed("no".to_owned())] {
            assert_eq!(Tell::parse(&tell.to_bytes()), Ok(tell));
        }
    }
}
