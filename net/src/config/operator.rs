//! Flags about operators: their socket, what a start restores, and what the log keeps for backups.

use std::path::PathBuf;

use super::Config;
use super::flags::Flags;

/// `--admin-socket`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminSocket {
    /// A private path that follows from the port.
    #[default]
    ByPort,
    /// Here.
    At(PathBuf),
    /// Nowhere.
    Off,
}

impl Config {
    /// Deletes, touches and flushes stay in the log: for backups, or for other nodes.
    pub fn logs_changes(&self) -> bool {
        self.log_changes || self.replication.is_wanted()
    }

    pub(super) fn read_operator(&mut self, flags: &Flags, env: &dyn Fn(&str) -> Option<String>) {
        self.admin_socket = match flags.path("admin-socket") {
            None => AdminSocket::ByPort,
            Some(path) if path.as_os_str() == "off" => AdminSocket::Off,
            Some(path) => AdminSocket::At(path),
        };
        // systemd may name several, separated by colons.
        let service = env("RUNTIME_DIRECTORY").filter(|paths| !paths.is_empty());
        self.service_directory = service.and_then(|paths| paths.split(':').next().map(PathBuf::from));
        self.log_changes = flags.given("log-changes");
        self.restore = flags.paths("restore");
        self.salvage = flags.given("salvage");
    }
}
