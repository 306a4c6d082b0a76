//! Histories: which positions mean the same on two nodes.
//!
//! A primary's log is one history under a random name. A replica that is promoted begins a history of its own, but
//! remembers the one it followed and how far, so that its former siblings, who followed the same one, go on from where
//! they stand (Redis calls this the second replication id).

use std::fmt;

use ringcache_engine::Version;

/// The name of a history. Zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HistoryId(pub u128);

impl HistoryId {
    /// What a node has that never followed anyone.
    pub const NONE: HistoryId = HistoryId(0);
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How much of one shard of a history a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Everything up to here. `Version::ZERO`: the full copy of the shard is not complete.
    pub position: Version,
    /// Nothing above this. What is between the two has come in part.
    pub reached: Version,
}

impl Extent {
    /// Everything up to `position`, and nothing else.
    pub fn up_to(position: Version) -> Self {
        Self { position, reached: position }
    }

    /// The highest version that is there.
    fn top(self) -> Version {
        self.reached.max(self.position)
    }
}

/// How far a node has followed a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Which history.
    pub history: HistoryId,
    /// By shard of its primary.
    pub extents: Vec<Extent>,
}

impl Standing {
    /// Whether a full copy of every shard is there.
    pub fn is_complete(&self) -> bool {
        self.history != HistoryId::NONE && self.whole().position != Version::ZERO
    }

    /// Whether a node that stands at `other` has nothing that a node standing here has not. All shards count: a flush
    /// that came with one of them holds for every key.
    fn covers(&self, other: &Standing) -> bool {
        self.history == other.history
            && self.extents.len() == other.extents.len()
            && self.extents.iter().zip(&other.extents).all(|(mine, theirs)| theirs.top() <= mine.position)
    }

    /// How much is there of `shard`, one of `shards` of any node. Where the history's primary had as many, the same
    /// keys belong to it.
    pub fn extent(&self, shard: u16, shards: u16) -> Extent {
        let is_same = self.extents.len() == usize::from(shards);
        if is_same { self.extents[usize::from(shard)] } else { self.whole() }
    }

    /// The highest version that is there for certain, whatever shard it belongs to.
    pub fn highest(&self) -> Version {
        self.extents.iter().map(|extent| extent.position).max().unwrap_or(Version::ZERO)
    }

    /// What holds for every key.
    fn whole(&self) -> Extent {
        let position = self.extents.iter().map(|extent| extent.position).min();
        let reached = self.extents.iter().map(|extent| extent.top()).max();
        Extent { position: position.unwrap_or_default(), reached: reached.unwrap_or_default() }
    }
}

/// What a primary knows of histories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histories {
    /// Its own.
    pub current: HistoryId,
    /// The one that it followed before it was promoted, and how far.
    pub former: Option<Standing>,
}

/// Why a replica gets a full copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It has followed nobody yet.
    New,
    /// It has followed a history that this node does not know.
    Foreign,
    /// It has what this node has not: the two parted before they met.
    Ahead,
    /// Deletes or touches that it has not seen are not in memory any more.
    Forgotten,
    /// An operator asked for it.
    Asked,
}

impl Cause {
    /// All of them, in the order of [`Cause::number`].
    pub const ALL: [Cause; 5] = [Cause::New, Cause::Foreign, Cause::Ahead, Cause::Forgotten, Cause::Asked];

    /// Place in [`Cause::ALL`].
    pub fn number(self) -> usize {
        self as usize
    }

    /// As statistics name it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::New => "new",
            Cause::Foreign => "foreign",
            Cause::Ahead => "ahead",
            Cause::Forgotten => "forgotten",
            Cause::Asked => "asked",
        }
    }
}

/// How a replica goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is newer than this position.
    After(Version),
    /// With everything.
    Copy(Cause),
}

/// What a primary's shard has, as far as a replica that comes back is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Which shard.
    pub shard: u16,
    /// Of how many.
    pub shards: u16,
    /// Where its log stands.
    pub position: Version,
    /// Its log does not show all changes up to here any more.
    pub forgotten: Version,
}

