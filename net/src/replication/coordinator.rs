//! Who follows whom: when links are made and made again, and how a node's role changes.
//!
//! A plain state machine. Its thread (`server/replication.rs`) carries out what [`Coordinator::poll`] asks for and brings
//! back what came of it.
//!
//! ```text
//!           Dial            Dialled, Ok           Closed
//!   Due ----------> Dialling ----------> Up ------------> Due, after a pause
//!                      |                                   ^
//!                      +---------- Dialled, Err -----------+   (the pause doubles)
//! ```

use std::collections::VecDeque;
use std::sync::mpsc;
use std::time::Duration;

use ringcache_engine::Version;

use super::follow::Progress;
use super::history::{Histories, HistoryId, Standing};
use super::node::{Role, SourceId};
use crate::limits::{LINK_PAUSE_MAX, LINK_PAUSE_MIN, LINK_PROMOTE_PATIENCE};

/// What the coordinator hears.
pub enum Event {
    /// A link was dialled: how many shards the other node has, or why there is no link.
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
    /// Make a link.
    Dial {
        /// To which source.
        source: SourceId,
        /// Where it is.
        address: String,
        /// To which of its shards.
        shard: u16,
        /// Where this node stands.
        standing: Standing,
        /// And with that shard.
        progress: Progress,
        /// Both ends accept writes.
        is_peer: bool,
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

struct Source {
    address: String,
    /// Where this node stands with the history that it followed last, here or elsewhere.
    standing: Standing,
    /// By shard of the source, as many as are known to be there.
    links: Vec<LinkState>,
}

struct LinkState {
    progress: Progress,
    stage: Stage,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be dialled at that time.
    Due(Duration),
    Dialling,
    Up,
}

impl LinkState {
    fn new(at: Duration) -> Self {
        Self { progress: Progress::default(), stage: Stage::Due(at), pause: LINK_PAUSE_MIN }
    }
}

/// A promotion that waits for the links to close.
struct Promotion {
    reply: mpsc::Sender<Result<String, String>>,
    force: bool,
    deadline: Duration,
}

/// See the module's text.
pub struct Coordinator {
    role: Role,
    histories: Histories,
    sources: Vec<Source>,
    generation: u32,
    actions: VecDeque<Action>,
    promotion: Option<Promotion>,
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
        let mut coordinator = Self {
            role,
            histories,
            sources: Vec::new(),
            generation: 0,
            actions: VecDeque::new(),
            promotion: None,
            names: Box::new(names),
        };
        sources.into_iter().for_each(|address| coordinator.add_source(address, Duration::ZERO));
        coordinator
    }

    fn add_source(&mut self, address: String, at: Duration) {
        let standing = Standing::default();
        self.sources.push(Source { address, standing, links: vec![LinkState::new(at)] });
    }

    /// Takes an event at the time `at`.
    pub fn handle(&mut self, event: Event, at: Duration) {
        match event {
            Event::Dialled { source, shard, result } => {
                if let Some(source) = self.source(source) {
                    source.handle_dialled(shard, result, at);
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
                self.promote_if_closed(at);
            }
            Event::Command(Command::Promote { force }, reply) => self.begin_to_promote(force, reply, at),
            Event::Command(Command::Replicate { address, written }, reply) => {
                self.replicate(address, &written, reply, at);
            }
        }
    }

    fn source(&mut self, id: SourceId) -> Option<&mut Source> {
        if id.generation != self.generation { None } else { self.sources.get_mut(id.place) }
    }

    /// What has to be done now.
    pub fn poll(&mut self, at: Duration) -> Option<Action> {
        self.promote_if_closed(at);
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if self.promotion.is_some() {
            return None;
        }
        let (generation, is_peer) = (self.generation, self.role == Role::Peer);
        self.sources.iter_mut().enumerate().find_map(|(place, source)| {
            let shard =
                source.links.iter().position(|link| matches!(link.stage, Stage::Due(due) if due <= at))?;
            source.links[shard].stage = Stage::Dialling;
            Some(Action::Dial {
                source: SourceId { place, generation },
                address: source.address.clone(),
                shard: shard as u16,
                standing: source.standing.clone(),
                progress: source.links[shard].progress.clone(),
                is_peer,
            })
        })
    }

    /// When [`Coordinator::poll`] has something to do although nothing happens.
    pub fn next_timeout(&self) -> Option<Duration> {
        let links = self.sources.iter().flat_map(|source| &source.links);
        let due = links.filter_map(|link| if let Stage::Due(due) = link.stage { Some(due) } else { None });
        due.chain(self.promotion.iter().map(|promotion| promotion.deadline)).min()
    }

    fn begin_to_promote(&mut self, force: bool, reply: mpsc::Sender<Result<String, String>>, at: Duration) {
        if self.role != Role::Replica {
            return answer(&reply, Err(format!("this node is a {} already", self.role.name())));
        }
        if self.promotion.is_some() {
            return answer(&reply, Err("a promotion is under way".to_owned()));
        }
        self.promotion = Some(Promotion { reply, force, deadline: at + LINK_PROMOTE_PATIENCE });
        self.actions.push_back(Action::CloseFollows);
        self.promote_if_closed(at);
    }

    /// The links have told where they stand when they are closed; only then is it known what this node has.
    fn promote_if_closed(&mut self, at: Duration) {
        let is_closed =
            self.sources.iter().flat_map(|source| &source.links).all(|link| link.stage != Stage::Up);
        let Some(promotion) = self.promotion.take_if(|promotion| is_closed || at >= promotion.deadline)
        else {
            return;
        };
        let source = self.sources.first().expect("a replica follows somebody");
        let standing = source.standing.clone();
        let is_complete = is_closed && standing.is_complete();
        if !is_complete && !promotion.force {
            let why = "a full copy is not complete: promote another replica, or use --force".to_owned();
            source_links(&mut self.sources).for_each(|link| link.stage = Stage::Due(at));
            return answer(&promotion.reply, Err(why));
        }
        let former = is_complete.then_some(standing);
        self.histories = Histories { current: HistoryId((self.names)() | 1), former };
        self.change_role(Role::Primary, Vec::new(), at);
        let text = format!("primary of history {}", self.histories.current);
        self.actions.push_back(Action::Answer(promotion.reply, text));
    }

    fn replicate(
        &mut self,
        address: String,
        written: &[Version],
        reply: mpsc::Sender<Result<String, String>>,
        at: Duration,
    ) {
        if self.role == Role::Peer {
            return answer(&reply, Err("a peer follows its peers only".to_owned()));
        }
        if self.promotion.is_some() {
            return answer(&reply, Err("a promotion is under way".to_owned()));
        }
        let standing = match self.role {
            Role::Replica => self.sources[0].standing.clone(),
            // What it has written itself is its position in its own history, which a replica of it has followed.
            _ => Standing { history: self.histories.current, positions: written.to_vec() },
        };
        let text = format!("replica of {address}");
        self.change_role(Role::Replica, vec![address], at);
        let source = &mut self.sources[0];
        source.links[0].progress.position = standing.positions.first().copied().unwrap_or(Version::ZERO);
        source.standing = standing;
        self.actions.push_back(Action::Answer(reply, text));
    }

    fn change_role(&mut self, role: Role, sources: Vec<String>, at: Duration) {
        self.role = role;
        self.generation += 1;
        self.sources.clear();
        sources.into_iter().for_each(|address| self.add_source(address, at));
        self.actions.push_back(Action::CloseFollows);
        if role == Role::Replica {
            self.actions.push_back(Action::CloseFeeds);
        }
        self.actions.push_back(Action::SetHistories(self.histories.clone()));
        self.actions.push_back(Action::SetRole(role));
    }
}

fn source_links(sources: &mut [Source]) -> impl Iterator<Item = &mut LinkState> {
    sources.iter_mut().flat_map(|source| &mut source.links)
}

fn answer(reply: &mpsc::Sender<Result<String, String>>, text: Result<String, String>) {
    // An operator who has gone does not wait for it.
    let _ = reply.send(text);
}

impl Source {
    fn handle_dialled(&mut self, shard: u16, result: Result<u16, String>, at: Duration) {
        let Some(link) = self.links.get_mut(usize::from(shard)) else { return };
        match result {
            Ok(shards) => {
                link.stage = Stage::Up;
                self.links.truncate(usize::from(shards).max(usize::from(shard) + 1));
                while self.links.len() < usize::from(shards) {
                    let position = self.standing.positions.get(self.links.len()).copied();
                    let progress = Progress { position: position.unwrap_or_default(), copy: None };
                    self.links.push(LinkState { progress, ..LinkState::new(at) });
                }
            }
            Err(reason) => {
                tracing::warn!(source = self.address, shard, "no link: {reason}");
                link.rest(at);
            }
        }
    }

    fn handle_welcomed(&mut self, shard: u16, history: HistoryId, copies: bool) {
        if history != self.standing.history {
            // Its shards are the same keys where they are as many as before, else what holds for all former ones holds
            // for each. Where it begins with a copy, nothing is known.
            let shards = self.links.len() as u16;
            let position = |shard| match copies {
                true => Version::ZERO,
                false => self.standing.position(shard, shards),
            };
            let positions: Vec<Version> = (0..shards).map(position).collect();
            for (link, position) in self.links.iter_mut().zip(&positions) {
                link.progress = Progress { position: *position, copy: None };
            }
            self.standing = Standing { history, positions };
        }
        if let Some(link) = self.links.get_mut(usize::from(shard)) {
            link.pause = LINK_PAUSE_MIN;
        }
    }

    fn handle_closed(&mut self, shard: u16, progress: Progress, at: Duration) {
        let shard = usize::from(shard);
        if let Some(position) = self.standing.positions.get_mut(shard) {
            *position = progress.position;
        }
        if let Some(link) = self.links.get_mut(shard) {
            link.progress = progress;
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
