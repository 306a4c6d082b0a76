//! Who follows whom: when links are made and made again, and how a node's role changes.
//!
//! A plain state machine. Its thread (`server/replication.rs`) carries out what [`Coordinator::poll`] asks for and brings
//! back what came of it.
//!
//! ```text
//!           Dial            Dialled, Ok: Open     Closed
//!   Due ----------> Dialling ----------> Up ------------> Due, after a pause
//!                      |                                   ^
//!                      +---------- Dialled, Err -----------+   (the pause doubles)
//! ```
//!
//! A link is opened by nobody else, so none comes up unseen while the role changes. The role changes when all links are
//! closed: only then is it known what this node has.

mod source;

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;

use ringcache_engine::Version;

use super::follow::Progress;
use super::history::{Extent, Histories, HistoryId, Standing};
use super::node::{Role, SourceId};
use crate::limits::LINK_PROMOTE_PATIENCE;
use source::{Source, Stage};

/// What the coordinator hears.
pub enum Event {
    /// A link was dialled: how many shards the other node has, or why there is no link. It waits for [`Action::Open`]
    /// or [`Action::Discard`].
    Dialled {
        /// Of which source.
        source: SourceId,
        /// And which of its shards.
        shard: u16,
        /// The other node's shards.
        result: Result<u16, String>,
    },
    /// The source has said how it goes on.
    Welcomed {
        /// Which source.
        source: SourceId,
        /// Which of its shards.
        shard: u16,
        /// Its history.
        history: HistoryId,
        /// A full copy comes.
        copies: bool,
    },
    /// A link to a source has ended.
    Closed {
        /// Of which source.
        source: SourceId,
        /// And which of its shards.
        shard: u16,
        /// Where this node stands with it.
        progress: Progress,
        /// Why.
        reason: String,
    },
    /// An operator wants something; the answer goes back on the channel.
    Command(Command, mpsc::Sender<Result<String, String>>),
}

/// What operators may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop following and accept writes. With the flag even where a full copy is not complete.
    Promote {
        /// Whatever is missing.
        force: bool,
    },
    /// Follow that node. `written`: what each own shard has written last, for a node that was a primary.
    Replicate {
        /// Host and port of the other node's replication port.
        address: String,
        /// By shard.
        written: Vec<Version>,
    },
}

/// What the coordinator wants to be done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Connect and greet.
    Dial {
        /// Which source.
        source: SourceId,
        /// Where it is.
        address: String,
        /// Which of its shards.
        shard: u16,
    },
    /// Begin to follow over a link that was dialled.
    Open {
        /// To which source.
        source: SourceId,
        /// To which of its shards.
        shard: u16,
        /// Where this node stands.
        standing: Standing,
        /// And with that shard.
        progress: Progress,
        /// Both ends accept writes.
        is_peer: bool,
    },
    /// A link that was dialled is not wanted any more.
    Discard {
        /// To which source.
        source: SourceId,
        /// To which of its shards.
        shard: u16,
    },
    /// Close every link to sources, and report each.
    CloseFollows,
    /// Close every link to replicas: this node has no log to hand out any more.
    CloseFeeds,
    /// The role has changed.
    SetRole(Role),
    /// So have the histories.
    SetHistories(Histories),
    /// What an operator asked for is done.
    Answer(mpsc::Sender<Result<String, String>>, String),
}

/// What an operator has asked for, as long as links to sources are up.
struct Change {
    command: Command,
    reply: mpsc::Sender<Result<String, String>>,
    deadline: Duration,
}

/// See the module's text.
pub struct Coordinator {
    role: Role,
    histories: Histories,
    sources: Vec<Source>,
    generation: u32,
    actions: VecDeque<Action>,
    change: Option<Change>,
    /// Gives names to histories.
    names: Box<dyn FnMut() -> u128 + Send>,
}

impl Coordinator {
    /// Of a node in that role that follows `sources`. `names` gives a random number at each call.
    pub fn new(
        role: Role,
        histories: Histories,
        sources: Vec<String>,
        names: impl FnMut() -> u128 + Send + 'static,
    ) -> Self {
        let unknown = |address| Source::new(address, Standing::default(), Duration::ZERO);
        Self {
            role,
            histories,
            sources: sources.into_iter().map(unknown).collect(),
            generation: 0,
            actions: VecDeque::new(),
            change: None,
            names: Box::new(names),
        }
    }

    /// Takes an event at the time `at`.
    pub fn handle(&mut self, event: Event, at: Duration) {
        match event {
            Event::Dialled { source, shard, result: Ok(shards) } => {
                self.handle_dialled(source, shard, shards, at);
            }
            Event::Dialled { source, shard, result: Err(reason) } => {
                if let Some(source) = self.source(source) {
                    tracing::warn!(source = source.address, shard, "no link: {reason}");
                    source.handle_undialled(shard, at);
                }
            }
            Event::Welcomed { source, shard, history, copies } => {
                if let Some(source) = self.source(source) {
                    source.handle_welcomed(shard, history, copies);
                }
            }
            Event::Closed { source, shard, progress, reason } => {
                if let Some(source) = self.source(source) {
                    tracing::info!(source = source.address, shard, "link closed: {reason}");
                    source.handle_closed(shard, progress, at);
                }
                self.change_if_closed(at);
            }
            Event::Command(command, reply) => self.begin_change(command, reply, at),
        }
    }

