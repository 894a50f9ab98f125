//! `penstock init`: the first process of a box.
//!
//! It makes a machine that takes mail out of a kernel that has just started: file systems, random numbers, identity,
//! settings, network, clock, disk; starts the service and starts it again whenever it ends or hangs; feeds the hardware
//! watchdog while the service is well; and switches off cleanly when somebody presses the power key. What fails on the way
//! is told and gone past wherever the console can still be of use. If this process itself fails, the kernel panics, and a
//! panic starts the box again.
//!
//! It keeps no mail and opens no port. What an operator wants is the affair of the service and of the console, which run as
//! users of their own; what only root can do for them, they ask for here: other settings, which are tried before they are
//! kept, a look at a network, the end of the box.

mod chosen;
mod clock;
mod dhcp;
mod entropy;
mod erase;
mod error;
mod gate;
mod health;
mod identity;
mod keeper;
mod log;
mod mailbox;
mod mounts;
mod network;
mod news;
mod power;
mod probe;
mod requests;
pub(crate) mod serial;
mod service;
mod settings;
mod slots;
mod socket;
mod trial;
mod update;
mod volumes;
mod watchdog;

use std::convert::Infallible;
use std::os::unix::fs::{PermissionsExt as _, chown};

use penstock_slots::Cause;
use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::SETTINGS_FILE;
use crate::failure::{Exit, Failure};
use entropy::Store;
use error::Error;
use keeper::{Keeper, Origin};
use log::say;
use mailbox::Letterbox;
use network::{Interface, Network};
use power::PowerKey;
use requests::Requests;
use service::{Console, Notes};
use watchdog::Watchdog;

pub(crate) use clock::FILE as CLOCK_FILE;
pub(crate) use identity::FILE as IDENTITY_FILE;
pub(crate) use log::{FILE as LOG_FILE, OLDER_FILE as OLDER_LOG_FILE};

/// The user and group of the daemon, as `/etc/passwd` of the box has them.
const DAEMON_ID: u32 = 100;
/// The user of the console, which belongs to the daemon's group.
const CONSOLE_ID: u32 = 101;
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
    // The next start is to know.
    if let Some(Ok(mut letterbox)) = Letterbox::open() {
        told(letterbox.announce(Cause::Panic));
    }
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
    let origin = Origin::find();
    told(update::listen(origin.slots()));

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
    let network = match interface {
        Some(interface) => told(Network::begin(interface, identity.as_ref().map(|it| it.mac)).await),
        None => None,
    };
    let mut keeper = Keeper::new(told(Console::find()), watchdog, network, identity, origin);
    keeper.begin(seed).await;
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
    mounts::set("net/ipv4/ip_unprivileged_port_start", "25")?;
    // The console may ask whether a machine is there, and needs no right of root for it.
    told(mounts::set("net/ipv4/ping_group_range", &format!("{DAEMON_ID} {DAEMON_ID}")));
    Ok(())
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
