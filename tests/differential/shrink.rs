//! Finds the few commands that a difference needs, by leaving out ever smaller parts of the history.

use crate::commands::Command;
use crate::replies::shown;

/// Most replays; each starts from an empty cache.
const REPLAYS_MAX: usize = 400;

/// A short sub-list of `history` for which `differs` still says something. The whole history when the difference does
/// not show again.
pub fn shrink(history: Vec<Command>, differs: impl Fn(&[Command]) -> Option<String>) -> Vec<Command> {
    let mut replays = 0;
    let mut still = |commands: &[Command]| {
        replays += 1;
        replays <= REPLAYS_MAX && differs(commands).is_some()
    };
    let mut kept = match shortest_end(&history, &mut still) {
        Some(end) => end.to_vec(),
        None => return history,
    };
    let mut part = kept.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < kept.len() {
            let without: Vec<Command> =
                kept[..at].iter().chain(kept[(at + part).min(kept.len())..].iter()).cloned().collect();
            if !without.is_empty() && still(&without) {
                kept = without;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    kept
}

/// The commands, and what differs when they are played; at most the last sixty.
pub fn listing(commands: &[Command], differs: impl Fn(&[Command]) -> Option<String>) -> String {
    const LISTED_MAX: usize = 60;
    let first = commands.len().saturating_sub(LISTED_MAX);
    let lines: Vec<String> =
        commands[first..].iter().map(|command| format!("  {}", shown(&command.bytes))).collect();
    let difference =
        differs(commands).unwrap_or_else(|| "it does not show again from an empty cache".to_owned());
    format!("{}\n{difference}", lines.join("\n"))
}

fn shortest_end<'a>(
    history: &'a [Command],
    still: &mut impl FnMut(&[Command]) -> bool,
) -> Option<&'a [Command]> {
    let mut length = 200;
    loop {
        let end = &history[history.len().saturating_sub(length)..];
        if still(end) {
            return Some(end);
        }
        if length >= history.len() {
            return None;
        }
        length *= 4;
    }
}
