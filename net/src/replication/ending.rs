//! Why links end: what is no fault of the sockets that carry them.

use super::frame::{FrameError, Kind};
use super::message::Refuse;
use crate::limits::LINK_NACKS_MAX;

/// Why a link ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that this end does not take now.
    #[error("a {0:?} frame came where none may come")]
    Unexpected(Kind),
    /// Something was acknowledged that was never sent, or sent out of order.
    #[error("frame {0} is out of order")]
    Order(u64),
    /// Damage over and over.
    #[error("{LINK_NACKS_MAX} batches in a row came damaged")]
    Damaged,
    /// The other end refuses.
    #[error("refused: {0}")]
    Refused(Refuse),
    /// Nothing came for too long.
    #[error("the other end is silent")]
    Silent,
    /// Changes that the replica needs are not in memory any more: the next link begins with a full copy.
    #[error("the log does not show any more what the replica has not seen")]
    Lost,
    /// A record that can't be one of this shard, or none at all.
    #[error("a record that can't be: {0}")]
    Record(#[from] ringcache_engine::RecordError),
}
