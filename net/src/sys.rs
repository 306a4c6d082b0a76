//! System calls that the standard library does not offer, each behind a safe function.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use memmap2::Mmap;

mod address;

pub use address::RawAddress;

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

/// Unix time in milliseconds, some milliseconds coarse. No system call: the kernel keeps it in shared memory.
pub fn unix_millis() -> u64 {
    let time = clock(libc::CLOCK_REALTIME_COARSE);
    time.tv_sec.unsigned_abs() * 1000 + time.tv_nsec.unsigned_abs() / 1_000_000
}

fn clock(clock: libc::clockid_t) -> libc::timespec {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is valid for writes of one timespec; the kernel fills it when it returns 0.
    let result = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    assert_eq!(result, 0, "a clock that every Linux has can be read");
    // SAFETY: the call above succeeded, so both fields have been written.
    unsafe { time.assume_init() }
}

/// A counter that wakes its reader (`eventfd`), closed on exec.
pub fn event() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; on success the descriptor is new and ours.
    let descriptor = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes back what was added to an event; waits until something was.
pub fn drain_event(event: BorrowedFd<'_>) {
    let mut count = [0_u8; 8];
    // SAFETY: the buffer is valid for writes of its 8 bytes.
    unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Adds one to an event. A full counter is as good as a new signal, so no failure matters.
pub fn signal_event(event: BorrowedFd<'_>) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the buffer is valid for reads of its 8 bytes.
    unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Sends what fits without waiting, and says how much that was.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the buffer is valid for reads of its length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives what is there without waiting; 0 is the end.
pub fn receive_now(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for writes of its length.
    let received = unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Tells which of many sockets changed (`epoll`). A change is told once, so whoever is told does everything there is
/// to do.
pub struct Poller(OwnedFd);

impl Poller {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; on success the descriptor is new and ours.
        let descriptor = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: just opened, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Tells `name` when the socket can be read, or written again, from now on.
    pub fn watch(&self, socket: BorrowedFd<'_>, name: u64) -> io::Result<()> {
        self.add(socket, name, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP)
    }

    /// Tells `name` when the event is signalled.
    pub fn watch_event(&self, event: BorrowedFd<'_>, name: u64) -> io::Result<()> {
        self.add(event, name, libc::EPOLLIN)
    }

    fn add(&self, socket: BorrowedFd<'_>, name: u64, changes: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (changes | libc::EPOLLET) as u32, u64: name };
        let (poller, socket) = (self.0.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the event is valid for reads.
        checked(unsafe { libc::epoll_ctl(poller, libc::EPOLL_CTL_ADD, socket, &raw mut event) }).map(drop)
    }

    /// Watches the socket no more.
    pub fn forget(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let (poller, socket) = (self.0.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: no event is needed to take one away.
        checked(unsafe { libc::epoll_ctl(poller, libc::EPOLL_CTL_DEL, socket, std::ptr::null_mut()) })
            .map(drop)
    }

    /// Sleeps until something changed, at most as long as `time`; appends the names.
    pub fn wait(&self, time: Option<Duration>, names: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; 64];
        let millis = time.map_or(-1, |time| i32::try_from(time.as_millis() + 1).unwrap_or(i32::MAX));
        let (poller, most) = (self.0.as_raw_fd(), events.len() as i32);
        // SAFETY: the pointer is valid for writes of as many events as are given with it.
        let told = checked(unsafe { libc::epoll_wait(poller, events.as_mut_ptr().cast(), most, millis) })?;
        // SAFETY: the kernel has filled as many as it told.
        names.extend(events[..told as usize].iter().map(|event| unsafe { event.assume_init_ref() }.u64));
        Ok(())
    }
}

/// Makes this thread give way to the others when all processors are busy (`nice`, 0 to 19).
pub fn give_way(nice: i32) {
    // SAFETY: no pointers. On Linux this is about the calling thread; a refusal changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

/// Lets this thread run only while nobody else wants its processor (`SCHED_IDLE`). Whoever wakes takes its place at once,
/// which a thread that merely gives way may make wait for the rest of its slice.
pub fn work_when_idle() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is valid for reads of one sched_param; 0 is the calling thread. A refusal changes nothing.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
}

/// A listening TCP socket. Accepted connections inherit no delay and keep-alive; an IPv6 socket takes IPv6 only.
pub fn listen_tcp(address: &SocketAddr, backlog: u32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; on success the descriptor is new and ours.
    let descriptor = checked(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: just opened, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    if address.is_ipv6() {
        switch_on(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
    }
    switch_on(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    switch_on(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE)?;
    switch_on(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    bind(&socket, address)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// Lets `backlog` connections wait on a bound socket; again on one that listens already.
pub fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: no pointers.
    checked(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// A UDP socket. `is_shared`: others of the same kind may be bound to the same address, and the kernel spreads
/// datagrams over them by where these come from. The first of them must not be, or it would join a stranger's.
pub fn bind_udp(address: &SocketAddr, is_shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers; on success the descriptor is new and ours.
    let descriptor = checked(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: just opened, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    if address.is_ipv6() {
        switch_on(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)?;
    }
    if is_shared {
        switch_on(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    }
    bind(&socket, address)?;
    // From here on further ones may join.
    switch_on(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    Ok(socket)
}

fn bind(socket: &OwnedFd, address: &SocketAddr) -> io::Result<()> {
    let raw = RawAddress::of(address);
    // SAFETY: the address is valid for reads of the length that is given with it.
    checked(unsafe { libc::bind(socket.as_raw_fd(), raw.as_ptr(), raw.bytes()) }).map(drop)
}

fn switch_on(socket: &OwnedFd, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as u32;
    // SAFETY: the value is valid for reads of the length that is given with it.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    checked(result).map(drop)
}

/// Sets which access bits new files do not get, and tells what was set before.
pub fn mask_new_files(mask: u32) -> u32 {
    // SAFETY: no pointers; can't fail.
    unsafe { libc::umask(mask) }
}

/// A limit of this process: what holds, and up to where it may be raised without privileges.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// What holds.
    pub now: u64,
    /// Up to where.
    pub most: u64,
}

/// What the kernel limits.
#[derive(Clone, Copy, Debug)]
pub enum Resource {
    /// Open descriptors.
    OpenFiles,
    /// Locked memory, in bytes.
    LockedMemory,
    /// Size of a core dump, in bytes.
    CoreDump,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Resource::OpenFiles => libc::RLIMIT_NOFILE,
            Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
            Resource::CoreDump => libc::RLIMIT_CORE,
        }
    }
}

/// The limit of `resource`.
pub fn limit(resource: Resource) -> io::Result<Limit> {
    let mut raw = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for writes of one rlimit.
    checked(unsafe { libc::getrlimit(resource.number(), &raw mut raw) })?;
    Ok(Limit { now: raw.rlim_cur, most: raw.rlim_max })
}

/// Raises the limit of `resource` to `least` where it is lower; past what is allowed only root can.
pub fn raise_limit(resource: Resource, least: u64) -> io::Result<()> {
    let limit = limit(resource)?;
    if limit.now >= least {
        return Ok(());
    }
    let raw = libc::rlimit { rlim_cur: least, rlim_max: limit.most.max(least) };
    // SAFETY: the pointer is valid for reads of one rlimit.
    checked(unsafe { libc::setrlimit(resource.number(), &raw const raw) }).map(drop)
}

/// Bytes that can still be written to the file system of `file`; `None` where it has no limit of its own.
pub fn free_bytes(file: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let mut raw = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the pointer is valid for writes of one statvfs; the kernel fills all of it when it returns 0.
    checked(unsafe { libc::fstatvfs(file.as_raw_fd(), raw.as_mut_ptr()) })?;
    // SAFETY: the call above succeeded, so every field has been written.
    let raw = unsafe { raw.assume_init() };
    Ok((raw.f_blocks != 0).then(|| raw.f_bavail.saturating_mul(raw.f_frsize)))
}

/// Keeps all memory of the process, present and future, from being swapped, once it is there: address space that was
/// only reserved stays empty.
pub fn lock_all_memory() -> io::Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) }).map(drop)
}

/// The processors that this process may use, by number.
pub fn allowed_processors() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the pointer is valid for writes of the size that is given with it.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: all-zero is a valid set, and the call above only added to it.
    let set = unsafe { set.assume_init() };
    // SAFETY: every number is below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|number| unsafe { libc::CPU_ISSET(*number, &set) }).collect()
}

/// The kernel's release, like `6.1.0-18-amd64`.
pub fn kernel_release() -> String {
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the pointer is valid for writes of one utsname; the result is ignored, because all-zero is valid too.
    let names = unsafe {
        libc::uname(names.as_mut_ptr());
        names.assume_init()
    };
    names.release.iter().take_while(|letter| **letter != 0).map(|letter| char::from(*letter as u8)).collect()
}

/// The signals that [`wait_for_signal`] waits for: SIGTERM, SIGINT, SIGUSR1 and SIGHUP.
const AWAITED_SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGHUP];

fn awaited_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set, `sigaddset` gets an initialised one.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in AWAITED_SIGNALS {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Holds back the awaited signals in this thread and in all that it starts from here on.
pub fn hold_back_signals() {
    let set = awaited_signals();
    // SAFETY: the set is initialised, and no old set is asked for.
    let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    assert_eq!(result, 0, "blocking with a valid set can't fail");
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGUSR1: stop, and leave the memory file to the next start.
    StopAndKeep,
    /// SIGHUP.
    Reload,
}

/// Sleeps until one of the held back signals comes.
pub fn wait_for_signal() -> Signal {
    let set = awaited_signals();
    let mut signal = 0;
    // SAFETY: the set is initialised and the pointer is valid for a write of one number.
    while unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {}
    match signal {
        libc::SIGHUP => Signal::Reload,
        libc::SIGUSR1 => Signal::StopAndKeep,
        _ => Signal::Stop,
    }
}

/// Whether this process has the rights of root.
pub fn is_root() -> bool {
    user_id() == 0
}

/// The user whose rights this process has.
pub fn user_id() -> u32 {
    // SAFETY: no pointers; can't fail.
    unsafe { libc::geteuid() }
}

/// Numbers of a user.
#[derive(Clone, Copy, Debug)]
pub struct User {
    id: libc::uid_t,
    group: libc::gid_t,
}

/// Looks a user up by name.
pub fn find_user(name: &str) -> Option<User> {
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; 16 * 1024];
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    // SAFETY: the name ends with a zero, and every pointer is valid for the length given with it.
    let result = unsafe {
        libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    if result != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call succeeded and found somebody, so the entry is filled.
    let entry = unsafe { entry.assume_init() };
    Some(User { id: entry.pw_uid, group: entry.pw_gid })
}

/// Maps a file for reading.
pub fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: nobody changes the bytes while they are mapped: our own files are written beside their place and renamed, never
    // changed in place. Who changes one all the same gives wrong bytes, which are checked again where it matters, and who cuts
    // it short ends the process by SIGBUS.
    unsafe { Mmap::map(file) }
}

/// Makes writes past the limit on the size of files (`RLIMIT_FSIZE`) fail instead of ending the process.
pub fn survive_file_size_limit() {
    // SAFETY: ignoring a signal installs no code that could run.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Gives up root for `user`, its group included.
pub fn become_user(user: User) -> io::Result<()> {
    // SAFETY: an empty list of groups may be null.
    checked(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: no pointers.
    checked(unsafe { libc::setgid(user.group) })?;
    // SAFETY: no pointers.
    checked(unsafe { libc::setuid(user.id) }).map(drop)
}

/// Goes on in a new process without a terminal, while this one ends with 0. Only while there is one thread.
pub fn daemonize(keep_directory: bool, keep_output: bool) -> io::Result<()> {
    // SAFETY: there is one thread (the caller's promise is checked by nobody, but a violation loses threads, not
    // memory safety: the child touches only what it owns).
    if checked(unsafe { libc::fork() })? != 0 {
        std::process::exit(0);
    }
    // SAFETY: no pointers.
    checked(unsafe { libc::setsid() })?;
    if !keep_directory {
        std::env::set_current_dir("/")?;
    }
    if keep_output {
        return Ok(());
    }
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..=2 {
        // SAFETY: no pointers; both descriptors are open.
        checked(unsafe { libc::dup2(nothing.as_raw_fd(), standard) })?;
    }
    Ok(())
}

/// The two ends of a connected socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The address of this process.
    Local,
    /// The address of the other one.
    Peer,
}

/// The internet address of one end of a socket; `None` for other families and closed connections.
pub fn socket_address(socket: RawFd, end: End) -> Option<SocketAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    let call = if end == End::Local { libc::getsockname } else { libc::getpeername };
    // SAFETY: the pointers are valid for writes of the length that is given with them; a descriptor that is not a
    // socket only makes the call fail.
    if unsafe { call(socket, storage.as_mut_ptr().cast(), &raw mut length) } != 0 {
        return None;
    }
    // SAFETY: all-zero is a valid value, and the kernel only wrote into it.
    let v6 = unsafe { storage.assume_init() };
    match i32::from(v6.sin6_family) {
        libc::AF_INET6 => Some(SocketAddr::from((v6.sin6_addr.s6_addr, u16::from_be(v6.sin6_port)))),
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in, which is smaller than the storage.
            let v4 = unsafe { storage.as_ptr().cast::<libc::sockaddr_in>().read() };
            Some(SocketAddr::from((v4.sin_addr.s_addr.to_ne_bytes(), u16::from_be(v4.sin_port))))
        }
        _ => None,
    }
}

/// The path that a Unix socket is bound to, or was accepted on; `None` for other families and closed connections.
pub fn socket_path(socket: RawFd) -> Option<PathBuf> {
    let mut storage = MaybeUninit::<libc::sockaddr_un>::zeroed();
    let mut length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the pointers are valid for writes of the length that is given with them; a descriptor that is not a
    // socket only makes the call fail.
    if unsafe { libc::getsockname(socket, storage.as_mut_ptr().cast(), &raw mut length) } != 0 {
        return None;
    }
    // SAFETY: all-zero is a valid value, and the kernel only wrote into it.
    let address = unsafe { storage.assume_init() };
    let path = address.sun_path.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0);
    let path: Vec<u8> = path.collect();
    let is_named = i32::from(address.sun_family) == libc::AF_UNIX && !path.is_empty();
    is_named.then(|| PathBuf::from(OsString::from_vec(path)))
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
