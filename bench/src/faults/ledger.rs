//! What was written to a primary, how it was answered, and what its nodes may show therefore.
//!
//! ```text
//! deeds, in order:    set 1    set 2     delete    incr ..
//! answers:            acked    in doubt  none
//! a node may show:      1   ..   2    ..  nothing           one of these: no deed behind the last acknowledged one
//!                                                           need have happened, none before it may be missing
//! ```

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The value that was written under this number; [`super::records::render`] makes it.
    Value(u64),
    /// A number that is counted.
    Count(u64),
}

/// What there may be under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// A record.
    Holds {
        /// Its value.
        what: What,
        /// When it ends, in Unix seconds; 0 is never.
        expires: u64,
    },
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// set
    Set(What, u64),
    /// delete
    Delete,
    /// touch
    Touch(u64),
    /// incr
    Count(u64),
    /// `flush_all`
    Flush,
    /// mg
    Read,
}

/// What a node says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// There is no such key, so that nothing was done.
    NotFound,
    /// The number that was counted to.
    Number(u64),
    /// What is there.
    Shown(State),
}

/// What became of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered at that time, in Unix milliseconds.
    Acked(Answer, u64),
    /// Done, and nobody knows whether it would survive the primary.
    Doubt,
    /// Not done.
    Refused,
    /// Nobody knows anything.
    Unanswered,
}

/// The history of one key since it was last known what is there.
#[derive(Clone, Debug)]
pub struct History {
    /// What may be there on the primary that was asked last.
    here: Vec<State>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    possible: Vec<State>,
    /// In Unix milliseconds.
    acked_at: Option<u64>,
}

/// How what a node shows fits the history of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Everything that was acknowledged is there.
    Whole,
    /// It was there once, before deeds that were acknowledged at these times.
    Behind(Vec<u64>),
    /// It never was there.
    Never,
}

impl History {
    /// Of a key under which there is `state`.
    pub fn new(state: State) -> History {
        History { here: vec![state], steps: vec![Step { possible: vec![state], acked_at: None }] }
    }

    /// Takes note of a deed, done at about `now` (Unix seconds). Errors: an answer that can't be, with what was possible.
    pub fn note(&mut self, deed: Deed, outcome: Outcome, now: u64) -> Result<(), String> {
        ripen(&mut self.here, now);
        let before = self.here.clone();
        let done = |state: &State| deed.done_to(*state);
        match outcome {
            Outcome::Refused => return Ok(()),
            Outcome::Acked(answer, _) => {
                self.here.retain(|state| fits(done(state).1, answer, now));
                if self.here.is_empty() {
                    // So that one thing that can't be is told once.
                    self.here = match answer {
                        Answer::Shown(state) => vec![state],
                        _ => before.iter().map(|state| done(state).0).collect(),
                    };
                    return Err(format!(
                        "{deed:?} was answered {answer:?} where there was one of {before:?}"
                    ));
                }
                self.here.iter_mut().for_each(|state| *state = deed.done_to(*state).0);
            }
            Outcome::Doubt => self.here.iter_mut().for_each(|state| *state = deed.done_to(*state).0),
            Outcome::Unanswered => self.here.extend(before.iter().map(|state| done(state).0)),
        }
        dedup(&mut self.here);
        let changes = !matches!(
            (deed, outcome),
            (Deed::Read, _) | (_, Outcome::Acked(Answer::NotFound | Answer::Shown(_), _))
        );
        if changes {
            let acked_at = if let Outcome::Acked(_, at) = outcome { Some(at) } else { None };
            if self.steps.len() >= STEPS_MAX {
                self.steps.drain(..STEPS_MAX / 2);
            }
            self.steps.push(Step { possible: self.here.clone(), acked_at });
        }
        Ok(())
    }

    /// How `shown`, at `now`, fits.
    pub fn fit(&self, shown: State, now: u64) -> Fit {
        let is_shown = |step: &Step| step.possible.iter().any(|state| shows(*state, shown, now));
        let Some(place) = self.steps.iter().rposition(is_shown) else { return Fit::Never };
        let missing: Vec<u64> = self.steps[place + 1..].iter().filter_map(|step| step.acked_at).collect();
        if missing.is_empty() { Fit::Whole } else { Fit::Behind(missing) }
    }

    /// The last of what happened, for people.
    pub fn tell(&self) -> String {
        let last = &self.steps[self.steps.len().saturating_sub(STEPS_TOLD)..];
        let lines = last.iter().map(|step| format!("{:?} acked {:?}", step.possible, step.acked_at));
        lines.collect::<Vec<_>>().join("; ")
    }
}

impl Deed {
    fn done_to(self, state: State) -> (State, Answer) {
        match (self, state) {
            (Deed::Set(what, expires), _) => (State::Holds { what, expires }, Answer::Done),
            (Deed::Flush, _) => (State::Absent, Answer::Done),
            (Deed::Read, state) => (state, Answer::Shown(state)),
            (_, State::Absent) => (State::Absent, Answer::NotFound),
            (Deed::Delete, State::Holds { .. }) => (State::Absent, Answer::Done),
            (Deed::Touch(expires), State::Holds { what, .. }) => {
                (State::Holds { what, expires }, Answer::Done)
            }
            (Deed::Count(by), State::Holds { what: What::Count(number), expires }) => {
                let number = number.wrapping_add(by);
                (State::Holds { what: What::Count(number), expires }, Answer::Number(number))
            }
            (Deed::Count(_), State::Holds { what: What::Value(_), .. }) => {
                unreachable!("only what is counted is asked to be")
            }
        }
    }
}

