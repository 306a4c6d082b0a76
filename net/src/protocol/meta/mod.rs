//! The meta commands: `mg`, `ms`, `md`, `ma`, `mn`, `me`.

use crate::output::Output;
use crate::protocol::base64;
use crate::protocol::line::Tokens;
use crate::protocol::number::push_u64;

pub mod arithmetic;
pub mod debug;
pub mod delete;
pub mod flags;
pub mod get;
pub mod set;

use flags::Key;

/// `mn`: whoever pipelines quiet commands sees by it that they are over.
pub const NOTHING: &[u8] = b"MN\r\n";

/// Appends the echoes that every answer may carry, in the order requested: opaque and key.
fn push_echoes(flags: &[u8], key: &Key<'_>, output: &mut Output) {
    for token in Tokens::of(flags) {
        match token[0] {
            b'O' => push_token(token, output),
            b'k' => push_key(key, output),
            _ => {}
        }
    }
}

/// Appends a token as it was received.
#[inline]
fn push_token(token: &[u8], output: &mut Output) {
    output.bytes.push(b' ');
    output.push(token);
}

/// Appends a return flag with a number.
#[inline]
fn push_number(letter: u8, number: u64, output: &mut Output) {
    output.push(&[b' ', letter]);
    push_u64(&mut output.bytes, number);
}

/// Appends seconds left to live, -1 for ever.
fn push_left(left: Option<u32>, output: &mut Output) {
    match left {
        Some(seconds) => push_number(b't', u64::from(seconds), output),
        None => output.push(b" t-1"),
    }
}

/// Appends the key as the client writes it; a binary one says so.
fn push_key(key: &Key<'_>, output: &mut Output) {
    output.push(b" k");
    if key.is_binary {
        base64::encode(key.bytes, &mut output.bytes);
        output.push(b" b");
    } else {
        output.push(key.bytes);
    }
}
