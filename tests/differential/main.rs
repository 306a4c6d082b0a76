//! Random commands, pipelined, to a stock memcached and to `ringcached`: the replies are compared byte for byte,
//! with named exceptions.
//!
//! A short run belongs to `cargo test`. A long one:
//!
//! ```text
//! RINGCACHE_DIFFERENTIAL_COMMANDS=1000000 cargo test -p ringcache-net --test differential -- --nocapture
//! ```
//!
//! `RINGCACHE_DIFFERENTIAL_SEED` repeats a run. A difference is shrunk to few commands before it is shown. The peer is the
//! first `memcached` in `PATH`. Its clock is a timer of its main thread: where that starves, seconds differ.

/// Random frames of the binary protocol.
mod binary;
/// Random commands.
mod commands;
/// Known differences, by name.
mod exceptions;
/// Writes and reads frames.
#[path = "../e2e/frames.rs"]
mod frames;
/// How long numbers are that shrank.
mod padding;
/// Random numbers from a seed.
mod random;
/// Compares replies.
mod replies;
/// Starts and stops servers, and talks to them.
#[path = "../e2e/server.rs"]
mod server;
/// Finds the few commands that a difference needs.
mod shrink;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use commands::{Command, Commands, Peer};
use exceptions::Met;
use random::Random;
use replies::{Side, Uniques, compare};
use server::{Connection, Server};

/// Without the threads that move items in the background: they hold references, and memcached pads a shrinking number in
/// place only where nobody does.
const STOCK_FLAGS: [&str; 4] = ["-m", "256", "-o", "no_lru_maintainer,no_lru_crawler"];
/// Commands of the short run, for each seed.
const COMMANDS_SHORT: usize = 50_000;
/// The seed that every run tries.
const SEED: u64 = 20_260_709;
/// Connections in turn, so that each worker meets every key.
const CONNECTIONS: usize = 4;
/// Batches that are remembered for shrinking.
const HISTORY_BATCHES: usize = 400;

#[test]
fn ringcached_answers_random_commands_as_memcached_does() {
    let Some(stock) = Server::memcached(&STOCK_FLAGS) else { return };
    let ours = Server::ringcached(&["-m", "256", "-t", "4"]);
    let count = variable("RINGCACHE_DIFFERENTIAL_COMMANDS").unwrap_or(COMMANDS_SHORT as u64) as usize;
    let pair = Pair { stock: &stock, ours: &ours, exceptions: true };
    match variable("RINGCACHE_DIFFERENTIAL_SEED") {
        Some(seed) => run(&pair, seed, count),
        None => {
            run(&pair, SEED, count);
            run(&pair, seed_of_today(), count.min(COMMANDS_SHORT));
        }
    }
}

/// Two servers of the same kind must agree, or the comparison would find differences that are none.
#[test]
fn memcached_agrees_with_itself() {
    let (Some(one), Some(other)) = (Server::memcached(&STOCK_FLAGS), Server::memcached(&STOCK_FLAGS)) else {
        return;
    };
    let count = variable("RINGCACHE_DIFFERENTIAL_COMMANDS").unwrap_or(COMMANDS_SHORT as u64) as usize;
    run(&Pair { stock: &one, ours: &other, exceptions: false }, SEED, count);
}

/// The two servers that are compared.
struct Pair<'a> {
    stock: &'a Server,
    ours: &'a Server,
    /// Whether the known differences are expected.
    exceptions: bool,
}

fn run(pair: &Pair<'_>, seed: u64, count: usize) {
    println!("differential run: seed {seed}, {count} commands");
    let peer = Peer::of_version(&pair.stock.connect().ask("version"));
    let mut commands = Commands::from_seed(seed, peer);
    let mut conversation = Conversation::open(pair, seed);
    let mut history: VecDeque<Vec<Command>> = VecDeque::new();
    let (mut done, mut met) = (0, Met::default());
    while done < count {
        let batch = commands.batch();
        done += batch.len();
        let result = conversation.exchange(&batch, &mut met);
        history.push_back(batch);
        if history.len() > HISTORY_BATCHES {
            history.pop_front();
        }
        if let Err(difference) = result {
            let history: Vec<Command> = history.into_iter().flatten().collect();
            let fewer = shrink::shrink(history, |commands| differs(pair, seed, commands));
            panic!(
                "unexplained difference after {done} commands of seed {seed}:\n{difference}\n\
                 {} commands are enough to see it:\n{}",
                fewer.len(),
                shrink::listing(&fewer, |commands| differs(pair, seed, commands)),
            );
        }
    }
    println!("{done} commands, 0 unexplained differences; exceptions met: {met:?}");
}

