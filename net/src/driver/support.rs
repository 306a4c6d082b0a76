//! What the kernel must have, and the words for what it lacks.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::sys;

/// The first kernel with all that is needed: deferred task work, multishot receive, buffer rings.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// glommio refuses to start below this.
const LOCKED_BYTES_MIN: u64 = 512 * 1024;

/// Why this machine can't serve, and what to allow.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Older than `KERNEL_MIN`.
    #[error("the kernel is {release}, but at least 6.1 is needed for io_uring with deferred task work")]
    KernelTooOld {
        /// What `uname -r` says.
        release: String,
    },
    /// EPERM.
    #[error(
        "io_uring is forbidden here (EPERM): allow io_uring_setup, io_uring_enter and io_uring_register in the \
         container's seccomp profile, or set kernel.io_uring_disabled to 0"
    )]
    Forbidden,
    /// ENOSYS.
    #[error(
        "io_uring does not exist here (ENOSYS): the kernel was built without it (CONFIG_IO_URING), or a sandbox \
         hides it"
    )]
    Missing,
    /// A low RLIMIT_MEMLOCK.
    #[error(
        "only {bytes} bytes of memory may be locked, but at least {LOCKED_BYTES_MIN} are needed: raise the limit \
         (ulimit -l, LimitMEMLOCK=, --ulimit memlock=)"
    )]
    LockedMemory {
        /// The limit.
        bytes: u64,
    },
    /// ENOMEM while setting up a ring.
    #[error("no memory for a ring: allow more locked memory (ulimit -l 8192 is enough for 4 workers)")]
    NoMemory,
    /// An operation that 6.1 has is not there.
    #[error("the kernel's io_uring lacks {0}")]
    Operation(&'static str),
    /// Anything else.
    #[error("cannot set up a ring: {0}")]
    Other(io::Error),
}

impl Refusal {
    /// From the error of setting up a ring.
    pub(super) fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Refusal::Forbidden,
            Some(libc::ENOSYS) => Refusal::Missing,
            Some(libc::ENOMEM) => Refusal::NoMemory,
            _ => Refusal::Other(error),
        }
    }
}

/// Checks, before any worker starts, that this machine can serve. Raises the limit of locked memory where that is
/// allowed.
pub fn check() -> Result<(), Refusal> {
    let release = sys::kernel_release();
    if version(&release).is_some_and(|version| version < KERNEL_MIN) {
        return Err(Refusal::KernelTooOld { release });
    }
    if sys::raise_limit(sys::Resource::LockedMemory, LOCKED_BYTES_MIN).is_err() {
        let bytes = sys::limit(sys::Resource::LockedMemory).map_or(0, |limit| limit.now);
        return Err(Refusal::LockedMemory { bytes });
    }
    let ring: IoUring =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8).map_err(Refusal::of)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Refusal::of)?;
    let needed = [
        (opcode::AcceptMulti::CODE, "accept"),
        (opcode::RecvMulti::CODE, "receive"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "vectored send"),
        (opcode::RecvMsgMulti::CODE, "receive of messages"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::Close::CODE, "close"),
        (opcode::Read::CODE, "read"),
    ];
    match needed.into_iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(Refusal::Operation(name)),
        None => Ok(()),
    }
}

/// Major and minor number at the head of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{KERNEL_MIN, version};

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.15"), Some((5, 15)));
        assert_eq!(version("6.18+"), Some((6, 18)));
        assert_eq!(version("strange"), None);
        assert!(version("5.19.3") < Some(KERNEL_MIN) && version("6.10.1") > Some(KERNEL_MIN));
    }
}
