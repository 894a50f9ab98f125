//! The mail servers that keep a site's mail while its Exchange is away, each as its makers ship it, and one as its
//! makers say that it is to be tuned.
//!
//! Time runs `speed` times faster for the model of Exchange, and so for them: Penstock's clock is told so, of the
//! others every timer is divided. Postfix's timers are whole seconds and end at 1 s; of those that matter in a drain
//! that bends only `smtp_connection_cache_time_limit` (2 s), above speed 2. Exim has no such timer. What a machine can
//! do in a second it does not do faster: at a speed at which a sender is not far above the server's capacity it is the
//! machine that protects the server.

use std::net::SocketAddr;

use super::scenario::{Ceiling, Scenario};
use super::site::Place;
use crate::daemon::{Daemon, Settings};
use crate::exim::{self, Exim};
use crate::postfix::{Postfix, Role};
use crate::process::cpu_s;

/// Where canaries go: one mailbox in each of the model's databases.
const PROBES: [&str; 3] = ["probe-db1@example.com", "probe-db2@example.com", "probe-db3@example.com"];

/// A sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Penstock that knows no more of the server than what it says.
    PenstockBlind,
    /// Penstock that sends canaries.
    PenstockCanaries,
    /// Penstock that reads the server's counters.
    PenstockCounters,
    /// Postfix as it is installed.
    Postfix,
    /// Postfix as its documentation has it for a destination such as this.
    PostfixTuned,
    /// Exim as Debian installs it.
    Exim,
}

/// All of them.
pub const KINDS: [Kind; 6] = [
    Kind::PenstockBlind,
    Kind::PenstockCanaries,
    Kind::PenstockCounters,
    Kind::Postfix,
    Kind::PostfixTuned,
    Kind::Exim,
];

impl Kind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::PenstockBlind => "penstock-blind",
            Self::PenstockCanaries => "penstock-canaries",
            Self::PenstockCounters => "penstock-counters",
            Self::Postfix => "postfix",
            Self::PostfixTuned => "postfix-tuned",
            Self::Exim => "exim",
        }
    }

    /// The program, and what it knows of the server beyond its answers: only Penstock can know anything.
    pub fn sender_and_knowledge(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::PenstockBlind => ("penstock", Some("blind")),
            Self::PenstockCanaries => ("penstock", Some("canaries")),
            Self::PenstockCounters => ("penstock", Some("counters")),
            other => (other.name(), None),
        }
    }

    /// What it never exceeds of its own accord.
    pub fn ceiling(self) -> Option<Ceiling> {
        (self == Self::PenstockBlind).then_some(Ceiling { per_s: 10.0, backlog_in_ten_minutes: 1500 })
    }

    /// How fast time runs for it in a scenario unless told otherwise.
    pub fn speed(self, scenario: Scenario) -> u32 {
        match self {
            // It never sends much in a second, so that a machine can follow.
            Self::PenstockBlind => 16,
            // It begins a process for each message: at a higher speed it is the machine that is slow.
            Self::Exim => 1,
            _ => scenario.speed(),
        }
    }

    /// What it needs of the site, as commands for the model.
    pub fn site_commands(self) -> String {
        match self {
            Self::PenstockCanaries => {
                (1..).zip(PROBES).map(|(n, probe)| format!("place {probe} DB{n}\n")).collect()
            }
            _ => String::new(),
        }
    }
}

enum Program {
    Penstock(Daemon),
    Postfix { postfix: Postfix, next_hop: SocketAddr, settings: String },
    Exim { exim: Exim, next_hop: SocketAddr, timers: exim::Timers },
}

/// A mail server of a kind, before the site.
pub struct Spool {
    program: Program,
}

impl Spool {
    /// Starts one with an empty queue that keeps all mail. It has room for so many bytes of it.
    pub fn start(kind: Kind, place: Place, speed: u32, room_bytes: u64) -> Self {
        let program = match kind {
            Kind::PenstockBlind | Kind::PenstockCanaries | Kind::PenstockCounters => {
                let daemon = Daemon::start(penstock(kind, place, speed, room_bytes));
                daemon.hold();
                Program::Penstock(daemon)
            }
            Kind::Postfix | Kind::PostfixTuned => {
                let settings = postfix(kind, place.smtp, speed);
                let postfix = Postfix::start_with(Role::Hold, &settings);
                Program::Postfix { postfix, next_hop: place.smtp, settings }
            }
            Kind::Exim => {
                let timers = exim::Timers::of_debian(speed);
                let exim = Exim::start_with(place.smtp, &timers.keeping());
                Program::Exim { exim, next_hop: place.smtp, timers }
            }
        };
        Self { program }
    }

    /// Where it takes mail.
    pub fn address(&self) -> SocketAddr {
        match &self.program {
            Program::Penstock(daemon) => daemon.address(),
            Program::Postfix { postfix, .. } => postfix.address(),
            Program::Exim { exim, .. } => exim.address(),
        }
    }

    /// Where the server sends its reports for the outside.
    pub fn reports_to(&self) -> Option<SocketAddr> {
        match &self.program {
            Program::Penstock(daemon) => Some(daemon.address()),
            // Nobody waits for a report there.
            _ => None,
        }
    }

    /// Where it sends what is for the outside: bounces. Holds from [`prepare`](Self::prepare) on.
    pub fn tell_senders_at(&mut self, outside: SocketAddr) {
        let (ip, port) = (outside.ip(), outside.port());
        match &mut self.program {
            // It makes none without a smarthost.
            Program::Penstock(_) => {}
            Program::Postfix { settings, .. } => settings.push_str(&format!(
                "transport_maps = inline:{{ {{ client.example = smtp:[{ip}]:{port} }} }}\n"
            )),
            Program::Exim { timers, .. } => timers.outside = Some(outside),
        }
    }

