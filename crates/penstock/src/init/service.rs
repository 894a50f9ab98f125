//! The daemon and the console as children: started, started again, and the daemon listened to.
//!
//! The daemon speaks as services speak to their manager (sd_notify(3)): that it is ready, and every few seconds that it lives.
//! One that says nothing for long hangs, and is killed: what it had acknowledged is on flash.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;

use penstock_daemon::keeper;

use super::log::{self, say};
use super::{CLOCK_FILE, CONSOLE_ID, DAEMON_ID, Error, SETTINGS_FILE, socket};
use crate::commands::{
    ERASED_VARIABLE, FORGET_VARIABLE, KEEPER_VARIABLE, NOTE_VARIABLE, STOP_REASON_VARIABLE,
};
use crate::memory;

/// The one binary of a box.
const PROGRAM: &str = "/bin/penstock";
/// The socket on which the daemon says how it is. Nobody else may write to it.
const NOTIFY_SOCKET: &str = "/run/init/notify";
/// What the daemon reads when it is asked to end.
const STOP_REASON_FILE: &str = "/run/init/stop-reason";
/// After how long without a sign of life a daemon that was ready is killed. It gives one twice as often.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to stop when it is asked to.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// When memory runs out, others go first.
const OOM_SCORE: &str = "-500";

/// What comes in on the socket.
pub(super) struct Notes(UnixDatagram);

impl Notes {
    pub(super) fn bind() -> Result<Self, Error> {
        socket::bind(NOTIFY_SOCKET, DAEMON_ID).map(Self)
    }

    /// The next message, which may hold several lines.
    pub(super) async fn next(&self) -> String {
        let mut bytes = [0; 512];
        String::from_utf8_lossy(socket::receive(&self.0, &mut bytes).await).into_owned()
    }
}

/// When to start again what has ended: soon, then less and less often.
#[derive(Debug)]
pub(super) struct Backoff {
    wait: Duration,
    due: Instant,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(30);
    /// What ran for this long was started well, and begins anew.
    const GOOD_RUN: Duration = Duration::from_secs(60);

    pub(super) fn new(now: Instant) -> Self {
        Self { wait: Self::FIRST, due: now }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// It has ended after this time. Returns how long it will be until it is started again.
    pub(super) fn ended(&mut self, ran: Duration, now: Instant) -> Duration {
        if ran >= Self::GOOD_RUN {
            self.wait = Self::FIRST;
        }
        let wait = self.wait;
        self.due = now + wait;
        self.wait = (wait * 2).min(Self::LONGEST);
        wait
    }
}

/// A daemon that runs.
#[derive(Debug)]
struct Running {
    pid: Pid,
    since: Instant,
    /// When it was heard of, once it was ready.
    alive_at: Option<Instant>,
    /// When it was asked to end.
    leaving_since: Option<Instant>,
    killed: bool,
    /// Whether it has read again what it wrote on a volume.
    volume_is_proven: bool,
}

/// How the next daemon begins, and what the one before it is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Begin {
    /// Why the one that runs has to end, for the ledger.
    pub(super) reason: String,
    /// What the next one writes into the ledger about its settings.
    pub(super) note: Option<String>,
    /// Whether the next one lets go of mode and states.
    pub(super) forget: bool,
    /// Whether all mail was destroyed before it.
    pub(super) erased: bool,
}

impl Running {
    const fn new(pid: Pid, since: Instant) -> Self {
        Self { pid, since, alive_at: None, leaving_since: None, killed: false, volume_is_proven: false }
    }
}

/// The daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    running: Option<Running>,
    backoff: Backoff,
    /// Whether there should be one.
    wanted: bool,
    begin: Begin,
    /// How often one ended that nobody had asked to.
    ends: u32,
    last_end: Option<String>,
}

impl Daemon {
    /// Nothing runs, and nothing is wanted yet.
    pub(super) fn new() -> Self {
        Self {
            running: None,
            backoff: Backoff::new(Instant::now()),
            wanted: false,
            begin: Begin::default(),
            ends: 0,
            last_end: None,
        }
    }

