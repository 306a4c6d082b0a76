//! A node that this one follows: the state of each link to it, and where this node stands with its history.

use std::time::Duration;

use crate::limits::{LINK_PAUSE_MAX, LINK_PAUSE_MIN};
use crate::replication::follow::Progress;
use crate::replication::history::{Extent, HistoryId, Standing};

/// See the module's text.
pub(super) struct Source {
    pub address: String,
    /// Where this node stands with the history that it followed last, here or elsewhere.
    pub standing: Standing,
    /// By shard of the source, as many as are known to be there.
    pub links: Vec<LinkState>,
}

pub(super) struct LinkState {
    pub progress: Progress,
    pub stage: Stage,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be dialled at that time.
    Due(Duration),
    Dialling,
    Up,
}

impl Source {
    /// One that is to be dialled at once. `standing`: what this node has of whichever history.
    pub fn new(address: String, standing: Standing, at: Duration) -> Self {
        let mut source = Self { address, standing, links: Vec::new() };
        source.add_link(at);
        source
    }

    fn add_link(&mut self, at: Duration) {
        let extent = self.standing.extents.get(self.links.len()).copied().unwrap_or_default();
        let progress = Progress { history: self.standing.history, extent, copy: None };
        self.links.push(LinkState { progress, stage: Stage::Due(at), pause: LINK_PAUSE_MIN });
    }

    pub fn has_links(&self) -> bool {
        self.links.iter().any(|link| link.stage == Stage::Up)
    }

    /// The first shard whose link is due, from now on being dialled.
    pub fn next_to_dial(&mut self, at: Duration) -> Option<u16> {
        let is_due = |link: &LinkState| matches!(link.stage, Stage::Due(due) if due <= at);
        let shard = self.links.iter().position(is_due)?;
        self.links[shard].stage = Stage::Dialling;
        Some(shard as u16)
    }

    /// Links that rest are due now.
    pub fn hurry(&mut self, at: Duration) {
        let resting = self.links.iter_mut().filter(|link| matches!(link.stage, Stage::Due(_)));
        resting.for_each(|link| link.stage = Stage::Due(at));
    }

    /// A shard was dialled; the other node has `shards`. False: nobody waits for that link.
    pub fn handle_dialled(&mut self, shard: u16, shards: u16, at: Duration) -> bool {
        let link = self.links.get_mut(usize::from(shard));
        let Some(link) = link.filter(|link| link.stage == Stage::Dialling) else { return false };
        link.stage = Stage::Up;
        self.links.truncate(usize::from(shards).max(usize::from(shard) + 1));
        while self.links.len() < usize::from(shards) {
            self.add_link(at);
        }
        true
    }

    /// A link can't be made, or is not wanted now.
    pub fn handle_undialled(&mut self, shard: u16, at: Duration) {
        let link = self.links.get_mut(usize::from(shard));
        if let Some(link) = link.filter(|link| link.stage == Stage::Dialling) {
            link.rest(at);
        }
    }

    pub fn handle_welcomed(&mut self, shard: u16, history: HistoryId, copies: bool) {
        if history != self.standing.history {
            // Its shards are the same keys where they are as many as before, else what holds for all former ones holds
            // for each. Where it begins with a copy, nothing is known.
            let shards = self.links.len() as u16;
            let extent = |shard| match copies {
                true => Extent::default(),
                false => self.standing.extent(shard, shards),
            };
            let extents: Vec<Extent> = (0..shards).map(extent).collect();
            for (link, extent) in self.links.iter_mut().zip(&extents) {
                link.progress = Progress { history, extent: *extent, copy: None };
            }
            self.standing = Standing { history, extents };
        }
        if let Some(link) = self.links.get_mut(usize::from(shard)) {
            link.pause = LINK_PAUSE_MIN;
        }
    }

    /// A link has ended. What it has to tell of a history that is not followed any more says nothing about this one.
    pub fn handle_closed(&mut self, shard: u16, progress: Progress, at: Duration) {
        let place = usize::from(shard);
        if progress.history == self.standing.history {
            if let Some(extent) = self.standing.extents.get_mut(place) {
                *extent = progress.extent;
            }
            if let Some(link) = self.links.get_mut(place) {
                link.progress = progress;
            }
        }
        if let Some(link) = self.links.get_mut(place) {
            link.rest(at);
        }
    }
}

impl LinkState {
    /// Dials again after a pause, which grows as long as nobody answers.
    fn rest(&mut self, at: Duration) {
        self.stage = Stage::Due(at + self.pause);
        self.pause = (self.pause * 2).min(LINK_PAUSE_MAX);
    }
}