    /// Gets it ready to give its mail on: everything that takes time and does not need the server.
    pub fn prepare(&mut self) {
        match &mut self.program {
            Program::Penstock(_) => {}
            Program::Postfix { postfix, next_hop, settings } => {
                postfix.down();
                postfix.configure(Role::Relay(*next_hop), settings);
                postfix.release_held();
            }
            Program::Exim { exim, next_hop, timers } => exim.reconfigure(*next_hop, timers),
        }
    }

    /// Has it give its mail on, as an operator would when the server is back: none of them waits for a back-off.
    pub fn let_go(&mut self) {
        match &mut self.program {
            Program::Penstock(daemon) => daemon.release(),
            // It looks through all its queues when it starts.
            Program::Postfix { postfix, .. } => postfix.up(),
            Program::Exim { exim, .. } => {
                exim.up();
                exim.flush();
            }
        }
    }

    /// What an operator does who finds the server well: tells so a Penstock that waits to hear it, since it has no
    /// canaries that would.
    pub fn confirm(&self, kind: Kind) {
        if let Program::Penstock(daemon) = &self.program
            && kind != Kind::PenstockCanaries
        {
            // Where it does not wait for it, it says so.
            daemon.confirm_if_asked();
        }
    }

    /// Messages that it still has.
    pub fn queued(&self) -> u64 {
        match &self.program {
            Program::Penstock(daemon) => daemon.queued(),
            Program::Postfix { postfix, .. } => postfix.queued(),
            Program::Exim { exim, .. } => exim.queued(),
        }
    }

    /// The processor time that it and its children have had, in s. Of Exim it cannot be known: it leaves its children
    /// behind.
    pub fn cpu_s(&self) -> Option<f64> {
        match &self.program {
            Program::Penstock(daemon) => Some(cpu_s(daemon.id())),
            Program::Postfix { postfix, .. } => postfix.master().map(cpu_s),
            Program::Exim { .. } => None,
        }
    }
}

/// As shipped; the settings are those of a site.
fn penstock(kind: Kind, place: Place, speed: u32, room_bytes: u64) -> Settings {
    let size_mib = room_bytes.div_ceil(1024 * 1024) * 3 / 2 + 1024;
    let settings = Settings::as_shipped_before(place.smtp)
        .set("volume.size", &format!("\"{size_mib}MiB\""))
        .set("volume.segment_size", "\"16MiB\"")
        .at_speed(speed);
    match kind {
        Kind::PenstockCanaries => settings.set("next_hop.probe_mailboxes", &format!("{PROBES:?}")),
        Kind::PenstockCounters => {
            settings.set("next_hop.counters_url", &format!("\"http://{}/metrics\"", place.http))
        }
        _ => settings,
    }
}

/// Timers of Postfix that have a part in delivery, with their defaults in seconds: `postconf -d` of 3.7.
const POSTFIX_TIMERS: [(&str, u32); 18] = [
    ("queue_run_delay", 300),
    ("minimal_backoff_time", 300),
    ("maximal_backoff_time", 4000),
    ("maximal_queue_lifetime", 432_000),
    ("bounce_queue_lifetime", 432_000),
    ("transport_retry_time", 60),
    ("in_flow_delay", 1),
    ("smtp_connect_timeout", 30),
    ("smtp_helo_timeout", 300),
    ("smtp_mail_timeout", 300),
    ("smtp_rcpt_timeout", 300),
    ("smtp_data_init_timeout", 120),
    ("smtp_data_xfer_timeout", 180),
    ("smtp_data_done_timeout", 600),
    ("smtp_rset_timeout", 20),
    ("smtp_quit_timeout", 300),
    ("smtp_connection_cache_time_limit", 2),
    ("smtp_connection_reuse_time_limit", 300),
];

/// What Postfix's documentation advises. QSHAPE_README, "Example 4: High volume destination backlog", names Exchange as
/// the server for which it is meant: a transport of its own for the destination (here there is no other), 10 to 20
/// processes, a cohort limit of 100, and sessions that are kept open. TUNING_README, "Tuning the number of simultaneous
/// deliveries", leaves 20 as enough "to noticeably load a system"; "Tuning the frequency of deferred mail delivery
/// attempts" names the three timers, which are shortened so that a server that is back is not left idle.
const POSTFIX_TUNED_TIMERS: [(&str, u32); 3] =
    [("queue_run_delay", 60), ("minimal_backoff_time", 60), ("maximal_backoff_time", 300)];

fn postfix(kind: Kind, next_hop: SocketAddr, speed: u32) -> String {
    let tuned = kind == Kind::PostfixTuned;
    let mut text = String::new();
    for (name, default_s) in POSTFIX_TIMERS {
        let tuned_s = POSTFIX_TUNED_TIMERS.iter().find(|(tuned, _)| *tuned == name).map(|(_, s)| *s);
        let seconds = tuned_s.filter(|_| tuned).unwrap_or(default_s);
        text.push_str(&format!("{name} = {}s\n", (seconds / speed).max(1)));
    }
    if tuned {
        text.push_str(&format!(
            "smtp_destination_concurrency_limit = 20\n\
             smtp_destination_concurrency_failed_cohort_limit = 100\n\
             smtp_connection_cache_destinations = [{}]:{}\n",
            next_hop.ip(),
            next_hop.port()
        ));
    }
    text
}
