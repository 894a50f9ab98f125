//! Bundles come from the program that Debian's users have for it, over a line with a terminal at either end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Seat, last_lines};
use penstock_console::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tempfile::TempDir;

/// What a transfer may take that has nothing wrong with it, many times over.
const HANG_GUARD: Duration = Duration::from_secs(120);

/// A serial line: its two ends.
fn line() -> (File, File) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap();
    let far =
        rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty()).unwrap();
    let mut modes = tcgetattr(&far).unwrap();
    modes.make_raw();
    tcsetattr(&far, OptionalActions::Now, &modes).unwrap();
    (File::from(near), File::from(far))
}

/// A sender at work, and what it sends.
struct Sending {
    sender: Child,
    sent: Vec<u8>,
    near: File,
    seat: Seat,
    began: Instant,
    _folder: TempDir,
}

/// Has somebody type `reflash system-b` and start a program that sends so many bytes.
fn send(program: &str, options: &[&str], bytes: usize) -> Sending {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("system.bundle");
    let sent: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
    fs::write(&path, &sent).unwrap();
    let mut seat = Seat::at(Level::Firmware);
    seat.now_ms = 0;
    seat.type_line("reflash system-b");
    assert!(seat.type_line("system-b").contains("Send it now"));
    seat.screen.clear();
    let (near, far) = line();
    let sender = Command::new(program)
        .args(options)
        .arg(&path)
        .stdin(Stdio::from(far.try_clone().unwrap()))
        .stdout(Stdio::from(far))
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup installs lrzsz"));
    Sending { sender, sent, near, seat, began: Instant::now(), _folder: folder }
}

impl Sending {
    /// Lets bytes and time pass until the answer is there; each byte of the sender's as `line` makes it. What was answered.
    fn run(&mut self, mut line: impl FnMut(u64, u8) -> Option<u8>) -> String {
        let mut answer = String::new();
        let mut passed = 0;
        while last_lines(&answer).is_empty() {
            assert!(self.began.elapsed() < HANG_GUARD, "nothing came of it: {answer:?}");
            let mut said = self.seat.wait_until(self.began.elapsed().as_millis() as u64);
            let mut ready = [PollFd::new(&self.near, PollFlags::IN)];
            poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 })).unwrap();
            if ready[0].revents().contains(PollFlags::IN) {
                let mut bytes = [0; 4096];
                let count = self.near.read(&mut bytes).unwrap();
                for byte in &bytes[..count] {
                    passed += 1;
                    if let Some(byte) = line(passed, *byte) {
                        said += &self.seat.type_bytes(&[byte]);
                    }
                }
            }
            self.near.write_all(said.as_bytes()).unwrap();
            answer += &said;
        }
        answer
    }

    fn assert_came(&mut self, answer: &str, is_length_known: bool) {
        assert_eq!(last_lines(answer), ["OK"], "{answer:?}");
        let machine = &self.seat.machine;
        assert!(machine.received.starts_with(&self.sent), "it is not what was sent");
        let more = &machine.received[self.sent.len()..];
        assert!(more.len() < 1024 && more.iter().all(|byte| *byte == 0x1a), "{more:?}");
        assert!(!is_length_known || more.is_empty());
        assert_eq!(machine.received_bytes, Some(machine.received.len() as u64));
        assert!(self.sender.wait().unwrap().success(), "the sender does not know that all went well");
    }
}

#[test]
fn a_bundle_comes_by_xmodem_in_long_and_in_short_blocks() {
    for (options, bytes) in [(&["-k"][..], 40_000), (&[][..], 5_000), (&["-k"], 300 * 1024 / 8)] {
        let mut sending = send("sx", options, bytes);
        let answer = sending.run(|_, byte| Some(byte));
        sending.assert_came(&answer, false);
    }
}

#[test]
fn a_bundle_comes_by_ymodem_with_its_length() {
    for options in [&["-k"][..], &[]] {
        let mut sending = send("sb", options, 40_001);
        let answer = sending.run(|_, byte| Some(byte));
        sending.assert_came(&answer, true);
    }
}

#[test]
fn a_bundle_comes_over_a_line_that_damages_and_loses_bytes() {
    let mut sending = send("sx", &["-k"], 20_000);
    let answer = sending.run(|passed, byte| match passed % 7_001 {
        0 => Some(byte ^ 0x10),
        3_500 => None,
        _ => Some(byte),
    });
    assert!(answer.matches('\u{15}').count() > 2, "more was asked for again than the end: {answer:?}");
    sending.assert_came(&answer, false);
}

#[test]
fn a_bundle_that_is_too_long_is_refused_before_it_is_sent() {
    let mut sending = send("sb", &["-k"], 64 * 1024 + 1);
    let answer = sending.run(|_, byte| Some(byte));
    assert!(last_lines(&answer)[0].starts_with("ERR PS-X004"), "{answer:?}");
    assert!(sending.seat.machine.received.is_empty());
    assert!(!sending.sender.wait().unwrap().success());
}

#[test]
fn a_sender_is_told_when_flash_refuses_and_somebody_who_gives_up_is_heard() {
    let mut sending = send("sx", &["-k"], 40_000);
    sending.seat.machine.bad_block = Some(3);
    let answer = sending.run(|_, byte| Some(byte));
    assert_eq!(last_lines(&answer), ["ERR PS-F011 cells could not be programmed"]);
    assert_eq!(sending.seat.machine.receive_ended, 1);
    assert!(!sending.sender.wait().unwrap().success());

    let mut sending = send("sx", &["-k"], 40_000);
    // Whoever stops the program goes back to the terminal and types Ctrl-C there.
    let id = rustix::process::Pid::from_child(&sending.sender);
    let answer = sending.run(|passed, byte| match passed {
        10_000 => {
            rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
            Some(byte)
        }
        ..10_000 => Some(byte),
        _ => Some(0x03),
    });
    assert!(last_lines(&answer)[0].starts_with("ERR PS-X003"), "{answer:?}");
    assert_eq!(sending.seat.machine.receive_ended, 1);
    sending.sender.wait().unwrap();
}
