//! `penstock init`: the first process of a box.
//!
//! It makes a machine that takes mail out of a kernel that has just started: file systems, random numbers, identity,
//! settings, network, clock, disk; starts the service and starts it again whenever it ends or hangs; feeds the hardware watchdog while the service is well; and
//! switches off cleanly when somebody presses the power key. What fails on the way is told and gone past wherever the
//! console can still be of use. If this process itself fails, the kernel panics, and a panic starts the box again.
//!
//! It keeps no mail and opens no port. What an operator wants is the console's affair, which runs as a user of its own and
//! asks for nothing here but power-off and restart.

mod clock;
mod dhcp;
mod entropy;
mod error;
mod health;
mod identity;
mod log;
mod mounts;
mod network;
mod power;
mod requests;
mod service;
mod settings;
mod socket;
mod volumes;
mod watchdog;

use std::convert::Infallible;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::{Duration, Instant};

use penstock_identity::Identity;
use penstock_settings::Settings;
use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::SETTINGS_FILE;
use crate::failure::{Exit, Failure};
use clock::Clock;
use entropy::Store;
use error::Error;
use health::Health;
use log::say;
use network::Interface;
use power::PowerKey;
use requests::Requests;
use service::{Console, Daemon, Notes};

pub(crate) use clock::FILE as CLOCK_FILE;
pub(crate) use identity::FILE as IDENTITY_FILE;
pub(crate) use log::{FILE as LOG_FILE, OLDER_FILE as OLDER_LOG_FILE};
pub(crate) use power::How;
pub(crate) use requests::SOCKET as REQUESTS_SOCKET;
use volumes::Volumes;
use watchdog::Watchdog;

/// The user and group of the daemon, as `/etc/passwd` of the box has them.
const DAEMON_ID: u32 = 100;
/// The user of the console, which belongs to the daemon's group.
const CONSOLE_ID: u32 = 101;
/// How often time is looked at, when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// Sessions, files and what else a process may have open.
const OPEN_FILES_MAX: u64 = 16_384;

/// Never returns while all is well: a box ends by losing its power.
pub(crate) fn run() -> Result<Infallible, Failure> {
    if rustix::process::getpid() != Pid::INIT {
        return Err(Failure::new(
            Exit::Failed,
            "PS-I001",
            "this is not the first process of a machine",
            "`penstock init` is what the kernel of a box starts. On a host, `penstock serve` is what you want.",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let error = match runtime.block_on(start()) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    // There is no box without this. The kernel starts it again a few seconds after the process has ended.
    say(&format!("{error}; the box starts again"));
    Err(Failure::new(Exit::Failed, error.code(), error.to_string(), ""))
}

/// Makes the box, and looks after it.
async fn start() -> Result<Infallible, Error> {
    mounts::mount()?;
    say(&format!("Penstock {} starts", env!("CARGO_PKG_VERSION")));
    restrict()?;
    let watchdog = told(Watchdog::open());
    let signals = Signals::new()?;
    let (notes, requests) = (Notes::bind()?, Requests::bind()?);
    let key = told(PowerKey::watch());

    // Before this nothing may need a random number.
    let seed = told(Store::open()).map(|mut store| {
        told(store.sow());
        store
    });
    let interface = told(Interface::find());
    let identity = told(identity::know(interface.as_ref().map(|it| it.name.as_str())));
    if let Some(identity) = &identity {
        say(&format!("this is {}, board {} revision {}", identity.serial, identity.board, identity.revision));
    }
    let (settings, ready) = match settings::load() {
        Ok((text, settings)) => {
            let ready = configure(&text, &settings, interface.as_ref(), identity.as_ref()).await;
            (Some(settings), ready)
        }
        Err(error) => {
            told(name(&identity::default_hostname(identity.as_ref()), identity.as_ref()));
            (None, Err(error))
        }
    };
    tokio::spawn(Clock::start(settings.as_ref(), seed).keep());
    let (daemon, volumes) = match ready {
        Ok(volumes) => (Some(Daemon::new()), volumes),
        Err(error) => {
            say(&format!("{error}; no mail is taken, but the console can be used"));
            (None, Volumes::default())
        }
    };
    let mut keeper = Keeper {
        health: Health::new(Instant::now(), daemon.is_some()),
        daemon,
        volumes,
        console: told(Console::find()),
        watchdog,
    };
    keeper.tend();
    keeper.keep(signals, notes, requests, key).await
}

/// What holds for this process and for everything that it starts.
fn restrict() -> Result<(), Error> {
    // Nothing on a box gains rights by being started.
    rustix::thread::set_no_new_privs(true).map_err(Error::system("give up new privileges"))?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let limit = Rlimit { current: Some(OPEN_FILES_MAX), maximum: Some(OPEN_FILES_MAX) };
    rustix::process::setrlimit(Resource::Nofile, limit)
        .map_err(Error::system("raise the number of open files"))?;
    // So the daemon needs no right beyond those of any user to listen where mail comes in.
    mounts::set("net/ipv4/ip_unprivileged_port_start", "25")
}

/// Does what the settings ask for.
async fn configure(
    text: &str,
    settings: &Settings,
    interface: Option<&Interface>,
    identity: Option<&Identity>,
) -> Result<Volumes, Error> {
    settings::write(text)?;
    name(settings.system.hostname.as_str(), identity)?;
    network::warn_of_shared_fate(settings);
    // Without a network the mail that is here is still safe, and the console works.
    if let Some(interface) = interface {
        told(network::up(interface, &settings.network, identity.map(|it| it.mac)).await);
    }
    Volumes::give(settings)
}

/// Gives the box its name, and tells everybody on it who it is.
fn name(hostname: &str, identity: Option<&Identity>) -> Result<(), Error> {
    rustix::system::sethostname(hostname.as_bytes()).map_err(Error::system("set the host name"))?;
    identity::publish(identity, hostname)
}

/// Says what went wrong, and goes on without.
fn told<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(|error| say(&error.to_string())).ok()
}

/// Writes a file that anybody on the box may read, so that no reader ever sees a part of it.
fn publish(path: &str, text: &str) -> Result<(), Error> {
    let draft = format!("{path}.new");
    let put = || -> std::io::Result<()> {
        std::fs::write(&draft, text)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o644))?;
        std::fs::rename(&draft, path)
    };
    put().map_err(|source| Error::File { path: path.into(), source })
}

