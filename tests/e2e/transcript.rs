//! Conversations: what is sent, and byte for byte what comes back.
//!
//! A transcript is a list of steps. It is played step by step, then once more as one pipelined stream for every
//! fragment size. `{name}` in an expected reply stands for a number: the first time it takes what comes, after that
//! it must come again; in what is sent it stands for the number taken (so a transcript that sends one is played
//! step by step only).

use std::collections::HashMap;

use crate::server::{Connection, Server, Transport};

/// The pieces that a pipelined stream is cut into; the last one is all of it.
const FRAGMENTS: [usize; 6] = [1, 2, 5, 10, 100, usize::MAX];

/// Number of workers in each run.
const WORKERS: [&str; 3] = ["1", "2", "4"];

/// One conversation.
pub struct Transcript {
    name: &'static str,
    steps: Vec<Step>,
    /// Why memcached's pipelined replies depend on timing here.
    step_by_step: Option<&'static str>,
}

struct Step {
    send: Vec<u8>,
    expect: Vec<u8>,
    /// What memcached older than 1.6.40 answers, where that differs on purpose, and the name of the difference.
    older: Option<(&'static str, Vec<u8>)>,
}

impl Transcript {
    /// An empty one.
    pub fn new(name: &'static str) -> Transcript {
        Transcript { name, steps: Vec::new(), step_by_step: None }
    }

    /// Adds a step. Several commands may be sent, and the reply may be empty.
    pub fn step(mut self, send: impl AsRef<[u8]>, expect: impl AsRef<[u8]>) -> Transcript {
        self.steps.push(Step { send: send.as_ref().to_vec(), expect: expect.as_ref().to_vec(), older: None });
        self
    }

    /// Adds a step whose reply differs in memcached before 1.6.40, for the reason that `difference` names.
    pub fn step_since(
        mut self,
        difference: &'static str,
        send: impl AsRef<[u8]>,
        expect: impl AsRef<[u8]>,
        older: impl AsRef<[u8]>,
    ) -> Transcript {
        let older = Some((difference, older.as_ref().to_vec()));
        self.steps.push(Step { send: send.as_ref().to_vec(), expect: expect.as_ref().to_vec(), older });
        self
    }

    /// Does not pipeline this one on memcached, for a reason of memcached's.
    pub fn step_by_step_on_memcached(mut self, reason: &'static str) -> Transcript {
        self.step_by_step = Some(reason);
        self
    }

    fn play_on_memcached(&self, server: &Server, is_older: bool) {
        match self.step_by_step {
            None => self.play(server, is_older),
            Some(reason) => {
                eprintln!("`{}` is not pipelined on memcached: {reason}", self.name);
                flush(server);
                self.play_steps(server.connect(), is_older);
            }
        }
    }

    fn play(&self, server: &Server, is_older: bool) {
        flush(server);
        self.play_steps(server.connect(), is_older);
        if self.steps.iter().any(|step| has_names(&step.send)) {
            return;
        }
        for fragment in FRAGMENTS {
            flush(server);
            self.play_stream(server.connect(), is_older, fragment);
        }
    }

    fn play_steps(&self, mut connection: Connection, is_older: bool) {
        let mut numbers = HashMap::new();
        for step in &self.steps {
            let expect = step.expected(is_older);
            connection.send(with_numbers(&step.send, &numbers));
            connection.send("mn\r\n");
            let replied = receive_like(&mut connection, &with_marker(expect));
            if let Err(at) = matches(&with_marker(expect), &replied, &mut numbers) {
                self.fail("step by step", &step.send, &with_marker(expect), &replied, at);
            }
        }
    }

    fn play_stream(&self, mut connection: Connection, is_older: bool, fragment: usize) {
        let sent: Vec<u8> = self.steps.iter().flat_map(|step| step.send.iter().copied()).collect();
        let expected: Vec<u8> =
            self.steps.iter().flat_map(|step| step.expected(is_older).iter().copied()).collect();
        let mut sender = connection.another_handle();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in sent.chunks(fragment.min(sent.len())) {
                    sender.send(piece);
                }
                sender.send("mn\r\n");
            });
            let replied = receive_like(&mut connection, &with_marker(&expected));
            if let Err(at) = matches(&with_marker(&expected), &replied, &mut HashMap::new()) {
                let how = format!("in fragments of {fragment}");
                self.fail(&how, &sent, &with_marker(&expected), &replied, at);
            }
        });
    }

    fn fail(&self, how: &str, sent: &[u8], expected: &[u8], replied: &[u8], at: usize) -> ! {
        panic!(
            "transcript `{}` {how}\nsent     {}\nexpected {}\nreplied  {}\nfrom     {}",
            self.name,
            shown(sent),
            shown(expected),
            shown(replied),
            shown(&replied[at.min(replied.len())..]),
        );
    }
}

