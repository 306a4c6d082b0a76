//! What an operator sees of replication, and may ask of it.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Instant;

use ringcache_engine::{ShardId, Version};
use serde_json::{Value, json};

use super::coordinator::{Command, Event};
use super::held::Quorum;
use super::history::Cause;
use super::node::{Entry, Replication, Role};
use super::tally::{FeedTally, Totals};
use super::verify::here::Here;
use super::verify::there::Wire;
use super::verify::{self, VerifyError};
use crate::admin::words::Progress;
use crate::admin::{Audience, Failure, replication};
use crate::limits::LINK_PROMOTE_PATIENCE;
use crate::sys;

/// Connects to the node with a replication port at an address, to be compared with it.
pub type Dial = Box<dyn Fn(&str) -> io::Result<Wire<TcpStream>> + Send + Sync>;

/// Lent to the commands of `ringctl`.
pub struct Operator {
    here: Here,
    port: Option<u16>,
    dial: Dial,
}

impl Operator {
    /// Of a node whose replicas connect to `port`.
    pub fn new(here: Here, port: Option<u16>, dial: Dial) -> Self {
        Self { here, port, dial }
    }

    fn command(&self, command: Command) -> Result<Value, Failure> {
        let (reply, answer) = mpsc::channel();
        let stopping = || Failure("the node is stopping".to_owned());
        if !self.here.replication.tell(Event::Command(command, reply)) {
            return Err(stopping());
        }
        let answer = answer.recv_timeout(2 * LINK_PROMOTE_PATIENCE).map_err(|_| stopping())?;
        let done = answer.map_err(Failure)?;
        self.settle()?;
        Ok(json!({ "done": done }))
    }

    /// Waits until every worker knows the node's role.
    fn settle(&self) -> Result<(), Failure> {
        // The second time every worker has ended the turn in which it learned of it.
        for _ in 0..2 {
            self.here.errands.run_on_all(|_| ())?;
        }
        Ok(())
    }
}

impl replication::Replication for Operator {
    fn status(&self) -> Value {
        let replication = &*self.here.replication;
        let histories = replication.histories().clone();
        let now = sys::unix_millis();
        let links: Vec<Value> = replication.entries().iter().map(|entry| describe(entry, now)).collect();
        json!({
            "role": replication.role().name(),
            "node": format!("{:032x}", replication.node),
            "incarnation": replication.incarnation,
            "node_number": replication.options.node_number,
            "port": self.port,
            "mode": mode(replication.options.quorum),
            "history": histories.current.to_string(),
            "former_history": histories.former.map(|former| former.history.to_string()),
            "links": links,
        })
    }

    fn promote(&self, force: bool) -> Result<Value, Failure> {
        self.command(Command::Promote { force })
    }

    fn demote(&self, of: Option<&str>) -> Result<Value, Failure> {
        let of =
            of.ok_or_else(|| Failure("no other primary is known: name it with --of HOST:PORT".to_owned()))?;
        self.replicate(of)
    }

    fn replicate(&self, of: &str) -> Result<Value, Failure> {
        let replication = &self.here.replication;
        let former = replication.role();
        if former == Role::Primary {
            // Nothing may be written behind what is counted as written.
            replication.set_role(Role::Replica);
            self.settle()?;
        }
        let written = self.here.errands.run_on_all(|desk| desk.shard.latest())?;
        let result = self.command(Command::Replicate { address: of.to_owned(), written });
        if result.is_err() && former == Role::Primary {
            replication.set_role(former);
        }
        result
    }