    /// Whether it takes mail, has been heard of lately, and is to stay.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        let staying = self.running.as_ref().filter(|running| running.leaving_since.is_none());
        let alive_at = staying.and_then(|running| running.alive_at);
        alive_at.is_some_and(|alive_at| now.duration_since(alive_at) < ALIVE_TIMEOUT)
    }

    /// Whether the one that runs has read again what it wrote on a volume.
    pub(super) fn has_proven_volume(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.volume_is_proven)
    }

    /// Whether there is a process.
    pub(super) fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Whether there should be one.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// How often one ended that nobody had asked to, since the box was started.
    pub(super) fn ends(&self) -> u32 {
        self.ends
    }

    /// How it ended last that way.
    pub(super) fn last_end(&self) -> Option<&str> {
        self.last_end.as_deref()
    }

    /// Has one started anew: the one that runs is asked to end first.
    pub(super) fn begin(&mut self, begin: Begin, now: Instant) {
        self.ask_to_end(&begin.reason, now);
        self.begin = begin;
        self.wanted = true;
        self.backoff = Backoff::new(now);
    }

    /// Asks it to end, and does not start it again.
    pub(super) fn retire(&mut self, reason: &str) {
        self.ask_to_end(reason, Instant::now());
        self.wanted = false;
    }

    fn ask_to_end(&mut self, reason: &str, now: Instant) {
        let Some(running) = &mut self.running else { return };
        // The ledger goes without the reason if it cannot be written down.
        let _ = fs::write(STOP_REASON_FILE, reason)
            .and_then(|()| fs::set_permissions(STOP_REASON_FILE, fs::Permissions::from_mode(0o644)));
        running.leaving_since.get_or_insert(now);
        // If it has ended by itself it is reaped as any other.
        let _ = kill_process(running.pid, Signal::TERM);
    }

    /// Starts it if it is time to, kills it if it hangs.
    pub(super) fn tend(&mut self, now: Instant) {
        match &mut self.running {
            None if self.wanted && self.backoff.is_due(now) => match start(&self.begin) {
                Ok(pid) => {
                    // What was to be said and done once has been passed on.
                    self.begin = Begin::default();
                    self.running = Some(Running::new(pid, now));
                }
                Err(error) => {
                    let wait = self.backoff.ended(Duration::ZERO, now);
                    say(&format!("the service cannot be started: {error}; tried again in {wait:?}"));
                }
            },
            Some(Running { pid, leaving_since: Some(since), killed, .. })
                if !*killed && now.duration_since(*since) >= STOP_TIMEOUT =>
            {
                say("the service does not stop in time; what it had acknowledged is on flash");
                *killed = kill_process(*pid, Signal::KILL).is_ok();
            }
            // It need not say how it is any more.
            Some(Running { leaving_since: Some(_), .. }) => {}
            Some(Running { pid, alive_at: Some(alive_at), killed, .. })
                if !*killed && now.duration_since(*alive_at) >= ALIVE_TIMEOUT =>
            {
                say(&format!("PS-I050: the service says nothing for {ALIVE_TIMEOUT:?}; it is started again"));
                *killed = kill_process(*pid, Signal::KILL).is_ok();
            }
            _ => {}
        }
    }

    /// It has said how it is.
    pub(super) fn noted(&mut self, note: &str, now: Instant) {
        let Some(running) = &mut self.running else { return };
        for line in note.lines() {
            match line {
                "READY=1" => {
                    running.alive_at = Some(now);
                    let took = now.duration_since(running.since).as_secs_f64();
                    let free = memory::sentence();
                    say(&format!("mail is taken, {took:.2} s after the start of the service; {free}"));
                }
                keeper::VOLUME_PROVEN => running.volume_is_proven = true,
                "WATCHDOG=1" if running.alive_at.is_some() => running.alive_at = Some(now),
                _ => {}
            }
        }
    }

    /// A process has ended, perhaps this one.
    pub(super) fn ended(&mut self, pid: Pid, how: &str, now: Instant) {
        let Some(running) = self.running.take_if(|running| running.pid == pid) else { return };
        if running.leaving_since.is_some() {
            return;
        }
        let wait = self.backoff.ended(now.duration_since(running.since), now);
        let words = log::last_line().map_or_else(String::new, |line| format!("; its last words: {line}"));
        say(&format!("PS-I051: the service ended with {how}; it is started again in {wait:?}{words}"));
        self.ends += 1;
        self.last_end = Some(format!("{how}{words}"));
    }
}

fn start(begin: &Begin) -> Result<Pid, Error> {
    // The reason was that of the one before.
    let _ = fs::remove_file(STOP_REASON_FILE);
    let mut command = Command::new(PROGRAM);
    command
        .args(["serve", "--settings", SETTINGS_FILE, "--clock-file", CLOCK_FILE])
        .env_clear()
        .env("NOTIFY_SOCKET", NOTIFY_SOCKET)
        .env("WATCHDOG_USEC", (ALIVE_TIMEOUT / 2).as_micros().to_string())
        .env(KEEPER_VARIABLE, keeper::SOCKET)
        .env(STOP_REASON_VARIABLE, STOP_REASON_FILE)
        .current_dir("/run/penstock")
        .uid(DAEMON_ID)
        .gid(DAEMON_ID)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // The kernel gives the first process every word of its command line that it does not know.
    #[cfg(feature = "faults")]
    for variable in penstock_daemon::FAULTS_VARIABLES {
        if let Some(words) = std::env::var_os(variable) {
            command.env(variable, words);
        }
    }
    if let Some(note) = &begin.note {
        // A byte that no environment can hold has no place in a sentence either.
        command.env(NOTE_VARIABLE, note.replace('\0', " "));
    }
    if begin.forget {
        command.env(FORGET_VARIABLE, "1");
    }
    if begin.erased {
        command.env(ERASED_VARIABLE, "1");
    }
    let mut child = command.spawn().map_err(Error::io("start a process"))?;
    if let Some(pipe) = child.stderr.take() {
        log::keep(pipe)?;
    }
    let score = format!("/proc/{}/oom_score_adj", child.id());
    fs::write(&score, OOM_SCORE).map_err(|source| Error::File { path: score.into(), source })?;
    Ok(Pid::from_child(&child))
}

