//! `setup`: asks for all that a box needs, one thing after the other, and looks whether it is so before it goes on.
//!
//! Answers go into a draft in the same way as `config set` does, so that what is refused is refused in the same words. A check
//! that fails is told and can be overridden: the network may not be as it will be. Nothing holds before the last question is
//! answered with yes, but for the network, which the checks need; that is put back if the dialogue is left.

mod step;

use std::io::Write as _;
use std::path::Path;

use penstock_daemon::keeper::{self, Kept, Request};
use penstock_settings::{BoxNetwork, Settings, changes};

use super::checks::{self, Found};
use super::editor::{Lines, Read};
use super::{Session, config, failure};
use crate::edit;
use crate::failure::Failure;
use crate::text::human::{plain, size};
use crate::text::{Screen, wrap};
use step::{
    STEPS, Step, bare, default_of, disks, exists, first_hop, is_yes, key_of, list, question, time_key,
    without,
};

/// How wide the dialogue is.
const COLUMNS: usize = 78;
/// The name that the next hop gets if there is none yet.
const HOP: &str = "exchange";

/// Where an answer leads.
enum Lead {
    On,
    Again,
    Back,
    Leave,
}

/// Whether this is a box without settings.
pub(super) fn is_needed() -> bool {
    keeper::ask::<Kept>(Path::new(keeper::SOCKET), &Request::Settings).is_ok_and(|kept| kept.text.is_none())
}

/// Asks for everything. Ends with settings that the box keeps, or as nothing had been asked.
pub(super) fn run(session: &mut Session, first: bool) -> Result<(), Failure> {
    let mut dialogue = Dialogue {
        draft: session.draft.text(),
        hop: HOP.into(),
        lines: &mut session.lines,
        screen: Screen::new(),
    };
    let known = first_hop(&dialogue.draft);
    dialogue.hop = known.unwrap_or_else(|| HOP.into());
    dialogue.introduce(first)?;
    let done = dialogue.ask_everything();
    if done.is_err() {
        checks::network_back();
    } else {
        session.draft.discard();
    }
    done
}

struct Dialogue<'s> {
    draft: String,
    hop: String,
    lines: &'s mut Lines,
    screen: Screen,
}

