//! The box as it runs: what is started, what is fed, what is asked, and how it ends.

mod origin;
mod reset;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use penstock_daemon::control::types::{ErrorBody, Trial as TrialView, TrialState};
use penstock_daemon::keeper::{self as language, Done, How, Kept, Request, Start};
use penstock_identity::Identity;
use penstock_settings::{BoxNetwork, changes};
use penstock_slots::Cause;
use rustix::process::{WaitOptions, WaitStatus};
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::clock::{Clock, TimeSources};
use super::entropy::Store;
use super::health::Health;
use super::log::say;
use super::network::Network;
use super::power::{self, PowerKey};
use super::requests::{Answer, Asked, Asker, Requests};
use super::service::{self, Begin, Console, Daemon, Notes};
use super::settings::Understood;
use super::trial::{Sight, Trial, Verdict};
use super::volumes::Volumes;
use super::watchdog::Watchdog;
use super::{Error, Signals, identity, network, settings, told};
pub(super) use origin::Origin;
use reset::Erasing;

/// How often time is looked at, when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// How long a network stays that somebody wanted to look at, without trying the settings that it belongs to.
const LOOK_MAX: Duration = Duration::from_secs(600);

/// How the box ends, why, and what the firmware hears of it.
type Ending = (How, &'static str, Cause);

/// The box as it runs.
pub(super) struct Keeper {
    health: Health,
    daemon: Daemon,
    console: Option<Console>,
    watchdog: Option<Watchdog>,
    by_watchdog: Option<bool>,
    /// What has started this, and whether it proves itself.
    origin: Origin,
    /// How often the service ended by itself with settings that were on trial.
    ends_of_trials: u32,
    /// The settings in flash, with which the box runs unless others are on trial.
    kept: Option<Understood>,
    why_none: Option<String>,
    trial: Option<(Trial, Understood)>,
    trials: u32,
    last_trial: Option<TrialView>,
    identity: Option<Identity>,
    /// Without an interface there is none.
    network: Option<Network>,
    volumes: Volumes,
    /// To who looks after the clock, once somebody does.
    clock: Option<watch::Sender<TimeSources>>,
    /// Since when it is so for a look only.
    look_since: Option<Instant>,
    /// Since when the service lets go of what a factory reset clears.
    forgetting_since: Option<Instant>,
    /// The mail is being destroyed.
    erasing: Option<Erasing>,
}

impl Keeper {
    pub(super) fn new(
        console: Option<Console>,
        watchdog: Option<Watchdog>,
        network: Option<Network>,
        identity: Option<Identity>,
        origin: Origin,
    ) -> Self {
        Self {
            health: Health::new(Instant::now()),
            daemon: Daemon::new(),
            console,
            by_watchdog: watchdog.as_ref().and_then(Watchdog::has_bitten),
            watchdog,
            origin,
            ends_of_trials: 0,
            kept: None,
            why_none: None,
            trial: None,
            trials: 0,
            last_trial: None,
            identity,
            network,
            volumes: Volumes::default(),
            clock: None,
            look_since: None,
            forgetting_since: None,
            erasing: None,
        }
    }

    /// Begins with what is in flash. The clock comes first: whoever is started then reads whether it is right.
    pub(super) async fn begin(&mut self, seed: Option<Store>) {
        let found = settings::load();
        let sources = TimeSources::of(found.as_ref().ok().map(|found| &found.settings));
        self.clock = Some(Clock::start(sources, seed));
        match found {
            Ok(understood) => {
                if let Err(error) = self.run_with(&understood, Begin::default(), false).await {
                    say(&format!("{error}; no mail is taken, but the console can be used"));
                }
                self.kept = Some(understood);
            }
            Err(error) => {
                say(&format!("{error}; no mail is taken, but the console can be used"));
                self.why_none = Some(error.to_string());
                told(self.name(&identity::default_hostname(self.identity.as_ref())));
            }
        }
        self.tend();
    }

    /// Looks after everything for good.
    pub(super) async fn keep(
        mut self,
        mut signals: Signals,
        notes: Notes,
        mut requests: Requests,
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
                    self.daemon.noted(&note, Instant::now());
                    None
                }
                asked = requests.next() => self.answer(asked).await,
                () = PowerKey::pressed(&mut key) => Some((How::Off, "the power key was pressed")),
                _ = signals.terminate.recv() => Some((How::Off, "asked by a signal")),
                _ = signals.interrupt.recv() => Some((How::Restart, "asked by a signal")),
                _ = tick.tick() => None,
            };
            let ending = match ends {
                Some((how, why)) => Some((how, why, Cause::Asked)),
                None => self.look_after().await,
            };
            if let Some(ending) = ending {
                self.end(ending, &mut signals.child, &mut requests).await?;
            }
        }
    }

    /// Does what is due. Returns how the box is to end and what the firmware is to hear of it, if it is to.
    async fn look_after(&mut self) -> Option<Ending> {
        self.tend();
        self.judge().await;
        self.erase();
        if let Some((how, why)) = self.prove().await {
            return Some((how, why, Cause::Asked));
        }
        if self.is_hopeless() {
            let why = "PS-I052: the service fails as often as it is started";
            return Some((How::Restart, why, Cause::Service));
        }
        if self.has_forgotten() {
            told(settings::erase());
            return Some((How::Restart, "factory reset", Cause::Asked));
        }
        None
    }

    /// Starts what should run, stops what hangs, and feeds the watchdog if that helps.
    fn tend(&mut self) {
        let now = Instant::now();
        self.volumes.tend();
        self.daemon.tend(now);
        if self.daemon.is_well(now) {
            self.health.well(self.daemon.ends(), now);
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

    /// Whether the box is better started again, so that the firmware hears of it: where that is none, nobody else would take
    /// the mail. Not while a service runs, which may be the first good one, nor while somebody repairs something.
    fn is_hopeless(&self) -> bool {
        self.origin.has_firmware()
            && !self.daemon.runs()
            && !self.origin.slots().is_being_updated()
            && self.health.is_hopeless(self.daemon.ends(), Instant::now())
    }

    fn answer_news(&self, answer: Answer) {
        answer.give(Ok(language::News { sentences: self.origin.slots().news().take() }));
    }

    /// Takes note of every process that has ended. Those that nobody knows have lost their parent.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let how = describe(status);
            let now = Instant::now();
            self.daemon.ended(pid, &how, now);
            if let Some(console) = &mut self.console {
                console.ended(pid, now);
            }
        }
    }

    /// Answers a request. Returns how the box is to end, if that was asked for.
    async fn answer(&mut self, asked: Asked) -> Option<(How, &'static str)> {
        let (asker, request, answer) = asked.split();
        match request {
            Request::Settings => answer.give(Ok(self.view())),
            Request::Try { text, by } => {
                // The daemon knows who asks it, and has it in the ledger. Others are who they are, and it is for the daemon
                // that starts then to write it down.
                let (by, note) = match asker {
                    Asker::Daemon => (by, None),
                    Asker::Root | Asker::Console => {
                        let by = asker.name().to_owned();
                        let note = format!("tried for {by}: {}", self.changed_keys(&text));
                        (by, Some(note))
                    }
                };
                let begun = self.try_out(text, by, note).await;
                answer.give(begun.map(|()| self.view()));
            }
            Request::Network { text, even_if_taken } => {
                answer.give(self.look(&text, even_if_taken).await);
            }
            Request::NetworkBack => {
                self.network_back().await;
                answer.give(Ok(language::Network::default()));
            }
            Request::Start => answer.give(Ok(Start {
                by_watchdog: self.by_watchdog,
                service_ends: self.daemon.ends(),
                last_end: self.daemon.last_end().map(ToOwned::to_owned),
                firmware: self.origin.view(),
            })),
            Request::News => self.answer_news(answer),
            Request::Attended => {
                self.health.attended(Instant::now());
                answer.give(Ok(Done { summary: "The box is not started again while you are there.".into() }));
            }
            Request::Slots => self.answer_slots(answer),
            Request::Verify => self.answer_verify(answer),
            Request::MarkGood => self.answer_mark_good(answer),
            Request::RollBack { software } => self.answer_roll_back(software, answer),
            Request::End { how } => {
                let summary = match how {
                    How::Off => "The box finishes what is under way and switches itself off.",
                    How::Restart => "The box finishes what is under way and starts again.",
                };
                answer.give(Ok(Done { summary: summary.into() }));
                return Some((how, "as the console asks"));
            }
            Request::Reset { what, serial } => self.reset(what, &serial, answer),
        }
        None
    }

    fn view(&self) -> Kept {
        let running = self.trial.as_ref().map(|(trial, _)| trial.view(TrialState::Running, None));
        Kept {
            text: self.kept.as_ref().map(|kept| kept.text.clone()),
            why_none: self.why_none.clone(),
            trial: running.or_else(|| self.last_trial.clone()),
        }
    }

    /// In which keys a text differs from the kept settings.
    fn changed_keys(&self, text: &str) -> String {
        let before = self.kept.as_ref().map_or("", |kept| kept.text.as_str());
        let keys: Vec<String> = changes(before, text).into_iter().map(|change| change.key).collect();
        if keys.is_empty() { "nothing else than before".into() } else { keys.join(", ") }
    }

    /// Runs with other settings, and sees how that goes.
    async fn try_out(&mut self, text: String, by: String, note: Option<String>) -> Result<(), ErrorBody> {
        if let Some((trial, _)) = &self.trial {
            return Err(refusal("PS-I080", format!("settings of {} are on trial already", trial.by)));
        }
        if self.forgetting_since.is_some() || self.erasing.is_some() {
            return Err(refusal("PS-I080", "the box is being reset"));
        }
        let understood = Understood::new(text).map_err(|error| refusal(error.code(), error.to_string()))?;
        self.trials += 1;
        self.look_since = None;
        say(&format!("other settings are tried, as {by} asks"));
        let trial = Trial::new(self.trials, by, self.daemon.ends(), Instant::now());
        let begin = Begin { reason: "other settings are tried".into(), note, ..Begin::default() };
        let run = self.run_with(&understood, begin, true).await;
        self.trial = Some((trial, understood));
        if let Err(error) = run {
            self.go_back(error.to_string()).await;
        }
        Ok(())
    }

    /// Decides about settings on trial, and puts back a network that was for a look.
    async fn judge(&mut self) {
        let now = Instant::now();
        if self.look_since.is_some_and(|since| now.duration_since(since) >= LOOK_MAX) {
            say("nobody tried the settings that the network was changed for; it is put back");
            self.network_back().await;
        }
        let sight = Sight {
            is_well: self.daemon.is_well(now),
            ends: self.daemon.ends(),
            last_end: self.daemon.last_end(),
        };
        let Some((trial, understood)) = &mut self.trial else { return };
        match trial.judge(sight, now) {
            Verdict::Wait => {}
            Verdict::GoBack(why) => self.go_back(why).await,
            Verdict::Keep => match settings::store(&understood.text) {
                Ok(()) => {
                    say(&format!("the settings of {} are kept", trial.by));
                    self.last_trial = Some(trial.view(TrialState::Kept, None));
                    self.kept = self.trial.take().map(|(_, understood)| understood);
                    self.why_none = None;
                }
                Err(error) => self.go_back(format!("they cannot be written: {error}")).await,
            },
        }
    }

    /// Ends a trial that went badly.
    async fn go_back(&mut self, why: String) {
        let Some((trial, _)) = self.trial.take() else { return };
        self.ends_of_trials += trial.ends_since(self.daemon.ends());
        say(&format!("PS-I083: the settings of {} are not kept: {why}", trial.by));
        let note = format!("those tried for {} went back: {why}", trial.by);
        self.last_trial = Some(trial.view(TrialState::GoneBack, Some(why)));
        let Some(kept) = self.kept.clone() else {
            // There are none to go back to.
            self.daemon.retire("the settings that were tried went back");
            self.health.rest();
            self.network_back().await;
            told(settings::forget());
            return;
        };
        let begin = Begin {
            reason: "the settings that were tried go back".into(),
            note: Some(note),
            ..Begin::default()
        };
        told(self.run_with(&kept, begin, false).await);
    }

    /// Does what settings ask for, and has the service started with them. Mail that can come in by one address is better
    /// than none; but with `strict` nothing counts with which that is so.
    async fn run_with(&mut self, understood: &Understood, begin: Begin, strict: bool) -> Result<(), Error> {
        let Understood { text, settings } = understood;
        settings::write(text)?;
        self.name(settings.system.hostname.as_str())?;
        network::warn_of_shared_fate(settings);
        let network = self.set_network(&settings.network).await;
        if strict {
            network?;
        } else {
            told(network);
        }
        if let Some(clock) = &self.clock {
            let sources = TimeSources::of(Some(settings));
            clock.send_if_modified(|known| {
                *known != sources && std::mem::replace(known, sources.clone()) != sources
            });
        }
        self.volumes = Volumes::give(settings)?;
        self.daemon.begin(begin, Instant::now());
        self.health.begin(self.daemon.ends(), Instant::now());
        Ok(())
    }

    /// Gives the box its name, and tells everybody on it who it is.
    fn name(&self, hostname: &str) -> Result<(), Error> {
        rustix::system::sethostname(hostname.as_bytes()).map_err(Error::system("set the host name"))?;
        identity::publish(self.identity.as_ref(), hostname)
    }

    async fn set_network(&mut self, wanted: &BoxNetwork) -> Result<(), Error> {
        self.network.as_mut().ok_or(Error::NoInterface)?.set(wanted).await
    }

    /// Sets up a network for a look.
    async fn look(&mut self, text: &str, even_if_taken: bool) -> Result<language::Network, ErrorBody> {
        let wanted = BoxNetwork::parse(text)
            .map_err(|problems| refusal("PS-I012", format!("the network is not right: {problems}")))?;
        if self.trial.is_some() {
            return Err(refusal("PS-I080", "settings are on trial"));
        }
        let failed = |error: Error| language::Network { taken: Vec::new(), failed: Some(error.to_string()) };
        let Some(network) = &mut self.network else { return Ok(failed(Error::NoInterface)) };
        if network.is(&wanted) {
            return Ok(language::Network::default());
        }
        network.clear().await;
        self.look_since = self.kept.as_ref().map(|_| Instant::now());
        let taken = match network.taken(&wanted).await {
            Ok(taken) => taken,
            Err(error) => return Ok(failed(error)),
        };
        if !taken.is_empty() && !even_if_taken {
            return Ok(language::Network { taken, failed: None });
        }
        let set = network.set(&wanted).await;
        Ok(language::Network { taken, failed: set.err().map(|error| error.to_string()) })
    }

    /// The network as the kept settings have it.
    async fn network_back(&mut self) {
        self.look_since = None;
        match self.kept.as_ref().map(|kept| kept.settings.network.clone()) {
            Some(wanted) => {
                told(self.set_network(&wanted).await);
            }
            None => {
                if let Some(network) = &mut self.network {
                    network.clear().await;
                }
            }
        }
    }

    /// Stops everything in order, and the box with it. Until the service has stopped it still hears what is for the ledger.
    async fn end(
        &mut self,
        (how, why, cause): Ending,
        child: &mut Signal,
        requests: &mut Requests,
    ) -> Result<(), Error> {
        say(&format!("{}: {why}", power::words(how)));
        self.daemon.retire(&format!("{}, {why}", power::words(how)));
        let until = Instant::now() + service::STOP_TIMEOUT;
        while self.daemon.runs() {
            if Instant::now() >= until {
                say("the service does not stop in time; what it had acknowledged is on flash");
                break;
            }
            tokio::select! {
                _ = child.recv() => {}
                asked = requests.next() => match asked.split() {
                    (_, Request::News, answer) => self.answer_news(answer),
                    (_, _, answer) => answer.give::<Done>(Err(refusal("PS-I080", "the box is ending"))),
                },
                () = tokio::time::sleep(TICK) => {}
            }
            self.reap();
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.feed();
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
        // From here on nothing fails that would not be the kernel's doing.
        self.origin.announce(cause);
        power::end(how)
    }
}

fn refusal(code: &str, message: impl AsRef<str>) -> ErrorBody {
    // What says its code itself says it once.
    let message = message.as_ref();
    let message = message.strip_prefix(code).map_or(message, |rest| rest.trim_start_matches(": ")).to_owned();
    ErrorBody { code: code.into(), message, help: String::new() }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "an unknown end".into(),
    }
}
