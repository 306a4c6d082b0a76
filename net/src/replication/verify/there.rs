//! The other node's side of a comparison, over a connection; and what that node does at its end.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use ringcache_engine::{Cut, KeyHash, RecordDigest, SlotDigests, SlotSet};

use super::words::{Ask, Tell};
use super::{Side, Stand, VerifyError};
use crate::limits::{VERIFY_KEYS_PER_FRAME, VERIFY_LIST_RECORDS_MAX};
use crate::replication::frame::{self, FrameReader, HEADER_BYTES, Kind};

/// How often a node that works on an answer says that it does.
const WORKING_EVERY: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 64 * 1024;

/// A connection that carries questions and answers, after the greeting.
pub struct Wire<S> {
    stream: S,
    reader: FrameReader,
}

impl<S: Read + Write> Wire<S> {
    /// `early`: what came behind the greeting.
    pub fn new(stream: S, early: &[u8]) -> Self {
        let mut reader = FrameReader::default();
        reader.push(early);
        Self { stream, reader }
    }

    /// Says why nothing is answered.
    pub fn refuse(&mut self, why: &str) -> Result<(), VerifyError> {
        Ok(self.send(Kind::Tell, &Tell::Failed(why.to_owned()).to_bytes())?)
    }

    fn send(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, kind, 0, 0, payload);
        self.stream.write_all(&bytes)
    }

    /// The next frame's payload; `None` when the other end has closed the connection between two frames.
    fn receive(&mut self, kind: Kind) -> Result<Option<Vec<u8>>, VerifyError> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if let Some(frame) = self.reader.front(0)? {
                let (found, payload) = (frame.header.kind, frame.payload.to_vec());
                self.reader.advance(HEADER_BYTES + payload.len());
                return if found == kind { Ok(Some(payload)) } else { Err(VerifyError::Unexpected) };
            }
            match self.stream.read(&mut buffer) {
                Ok(0) if self.reader.is_empty() => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(received) => self.reader.push(&buffer[..received]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "it is silent").into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ask(&mut self, ask: &Ask) -> Result<(), VerifyError> {
        Ok(self.send(Kind::Ask, &ask.to_bytes())?)
    }

    /// The next part of an answer that says something.
    fn told(&mut self) -> Result<Tell, VerifyError> {
        loop {
            let hung_up = || io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up");
            match Tell::parse(&self.receive(Kind::Tell)?.ok_or_else(hung_up)?)? {
                Tell::Working => {}
                Tell::Failed(reason) => return Err(VerifyError::Refused(reason)),
                told => return Ok(told),
            }
        }
    }

    fn records(&mut self, all: &mut Vec<RecordDigest>) -> Result<(), VerifyError> {
        loop {
            match self.told()? {
                Tell::Records(records) if all.len() <= VERIFY_LIST_RECORDS_MAX => all.extend(records),
                Tell::Done => return Ok(()),
                _ => return Err(VerifyError::Unexpected),
            }
        }
    }
}

impl<S: Read + Write + Send> Side for Wire<S> {
    fn stand(&mut self) -> Result<Stand, VerifyError> {
        self.ask(&Ask::Stand)?;
        match self.told()? {
            Tell::Stand(stand) => Ok(stand),
            _ => Err(VerifyError::Unexpected),
        }
    }

    fn digests(&mut self, cut: &Cut, _: super::Tell<'_>) -> Result<SlotDigests, VerifyError> {
        self.ask(&Ask::Digests(cut.positions().to_vec()))?;
        let Tell::Digests(told) = self.told()? else { return Err(VerifyError::Unexpected) };
        Ok(told.into_iter().collect())
    }

    fn list(&mut self, slots: &SlotSet) -> Result<Vec<RecordDigest>, VerifyError> {
        self.ask(&Ask::List(slots.clone()))?;
        let mut all = Vec::new();
        self.records(&mut all)?;
        Ok(all)
    }

    fn look(&mut self, hashes: &[KeyHash]) -> Result<Vec<RecordDigest>, VerifyError> {
        let mut all = Vec::new();
        for some in hashes.chunks(VERIFY_KEYS_PER_FRAME) {
            self.ask(&Ask::Look(some.to_vec()))?;
            self.records(&mut all)?;
        }
        Ok(all)
    }
}

/// Answers the questions of another node until it hangs up.
pub fn serve<S: Read + Write>(wire: &mut Wire<S>, here: &mut dyn Side) -> Result<(), VerifyError> {
    while let Some(payload) = wire.receive(Kind::Ask)? {
        let ask = Ask::parse(&payload)?;
        if let Err(error) = answer(ask, wire, here) {
            wire.refuse(&error.to_string())?;
            return Err(error);
        }
    }
    Ok(())
}

fn answer<S: Read + Write>(ask: Ask, wire: &mut Wire<S>, here: &mut dyn Side) -> Result<(), VerifyError> {
    let records = match ask {
        Ask::Stand => {
            let stand = Tell::Stand(here.stand()?);
            return Ok(wire.send(Kind::Tell, &stand.to_bytes())?);
        }
        Ask::Digests(positions) => {
            let mut told = Instant::now();
            let digests = here.digests(&Cut::at(positions), &mut |_| {
                if told.elapsed() >= WORKING_EVERY {
                    told = Instant::now();
                    wire.send(Kind::Tell, &Tell::Working.to_bytes())?;
                }
                Ok(())
            })?;
            let digests = digests.iter().map(|(_, digest)| digest).collect();
            return Ok(wire.send(Kind::Tell, &Tell::Digests(digests).to_bytes())?);
        }
        Ask::List(slots) => here.list(&slots)?,
        Ask::Look(hashes) => here.look(&hashes)?,
    };
    for some in records.chunks(VERIFY_KEYS_PER_FRAME) {
        wire.send(Kind::Tell, &Tell::Records(some.to_vec()).to_bytes())?;
    }
    Ok(wire.send(Kind::Tell, &Tell::Done.to_bytes())?)
}
