//! Child processes that do not outlive the test, and what the kernel says of them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// How long anything may take before it counts as hung. No test is decided by it.
pub const HANG_GUARD: Duration = Duration::from_secs(300);

/// A child that is killed when it is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command.
    pub fn spawn(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self { child },
            Err(error) => panic!("cannot start {:?}: {error}", command.get_program()),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once (SIGKILL) and waits for it.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        if self.child.try_wait().unwrap().is_none() {
            signal(self.id(), Signal::TERM);
        }
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let guard = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(guard.elapsed() < HANG_GUARD, "process {} does not end", self.id());
            sleep(Duration::from_millis(2));
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process that is a child of ours, or of one of ours.
pub fn signal(id: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Limits the file descriptors of another process, and returns how many it had before.
pub fn limit_descriptors(id: u32, most: u64) -> u64 {
    let pid = Pid::from_raw(i32::try_from(id).unwrap());
    // The hard limit is ours: the daemon's cannot be higher, since it was started from here.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(most), maximum }).unwrap();
    before.current.unwrap_or(u64::MAX)
}

/// Runs a command to its end and returns what it printed; it must succeed.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output =
        command.output().unwrap_or_else(|error| panic!("cannot start {:?}: {error}", command.get_program()));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The number that a user or group has.
pub fn number_of(kind: &str, name: &str) -> u32 {
    let number = run(Command::new("id").args([kind, name]));
    String::from_utf8_lossy(&number).trim().parse().unwrap()
}

/// Waits until `done` says so.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let guard = Instant::now();
    while !done() {
        assert!(guard.elapsed() < HANG_GUARD, "in vain: waiting until {what}");
        sleep(Duration::from_millis(5));
    }
}

/// A loopback port that is free now. It lies below those that the kernel gives to outgoing connections, so that it
/// stays free while a server that used it is away.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id().wrapping_mul(31) + step) % 20_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether something answers there.
pub fn answers(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// The proportional set size of a process in KiB: its private memory and its share of what it shares.
pub fn pss_kib(id: u32) -> u64 {
    rolled_up(id, "Pss:")
}

/// The part of it that is no file's, in KiB: what it has allocated. The executable of a test is several times as large as
/// the one that is shipped.
pub fn allocated_kib(id: u32) -> u64 {
    rolled_up(id, "Pss_Anon:")
}

fn rolled_up(id: u32, name: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
    field(&rollup, name).expect("the kernel reports PSS")
}

/// What a process and all below it, living or ended, have caused to be written to storage, in bytes.
pub fn write_bytes(id: u32) -> u64 {
    let own = match fs::read_to_string(format!("/proc/{id}/io")) {
        Ok(io) => field(&io, "write_bytes:").unwrap_or(0),
        // It has ended since it was listed; its parent has inherited the number.
        Err(_) => return 0,
    };
    own + children(id).into_iter().map(write_bytes).sum::<u64>()
}

/// What has been written to the device that holds this path since the machine started, in bytes: by anybody, file
/// system and journal included. `None` where the file system has no device of its own.
pub fn device_write_bytes(path: &Path) -> Option<u64> {
    let device = fs::metadata(path).ok()?.dev();
    let stat = format!("/sys/dev/block/{}:{}/stat", rustix::fs::major(device), rustix::fs::minor(device));
    // The seventh field counts sectors of 512 bytes (Documentation/block/stat.rst of Linux).
    let sectors: u64 = fs::read_to_string(stat).ok()?.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

/// Files in a folder and in those below it. One that goes away meanwhile may be counted or not.
pub fn files_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        Ok(_) => 1,
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(count).sum()
}

/// The processor time that a process and all below it have had, in s. Of those that have ended it counts what a parent
/// waited for.
pub fn cpu_s(id: u32) -> f64 {
    let ticks = || -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name, in parentheses, may hold anything. After it the state is field 3 (proc_pid_stat(5)): own and
        // waited-for times are 14 to 17.
        let (_, fields) = stat.rsplit_once(')')?;
        let times = fields.split_whitespace().skip(11).take(4);
        Some(times.filter_map(|time| time.parse::<u64>().ok()).sum())
    };
    let own = ticks().unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64;
    own + children(id).into_iter().map(cpu_s).sum::<f64>()
}

/// The processes that run this program.
pub fn running(program: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == program)).collect()
}

/// The children of a process.
pub fn children(id: u32) -> Vec<u32> {
    let read = || -> io::Result<Vec<u32>> {
        let mut all = Vec::new();
        for task in fs::read_dir(format!("/proc/{id}/task"))? {
            let list = fs::read_to_string(task?.path().join("children"))?;
            all.extend(list.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        Ok(all)
    };
    read().unwrap_or_default()
}

/// A number in one of the kernel's `name: value` files.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
