//! The clock of the box: set, kept right, and vouched for.
//!
//! [`belief`] has the rules, [`sntp`] what is said to a time server, [`chip`] what is said to the kernel. Here is the order:
//! who trusts the clock reads a file, so trust is withdrawn before a clock is set and given after that.

mod belief;
mod chip;
mod sntp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use penstock_settings::{ClockChip, Settings};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::entropy::{self, Store};
use super::log::say;
use super::{Error, told};
use belief::{Act, Belief, Contradiction, agreement};
use sntp::{Flaw, PACKET_BYTES, Sample, answer, question};

/// The file in which everybody reads whether the clock is right: TOML, `trusted` and `why`.
pub(crate) const FILE: &str = "/run/init/clock";
/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long until servers that do not agree are asked again. Each time it is twice as long, up to [`ROUND`].
const RETRY: Duration = Duration::from_secs(2);
/// How long until servers that did agree are asked again. A cheap clock is a tenth of a second off then.
const ROUND: Duration = Duration::from_secs(1024);
/// How many rounds a server is left alone that says that it is asked too often.
const PATIENCE_ROUNDS: u32 = 4;
/// How often the time is noted in flash while it is trusted.
const NOTE_INTERVAL: Duration = Duration::from_secs(3600);

/// What the clock shows, in Unix milliseconds.
pub(super) fn now_ms() -> u64 {
    u64::try_from(chip::now_ns() / 1_000_000).unwrap_or(0)
}

/// A server in the settings.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// For how many rounds it is left alone.
    rest: u32,
    /// It does not want to be asked.
    unwelcome: bool,
}

/// Whom the settings have the time from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeSources {
    servers: Vec<SocketAddr>,
    chip_is_trusted: bool,
}

impl TimeSources {
    /// Those of the settings. Without settings there is none.
    pub(super) fn of(settings: Option<&Settings>) -> Self {
        let servers = settings.map_or(&[][..], |settings| &settings.network.time_servers);
        Self {
            servers: servers.iter().map(|server| server.0).collect(),
            chip_is_trusted: settings
                .is_some_and(|settings| settings.system.clock_chip == ClockChip::Trusted),
        }
    }
}

/// Who looks after the clock.
#[derive(Debug)]
pub(super) struct Clock {
    belief: Belief,
    sources: watch::Receiver<TimeSources>,
    servers: Vec<Server>,
    store: Option<Store>,
    trusted: bool,
    /// Of the last file, so that it is told once.
    why: String,
    noted_at: Option<Instant>,
}

impl Clock {
    /// Looks at the chip, says whether the clock is right, and looks after it from now on. To be called before anything
    /// starts that wants to know. Returns where other sources are told.
    pub(super) fn start(sources: TimeSources, store: Option<Store>) -> watch::Sender<TimeSources> {
        let belief = Belief::new(store.as_ref().and_then(Store::last_trusted_ms));
        let (tell, sources) = watch::channel(sources);
        let (servers, why) = (Vec::new(), String::new());
        let mut clock = Self { belief, sources, servers, store, trusted: false, why, noted_at: None };
        let chip_ms = now_ms();
        if let Some(floor_ms) = clock.belief.floor_ms().filter(|floor_ms| chip_ms < *floor_ms) {
            // What is written down now did not happen before what was written down earlier.
            told(chip::step((i128::from(floor_ms) - i128::from(chip_ms)) * 1_000_000));
        }
        clock.begin(chip_ms);
        tokio::spawn(clock.keep());
        tell
    }

    /// Begins with the sources that the settings have now, by what the clock shows.
    fn begin(&mut self, shows_ms: u64) {
        let TimeSources { servers, chip_is_trusted } = self.sources.borrow_and_update().clone();
        self.servers =
            servers.into_iter().map(|address| Server { address, rest: 0, unwelcome: false }).collect();
        match self.belief.chip(shows_ms) {
            Ok(()) if chip_is_trusted => self.vouch(true, "the settings say that the chip is right"),
            Ok(()) if self.servers.is_empty() => {
                self.vouch(
                    false,
                    "there are no time servers in the settings, and the chip is not to be trusted by itself",
                );
            }
            Ok(()) => self.vouch(false, "the time servers have not answered yet"),
            Err(why) => self.vouch(false, why),
        }
    }