    fn verify(&self, with: Option<&str>, audience: &mut Audience<'_>) -> Result<Value, Failure> {
        let unknown = || {
            let why = "no node is known to compare with: name its replication port with --with HOST:PORT";
            Failure(why.to_owned())
        };
        let address =
            with.map(str::to_owned).or_else(|| source(&self.here.replication)).ok_or_else(unknown)?;
        let failure = |error: VerifyError| Failure(error.to_string());
        let begun = Instant::now();
        let mut there = (self.dial)(&address).map_err(|error| failure(error.into()))?;
        let mut here = self.here.clone();
        let (records, bytes) = held(&self.here);
        let mut done = 0;
        let mut tell = |summed: u64| {
            done = summed.max(done);
            let done_bytes = (u128::from(bytes) * u128::from(done) / u128::from(records.max(1))) as u64;
            let phase = "verify".to_owned();
            let progress = || Progress { phase, done_bytes, total_bytes: bytes, records: done };
            audience.tell(progress).map_err(|_| VerifyError::Gone)
        };
        let report = verify::compare(&mut here, &mut there, &mut tell).map_err(failure)?;
        let mut result = report.to_json();
        result["with"] = address.into();
        result["seconds"] = begun.elapsed().as_secs_f64().into();
        tracing::info!(%result, "compared");
        Ok(result)
    }
}

/// Records of a node and their bytes.
fn held(here: &Here) -> (u64, u64) {
    let shards = (0..here.errands.workers()).map(|id| here.node.engine.stats(ShardId(id)));
    shards.fold((0, 0), |(records, bytes), shard| (records + shard.items, bytes + shard.bytes))
}

/// The address of the node that this one follows.
fn source(replication: &Replication) -> Option<String> {
    replication.entries().into_iter().find_map(|entry| match entry {
        Entry::Follow { address, .. } => Some(address),
        Entry::Feed { .. } => None,
    })
}

/// As the command line names it.
pub fn mode(quorum: Quorum) -> String {
    match quorum {
        Quorum::None => "async".to_owned(),
        Quorum::Some(replicas) => format!("semi-sync:{replicas}"),
        Quorum::All => "all".to_owned(),
    }
}

fn describe(entry: &Entry, now: u64) -> Value {
    match entry {
        Entry::Feed { node, address, shard, tally } => json!({
            "link": "replica",
            "node": format!("{node:032x}"),
            "address": address,
            "shard": shard,
            "position": tally.position.load(Ordering::Relaxed).to_string(),
            "following": tally.following.load(Ordering::Relaxed) != 0,
            "lag_ms": tally.lag_millis(now),
            "lag_records": tally.lag_records(),
            "lag_bytes": tally.unacknowledged_bytes.load(Ordering::Relaxed),
            "round_trip_us": tally.round_trip_us.load(Ordering::Relaxed),
            "record_bytes": tally.record_bytes.value(),
            "sent_bytes": tally.sent_bytes.value(),
            "damaged_batches": tally.nacks.value(),
            "resumes": tally.resumes.value(),
            "full_copies": copies(tally),
            "lag_percentiles_ms": percentiles(tally),
        }),
        Entry::Follow { node, address, shard, tally } => {
            let position = Version(tally.position.load(Ordering::Relaxed));
            // A shard that was never written has a position without a time.
            let written = position.unix_millis();
            let has_time = written > Version::ZERO.unix_millis();
            json!({
                "link": "primary",
                "node": format!("{node:032x}"),
                "address": address,
                "shard": shard,
                "position": position.0.to_string(),
                "copying": tally.copying.load(Ordering::Relaxed) != 0,
                "position_age_ms": has_time.then(|| now.saturating_sub(written)),
                "applied": tally.applied.value(),
                "no_memory": tally.no_memory.value(),
                "damaged_records": tally.damaged.value(),
                "damaged_batches": tally.nacks.value(),
                "received_bytes": tally.received_bytes.value(),
                "copies": tally.copies.value(),
            })
        }
    }
}

/// Full copies by cause, those that never happened left out.
fn copies(tally: &FeedTally) -> Value {
    let happened = Cause::ALL.iter().zip(&tally.copies).filter(|(_, count)| count.value() > 0);
    happened.map(|(cause, count)| (cause.name().to_owned(), Value::from(count.value()))).collect()
}

/// How late acknowledgements were.
fn percentiles(tally: &FeedTally) -> Value {
    let mut link = Totals::default();
    link.add_feed(tally);
    json!({ "p50": link.lag_millis(500), "p99": link.lag_millis(990), "max": link.lag_millis(1000) })
}