impl Step {
    fn expected(&self, is_older: bool) -> &[u8] {
        match &self.older {
            Some((_, older)) if is_older => older,
            _ => &self.expect,
        }
    }
}

/// Plays all transcripts on `ringcached`: over TCP and over a Unix socket, with 1, 2 and 4 workers.
pub fn play_everywhere(transcripts: &[Transcript]) {
    play_everywhere_with(&[], transcripts);
}

/// As [`play_everywhere`], with more flags.
pub fn play_everywhere_with(flags: &[&str], transcripts: &[Transcript]) {
    for transport in [Transport::Tcp, Transport::Unix] {
        for workers in WORKERS {
            let server = Server::ringcached_on(transport, &[&["-t", workers], flags].concat());
            for transcript in transcripts {
                transcript.play(&server, false);
            }
        }
    }
}

/// Plays all transcripts on the stock memcached, which must answer the same but for the differences they name.
/// This shows that the expected bytes are memcached's and not our own idea.
pub fn play_on_memcached(transcripts: &[Transcript]) {
    let Some(server) = Server::memcached(&[]) else { return };
    let is_older = is_before_1_6_40(&server.connect().ask("version"));
    for transcript in transcripts {
        transcript.play_on_memcached(&server, is_older);
    }
    let steps = transcripts.iter().flat_map(|transcript| &transcript.steps);
    let differences: Vec<&str> =
        steps.filter_map(|step| step.older.as_ref().map(|(name, _)| *name)).collect();
    if is_older && !differences.is_empty() {
        eprintln!(
            "{} replies that changed in memcached 1.6.40 were expected: {differences:?}",
            differences.len()
        );
    }
}

/// Whether a `VERSION` line is from before the rewrite of memcached's text parser.
pub fn is_before_1_6_40(version: &str) -> bool {
    let patch: u32 = version.trim_end().rsplit('.').next().and_then(|patch| patch.parse().ok()).unwrap_or(0);
    version.starts_with("VERSION 1.6.") && patch < 40
}

fn flush(server: &Server) {
    assert_eq!(server.connect().ask("flush_all"), "OK");
}

/// `MN` at the end shows that nothing surplus came.
fn with_marker(expected: &[u8]) -> Vec<u8> {
    [expected, b"MN\r\n"].concat()
}

/// Receives as many markers as are expected; a transcript may send `mn` itself.
fn receive_like(connection: &mut Connection, expected: &[u8]) -> Vec<u8> {
    let mut markers =
        expected.split_inclusive(|byte| *byte == b'\n').filter(|line| *line == b"MN\r\n").count();
    let mut received = Vec::new();
    while markers > 0 {
        let line = connection.receive_until(b"\n");
        if line.is_empty() {
            break;
        }
        markers -= usize::from(line == b"MN\r\n");
        received.extend_from_slice(&line);
    }
    received
}

/// Compares with `{name}` standing for numbers; the error is the offset in `replied` where they part.
fn matches(expected: &[u8], replied: &[u8], numbers: &mut HashMap<Vec<u8>, Vec<u8>>) -> Result<(), usize> {
    let (mut left, mut at) = (expected, 0);
    while let Some((&byte, after)) = left.split_first() {
        let Some((name, after_name)) = name_at(left) else {
            if replied.get(at) != Some(&byte) {
                return Err(at);
            }
            (left, at) = (after, at + 1);
            continue;
        };
        let digits = replied[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = replied[at..at + digits].to_vec();
        if number.is_empty() || *numbers.entry(name.to_vec()).or_insert_with(|| number.clone()) != number {
            return Err(at);
        }
        (left, at) = (after_name, at + digits);
    }
    if at == replied.len() { Ok(()) } else { Err(at) }
}

fn with_numbers(sent: &[u8], numbers: &HashMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut filled = Vec::with_capacity(sent.len());
    let mut left = sent;
    while let Some((&byte, after)) = left.split_first() {
        match name_at(left) {
            Some((name, after_name)) => {
                filled.extend_from_slice(numbers.get(name).expect("a number is received before it is sent"));
                left = after_name;
            }
            None => {
                filled.push(byte);
                left = after;
            }
        }
    }
    filled
}

fn has_names(sent: &[u8]) -> bool {
    (0..sent.len()).any(|at| name_at(&sent[at..]).is_some())
}

/// `{name}` at the front: the name and what follows it.
fn name_at(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = bytes.strip_prefix(b"{")?;
    let end = inner.iter().position(|byte| !byte.is_ascii_lowercase())?;
    (end > 0 && inner[end] == b'}').then(|| (&inner[..end], &inner[end + 1..]))
}

fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 2000;
    let text = bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii().to_string();
    if bytes.len() > SHOWN_MAX { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