impl Dialogue<'_> {
    fn introduce(&mut self, first: bool) -> Result<(), Failure> {
        if first {
            self.say("This box has not been set up: it takes no mail yet.")?;
        }
        self.say(
            "An empty answer takes what stands in brackets. `back` goes to the question before, `?` explains, `quit` or \
             Ctrl-C leaves; `setup` begins again. A whole file is taken by `settings import`, after `quit`.",
        )
    }

    fn ask_everything(&mut self) -> Result<(), Failure> {
        loop {
            let mut at = 0;
            while let Some(step) = STEPS.get(at) {
                match self.step(*step)? {
                    Lead::On => at += 1,
                    Lead::Again => {}
                    // Steps that have nothing to ask are gone past in this direction as well.
                    Lead::Back => {
                        at = (0..at).rev().find(|before| self.is_asked(STEPS[*before])).unwrap_or(0);
                    }
                    Lead::Leave => return Err(left()),
                }
            }
            if self.confirm()? {
                return Ok(());
            }
        }
    }

    /// Whether there is something to ask.
    fn is_asked(&self, step: Step) -> bool {
        match step {
            Step::TimeServers => time_key().is_some(),
            Step::Disk => disks().len() != 1,
            Step::Gateway => edit::value_of(&self.draft, "network.dhcp").as_deref() != Some("true"),
            _ => true,
        }
    }

    fn step(&mut self, step: Step) -> Result<Lead, Failure> {
        if step == Step::Disk && !self.is_asked(step) {
            return self.only_disk();
        }
        if !self.is_asked(step) {
            return Ok(Lead::On);
        }
        let Some(path) = self.path(step) else { return Ok(Lead::On) };
        let proposal = self.proposal(step, &path);
        let question = question(step);
        writeln!(self.screen)?;
        let shown = if proposal.is_empty() { String::new() } else { format!(" [{proposal}]") };
        let Some(typed) = self.ask(&format!("{question}{shown}: "))? else { return Ok(Lead::Leave) };
        let typed = match typed.trim() {
            "quit" | "exit" => return Ok(Lead::Leave),
            "back" => return Ok(Lead::Back),
            "?" | "help" => {
                self.explain(step, &path)?;
                return Ok(Lead::Again);
            }
            "" => proposal,
            other => other.to_owned(),
        };
        let before = self.draft.clone();
        if let Err(failure) = self.take(step, &path, &typed) {
            return match failure {
                Failure::Told(_, body) => {
                    self.say(&plain(&body.message))?;
                    Ok(Lead::Again)
                }
                other => Err(other),
            };
        }
        let found = self.check(step)?;
        self.tell(&found)?;
        if found.bad && !self.yes("Keep it all the same?", false)? {
            self.draft = before;
            return Ok(Lead::Again);
        }
        if found.bad && step == Step::Addresses {
            let found = checks::network(&self.for_look(), true);
            if found.bad {
                self.tell(&found)?;
            }
        }
        Ok(Lead::On)
    }

    /// The key that a step is about.
    fn path(&self, step: Step) -> Option<String> {
        Some(match step {
            Step::HostName => "system.hostname".into(),
            Step::Addresses => "network.addresses".into(),
            Step::Gateway => "network.gateways".into(),
            Step::NameServers => "network.dns_servers".into(),
            Step::TimeServers => time_key()?,
            Step::Domains => "domains.accepted".into(),
            Step::NextHop => format!("next_hop.{}.address", self.hop),
            Step::Disk => "volume.path".into(),
            Step::Connections => "release.connections_max".into(),
            Step::Rate => "release.messages_per_minute_max".into(),
            Step::Hybrid => "site.microsoft_365".into(),
        })
    }

    /// What an empty answer means.
    fn proposal(&self, step: Step, path: &str) -> String {
        if step == Step::Addresses && edit::value_of(&self.draft, "network.dhcp").as_deref() == Some("true") {
            return "dhcp".into();
        }
        let value = edit::value_of(&self.draft, path).or_else(|| {
            let default = default_of(path)?;
            // Lists that are empty and paths on hosts are no proposals for a box.
            (!matches!(step, Step::Addresses | Step::Gateway | Step::NameServers | Step::Disk))
                .then_some(default)
        });
        match (step, value.as_deref().map(bare)) {
            (Step::Hybrid, value) => if value.as_deref() == Some("hybrid") { "yes" } else { "no" }.into(),
            (Step::Gateway | Step::NameServers | Step::TimeServers, None) => "none".into(),
            (_, value) => value.filter(|value| !value.is_empty()).unwrap_or_else(|| match step {
                Step::Gateway | Step::NameServers | Step::TimeServers => "none".into(),
                _ => String::new(),
            }),
        }
    }

    /// Puts an answer into the draft.
    fn take(&mut self, step: Step, path: &str, typed: &str) -> Result<(), Failure> {
        let words: Vec<String> = typed.split_whitespace().map(ToOwned::to_owned).collect();
        let yes = is_yes(typed);
        let dhcp = exists("network.dhcp");
        self.draft = match step {
            Step::Addresses if typed.eq_ignore_ascii_case("dhcp") && dhcp => {
                let draft = edit::set(&self.draft, "network.dhcp", &["true".into()])?;
                without(&without(&draft, path), "network.gateways")
            }
            Step::Addresses => {
                let draft = without(&self.draft, "network.dhcp");
                edit::set(&draft, path, &words)?
            }
            // Nothing is a list without entries.
            Step::Gateway | Step::NameServers | Step::TimeServers if typed.eq_ignore_ascii_case("none") => {
                edit::set(&self.draft, path, &["[]".into()])?
            }
            Step::Hybrid => match yes {
                Some(yes) => edit::set(&self.draft, path, &[if yes { "hybrid" } else { "none" }.into()])?,
                None => return Err(failure("PS-K001", "Answer yes or no.", "")),
            },
            _ => edit::set(&self.draft, path, &words)?,
        };
        Ok(())
    }

    /// Looks whether an answer is so.
    fn check(&mut self, step: Step) -> Result<Found, Failure> {
        let network = BoxNetwork::parse(&self.for_look());
        Ok(match (step, network) {
            (Step::HostName, _) => self.of_host_name(),
            (Step::Addresses, _) => {
                self.say("Looking whether somebody has it already ...")?;
                checks::network(&self.for_look(), false)
            }
            (Step::Gateway, Ok(_)) => match BoxNetwork::parse(&self.draft) {
                Err(problems) => Found::bad(problems.to_string()),
                Ok(network) if network.gateways.is_empty() => {
                    Found::good("Without a router only the local network can be reached.")
                }
                Ok(network) => {
                    let up = checks::network(&self.draft, true);
                    if up.bad { up } else { checks::gateways(&network) }
                }
            },
            (Step::NameServers, Ok(network)) => {
                let up = checks::network(&self.for_look(), true);
                let host = edit::value_of(&self.draft, "system.hostname").map(|value| bare(&value));
                let found = checks::name_servers(&network.dns_servers, &host.into_iter().collect::<Vec<_>>());
                if network.dns_servers.is_empty() {
                    Found::good(
                        "Without a name server only addresses are understood; for the next hop that is enough.",
                    )
                } else if up.bad {
                    up
                } else {
                    // What it says of the host name does not matter: it answers.
                    let answers = found.lines.iter().any(|line| line.contains(" answers: "));
                    Found { bad: !answers, ..found }
                }
            }
            (Step::Domains, Ok(network)) => {
                let domains = edit::value_of(&self.draft, "domains.accepted").unwrap_or_default();
                let names: Vec<String> =
                    list(&domains).into_iter().map(|name| name.trim_start_matches("*.").to_owned()).collect();
                checks::name_servers(&network.dns_servers, &names)
            }
            (Step::NextHop, Ok(network)) => self.of_next_hop(&network)?,
            (Step::Hybrid, _) => self.of_hybrid(),
            (_, Err(problems)) => Found::bad(problems.to_string()),
            _ => Found::default(),
        })
    }

    fn of_host_name(&self) -> Found {
        let name = edit::value_of(&self.draft, "system.hostname").unwrap_or_default();
        if bare(&name).contains('.') {
            Found::default()
        } else {
            Found::bad("A name without a domain: other servers see it, and some refuse mail from such.")
        }
    }

    fn of_next_hop(&mut self, network: &BoxNetwork) -> Result<Found, Failure> {
        // Everything else that must be set is, but for what comes later; the hop alone is read from the text.
        let Ok(settings) = Settings::parse(&self.draft) else {
            let problems = Settings::parse(&self.draft).err().map(|problems| problems.to_string());
            return Ok(Found::bad(problems.unwrap_or_default()));
        };
        let Some(hop) = settings.next_hops.iter().find(|hop| hop.name.as_str() == self.hop) else {
            return Ok(Found::default());
        };
        if let penstock_settings::HopHost::Ip(address) = hop.address.host
            && network.addresses.iter().any(|ours| ours.address == address)
        {
            return Ok(Found::bad(format!("{address} is this box itself: mail would go in circles.")));
        }
        self.say("Listening to what it says ...")?;
        let said = checks::next_hop(&hop.address, settings.system.hostname.as_str());
        let time_servers =
            time_key().and_then(|key| edit::value_of(&self.draft, &key)).map(|value| list(&value));
        let fate =
            checks::shared_fate(&hop.address, network, &[("time server", time_servers.unwrap_or_default())]);
        let lines = said.lines.into_iter().chain(fate.lines).collect();
        Ok(Found { lines, bad: said.bad || fate.bad })
    }

    fn of_hybrid(&self) -> Found {
        let value = edit::value_of(&self.draft, "site.microsoft_365").unwrap_or_default();
        if bare(&value) != "hybrid" {
            return Found::default();
        }
        Found {
            lines: vec![
                "Mail between Exchange and Exchange Online must not come through the box: what makes it internal would be \
                 lost. Let the connector of Exchange Online reach Exchange directly, on an address of its own."
                    .into(),
                "If the site's MX points to Exchange Online, put Microsoft's networks into listen.trusted_fronts: from them \
                 comes everybody's mail, and the limits per source would hold it up."
                    .into(),
                "The answer is kept for those who look after the box; the service does nothing else with it today.".into(),
            ],
            bad: false,
        }
    }

    /// The draft as the network is to be looked at: a router that does not fit new addresses is asked for next.
    fn for_look(&self) -> String {
        if BoxNetwork::parse(&self.draft).is_ok() {
            self.draft.clone()
        } else {
            without(&self.draft, "network.gateways")
        }
    }

    /// The only disk that there is needs no question.
    fn only_disk(&mut self) -> Result<Lead, Failure> {
        let disks = disks();
        if let Some((path, bytes)) = disks.first() {
            self.draft = edit::set(&self.draft, "volume.path", std::slice::from_ref(path))?;
            writeln!(self.screen)?;
            self.say(&format!("Mail is kept on {path} ({}), the only disk there is.", size(*bytes)))?;
        }
        Ok(Lead::On)
    }

    /// The last question. Whether everything is done.
    fn confirm(&mut self) -> Result<bool, Failure> {
        writeln!(self.screen)?;
        let before = config::current().unwrap_or_default();
        let changed = changes(&before, &self.draft);
        for change in &changed {
            let to = change.to.as_deref().map_or_else(|| "its default".into(), plain);
            self.say(&format!("  {} = {to}", plain(&change.key)))?;
        }
        if changed.is_empty() {
            self.say("Nothing is different from what holds.")?;
        }
        if let Err(problems) = Settings::parse(&self.draft) {
            self.say(&plain(&problems.to_string().replace('\n', "; ")))?;
            self.say("From the beginning, then.")?;
            return Ok(false);
        }
        if !self.yes("Run with these settings?", true)? {
            return if self.yes("Ask everything again?", true)? { Ok(false) } else { Err(left()) };
        }
        match config::apply(&self.draft, &mut self.screen) {
            Ok(()) => Ok(true),
            Err(Failure::Told(_, body)) => {
                self.say(&plain(&body.message))?;
                if self.yes("Ask everything again?", true)? { Ok(false) } else { Err(left()) }
            }
            Err(other) => Err(other),
        }
    }

    fn explain(&mut self, step: Step, path: &str) -> Result<(), Failure> {
        if let Some(key) = key_of(path) {
            let reason: Vec<&str> = key.reason.iter().map(|line| line.trim()).collect();
            self.say(&reason.join(" "))?;
            if step != Step::Hybrid {
                self.say(&format!("It is {}.", (key.allowed)()))?;
            }
        }
        if step == Step::Addresses && exists("network.dhcp") {
            self.say("`dhcp` lets the box ask for its address.")?;
        }
        Ok(())
    }

    fn yes(&mut self, question: &str, proposal: bool) -> Result<bool, Failure> {
        loop {
            let shown = if proposal { "yes" } else { "no" };
            let Some(typed) = self.ask(&format!("{question} [{shown}]: "))? else { return Err(left()) };
            match typed.trim() {
                "" => return Ok(proposal),
                "quit" | "exit" => return Err(left()),
                other => match is_yes(other) {
                    Some(yes) => return Ok(yes),
                    None => self.say("Answer yes or no.")?,
                },
            }
        }
    }

    /// What is typed; nothing if the dialogue is to be left.
    fn ask(&mut self, question: &str) -> Result<Option<String>, Failure> {
        self.screen.flush()?;
        Ok(match self.lines.ask(question)? {
            Read::Line(line) => Some(line),
            Read::Nothing | Read::Closed => None,
        })
    }

    fn tell(&mut self, found: &Found) -> Result<(), Failure> {
        found.lines.iter().try_for_each(|line| self.say(&plain(line)))
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        for line in wrap(text, Some(COLUMNS)) {
            writeln!(self.screen, "{line}")?;
        }
        Ok(self.screen.flush()?)
    }
}

fn left() -> Failure {
    failure("PS-K045", "the dialogue was left: nothing has changed", "`setup` begins again.")
}
