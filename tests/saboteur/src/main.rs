//! What the kernel of a box starts in a test, in the place of `penstock init`: it leaves a child behind and becomes that.
//!
//! The child waits for a sign and then does what the environment asks for, once in a boot: it stops the service, or the
//! first process itself. The sign is what the kernel logs when it is asked for help over the serial line (SysRq). So the
//! image stays as it is shipped: this comes in an archive of its own behind the image's.

// This is a part of a test: a panic is a message on the serial line, which the test shows.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// This program in the box.
const OURS: &str = "/bin/saboteur";
/// What it becomes.
const INIT: &str = "/bin/penstock";
/// What the kernel logs when it is asked for help.
const SIGN: &str = "sysrq: HELP";
/// The variable, which the kernel makes of a word that it does not know.
const VARIABLE: &str = "SABOTAGE";

#[allow(
    clippy::zombie_processes,
    reason = "who this becomes waits for every child, as the first process of a box does"
)]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "wait") {
        return sabotage();
    }
    Command::new(OURS).arg("wait").spawn().unwrap();
    let error = Command::new(INIT).args(arguments).exec();
    panic!("{INIT}: {error}");
}

fn sabotage() {
    wait_for_sign();
    match std::env::var(VARIABLE).as_deref() {
        Ok("stop-the-service") => kill(service(), Signal::SIGSTOP).unwrap(),
        Ok("hang-the-first-process") => {
            // No signal stops it, but who traces it does.
            ptrace::attach(Pid::from_raw(1)).unwrap();
            loop {
                sleep(Duration::from_secs(3600));
            }
        }
        other => panic!("{VARIABLE}: {other:?}"),
    }
}

fn wait_for_sign() {
    // The first process makes the devices.
    let path = Path::new("/dev/kmsg");
    while !path.exists() {
        sleep(Duration::from_millis(10));
    }
    let mut log = File::open(path).unwrap();
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(len) if String::from_utf8_lossy(&record[..len]).contains(SIGN) => return,
            Ok(_) => {}
            // Some records were overwritten before they were read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

fn service() -> Pid {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let serves = |number: &i32| {
        let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"serve")
    };
    Pid::from_raw(numbers.find(serves).unwrap())
}
