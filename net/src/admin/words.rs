//! What `ringctl` and a node say to each other, as JSON, one value on a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an operator asks. A field that a node does not know is refused, so that nothing asked for is left out silently;
/// serde does that for variants with braces only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the node is.
    Status {},
    /// A replica becomes a primary.
    Promote {
        /// Even where a full copy is not complete.
        #[serde(default)]
        force: bool,
    },
    /// A primary becomes a replica, of this address or of whoever is the primary.
    Demote {
        /// HOST:PORT of the new primary.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// A node follows this primary from now on.
    Replicate {
        /// HOST:PORT of the primary.
        of: String,
    },
    /// Compare a node with its primary, or with the one at this address.
    Verify {
        /// HOST:PORT of the other node's replication port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<String>,
    },
    /// Write records to a file.
    Backup {
        /// Where the file will be: an absolute path on the node's machine.
        path: PathBuf,
        /// First and last slot; all, where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slots: Option<(u16, u16)>,
        /// The backup since which changes are asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<PathBuf>,
        /// With LZ4, where that pays.
        #[serde(default)]
        compress: bool,
    },
    /// Put the records of files back: a whole backup, and those that continue it.
    Restore {
        /// The files, in order.
        paths: Vec<PathBuf>,
        /// Pass over what is damaged.
        #[serde(default)]
        salvage: bool,
    },
    /// The status, again and again.
    Watch {
        /// Milliseconds between two of them.
        millis: u64,
    },
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Reply {
    /// How far a command is.
    Progress(Progress),
    /// What `watch` shows.
    Status {
        /// As `status` answers.
        status: Value,
    },
    /// The last line: it is done.
    Done {
        /// What came of it.
        result: Value,
    },
    /// The last line: it is not done.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How far a command is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, in one or two words.
    pub phase: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes to be done, as far as that is known; 0: it is not.
    pub total_bytes: u64,
    /// Records done.
    pub records: u64,
}

#[cfg(test)]
mod tests {
    use super::{Progress, Reply, Request};

    #[test]
    fn requests_read_as_they_are_written() {
        for (request, text) in [
            (Request::Status {}, r#"{"command":"status"}"#),
            (Request::Demote { of: None }, r#"{"command":"demote"}"#),
            (Request::Replicate { of: "a:1".into() }, r#"{"command":"replicate","of":"a:1"}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).expect("plain data"), text);
            assert_eq!(serde_json::from_str::<Request>(text).expect("as written"), request);
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in
            ["", "{}", "[]", "status", r#"{"command":"format"}"#, r#"{"command":"promote","now":true}"#]
        {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_of_progress_is_flat() {
        let progress = Progress { phase: "backup".into(), done_bytes: 1, total_bytes: 2, records: 3 };
        let text = serde_json::to_string(&Reply::Progress(progress)).expect("plain data");
        let flat = r#"{"event":"progress","phase":"backup","done_bytes":1,"total_bytes":2,"records":3}"#;
        assert_eq!(text, flat);
    }
}
