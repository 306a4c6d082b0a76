//! System calls that the standard library does not offer, each behind a safe function.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::time::Duration;

/// Processor time of the whole process so far: in user mode, and in the kernel. One system call.
pub fn cpu_times() -> (Duration, Duration) {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is valid for writes of one rusage; the kernel fills all of it when it returns 0.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(result, 0, "getrusage of the own process with a valid pointer can't fail");
    // SAFETY: the call above succeeded, so every field has been written.
    let usage = unsafe { usage.assume_init() };
    (duration(usage.ru_utime), duration(usage.ru_stime))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1000)
}
