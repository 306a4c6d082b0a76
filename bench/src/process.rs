//! What Linux tells about a process: its CPU time and its memory, from /proc.

use std::fs;
use std::io;
use std::num::NonZeroU64;

use rustix::thread::CpuSet;

use crate::error::BenchError;

/// CPU time that a process has used, or used between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Of all its living threads, in nanoseconds, from the scheduler's own accounts.
    pub total_ns: u64,
    /// In user mode, in clock ticks. Gives the split only: a tick is 10 ms.
    pub user_ticks: u64,
    /// In the kernel, in clock ticks.
    pub system_ticks: u64,
}

/// CPU time for one of many requests, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuShare {
    /// User and system together.
    pub total_us: f64,
    /// In user mode.
    pub user_us: f64,
    /// In the kernel.
    pub system_us: f64,
}

impl CpuTime {
    /// Used by process `pid` so far.
    pub fn of(pid: u32) -> Result<CpuTime, BenchError> {
        read_cpu_time(pid).map_err(BenchError::machine("cannot read the server's CPU time from /proc"))
    }

    /// Used by the calling thread so far.
    pub fn of_thread() -> Result<CpuTime, BenchError> {
        read_task_time("/proc/thread-self")
            .map_err(BenchError::machine("cannot read this thread's CPU time from /proc"))
    }

    /// Used by several threads together.
    pub fn add(&mut self, other: &CpuTime) {
        self.total_ns += other.total_ns;
        self.user_ticks += other.user_ticks;
        self.system_ticks += other.system_ticks;
    }

    /// Used since `before`.
    pub fn since(&self, before: &CpuTime) -> CpuTime {
        CpuTime {
            total_ns: self.total_ns.saturating_sub(before.total_ns),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(before.system_ticks),
        }
    }

    /// Divided among `count` requests or keys; the total in the scheduler's precision, its split in that of ticks.
    pub fn per(&self, count: u64) -> CpuShare {
        let total_us = self.total_ns as f64 / 1000.0 / count.max(1) as f64;
        let ticks = (self.user_ticks + self.system_ticks).max(1) as f64;
        CpuShare {
            total_us,
            user_us: total_us * self.user_ticks as f64 / ticks,
            system_us: total_us * self.system_ticks as f64 / ticks,
        }
    }
}

fn read_cpu_time(pid: u32) -> io::Result<CpuTime> {
    let mut total_ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading; its time is then lost to both readings.
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            total_ns += parse_schedstat(&text).ok_or(io::ErrorKind::InvalidData)?;
        }
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (user_ticks, system_ticks) = parse_stat(&stat).ok_or(io::ErrorKind::InvalidData)?;
    Ok(CpuTime { total_ns, user_ticks, system_ticks })
}

fn read_task_time(folder: &str) -> io::Result<CpuTime> {
    let total_ns = parse_schedstat(&fs::read_to_string(format!("{folder}/schedstat"))?);
    let ticks = parse_stat(&fs::read_to_string(format!("{folder}/stat"))?);
    let ((user_ticks, system_ticks), total_ns) = ticks.zip(total_ns).ok_or(io::ErrorKind::InvalidData)?;
    Ok(CpuTime { total_ns, user_ticks, system_ticks })
}

/// The first number: nanoseconds on a CPU.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of proc(5)'s stat: utime and stime. The name in parentheses may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let (_, after_name) = text.rsplit_once(") ")?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Resident memory of process `pid` in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64, BenchError> {
    let read = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        parse_resident(&status).ok_or(io::Error::from(io::ErrorKind::InvalidData))
    };
    read().map_err(BenchError::machine("cannot read the server's memory from /proc"))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Keeps the calling thread, and every process it starts, on these CPUs.
pub fn pin_thread(cpus: &[usize]) -> Result<(), BenchError> {
    let online = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(BenchError::Usage(format!("there is no CPU {cpu}")));
        }
        set.set(*cpu);
    }
    rustix::thread::sched_setaffinity(None, &set).map_err(|_| {
        BenchError::Usage(format!("cannot run on CPUs {cpus:?}: this process may use {online} CPUs"))
    })
}

/// Lets every other thread of its CPU go before the calling one.
pub fn give_way() -> Result<(), BenchError> {
    rustix::process::nice(19).map(drop).map_err(BenchError::machine("cannot lower the priority"))
}

/// Lets timers of the calling thread fire on time, so that an open loop sends when it is due.
pub fn sharpen_timers() -> Result<(), BenchError> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))
        .map_err(BenchError::machine("cannot set the timer slack"))
}

/// Raises the limit on open files as far as allowed; the connections to come must fit.
pub fn allow_open_files(files: u64) -> Result<(), BenchError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(files));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum });
    raised.map_err(|_| {
        BenchError::Usage(format!("{files} open files are needed and the limit is {:?}", limit.maximum))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_any_program_name() {
        let rest = "S 1 2 3 4 -1 4194560 5 6 7 8 123 45 0 0 20 0 10 0 99";
        assert_eq!(parse_stat(&format!("77 (memcached) {rest}")), Some((123, 45)));
        assert_eq!(parse_stat(&format!("77 (a) b) (c d) {rest}")), Some((123, 45)));
        assert_eq!(parse_stat("77 (memcached) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn other_files_are_read() {
        assert_eq!(parse_schedstat("103425 74355 2\n"), Some(103_425));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_resident("VmHWM:\t 9 kB\nVmRSS:\t  2048 kB\nRssAnon: 1 kB\n"), Some(2 << 20));
        assert_eq!(parse_resident("VmHWM:\t 9 kB\n"), None);
    }

    #[test]
    fn shares_add_up() {
        let before = CpuTime { total_ns: 1_000_000, user_ticks: 10, system_ticks: 10 };
        let after = CpuTime { total_ns: 5_000_000, user_ticks: 11, system_ticks: 13 };
        let share = after.since(&before).per(1000);
        assert_eq!(share, CpuShare { total_us: 4.0, user_us: 1.0, system_us: 3.0 });
    }

    #[test]
    fn this_process_is_read() {
        let own = std::process::id();
        assert!(CpuTime::of(own).unwrap().total_ns > 0);
        let of_thread = CpuTime::of_thread().unwrap();
        assert!(of_thread.total_ns <= CpuTime::of(own).unwrap().total_ns, "{of_thread:?}");
        assert!(resident_bytes(own).unwrap() > 100_000);
    }
}
