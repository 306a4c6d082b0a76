//! Compares two servers' replies, byte for byte but for CAS uniques, the clock and the named exceptions.
//!
//! CAS uniques are each server's own; they are compared by pairing them: a unique of memcached must always meet the
//! same unique of ours, and for one key the other way round too. Two keys of ours may share one, because it orders the
//! writes to one key.

use std::collections::HashMap;

use crate::commands::{CAS_MARK, KEYS, key_name};
use crate::exceptions::{Exception, Met};

/// Seconds by which two answers may be apart.
const TICK_SECONDS: i64 = 1;

/// CAS uniques as they were seen, always stock first.
#[derive(Default)]
pub struct Uniques {
    ours_of_stock: HashMap<u64, u64>,
    /// By key, where the reply named it.
    stock_of_ours: HashMap<(Vec<u8>, u64), u64>,
    /// Last seen of each plain key.
    of_key: HashMap<Vec<u8>, (u64, u64)>,
}

/// Which of the two servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The stock memcached.
    Stock,
    /// The server under test.
    Ours,
}

impl Uniques {
    /// The command with its CAS marks replaced by what `side` gave for those keys.
    pub fn fill(&self, command: &[u8], side: Side) -> Vec<u8> {
        let mut filled = Vec::with_capacity(command.len());
        let mut left = command.iter();
        while let Some(byte) = left.next() {
            if *byte != CAS_MARK {
                filled.push(*byte);
                continue;
            }
            let number = usize::from(*left.next().expect("a key's number follows the mark") - b'A');
            let (stock, ours) =
                self.of_key.get(key_name(number).as_bytes()).copied().unwrap_or((u64::MAX, u64::MAX));
            filled.extend((if side == Side::Stock { stock } else { ours }).to_string().bytes());
        }
        filled
    }

    fn pair(&mut self, stock: u64, ours: u64, key: Option<&[u8]>) -> bool {
        if (stock == 0) != (ours == 0) {
            return false;
        }
        let mut is_same = *self.ours_of_stock.entry(stock).or_insert(ours) == ours;
        if let Some(key) = key.filter(|_| stock != 0) {
            is_same &= *self.stock_of_ours.entry((key.to_vec(), ours)).or_insert(stock) == stock;
            self.of_key.insert(key.to_vec(), (stock, ours));
        }
        is_same
    }
}

/// Compares the replies to a run of commands; says what is wrong at the first difference.
pub fn compare(stock: &[u8], ours: &[u8], uniques: &mut Uniques, met: &mut Met) -> Result<(), String> {
    let (mut stock_left, mut ours_left) = (stock, ours);
    while !stock_left.is_empty() || !ours_left.is_empty() {
        let (stock_line, stock_after) = line(stock_left);
        let (ours_line, ours_after) = line(ours_left);
        compare_lines(stock_line, ours_line, uniques, met).map_err(|reason| {
            format!("{reason}\n  memcached: {}\n  ours:      {}", shown(stock_left), shown(ours_left))
        })?;
        let block = data_bytes(stock_line);
        let (stock_data, ours_data) = (stock_after.get(..block), ours_after.get(..block));
        if stock_data != ours_data || stock_data.is_none() {
            return Err(format!("values differ after {}", shown(stock_line)));
        }
        (stock_left, ours_left) = (&stock_after[block..], &ours_after[block..]);
    }
    Ok(())
}

fn compare_lines(
    stock: &[u8],
    ours: &[u8],
    uniques: &mut Uniques,
    met: &mut Met,
) -> Result<(), &'static str> {
    let stock: Vec<&[u8]> = stock.split(|byte| *byte == b' ').collect();
    let ours: Vec<&[u8]> = ours.split(|byte| *byte == b' ').collect();
    if stock.len() != ours.len() || stock[0] != ours[0] {
        return Err("different replies");
    }
    let is_same = match stock[0] {
        b"VALUE" => {
            let key = stock.get(1).copied();
            stock[..4.min(stock.len())] == ours[..4.min(ours.len())]
                && (stock.len() < 5 || same_unique(stock[4], ours[4], key, uniques))
        }
        b"HD" | b"VA" | b"EN" | b"NF" | b"NS" | b"EX" => {
            let key = stock.iter().find_map(|token| token.strip_prefix(b"k"));
            let tokens = || stock.iter().zip(&ours).skip(1);
            tokens().all(|(stock, ours)| same_flag(stock, ours, key, uniques, met))
        }
        b"ME" => stock.iter().zip(&ours).all(|(stock, ours)| same_shown(stock, ours, uniques, met)),
        _ => stock == ours,
    };
    if is_same { Ok(()) } else { Err("different lines") }
}

/// A flag that a meta command returned.
fn same_flag(stock: &[u8], ours: &[u8], key: Option<&[u8]>, uniques: &mut Uniques, met: &mut Met) -> bool {
    let letters = (stock.first(), ours.first());
    match letters {
        (Some(b'c'), Some(b'c')) => same_unique(&stock[1..], &ours[1..], key, uniques),
        (Some(b't'), Some(b't')) if number(&stock[1..]).is_some_and(|ttl| ttl > i64::from(i32::MAX)) => {
            *met.entry(Exception::ShownPast).or_default() += 1;
            ours == b"t0" || same_seconds(&stock[1..], &ours[1..], met)
        }
        (Some(b't'), Some(b't')) | (Some(b'l'), Some(b'l')) => same_seconds(&stock[1..], &ours[1..], met),
        _ => stock == ours,
    }
}

