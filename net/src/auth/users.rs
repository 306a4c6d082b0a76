//! Files of users, and the comparison with what a client says.
//!
//! Names and passwords are kept padded to one length. A comparison takes as long as what the client sent is long,
//! whoever the users are: how much of a password was right can't be measured.

use subtle::{Choice, ConstantTimeEq};

use crate::limits::{USER_LINE_BYTES_MAX, USERS_MAX};

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `-Y`: every line is `user:password`.
    Pairs,
    /// MEMCACHED_SASL_PWDB: `user:password`, or `user:password:` with anything behind it. Other lines are ignored.
    Fields,
}

/// Why a file was refused. Nothing of what stands in it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// No colon.
    #[error("line {0}: it has to be user:password")]
    Malformed(usize),
    /// More than [`USER_LINE_BYTES_MAX`].
    #[error("line {0}: it has more than {USER_LINE_BYTES_MAX} bytes")]
    TooLong(usize),
    /// More than [`USERS_MAX`].
    #[error("line {0}: there are more than {USERS_MAX} users")]
    TooMany(usize),
}

/// The users of a file.
#[derive(Default)]
pub struct Users {
    users: Vec<User>,
}

struct User {
    name: Field,
    password: Field,
    layout: Layout,
}

/// Up to [`USER_LINE_BYTES_MAX`] bytes, none of them zero, and zeros behind them.
struct Field([u8; USER_LINE_BYTES_MAX + 1]);

impl Users {
    /// The users of a file with this text.
    pub fn parse(text: &[u8], layout: Layout) -> Result<Self, BadLine> {
        let mut users = Vec::new();
        for (at, line) in lines(text).enumerate() {
            let number = at + 1;
            if line.len() > USER_LINE_BYTES_MAX {
                return Err(BadLine::TooLong(number));
            }
            let Some(end) = line.iter().position(|&byte| byte == b':') else {
                match layout {
                    Layout::Pairs => return Err(BadLine::Malformed(number)),
                    Layout::Fields => continue,
                }
            };
            if users.len() == USERS_MAX {
                return Err(BadLine::TooMany(number));
            }
            users.push(User { name: Field::of(&line[..end]), password: Field::of(&line[end + 1..]), layout });
        }
        Ok(Self { users })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// Whether there is a user of that name and password.
    pub fn admits(&self, name: &[u8], password: &[u8]) -> bool {
        let is_possible = |said: &[u8]| said.len() <= USER_LINE_BYTES_MAX && !said.contains(&0);
        if !is_possible(name) || !is_possible(password) {
            return false;
        }
        let mut is_found = Choice::from(0);
        for user in &self.users {
            is_found |= user.name.is(name) & user.has_password(password);
        }
        is_found.into()
    }
}

impl User {
    fn has_password(&self, said: &[u8]) -> Choice {
        let is_all = self.password.is(said);
        match self.layout {
            Layout::Pairs => is_all,
            Layout::Fields => {
                is_all | self.password.begins_with(said) & self.password.0[said.len()].ct_eq(&b':')
            }
        }
    }
}

impl Field {
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; USER_LINE_BYTES_MAX + 1];
        bytes[..text.len()].copy_from_slice(text);
        Self(bytes)
    }

    fn is(&self, said: &[u8]) -> Choice {
        self.begins_with(said) & self.0[said.len()].ct_eq(&0)
    }

    fn begins_with(&self, said: &[u8]) -> Choice {
        self.0[..said.len()].ct_eq(said)
    }
}

/// Lines without their ends, which are `\n`, `\r\n` or a zero byte; the last one needs none.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = text.split(|&byte| byte == b'\n').filter(move |_| !text.is_empty());
    lines.map(|line| line.split(|&byte| byte == b'\r' || byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{BadLine, Layout, Users};
    use crate::limits::{USER_LINE_BYTES_MAX, USERS_MAX};

    fn admits(text: &str, layout: Layout, name: &str, password: &str) -> bool {
        let users = Users::parse(text.as_bytes(), layout).unwrap();
        users.admits(name.as_bytes(), password.as_bytes())
    }

    #[test]
    fn only_the_whole_pair_is_admitted() {
        for layout in [Layout::Pairs, Layout::Fields] {
            for file in ["ann:secret\nbob:other", "ann:secret\r\nbob:other\r\n", "bob:other\nann:secret\n"] {
                assert!(admits(file, layout, "ann", "secret"), "{file:?}");
                assert!(admits(file, layout, "bob", "other"), "{file:?}");
                for (name, password) in [
                    ("ann", "other"),
                    ("ann", "secre"),
                    ("ann", "secrets"),
                    ("ann", ""),
                    ("an", "secret"),
                    ("anna", "secret"),
                    ("", "secret"),
                    ("", ""),
                    ("ann", "secret\0"),
                    ("ann\0", "secret"),
                    ("ann:secret", ""),
                ] {
                    assert!(!admits(file, layout, name, password), "{file:?} {name:?} {password:?}");
                }
            }
        }
    }

    #[test]
    fn what_follows_a_second_colon_belongs_to_the_layout() {
        let file = "ann:secret:x:y";
        for (password, pairs, fields) in [
            ("secret", false, true),
            ("secret:x", false, true),
            ("secret:x:y", true, true),
            ("secret:", false, false),
            ("", false, false),
        ] {
            assert_eq!(admits(file, Layout::Pairs, "ann", password), pairs, "{password}");
            assert_eq!(admits(file, Layout::Fields, "ann", password), fields, "{password}");
        }
    }

    #[test]
    fn nobody_is_in_an_empty_file() {
        for layout in [Layout::Pairs, Layout::Fields] {
            assert_eq!(Users::parse(b"", layout).unwrap().count(), 0);
            assert!(!admits("", layout, "", ""));
        }
        assert!(!Users::default().admits(b"", b""));
    }

    #[test]
    fn a_bad_line_is_named() {
        let parse = |text: &str, layout| Users::parse(text.as_bytes(), layout).map(|users| users.count());
        assert_eq!(parse("a:b\nnothing\n", Layout::Pairs), Err(BadLine::Malformed(2)));
        assert_eq!(parse("a:b\n\nc:d", Layout::Pairs), Err(BadLine::Malformed(2)));
        assert_eq!(parse("# a file\n\na:b\n", Layout::Fields), Ok(1));
        let long = format!("a:b\nc:{}", "x".repeat(USER_LINE_BYTES_MAX - 1));
        assert_eq!(parse(&long, Layout::Pairs), Err(BadLine::TooLong(2)));
        assert_eq!(parse(&long[..long.len() - 1], Layout::Pairs), Ok(2));
        let many = "a:b\n".repeat(USERS_MAX + 1);
        assert_eq!(parse(&many, Layout::Fields), Err(BadLine::TooMany(USERS_MAX + 1)));
        assert_eq!(parse(&many[4..], Layout::Fields), Ok(USERS_MAX));
    }

    #[test]
    fn long_names_and_passwords_are_told_apart() {
        let (name, password) = ("n".repeat(100), "p".repeat(USER_LINE_BYTES_MAX - 101));
        let file = format!("{name}:{password}");
        assert!(admits(&file, Layout::Pairs, &name, &password));
        assert!(!admits(&file, Layout::Pairs, &name, &password[1..]));
        assert!(!admits(&file, Layout::Pairs, &name, &"p".repeat(1000)));
    }
}