/// The console on the serial line.
#[derive(Debug)]
pub(super) struct Console {
    line: PathBuf,
    running: Option<(Pid, Instant)>,
    backoff: Backoff,
}

impl Console {
    /// Finds the line that the kernel writes to, the last one if there are several.
    pub(super) fn find() -> Result<Self, Error> {
        let names = fs::read_to_string("/sys/class/tty/console/active").map_err(Error::NoSerialLine)?;
        let name = names.split_whitespace().next_back().unwrap_or("console");
        let line = PathBuf::from("/dev").join(name);
        chown(&line, Some(CONSOLE_ID), None).map_err(Error::NoSerialLine)?;
        Ok(Self { line, running: None, backoff: Backoff::new(Instant::now()) })
    }

    /// Starts it if it is time to.
    pub(super) fn tend(&mut self, now: Instant) {
        if self.running.is_none() && self.backoff.is_due(now) {
            match self.start() {
                Ok(pid) => self.running = Some((pid, now)),
                Err(error) => {
                    let wait = self.backoff.ended(Duration::ZERO, now);
                    say(&format!("the console cannot be started: {error}; tried again in {wait:?}"));
                }
            }
        }
    }

    /// A process has ended, perhaps this one.
    pub(super) fn ended(&mut self, pid: Pid, now: Instant) {
        if let Some((_, since)) = self.running.take_if(|(running, _)| *running == pid) {
            self.backoff.ended(now.duration_since(since), now);
        }
    }

    fn start(&self) -> Result<Pid, Error> {
        let open = || -> std::io::Result<[File; 3]> {
            // The console itself makes the line its own.
            let flags = OFlags::NOCTTY.bits() as i32;
            let line = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.line)?;
            Ok([line.try_clone()?, line.try_clone()?, line])
        };
        let [input, output, errors] = open().map_err(Error::NoSerialLine)?;
        let mut command = Command::new(PROGRAM);
        command
            .arg("console")
            .env_clear()
            .env("TERM", "vt100")
            .current_dir("/")
            .uid(CONSOLE_ID)
            .gid(DAEMON_ID);
        command.stdin(input).stdout(output).stderr(errors);
        let child = command.spawn().map_err(Error::io("start a process"))?;
        Ok(Pid::from_child(&child))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_at_once_is_started_less_and_less_often() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        assert!(backoff.is_due(now));
        let waits: Vec<_> = (0..10).map(|_| backoff.ended(Duration::from_secs(1), now)).collect();
        assert_eq!(waits[0], Backoff::FIRST);
        assert!(waits.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(Backoff::LONGEST)));
        assert_eq!(waits[9], Backoff::LONGEST);
        assert!(!backoff.is_due(now) && backoff.is_due(now + Backoff::LONGEST));
        assert_eq!(backoff.ended(Backoff::GOOD_RUN, now), Backoff::FIRST, "after a good run it begins anew");
    }

    #[test]
    fn a_daemon_is_well_while_it_is_heard_of_and_only_once_it_was_ready() {
        let now = Instant::now();
        let mut daemon = Daemon::new();
        daemon.running = Some(Running::new(Pid::INIT, now));
        daemon.noted("WATCHDOG=1", now);
        assert!(!daemon.is_well(now), "it was not ready yet");
        daemon.noted("READY=1\nSTATUS=x", now);
        assert!(daemon.is_well(now + ALIVE_TIMEOUT / 2));
        assert!(!daemon.is_well(now + ALIVE_TIMEOUT));
        daemon.noted("WATCHDOG=1", now + ALIVE_TIMEOUT);
        assert!(daemon.is_well(now + ALIVE_TIMEOUT));
        assert!(!daemon.has_proven_volume());
        daemon.noted(keeper::VOLUME_PROVEN, now);
        assert!(daemon.has_proven_volume());
        daemon.ended(Pid::INIT, "a test", now);
        assert!(!daemon.runs() && !daemon.is_well(now));
        assert_eq!(daemon.ends(), 1);
    }

    #[test]
    fn a_daemon_that_has_to_go_is_not_well_and_its_end_is_no_failure() {
        let now = Instant::now();
        let mut daemon = Daemon::new();
        let (alive_at, leaving_since) = (Some(now), Some(now));
        daemon.running = Some(Running { alive_at, leaving_since, ..Running::new(Pid::INIT, now) });
        assert!(!daemon.is_well(now));
        daemon.ended(Pid::INIT, "a test", now);
        assert_eq!((daemon.runs(), daemon.ends()), (false, 0));
    }
}