    fn source(&mut self, id: SourceId) -> Option<&mut Source> {
        if id.generation != self.generation { None } else { self.sources.get_mut(id.place) }
    }

    fn handle_dialled(&mut self, id: SourceId, shard: u16, shards: u16, at: Duration) {
        let (is_changing, is_peer) = (self.change.is_some(), self.role == Role::Peer);
        let mut action = Action::Discard { source: id, shard };
        if let Some(source) = self.source(id) {
            if is_changing {
                source.handle_undialled(shard, at);
            } else if source.handle_dialled(shard, shards, at) {
                let standing = source.standing.clone();
                let progress = source.links[usize::from(shard)].progress.clone();
                action = Action::Open { source: id, shard, standing, progress, is_peer };
            }
        }
        self.actions.push_back(action);
    }

    /// What has to be done now.
    pub fn poll(&mut self, at: Duration) -> Option<Action> {
        self.change_if_closed(at);
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if self.change.is_some() {
            return None;
        }
        let generation = self.generation;
        self.sources.iter_mut().enumerate().find_map(|(place, source)| {
            let shard = source.next_to_dial(at)?;
            let address = source.address.clone();
            Some(Action::Dial { source: SourceId { place, generation }, address, shard })
        })
    }

    /// When [`Coordinator::poll`] has something to do although nothing happens.
    pub fn next_timeout(&self) -> Option<Duration> {
        if let Some(change) = &self.change {
            return Some(change.deadline);
        }
        let links = self.sources.iter().flat_map(|source| &source.links);
        links.filter_map(|link| if let Stage::Due(due) = link.stage { Some(due) } else { None }).min()
    }

    fn begin_change(&mut self, command: Command, reply: mpsc::Sender<Result<String, String>>, at: Duration) {
        let refusal = match (&command, self.role) {
            _ if self.change.is_some() => Some("the role is being changed".to_owned()),
            (Command::Promote { .. }, Role::Primary | Role::Peer) => {
                Some(format!("this node is a {} already", self.role.name()))
            }
            (Command::Replicate { .. }, Role::Peer) => Some("a peer follows its peers only".to_owned()),
            _ => None,
        };
        if let Some(why) = refusal {
            return answer(&reply, Err(why));
        }
        self.change = Some(Change { command, reply, deadline: at + LINK_PROMOTE_PATIENCE });
        self.actions.push_back(Action::CloseFollows);
        self.change_if_closed(at);
    }

    /// The links have told where they stand when they are closed.
    fn change_if_closed(&mut self, at: Duration) {
        let is_closed = !self.sources.iter().any(Source::has_links);
        let Some(change) = self.change.take_if(|change| is_closed || at >= change.deadline) else {
            return;
        };
        // A link that could not be closed in time may bring more than was told.
        let source = self.sources.first().filter(|_| is_closed);
        let followed = source.map(|source| source.standing.clone()).unwrap_or_default();
        match change.command {
            Command::Promote { force } => self.promote(followed, force, change.reply, at),
            Command::Replicate { address, written } => {
                let standing = match self.role {
                    Role::Replica => followed,
                    // What it has written itself is its position in its own history, which a replica of it has followed.
                    _ => Standing {
                        history: self.histories.current,
                        extents: written.into_iter().map(Extent::up_to).collect(),
                    },
                };
                let text = format!("replica of {address}");
                self.change_role(Role::Replica, vec![Source::new(address, standing, at)]);
                self.actions.push_back(Action::Answer(change.reply, text));
            }
        }
    }

    fn promote(
        &mut self,
        followed: Standing,
        force: bool,
        reply: mpsc::Sender<Result<String, String>>,
        at: Duration,
    ) {
        let is_complete = followed.is_complete();
        if !is_complete && !force {
            let why = "a full copy is not complete: promote another replica, or use --force".to_owned();
            self.sources.iter_mut().for_each(|source| source.hurry(at));
            return answer(&reply, Err(why));
        }
        let former = is_complete.then_some(followed);
        self.histories = Histories { current: HistoryId((self.names)() | 1), former };
        self.change_role(Role::Primary, Vec::new());
        let text = format!("primary of history {}", self.histories.current);
        self.actions.push_back(Action::Answer(reply, text));
    }

    fn change_role(&mut self, role: Role, sources: Vec<Source>) {
        self.role = role;
        self.generation += 1;
        self.sources = sources;
        self.actions.push_back(Action::CloseFollows);
        if role == Role::Replica {
            self.actions.push_back(Action::CloseFeeds);
        }
        self.actions.push_back(Action::SetHistories(self.histories.clone()));
        self.actions.push_back(Action::SetRole(role));
    }
}

fn answer(reply: &mpsc::Sender<Result<String, String>>, text: Result<String, String>) {
    // An operator who has gone does not wait for it.
    let _ = reply.send(text);
}