/// A `name=value` of me.
fn same_shown(stock: &[u8], ours: &[u8], uniques: &mut Uniques, met: &mut Met) -> bool {
    let name = |token: &[u8]| token.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
    let value = |token: &[u8]| token.splitn(2, |byte| *byte == b'=').nth(1).unwrap_or_default().to_vec();
    let (stock_value, ours_value) = (value(stock), value(ours));
    if name(stock) != name(ours) {
        return false;
    }
    match name(stock).as_slice() {
        b"cas" => same_unique(&stock_value, &ours_value, None, uniques),
        b"la" => same_seconds(&stock_value, &ours_value, met),
        b"exp" => {
            let (stock, ours) = (without_sign(&stock_value), without_sign(&ours_value));
            if stock.len() != stock_value.len() && ours.len() == ours_value.len() {
                *met.entry(Exception::ShownExpiry).or_default() += 1;
            }
            same_seconds(stock, ours, met)
        }
        b"cls" | b"size" => {
            *met.entry(Exception::ShownSize).or_default() += 1;
            number(&stock_value).is_some() && number(&ours_value).is_some()
        }
        _ => stock_value == ours_value,
    }
}

/// The seconds left that memcached shows with their sign turned; `-1` is no end and stays.
fn without_sign(digits: &[u8]) -> &[u8] {
    digits.strip_prefix(b"-").filter(|digits| *digits != b"1").unwrap_or(digits)
}

fn same_unique(stock: &[u8], ours: &[u8], key: Option<&[u8]>, uniques: &mut Uniques) -> bool {
    let parse =
        |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|text| text.trim_end().parse().ok());
    match (parse(stock), parse(ours)) {
        (Some(stock), Some(ours)) => uniques.pair(stock, ours, key),
        _ => false,
    }
}

fn same_seconds(stock: &[u8], ours: &[u8], met: &mut Met) -> bool {
    if stock == ours {
        return true;
    }
    let (Some(stock), Some(ours)) = (number(stock), number(ours)) else { return false };
    *met.entry(Exception::Tick).or_default() += 1;
    stock >= 0 && ours >= 0 && (stock - ours).abs() <= TICK_SECONDS
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.trim_end().parse().ok()
}

/// A line without its end, and what follows.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    end.map_or((bytes, &[]), |end| (&bytes[..end], &bytes[end + 2..]))
}

/// Length of the data block that follows a line, its line end included.
fn data_bytes(line: &[u8]) -> usize {
    let token = match line {
        [b'V', b'A', b'L', b'U', b'E', b' ', ..] => 3,
        [b'V', b'A', b' ', ..] => 1,
        _ => return 0,
    };
    let length = line.split(|byte| *byte == b' ').nth(token).and_then(number).unwrap_or(0);
    usize::try_from(length).unwrap_or(0) + 2
}

/// At most the first bytes, printable.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 300;
    let text = bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii().to_string();
    if bytes.len() > SHOWN_MAX { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}

const _: () = assert!(KEYS < 60, "a key's number is one printable byte behind the mark");

#[test]
fn uniques_are_paired_not_equal() {
    let (mut uniques, mut met) = (Uniques::default(), Met::default());
    let mut same =
        |stock: &str, ours: &str| compare(stock.as_bytes(), ours.as_bytes(), &mut uniques, &mut met).is_ok();
    assert!(same("VALUE k 0 1 5\r\na\r\nEND\r\n", "VALUE k 0 1 900\r\na\r\nEND\r\n"));
    assert!(same("HD c5\r\n", "HD c900\r\n"));
    assert!(!same("HD c5\r\n", "HD c901\r\n"));
    assert!(!same("HD c6 kk\r\n", "HD c900 kk\r\n"));
    assert!(same("HD c6 kother\r\n", "HD c900 kother\r\n"));
}

#[test]
fn every_other_byte_counts() {
    let (mut uniques, mut met) = (Uniques::default(), Met::default());
    let mut same =
        |stock: &str, ours: &str| compare(stock.as_bytes(), ours.as_bytes(), &mut uniques, &mut met).is_ok();
    assert!(!same("STORED\r\n", "NOT_STORED\r\n"));
    assert!(!same("VALUE k 0 1\r\na\r\nEND\r\n", "VALUE k 0 1\r\nb\r\nEND\r\n"));
    assert!(!same("VALUE k 0 1\r\na\r\nEND\r\n", "VALUE k 1 1\r\na\r\nEND\r\n"));
    assert!(!same("HD\r\n", ""));
    assert!(!same("HD t5\r\n", "HD t-1\r\n"));
    assert!(!same("HD t5\r\n", "HD t7\r\n"));
    assert!(!same("HD t5 s1\r\n", "HD s1 t5\r\n"));
    assert!(same("HD t5 f0\r\n", "HD t4 f0\r\n"));
}
