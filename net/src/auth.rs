//! Who may give commands: the users of `-S` (SASL) or `-Y` (text), read at the start and again at SIGHUP.
//!
//! Asked once per connection and never on a request's way, so a lock is good enough. `auth/users.rs` reads the files
//! and compares.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use ringcache_engine::Seconds;

use crate::config::Config;
use crate::limits::USER_FILE_BYTES_MAX;
use crate::log::Seldom;
use crate::mesh::Ticket;

pub mod users;

use users::{BadLine, Layout, Users};

/// Why a file of users can't be used.
#[derive(Debug, thiserror::Error)]
pub enum UserFileError {
    /// The file system.
    #[error("can't read the users of {path}: {source}")]
    Unreadable {
        /// Of `-Y` or MEMCACHED_SASL_PWDB.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// What is in it.
    #[error("{path}, {reason}")]
    Malformed {
        /// Of `-Y` or MEMCACHED_SASL_PWDB.
        path: PathBuf,
        /// Which line, and why.
        reason: BadLine,
    },
}

/// The users of a node, and what there is to tell about those who are none. Nobody is known before
/// [`Auth::load`].
pub struct Auth {
    file: Option<(PathBuf, Layout)>,
    users: RwLock<Users>,
    complaints: Seldom,
}

impl Auth {
    /// For the users that `config` asks for. Reads nothing yet.
    pub fn of(config: &Config) -> Self {
        let file = match (&config.auth_file, &config.sasl_file) {
            (Some(path), _) => Some((lasting(path), Layout::Pairs)),
            (None, Some(path)) => Some((lasting(path), Layout::Fields)),
            (None, None) => None,
        };
        Self { file, users: RwLock::default(), complaints: Seldom::default() }
    }

    /// Whether clients have to say who they are.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Reads the file, if there is one, and says how many users it has. After an error the users stay who they were.
    pub fn load(&self) -> Result<usize, UserFileError> {
        let Some((path, layout)) = &self.file else { return Ok(0) };
        let text = read(path).map_err(|source| UserFileError::Unreadable { path: path.clone(), source })?;
        let users = Users::parse(&text, *layout)
            .map_err(|reason| UserFileError::Malformed { path: path.clone(), reason })?;
        let count = users.count();
        self.replace(users);
        Ok(count)
    }

    /// As [`Auth::load`], in the words of the log.
    pub fn reload(&self) -> Result<String, String> {
        match self.load() {
            Ok(count) => Ok(format!("{count} users read")),
            Err(error) => Err(format!("{error}; the users stay who they were")),
        }
    }

    /// Changes who the users are, from the next connection on.
    pub fn replace(&self, users: Users) {
        *self.users.write().expect("nothing panics while holding it") = users;
    }

    /// Whether there is such a user with that password. Cost: a look at every user, whoever it is.
    pub fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        self.users.read().expect("nothing panics while holding it").admits(user, password)
    }

    /// Logs that a client could not show who it is. A flood of them costs one line a second.
    pub fn complain(&self, now: Seconds, ticket: Ticket, reason: &str) {
        if let Some(unlogged) = self.complaints.admit(now) {
            tracing::warn!(connection = ticket.connection, unlogged, "authentication failed: {reason}");
        }
    }
}

/// The path as it is from everywhere: a daemon changes its folder before the file is read again.
fn lasting(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(USER_FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > USER_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {USER_FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