/// Plays `commands` from an empty cache; what differs, if anything.
fn differs(pair: &Pair<'_>, seed: u64, commands: &[Command]) -> Option<String> {
    let mut conversation = Conversation::open(pair, seed);
    let mut batches = commands.chunk_by(|one, next| one.batch == next.batch);
    batches.find_map(|batch| conversation.exchange(batch, &mut Met::default()).err())
}

/// Connections to both servers and what was learned from their replies.
struct Conversation {
    stock: Vec<Connection>,
    ours: Vec<Connection>,
    uniques: Uniques,
    pieces: Random,
    turn: usize,
    exceptions: bool,
}

impl Conversation {
    /// Empties both caches and connects.
    fn open(pair: &Pair<'_>, seed: u64) -> Conversation {
        let connect = |server: &Server| -> Vec<Connection> {
            assert_eq!(server.connect().ask("flush_all"), "OK");
            let connections = (0..CONNECTIONS).map(|_| server.connect());
            connections.inspect(|connection| connection.set_timeouts(Duration::from_secs(10))).collect()
        };
        Conversation {
            stock: connect(pair.stock),
            ours: connect(pair.ours),
            uniques: Uniques::default(),
            pieces: Random::from_seed(seed),
            turn: 0,
            exceptions: pair.exceptions,
        }
    }

    /// Sends one batch to both servers and compares what comes back.
    fn exchange(&mut self, batch: &[Command], met: &mut Met) -> Result<(), String> {
        let groups: Vec<&[Command]> =
            batch.chunk_by(|one, next| one.exception.is_none() && next.exception.is_none()).collect();
        let piece = *self.pieces.pick(&[usize::MAX, usize::MAX, 16_384, 1_000, 77]);
        let (to_stock, to_ours) = (self.encode(&groups, Side::Stock), self.encode(&groups, Side::Ours));
        self.turn = (self.turn + 1) % CONNECTIONS;
        let (stock, ours) = (&mut self.stock[self.turn], &mut self.ours[self.turn]);
        let (from_stock, from_ours) = std::thread::scope(|scope| {
            let stock = scope.spawn(|| ask(stock, &to_stock, groups.len(), piece));
            let ours = ask(ours, &to_ours, groups.len(), piece);
            (stock.join().expect("a missing reply is no panic"), ours)
        });
        for (at, group) in groups.iter().enumerate() {
            let empty = Vec::new();
            let stock = from_stock.get(at).unwrap_or(&empty);
            let ours =
                from_ours.get(at).ok_or_else(|| format!("no reply to group {at}: closed or silent"))?;
            self.compare_group(group, stock, ours, met)?;
        }
        Ok(())
    }

    fn compare_group(
        &mut self,
        group: &[Command],
        stock: &[u8],
        ours: &[u8],
        met: &mut Met,
    ) -> Result<(), String> {
        if let (true, Some(exception)) = (self.exceptions, group[0].exception)
            && exception.explains(stock, ours)
        {
            *met.entry(exception).or_default() += 1;
            return Ok(());
        }
        compare(stock, ours, &mut self.uniques, met)
    }

    /// Each group of commands is followed by a marker, so that its reply can be told from the next one's.
    fn encode(&self, groups: &[&[Command]], side: Side) -> Vec<u8> {
        let mut bytes = Vec::new();
        for group in groups {
            group.iter().for_each(|command| bytes.extend(self.uniques.fill(&command.bytes, side)));
            bytes.extend(b"mn\r\n");
        }
        bytes
    }
}

/// Sends `request` in pieces and receives until `markers` markers came; the replies between them.
fn ask(connection: &mut Connection, request: &[u8], markers: usize, piece: usize) -> Vec<Vec<u8>> {
    let mut sender = connection.another_handle();
    std::thread::scope(|scope| {
        // A server that closes is noticed by the missing replies.
        scope.spawn(move || {
            request.chunks(piece.min(request.len())).try_for_each(|part| sender.try_send(part))
        });
        let mut replies = Vec::with_capacity(markers);
        while replies.len() < markers {
            let reply = connection.receive_until(b"MN\r\n");
            match reply.strip_suffix(b"MN\r\n") {
                Some(reply) => replies.push(reply.to_vec()),
                None => break,
            }
        }
        replies
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

fn seed_of_today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos() as u64
}