    /// Asks the time servers for good, and keeps what is known of the time.
    async fn keep(mut self) {
        let mut retry = RETRY;
        loop {
            let wait = if self.servers.is_empty() {
                NOTE_INTERVAL
            } else if self.round().await {
                retry = RETRY;
                ROUND
            } else {
                let wait = retry;
                retry = (retry * 2).min(ROUND);
                wait
            };
            self.note();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Ok(()) = self.sources.changed() => {
                    self.begin(now_ms());
                    retry = RETRY;
                }
            }
        }
    }

    /// Asks them all once. Whether they agreed and are believed.
    async fn round(&mut self) -> bool {
        let samples = self.ask().await;
        let (asked, answered) = (self.servers.len(), samples.len());
        let Some(offset_ns) = agreement(&samples, asked) else {
            if !self.trusted {
                let why = format!(
                    "{answered} of {asked} time servers answer, and more than half have to and agree"
                );
                self.vouch(false, &why);
            }
            return false;
        };
        let act = self.belief.agreed(offset_ns, now_ms(), Instant::now());
        let done = match act {
            Act::Doubt(contradiction) => {
                self.vouch(false, doubt(contradiction));
                return false;
            }
            Act::Slew(offset_ns) => chip::slew(offset_ns),
            Act::Step(offset_ns) => {
                if offset_ns.abs() > 1_000_000_000 {
                    self.vouch(false, "the clock is being set");
                    say(&format!("the clock is set by {} s", offset_ns / 1_000_000_000));
                }
                chip::step(offset_ns)
            }
        };
        if told(done).is_none() {
            self.vouch(false, "the clock cannot be set");
            return false;
        }
        told(chip::keep());
        self.vouch(true, &format!("more than half of {asked} time servers agree on it"));
        true
    }

    /// Asks all that may be asked, at the same time.
    async fn ask(&mut self) -> Vec<Sample> {
        let mut asking = JoinSet::new();
        for (n, server) in self.servers.iter_mut().enumerate() {
            if server.unwelcome || server.rest > 0 {
                server.rest = server.rest.saturating_sub(1);
                continue;
            }
            let address = server.address;
            asking.spawn(async move { (n, ask(address).await) });
        }
        let mut samples = Vec::new();
        while let Some(asked) = asking.join_next().await {
            let Ok((n, result)) = asked else { continue };
            let Some(server) = self.servers.get_mut(n) else { continue };
            match result {
                Ok(Ok(sample)) => samples.push(sample),
                Ok(Err(Flaw::TooOften)) => server.rest = PATIENCE_ROUNDS,
                Ok(Err(Flaw::Unwelcome)) => {
                    server.unwelcome = true;
                    say(&format!(
                        "PS-I071: the time server {} does not want to be asked: take another",
                        server.address
                    ));
                }
                // It is down, out of reach or unsure. It is asked again.
                Ok(Err(Flaw::NotOurs | Flaw::Unsure)) | Err(_) => {}
            }
        }
        samples
    }

    /// Says whether the clock is right, and why.
    fn vouch(&mut self, trusted: bool, why: &str) {
        if self.why == why {
            return;
        }
        // What was not trusted and is not trusted is told again only if the reason is news.
        let code = if trusted { "" } else { "PS-I070: " };
        let verdict = if trusted { "trusted" } else { "not trusted: nothing expires" };
        say(&format!("{code}the clock is {verdict}; {why}"));
        self.trusted = trusted;
        why.clone_into(&mut self.why);
        told(super::publish(FILE, &format!("trusted = {trusted}\nwhy = \"{why}\"\n")));
    }

    /// Notes the time in flash, now and then.
    fn note(&mut self) {
        let due = self.noted_at.is_none_or(|at| at.elapsed() >= NOTE_INTERVAL);
        if self.trusted
            && due
            && let Some(store) = &mut self.store
        {
            self.noted_at = Some(Instant::now());
            told(store.note_time(now_ms()));
        }
    }
}

fn doubt(contradiction: Contradiction) -> &'static str {
    match contradiction {
        Contradiction::Past => {
            "the time servers agree on a time before the last that was known to be right; if they insist for a day they are \
             believed"
        }
        Contradiction::Jump => {
            "the time servers agree on another time than they did; if they insist for a day they are believed"
        }
    }
}

/// Asks one server once.
async fn ask(address: SocketAddr) -> Result<Result<Sample, Flaw>, Error> {
    let asking = async {
        let ours: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Connected, so that the kernel drops what comes from anywhere else.
        let socket = UdpSocket::bind(SocketAddr::new(ours, 0)).await?;
        socket.connect(address).await?;
        let number = u64::from_ne_bytes(entropy::random().map_err(io::Error::other)?);
        let (sent_ns, began) = (chip::now_ns(), Instant::now());
        socket.send(&question(number)).await?;
        let mut packet = [0; PACKET_BYTES];
        loop {
            let len = socket.recv(&mut packet).await?;
            // By the clock that nobody sets.
            let received_ns = sent_ns + began.elapsed().as_nanos() as i128;
            match answer(&packet[..len], number, sent_ns, received_ns) {
                Err(Flaw::NotOurs) => {}
                other => return Ok(other),
            }
        }
    };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let asked: io::Result<_> =
        tokio::time::timeout(ANSWER_TIMEOUT, asking).await.unwrap_or_else(|e| Err(late(e)));
    asked.map_err(Error::io("ask a time server"))
}