/// What may have ended meanwhile may be gone.
fn ripen(states: &mut Vec<State>, now: u64) {
    let ends = |state: &State| matches!(state, State::Holds { expires: 1.., .. }) && !outlives(*state, now);
    if states.iter().any(ends) {
        states.push(State::Absent);
        dedup(states);
    }
}

/// Whether its time is not over at `now`, nor a second later.
fn outlives(state: State, now: u64) -> bool {
    matches!(state, State::Holds { expires, .. } if expires == 0 || expires > now + 1)
}

/// Few are ever possible at once.
fn dedup(states: &mut Vec<State>) {
    let mut kept: Vec<State> = Vec::with_capacity(states.len());
    for state in states.drain(..) {
        if !kept.contains(&state) {
            kept.push(state);
        }
    }
    *states = kept;
}

fn fits(expected: Answer, answer: Answer, now: u64) -> bool {
    match (expected, answer) {
        (Answer::Shown(state), Answer::Shown(shown)) => shows(state, shown, now),
        (expected, answer) => expected == answer,
    }
}

/// Whether a node where there is `state` may show `shown` at `now`.
fn shows(state: State, shown: State, now: u64) -> bool {
    match (state, shown) {
        (State::Absent, State::Absent) => true,
        (State::Absent, State::Holds { .. }) => false,
        (State::Holds { .. }, State::Absent) => !outlives(state, now),
        (State::Holds { what, expires }, State::Holds { what: shown, expires: ends }) => {
            let is_timely = expires.abs_diff(ends) <= SLACK_SECONDS && expires + SLACK_SECONDS >= now;
            what == shown && (expires == 0) == (ends == 0) && (expires == 0 || is_timely)
        }
    }
}

/// An answer tells how long a record has left, and may be read this much later where the machine is busy. Nodes are
/// compared with each other by the times themselves.
const SLACK_SECONDS: u64 = 10;
/// More than are ever lost of one key, by far.
const STEPS_MAX: usize = 512;
const STEPS_TOLD: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn value(number: u64) -> State {
        State::Holds { what: What::Value(number), expires: 0 }
    }

    fn set(number: u64) -> Deed {
        Deed::Set(What::Value(number), 0)
    }

    fn acked(at: u64) -> Outcome {
        Outcome::Acked(Answer::Done, at)
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_is_in_doubt_may_be() {
        let mut history = History::new(State::Absent);
        history.note(set(1), acked(10), NOW).unwrap();
        history.note(set(2), acked(20), NOW).unwrap();
        history.note(set(3), Outcome::Doubt, NOW).unwrap();
        history.note(set(4), Outcome::Refused, NOW).unwrap();
        history.note(Deed::Delete, Outcome::Unanswered, NOW).unwrap();
        for (shown, fit) in [
            (value(2), Fit::Whole),
            (value(3), Fit::Whole),
            (State::Absent, Fit::Whole),
            (value(1), Fit::Behind(vec![20])),
            (value(4), Fit::Never),
        ] {
            assert_eq!(history.fit(shown, NOW), fit, "{shown:?}");
        }
    }

    #[test]
    fn a_deleted_key_must_not_come_again() {
        let mut history = History::new(value(1));
        history.note(Deed::Delete, acked(30), NOW).unwrap();
        assert_eq!(history.fit(value(1), NOW), Fit::Behind(vec![30]));
        history.note(Deed::Delete, Outcome::Acked(Answer::NotFound, 31), NOW).unwrap();
        assert!(history.note(Deed::Delete, acked(32), NOW).is_err(), "there is nothing to delete");
    }

    /// An answer that changes nothing waits for no replica, so it proves nothing of what was before it.
    #[test]
    fn a_look_confirms_nothing() {
        let mut history = History::new(value(1));
        history.note(set(2), Outcome::Doubt, NOW).unwrap();
        history.note(Deed::Read, Outcome::Acked(Answer::Shown(value(2)), 5), NOW).unwrap();
        assert_eq!(history.fit(value(1), NOW), Fit::Whole);
        assert!(history.note(Deed::Read, Outcome::Acked(Answer::Shown(value(1)), 6), NOW).is_err());
    }

    #[test]
    fn counting_follows_from_what_may_have_been_counted() {
        let count = |value| State::Holds { what: What::Count(value), expires: 0 };
        let mut history = History::new(count(5));
        history.note(Deed::Count(1), Outcome::Unanswered, NOW).unwrap();
        history.note(Deed::Count(1), Outcome::Acked(Answer::Number(7), 9), NOW).unwrap();
        assert_eq!(history.fit(count(7), NOW), Fit::Whole);
        assert_eq!(history.fit(count(6), NOW), Fit::Behind(vec![9]));
        assert!(history.note(Deed::Count(1), Outcome::Acked(Answer::Number(9), 9), NOW).is_err());
    }

    #[test]
    fn what_has_ended_is_gone_and_does_not_come_again() {
        let brief = State::Holds { what: What::Value(1), expires: NOW + 5 };
        let mut history = History::new(brief);
        assert_eq!(history.fit(State::Absent, NOW), Fit::Never);
        assert_eq!(history.fit(State::Absent, NOW + 5), Fit::Whole);
        assert_eq!(history.fit(brief, NOW + 5), Fit::Whole);
        assert_eq!(history.fit(brief, NOW + 16), Fit::Never);
        history.note(Deed::Delete, Outcome::Acked(Answer::NotFound, 1), NOW + 6).unwrap();
    }
}