/// Makes a directory that belongs to the daemon's group.
fn directory(path: &str, owner: u32, mode: u32) -> Result<(), Error> {
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(path)?;
        chown(path, Some(owner), Some(DAEMON_ID))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    make().map_err(|source| Error::File { path: path.into(), source })
}

/// What is to be noticed as it happens.
struct Signals {
    child: Signal,
    terminate: Signal,
    /// What the kernel sends for Ctrl-Alt-Del.
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let catch = |kind| signal(kind).map_err(Error::io("catch signals"));
        Ok(Self {
            child: catch(SignalKind::child())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }
}

/// The box as it runs.
struct Keeper {
    health: Health,
    daemon: Option<Daemon>,
    volumes: Volumes,
    console: Option<Console>,
    watchdog: Option<Watchdog>,
}

impl Keeper {
    /// Looks after everything for good.
    async fn keep(
        mut self,
        mut signals: Signals,
        notes: Notes,
        requests: Requests,
        mut key: Option<PowerKey>,
    ) -> Result<Infallible, Error> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ends = tokio::select! {
                _ = signals.child.recv() => {
                    self.reap();
                    None
                }
                note = notes.next() => {
                    if let Some(daemon) = &mut self.daemon {
                        daemon.noted(&note, Instant::now());
                    }
                    None
                }
                how = requests.next() => Some((how, "as the console asks")),
                () = PowerKey::pressed(&mut key) => Some((How::Off, "the power key was pressed")),
                _ = signals.terminate.recv() => Some((How::Off, "asked by a signal")),
                _ = signals.interrupt.recv() => Some((How::Restart, "asked by a signal")),
                _ = tick.tick() => None,
            };
            if let Some((how, why)) = ends {
                say(&format!("{how}: {why}"));
                self.end(how, &mut signals.child).await?;
            }
            self.tend();
        }
    }

    /// Starts what should run, stops what hangs, and feeds the watchdog if that helps.
    fn tend(&mut self) {
        let now = Instant::now();
        self.volumes.tend();
        if let Some(daemon) = &mut self.daemon {
            daemon.tend(now);
            if daemon.is_well(now) {
                self.health.well(now);
            }
        }
        if let Some(console) = &mut self.console {
            console.tend(now);
        }
        if self.health.deserves_food(now)
            && let Some(watchdog) = &mut self.watchdog
        {
            watchdog.feed();
        }
    }

    /// Takes note of every process that has ended. Those that nobody knows have lost their parent.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let how = describe(status);
            let now = Instant::now();
            if let Some(daemon) = &mut self.daemon {
                daemon.ended(pid, &how, now);
            }
            if let Some(console) = &mut self.console {
                console.ended(pid, now);
            }
        }
    }

    /// Stops everything in order, and the box with it.
    async fn end(&mut self, how: How, child: &mut Signal) -> Result<(), Error> {
        if let Some(daemon) = &mut self.daemon {
            daemon.stop();
            let until = Instant::now() + service::STOP_TIMEOUT;
            while self.daemon.as_ref().is_some_and(Daemon::runs) {
                if Instant::now() >= until {
                    say("the service does not stop in time; what it had acknowledged is on flash");
                    break;
                }
                let _ = tokio::time::timeout(TICK, child.recv()).await;
                self.reap();
                if let Some(watchdog) = &mut self.watchdog {
                    watchdog.feed();
                }
            }
        }
        rustix::fs::sync();
        say(match how {
            How::Off => "all is written; the power goes off",
            How::Restart => "all is written; the box starts again",
        });
        if how == How::Off
            && let Some(watchdog) = self.watchdog.take()
        {
            watchdog.disarm();
        }
        power::end(how)
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "an unknown end".into(),
    }
}
