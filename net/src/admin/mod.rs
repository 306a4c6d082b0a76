//! What an operator asks a running node: one JSON line in, JSON lines out, over a Unix socket.
//!
//! ```text
//! ringctl  --- {"command":"backup","path":"/var/backups/a"} ---->  a thread of the node
//!          <-- {"event":"progress","phase":"backup",...} --------  as often as somebody can read it
//!          <-- {"event":"done","result":{...}} ------------------  or {"event":"failed","reason":"..."}
//! ```
//!
//! `words` holds what is said, `place` where the socket is, `status` what `status` answers, `replication` what a node that
//! replicates lends to the commands about it. A command runs on the thread of its connection and asks workers by errands;
//! no worker ever waits for an operator.

mod backup;
pub mod place;
pub mod replication;
pub mod status;
pub mod words;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::errand::{Errands, Stopped};
use crate::limits::{ADMIN_CLIENTS_MAX, ADMIN_IDLE_SECONDS, ADMIN_LINE_BYTES_MAX, ADMIN_PROGRESS_MILLIS};
use crate::node::Node;
use crate::sys;
use replication::Replication;
use words::{Progress, Reply, Request};

/// How far the threads of operators give way to the workers.
const NICE: i32 = 10;

/// Why a command did not do what was asked; the operator reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self(stopped.to_string())
    }
}

/// What commands work with.
#[derive(Clone)]
pub struct Office {
    /// What all workers share.
    pub node: Arc<Node>,
    /// The ways to the workers.
    pub errands: Errands,
}

/// Starts the thread that takes operators' connections. It ends with the process.
pub fn start(listener: UnixListener, office: Office) -> io::Result<()> {
    let run = move || {
        sys::give_way(NICE);
        let clients = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => admit(stream, &office, &clients),
                Err(error) => {
                    tracing::warn!(%error, "an operator's connection can't be accepted");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    };
    thread::Builder::new().name("admin".to_owned()).spawn(run).map(drop)
}

/// Gives an operator a thread, or a line that says why not.
fn admit(stream: UnixStream, office: &Office, clients: &Arc<AtomicUsize>) {
    if clients.fetch_add(1, Ordering::Relaxed) >= ADMIN_CLIENTS_MAX {
        clients.fetch_sub(1, Ordering::Relaxed);
        return refuse(&stream, &format!("{ADMIN_CLIENTS_MAX} operators are connected already"));
    }
    let (office, count) = (office.clone(), Arc::clone(clients));
    let run = move || {
        sys::work_when_idle();
        // An operator that has gone has no use for the reason.
        let _ = serve(&stream, &office);
        count.fetch_sub(1, Ordering::Relaxed);
    };
    if let Err(error) = thread::Builder::new().name("operator".to_owned()).spawn(run) {
        tracing::warn!(%error, "no thread for an operator");
        clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn refuse(stream: &UnixStream, reason: &str) {
    // It may have gone already.
    let _ = say(stream, &Reply::Failed { reason: reason.to_owned() });
}

/// Answers the requests of one connection, one after another.
fn serve(stream: &UnixStream, office: &Office) -> io::Result<()> {
    let idle = Some(Duration::from_secs(ADMIN_IDLE_SECONDS));
    stream.set_read_timeout(idle)?;
    stream.set_write_timeout(idle)?;
    let mut input = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = ADMIN_LINE_BYTES_MAX as u64 + 1;
        if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            refuse(stream, &format!("a request is one line of at most {ADMIN_LINE_BYTES_MAX} bytes"));
            return Ok(());
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => execute(request, office, &mut Audience::of(stream)),
            Err(error) => Err(Failure(format!("not a request: {error}"))),
        };
        say(
            stream,
            &match reply {
                Ok(result) => Reply::Done { result },
                Err(Failure(reason)) => Reply::Failed { reason },
            },
        )?;
    }
}

fn say(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Who is told how a command goes on.
pub struct Audience<'a> {
    stream: Option<&'a UnixStream>,
    told: Option<Instant>,
}

/// Nobody waits for the result any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Self("the operator has gone".to_owned())
    }
}

impl<'a> Audience<'a> {
    fn of(stream: &'a UnixStream) -> Self {
        Self { stream: Some(stream), told: None }
    }

    /// Nobody: the command is not an operator's.
    pub fn nobody() -> Self {
        Self { stream: None, told: None }
    }

    /// Tells how far a command is, at most some times a second; `made` is called only then.
    ///
    /// Errors: the operator has gone. A command that can be broken off then is.
    pub fn tell(&mut self, made: impl FnOnce() -> Progress) -> Result<(), Gone> {
        let Some(stream) = self.stream else { return Ok(()) };
        let pause = Duration::from_millis(ADMIN_PROGRESS_MILLIS);
        if self.told.is_some_and(|told| told.elapsed() < pause) {
            return Ok(());
        }
        self.told = Some(Instant::now());
        say(stream, &Reply::Progress(made())).map_err(|_| Gone)
    }
}

/// Does what was asked.
fn execute(request: Request, office: &Office, audience: &mut Audience<'_>) -> Result<Value, Failure> {
    match request {
        Request::Status {} => Ok(status::report(&office.node)),
        Request::Promote { force } => replicating(office)?.promote(force),
        Request::Demote { of } => replicating(office)?.demote(of.as_deref()),
        Request::Replicate { of } => replicating(office)?.replicate(&of),
        Request::Verify { with } => replicating(office)?.verify(with.as_deref(), audience),
        Request::Backup { path, slots, since, compress } => {
            backup::take(office, audience, path, slots, since, compress)
        }
        Request::Restore { paths, salvage } => backup::restore(office, audience, &paths, salvage),
        Request::Watch { millis } => watch(office, audience, millis),
    }
}

fn replicating(office: &Office) -> Result<&dyn Replication, Failure> {
    let lent = office.node.replication.get();
    lent.map(|replication| &**replication).ok_or_else(|| {
        Failure(
            "not a replicating node: it was started without --replication-port and --replica-of".to_owned(),
        )
    })
}

/// Tells the status again and again until the operator goes or the node stops.
fn watch(office: &Office, audience: &mut Audience<'_>, millis: u64) -> Result<Value, Failure> {
    let pause = Duration::from_millis(millis.max(ADMIN_PROGRESS_MILLIS));
    while !office.node.stopping.load(Ordering::Relaxed) {
        let stream = audience.stream.expect("only an operator watches");
        say(stream, &Reply::Status { status: status::report(&office.node) }).map_err(|_| Gone)?;
        thread::sleep(pause);
    }
    Ok(json!({ "stopping": true }))
}
