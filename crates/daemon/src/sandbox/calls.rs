//! Which calls to the kernel the daemon may make, by seccomp.
//!
//! A call that is not listed is answered with `ENOSYS`, as by a kernel that is too old to know it. A daemon that is killed
//! for it would be started again and killed again, and no mail be taken: that is too high a price for an update of a
//! library that begins to make a call which nobody thought of, and libraries know what to do without a call that a kernel
//! does not have. `EPERM` they take for a reason to give up.
//!
//! The exceptions are calls with which code becomes another program or gets into another process. No library makes
//! them unasked; who makes them has broken in, and the process is killed (signal 31, which the log then tells).

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

use super::Missing;

/// What any program does all the time, whatever the arguments.
#[rustfmt::skip]
const ALLOWED: [c_long; 94] = [
    // Files that are open.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2,
    libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2,
    libc::SYS_lseek, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_fadvise64,
    libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_flock, libc::SYS_fstat, libc::SYS_fstatfs,
    libc::SYS_fcntl, libc::SYS_dup, libc::SYS_close, libc::SYS_getdents64,
    // Paths: which, Landlock knows.
    libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_statfs, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_unlinkat, libc::SYS_getcwd,
    // A volume that is made later than the start gets its name when it is whole.
    libc::SYS_renameat2, libc::SYS_linkat,
    // Sockets that are there, and those of sessions.
    libc::SYS_accept, libc::SYS_accept4, libc::SYS_bind, libc::SYS_connect, libc::SYS_getpeername,
    libc::SYS_getsockname, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_recvfrom, libc::SYS_recvmsg,
    libc::SYS_recvmmsg, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_shutdown,
    // Waiting.
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_eventfd2, libc::SYS_ppoll,
    libc::SYS_pselect6, libc::SYS_futex, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall, libc::SYS_sched_yield, libc::SYS_membarrier,
    // Time, and who we are.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_getrandom,
    libc::SYS_getpid, libc::SYS_getppid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid,
    libc::SYS_getegid, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_sched_getaffinity,
    // Memory.
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise,
    // Threads: their beginning and their end.
    libc::SYS_rseq, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_set_tid_address,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_tkill, libc::SYS_tgkill,
    // Signals.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    libc::SYS_rt_sigtimedwait, libc::SYS_getcpu,
];

/// The older forms of the same, which only an older processor's kernel has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_TOO: [c_long; 12] = [
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_unlink,
    libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait, libc::SYS_time, libc::SYS_getrlimit,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_TOO: [c_long; 0] = [];

/// What only somebody does who has broken in.
#[rustfmt::skip]
const FATAL: [c_long; 10] = [
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev, libc::SYS_bpf, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_kexec_load, libc::SYS_mount,
];

/// Puts both filters before all threads. The kernel does what the stricter one says.
pub(super) fn restrict() -> Result<(), Missing> {
    for program in [fatal(), allowed()] {
        let program = program.map_err(|error| Missing::Refused(error.to_string()))?;
        apply_filter_all_threads(&program).map_err(missing)?;
    }
    Ok(())
}

fn missing(error: seccompiler::Error) -> Missing {
    match error {
        seccompiler::Error::Seccomp(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Missing::NotInKernel
        }
        seccompiler::Error::Seccomp(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            Missing::NotInKernel
        }
        error => Missing::Refused(error.to_string()),
    }
}

type Compiled<T> = Result<T, seccompiler::BackendError>;

/// Kills the process for what is fatal, and lets everything else through.
fn fatal() -> Compiled<BpfProgram> {
    let rules = FATAL.map(|call| (number(call), Vec::new())).into_iter().collect();
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, arch()?)?.try_into()
}

/// Lets through what is listed.
fn allowed() -> Compiled<BpfProgram> {
    let any = ALLOWED.into_iter().chain(ALLOWED_TOO).map(|call| (number(call), Vec::new()));
    let some = some()?.into_iter().map(|(call, rules)| (number(call), rules));
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(any.chain(some).collect(), unknown, SeccompAction::Allow, arch()?)?.try_into()
}

