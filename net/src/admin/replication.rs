//! What a replicating node lends to the commands of its operator.

use serde_json::Value;

use super::{Audience, Failure};

/// The operator's side of replication. Every call may take its time: it runs on the operator's thread.
pub trait Replication: Send + Sync {
    /// Role, peers, lag in records, bytes and milliseconds, mode, history: an object, shown as it is.
    fn status(&self) -> Value;

    /// A replica becomes a primary, with `force` even where a full copy is not complete.
    ///
    /// Errors: it is one already; too much is missing.
    fn promote(&self, force: bool) -> Result<Value, Failure>;

    /// A primary becomes a replica, of `of` where that is given.
    ///
    /// Errors: no primary is known; its history is another one.
    fn demote(&self, of: Option<&str>) -> Result<Value, Failure>;

    /// Follows the primary at `of` from now on.
    ///
    /// Errors: no address, or nobody there.
    fn replicate(&self, of: &str) -> Result<Value, Failure>;

    /// Compares this node with the one at `with`, which follows it or which it follows; by default with its primary. The
    /// audience hears how many records are summed up.
    ///
    /// Errors: nobody there, neither follows the other, or the replica does not catch up. A difference is none.
    fn verify(&self, with: Option<&str>, audience: &mut Audience<'_>) -> Result<Value, Failure>;
}
