//! `stats conns`: who is connected, and to what.

use super::Lines;
use crate::server::roster::Line;

/// Writes the lines of every connection and listener, named by their descriptors.
pub(super) fn write(connections: &[Line], lines: &mut Lines<'_>) {
    for connection in connections {
        let socket = connection.socket;
        if connection.is_datagrams {
            lines.line(&format!("{socket}:UDP"), "UDP");
        }
        lines.line(&format!("{socket}:addr"), &connection.address);
        if let Some(address) = &connection.listen_address {
            lines.line(&format!("{socket}:listen_addr"), address);
        }
        lines.line(&format!("{socket}:state"), connection.state);
        if let Some(seconds) = connection.idle_seconds {
            lines.line(&format!("{socket}:secs_since_last_cmd"), seconds);
        }
        if let Some(worker) = connection.worker {
            lines.line(&format!("{socket}:ringcache_worker"), worker);
        }
    }
}