/// What is allowed with some arguments only.
fn some() -> Compiled<Vec<(c_long, Vec<SeccompRule>)>> {
    let is = |argument, value: libc::c_int| condition(argument, SeccompCmpOp::Eq, value as u32);
    let has = |argument, mask: libc::c_int, value: libc::c_int| {
        condition(argument, SeccompCmpOp::MaskedEq(u64::from(mask as u32)), value as u32)
    };
    let (write, execute) = (libc::PROT_WRITE, libc::PROT_EXEC);
    Ok(vec![
        // The Internet and the machine's own sockets; no packets, no talking with the kernel.
        (libc::SYS_socket, vec![is(0, libc::AF_UNIX)?, is(0, libc::AF_INET)?, is(0, libc::AF_INET6)?]),
        // Threads, no processes. The newer call hides its arguments, and libraries fall back to this one.
        (libc::SYS_clone, vec![has(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]),
        // No memory that can be written and then executed. Libraries that are loaded later are mapped in one step.
        (
            libc::SYS_mmap,
            vec![
                has(2, write | execute, 0)?,
                has(2, write | execute, write)?,
                has(2, write | execute, execute)?,
            ],
        ),
        (libc::SYS_mprotect, vec![has(2, execute, 0)?]),
        // A name for a thread, and one for memory.
        (libc::SYS_prctl, vec![is(0, libc::PR_SET_NAME)?, is(0, libc::PR_SET_VMA)?]),
        // Looking at limits, not setting them: there is nothing to be set.
        (
            libc::SYS_prlimit64,
            vec![SeccompRule::new(vec![SeccompCondition::new(
                2,
                SeccompCmpArgLen::Qword,
                SeccompCmpOp::Eq,
                0,
            )?])?],
        ),
        // Whether it is a terminal, a socket that does not block, and what block devices (0x12) and flash ('M') know.
        (
            libc::SYS_ioctl,
            vec![
                is(1, libc::TCGETS as libc::c_int)?,
                is(1, libc::FIONBIO as libc::c_int)?,
                has(1, 0xFF00, 0x1200)?,
                has(1, 0xFF00, i32::from(b'M') << 8)?,
            ],
        ),
    ])
}

/// A rule of one condition on the lower half of an argument: what is compared here are `int`s.
fn condition(argument: u8, is: SeccompCmpOp, value: u32) -> Compiled<SeccompRule> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, u64::from(value))?])
}

#[allow(clippy::useless_conversion, reason = "a `long` of another processor has 32 bits")]
fn number(call: c_long) -> i64 {
    i64::from(call)
}

fn arch() -> Compiled<TargetArch> {
    std::env::consts::ARCH.try_into()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;
    use std::{env, thread};

    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType};
    use seccompiler::apply_filter;

    use super::*;

    /// In the process that the second test starts, what it shall do.
    const PART: &str = "PENSTOCK_TEST_PART";

    /// Leaves this thread, and those that it starts, what the daemon keeps.
    pub(crate) fn restrict_this_thread() {
        apply_filter(&allowed().unwrap()).unwrap();
    }

    #[test]
    fn a_call_that_is_not_listed_is_not_known_and_the_rest_works() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            // One thread only: the others belong to the tests.
            restrict_this_thread();
            assert_eq!(rustix::process::getpriority_process(None), Err(Errno::NOSYS));
            let netlink = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None);
            assert_eq!(netlink.unwrap_err(), Errno::NOSYS);
            assert!(TcpListener::bind("127.0.0.1:0").is_err(), "nothing new is listened on");
            assert_eq!(Command::new("/bin/true").status().unwrap_err().raw_os_error(), Some(libc::ENOSYS));

            TcpStream::connect(address).unwrap();
            thread::Builder::new().name("another".into()).spawn(|| {}).unwrap().join().unwrap();
            std::fs::read("/proc/self/status").unwrap();
            assert_eq!(std::fs::read("/nonexistent").unwrap_err().kind(), ErrorKind::NotFound);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn who_becomes_another_program_is_killed() {
        if env::var_os(PART).is_some() {
            use std::os::unix::process::CommandExt as _;
            restrict().unwrap();
            let error = Command::new("/bin/true").exec();
            panic!("it is still there: {error}");
        }
        let name = "sandbox::calls::tests::who_becomes_another_program_is_killed";
        let mut again = Command::new(env::current_exe().unwrap());
        let ended = again.args(["--exact", name, "--nocapture"]).env(PART, "").output().unwrap();
        assert_eq!(ended.status.signal(), Some(libc::SIGSYS), "{ended:?}");
    }
}
