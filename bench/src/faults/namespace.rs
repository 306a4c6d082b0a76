//! A network namespace with one interface to the outside, which can be taken down: a cable that is pulled out, without
//! a word to either end.

use std::process::{Command, Stdio};

use crate::error::BenchError;

/// Removed when dropped.
pub struct Namespace {
    name: String,
    /// The end of the cable that is outside.
    interface: String,
    network: String,
}

impl Namespace {
    /// A new one. `number` tells it from others on this machine. Root only.
    pub fn new(number: u32) -> Result<Namespace, BenchError> {
        let number = number % 250;
        let name = format!("ringbench{number}");
        let namespace =
            Namespace { interface: format!("ringb{number}"), network: format!("10.213.{number}"), name };
        let Namespace { name, interface, .. } = &namespace;
        let (outside, inside) = (namespace.host(false), namespace.host(true));
        for line in [
            format!("netns add {name}"),
            format!("link add {interface} type veth peer name inside netns {name}"),
            format!("addr add {outside}/24 dev {interface}"),
            format!("link set {interface} up"),
            format!("-n {name} addr add {inside}/24 dev inside"),
            format!("-n {name} link set inside up"),
            format!("-n {name} link set lo up"),
        ] {
            ip(&line)?;
        }
        Ok(namespace)
    }

    /// Whether there may be any.
    pub fn is_allowed() -> bool {
        rustix::process::geteuid().is_root() && ip("netns list").is_ok()
    }

    /// As `ip netns` names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of one end of the cable.
    pub fn host(&self, inside: bool) -> String {
        format!("{}.{}", self.network, if inside { 2 } else { 1 })
    }

    /// Nothing goes through from now on, or again.
    pub fn set_connected(&self, is_connected: bool) -> Result<(), BenchError> {
        ip(&format!("link set {} {}", self.interface, if is_connected { "up" } else { "down" }))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The interface goes with the namespace; what is left of either stands in nobody's way.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(line: &str) -> Result<(), BenchError> {
    let output = Command::new("ip").args(line.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(BenchError::machine("cannot run ip"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(BenchError::Usage(format!("`ip {line}` failed: {said}")))
}