impl Histories {
    /// How a replica that stands at `standing` goes on with the shard `shown`.
    pub fn start(&self, standing: &Standing, shown: Shown) -> Start {
        if standing.history == HistoryId::NONE {
            return Start::Copy(Cause::New);
        }
        let after = if standing.history == self.current {
            let extent = standing.extents.get(usize::from(shown.shard)).copied().unwrap_or_default();
            if extent.top() > shown.position {
                return Start::Copy(Cause::Ahead);
            }
            extent.position
        } else {
            match &self.former {
                Some(former) if former.history != standing.history => return Start::Copy(Cause::Foreign),
                None => return Start::Copy(Cause::Foreign),
                Some(former) if !former.covers(standing) => return Start::Copy(Cause::Ahead),
                Some(_) => standing.extent(shown.shard, shown.shards).position,
            }
        };
        match after {
            Version::ZERO => Start::Copy(Cause::New),
            after if after < shown.forgotten => Start::Copy(Cause::Forgotten),
            after => Start::After(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Extent, Histories, HistoryId, Shown, Standing, Start};
    use ringcache_engine::Version;

    const OWN: HistoryId = HistoryId(10);
    const OLD: HistoryId = HistoryId(20);

    fn standing(history: HistoryId, positions: &[u64]) -> Standing {
        let extents = positions.iter().map(|position| Extent::up_to(Version(*position)));
        Standing { history, extents: extents.collect() }
    }

    fn histories() -> Histories {
        Histories { current: OWN, former: Some(standing(OLD, &[50, 60])) }
    }

    fn start(standing: &Standing) -> Start {
        start_of(standing, 2)
    }

    fn start_of(standing: &Standing, shards: u16) -> Start {
        let shown = Shown { shard: 1, shards, position: Version(100), forgotten: Version(30) };
        histories().start(standing, shown)
    }

    #[test]
    fn who_followed_this_history_goes_on_from_its_position() {
        assert_eq!(start(&standing(OWN, &[1, 100])), Start::After(Version(100)));
        assert_eq!(start(&standing(OWN, &[1, 30])), Start::After(Version(30)));
        assert_eq!(start(&standing(OWN, &[1, 29])), Start::Copy(Cause::Forgotten));
        assert_eq!(start(&standing(OWN, &[1, 0])), Start::Copy(Cause::New), "its copy was not complete");
        assert_eq!(start(&standing(OWN, &[1, 101])), Start::Copy(Cause::Ahead), "it has seen a lost future");
        assert_eq!(start(&standing(OWN, &[99])), Start::Copy(Cause::New), "that shard is new to it");
    }

    #[test]
    fn siblings_go_on_when_the_promoted_node_has_all_they_have() {
        assert_eq!(start(&standing(OLD, &[40, 60])), Start::After(Version(60)));
        let other = start_of(&standing(OLD, &[40, 60]), 3);
        assert_eq!(other, Start::After(Version(40)), "the least holds for whichever shard");
        assert_eq!(start(&standing(OLD, &[51, 40])), Start::Copy(Cause::Ahead));
        assert_eq!(start(&standing(OLD, &[40])), Start::Copy(Cause::Ahead), "not the same shards");
        assert_eq!(start(&standing(OLD, &[40, 20])), Start::Copy(Cause::Forgotten));
    }

    #[test]
    fn what_has_come_in_part_counts_as_more_than_the_position() {
        let in_part = |history, reached| {
            let mut standing = standing(history, &[40, 55]);
            standing.extents[0].reached = Version(reached);
            start(&standing)
        };
        assert_eq!(in_part(OLD, 50), Start::After(Version(55)));
        assert_eq!(in_part(OLD, 51), Start::Copy(Cause::Ahead), "in whichever shard it has come");
        assert_eq!(in_part(OWN, 51), Start::After(Version(55)), "the log shows it");
        let mut standing = standing(OWN, &[40, 55]);
        standing.extents[1].reached = Version(101);
        assert_eq!(start(&standing), Start::Copy(Cause::Ahead));
    }

    #[test]
    fn strangers_get_everything() {
        assert_eq!(start(&Standing::default()), Start::Copy(Cause::New));
        assert_eq!(start(&standing(HistoryId(3), &[40, 60])), Start::Copy(Cause::Foreign));
    }
}
