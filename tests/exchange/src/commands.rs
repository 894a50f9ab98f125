//! The language of scenarios: what a person types, a file holds, a test says. One line is one command.

use std::fmt;
use std::net::SocketAddr;

use crate::config::{
    AT_EASE_PERCENT, Certificate, Config, Counters, Directory, Face, Presence, Setup, Stage,
};
use crate::curve::Curve;
use crate::line::domain_of;
use crate::random::Random;
use crate::units::{duration, number, percent, size};

/// A command, as an example, and what it does. The help is made from these, and every example is tested.
pub(crate) static HELP: &[(&str, &str)] = &[
    ("face frontend", "or direct (2010, port 2525), or edge with its own limits"),
    ("capacity 20", "messages a second that the categorizer does; wave 10 30 60s: rising and falling"),
    ("delivery 200", "messages a second that each mailbox database takes, the same way"),
    ("background 5", "messages a second of the organisation's own"),
    ("cost-mib 0.5", "what each MiB of a message adds to its cost of 1; cost-recipient, cost-noise"),
    ("commit 20ms", "how long the end of data takes"),
    ("draw", "a site by chance: scale, background, costs, commit"),
    ("scale 0.05", "multiplies the thresholds of submission queue and version buckets"),
    ("disk 95%", "fills the drive of logs and content conversion; wave 85 92 20s, ok"),
    ("queue-disk 98%", "the same for the drive of the queue database"),
    ("memory 74%", "EdgeTransport's private bytes; memory-mib 0.5: what each MiB in the queue adds"),
    ("buckets 1200", "version buckets; buckets-mib 2: what each MiB in the queue adds"),
    ("system-memory 90%", "which nobody notices in SMTP"),
    ("delay-at data", "mail, data or end: where delays show; usual: as the face has it"),
    ("refuse-at end", "the same: from where on refusals for lack of resources show"),
    ("delay-step 2s", "how often delays at medium pressure grow by 5 s"),
    (
        "state ok",
        "unconfigured, unconfigured 5.7.1, unconfigured 530; inactive, inactive mail; down, blackhole",
    ),
    ("restart 30s", "cuts all connections and is away so long; the queues survive"),
    ("move 127.0.0.2:2525", "another address; nothing answers at the old one"),
    ("identity new.example.com", "another name in banner and EHLO"),
    (
        "certificate new",
        "STARTTLS with a certificate of its own making, another one each time; renewed: with the same key; broken, off",
    ),
    ("directory partly 40%", "who is known again after a restore; full, empty"),
    ("known ann@example.com", "whatever the directory; unknown ADDRESS"),
    ("domain example.net", "one more accepted domain"),
    ("contact ann@example.com", "an address outside: no mailbox, no recognition of duplicates"),
    ("probe probe@example.com", "a mailbox whose mail can be read back"),
    ("filter on", "the recipient filter: refuses whole messages at the end of data (direct: at RCPT); off"),
    ("dismount DB2", "mail for it waits in the retry queue, and is reported back after 48 h; mount DB2"),
    ("databases 3", "how many mailbox databases there are"),
    ("place ann@example.com DB1", "puts a mailbox into a database"),
    ("retry 5m", "how often the retry queue of a database is tried; expire 48h: when it is given up"),
    ("duplicates 7d", "how long they are recognised; off"),
    ("throttle ann@example.com 6", "messages a minute for one mailbox, then 432; off"),
    ("poison X-Poison", "drops the connection at a message with this in its first part; off"),
    ("spam casino", "refuses such a message with 5.7.1; off"),
    ("lose-replies 3", "takes the next three messages and closes the connection instead of saying so"),
    ("proxy broken", "451 PRX2 at the end of data; ok"),
    ("shadow broken", "451: no second copy could be made; ok"),
    ("bdat hangs", "never answers BDAT; ok"),
    ("size 36MB", "limit of the connector; header-size, hops"),
    (
        "organisation-size 10MB",
        "limit that EHLO does not show; organisation-size 10MB report: found after 250",
    ),
    ("recipients 200", "of one message"),
    ("rate 600", "messages a minute from one address; unlimited"),
    ("connections 5000", "connections-per-source 20, source-share 2%"),
    ("session 10m", "the longest session; idle 5m"),
    ("tarpit 5s", "delay of every 5xx"),
    ("errors 5", "protocol errors of one session"),
    ("smtputf8 on", "as newer builds have it; off"),
    ("counters full", "old, missing, frozen"),
];

/// A command that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    text: String,
}

impl CommandError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CommandError {}

/// What a command does beyond changing the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    None,
    /// Connections are cut, and refused for so long.
    Restart(u64),
    Move(SocketAddr),
    /// Something to tell whoever gave the command.
    Say(String),
}

impl Config {
    /// Carries out a command. One that fails changes nothing.
    pub(crate) fn set(&mut self, line: &str, random: &mut Random) -> Result<Effect, CommandError> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some((name, arguments)) = words.split_first() else {
            return Err(CommandError::new("there is no command"));
        };
        match *name {
            "draw" => return Ok(Effect::Say(self.draw(random))),
            "restart" => {
                let away = arguments.first().and_then(|text| duration(text));
                return away.map(Effect::Restart).ok_or_else(|| wrong(name));
            }
            "move" => {
                let address = arguments.first().and_then(|text| text.parse().ok());
                return address.map(Effect::Move).ok_or_else(|| wrong(name));
            }
            _ => {}
        }
        let mut changed = self.clone();
        let set = changed.set_curve(name, arguments).or_else(|| changed.set_word(name, arguments));
        match set
            .or_else(|| changed.set_number(name, arguments))
            .or_else(|| changed.set_site(name, arguments))
        {
            Some(()) => {
                *self = changed;
                Ok(Effect::None)
            }
            None if HELP.iter().any(|(example, help)| mentions(example, help, name)) => Err(wrong(name)),
            None => {
                Err(CommandError::new(format!("there is no command '{name}'; 'help' lists what there is")))
            }
        }
    }

    /// Quantities that may vary with time.
    fn set_curve(&mut self, name: &str, arguments: &[&str]) -> Option<()> {
        let ease = if name == "buckets" { 0.0 } else { AT_EASE_PERCENT };
        let resources = &mut self.resources;
        let (curve, is_percent) = match name {
            "capacity" => (&mut self.load.capacity, false),
            "delivery" => (&mut self.load.delivery, false),
            "background" => (&mut self.load.background, false),
            "disk" => (&mut resources.log_drive, true),
            "queue-disk" => (&mut resources.queue_drive, true),
            "memory" => (&mut resources.private_bytes, true),
            "system-memory" => (&mut resources.system_memory, true),
            "buckets" => (&mut resources.version_buckets, false),
            _ => return None,
        };
        let new = match arguments {
            ["ok"] if is_percent || name == "buckets" => Curve::Fixed(ease),
            words => Curve::parse(words)?,
        };
        let most = match new {
            Curve::Fixed(value) => value,
            Curve::Wave { high, .. } => high,
        };
        // A rate that no machine has would only make the model slow.
        (most <= if is_percent { 100.0 } else { 100_000.0 }).then_some(())?;
        *curve = new;
        Some(())
    }

    /// One word of a few.
    fn set_word(&mut self, name: &str, arguments: &[&str]) -> Option<()> {
        let faults = &mut self.faults;
        match (name, arguments) {
            ("face", ["frontend"]) => self.set_face(Face::FrontEnd),
            ("face", ["direct"]) => self.set_face(Face::Direct),
            ("face", ["edge"]) => self.set_face(Face::Edge),
            ("delay-at", [stage]) => self.delay_at = stage_of(stage)?,
            ("refuse-at", [stage]) => self.refuse_at = stage_of(stage)?,
            ("state", ["ok"]) => (faults.presence, faults.setup) = (Presence::Up, Setup::Done),
            ("state", ["down"]) => faults.presence = Presence::Down,
            ("state", ["blackhole"]) => faults.presence = Presence::BlackHole,
            ("state", words) => {
                faults.setup = match words {
                    ["unconfigured"] | ["unconfigured", "5.7.54"] => Setup::NoDomain,
                    ["unconfigured", "5.7.1"] => Setup::NoRelay,
                    ["unconfigured", "530"] => Setup::NoAnonymous,
                    ["inactive"] | ["inactive", "banner"] => Setup::InactiveAtBanner,
                    ["inactive", "mail"] => Setup::InactiveAtMail,
                    _ => return None,
                };
                faults.presence = Presence::Up;
            }
            ("filter", [word]) => faults.recipient_filter = on_or_off(word)?,
            ("smtputf8", [word]) => self.smtputf8 = on_or_off(word)?,
            ("proxy", [word]) => faults.proxy_broken = is_broken(word, "broken")?,
            ("shadow", [word]) => faults.shadow_broken = is_broken(word, "broken")?,
            ("bdat", [word]) => faults.bdat_hangs = is_broken(word, "hangs")?,
            ("poison", ["off"]) => faults.poison = None,
            ("poison", words @ [_, ..]) => faults.poison = Some(words.join(" ")),
            ("spam", ["off"]) => faults.spam = None,
            ("spam", words @ [_, ..]) => faults.spam = Some(words.join(" ")),
            ("counters", [word]) => {
                self.counters = match *word {
                    "full" => Counters::Full,
                    "old" => Counters::Old,
                    "missing" => Counters::Missing,
                    "frozen" => Counters::Frozen,
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Limits, costs and times.
    fn set_number(&mut self, name: &str, arguments: &[&str]) -> Option<()> {
        let (limits, load, resources) = (&mut self.limits, &mut self.load, &mut self.resources);
        match (name, arguments) {
            ("cost-mib", [text]) => load.cost_per_mib = number(text)?,
            ("cost-recipient", [text]) => load.cost_per_recipient = number(text)?,
            ("cost-noise", [text]) => load.cost_noise = number(text).filter(|noise| *noise < 1.0)?,
            ("commit", [text]) => load.commit_ms = duration(text)?,
            ("scale", [text]) => resources.scale = number(text).filter(|scale| *scale > 0.0)?,
            ("delay-step", [text]) => resources.delay_step_ms = duration(text).filter(|ms| *ms > 0)?,
            ("memory-mib", [text]) => resources.private_bytes_per_mib = number(text)?,
            ("buckets-mib", [text]) => resources.version_buckets_per_mib = number(text)?,
            ("size", [text]) => limits.size_bytes = size(text)?,
            ("header-size", [text]) => limits.header_bytes = size(text)?,
            ("organisation-size", [text]) => {
                (limits.organisation_bytes, limits.organisation_reports) = (size(text)?, false);
            }
            ("organisation-size", [text, "report"]) => {
                (limits.organisation_bytes, limits.organisation_reports) = (size(text)?, true);
            }
            ("hops", [text]) => limits.hops_max = text.parse().ok()?,
            // The least that RFC 5321 section 4.5.3.1.8 allows is 100; the most is what one message may make us hold.
            ("recipients", [text]) => {
                limits.recipients_max = text.parse().ok().filter(|n| (1..=5000).contains(n))?;
            }
            ("rate", ["unlimited"]) => limits.messages_per_minute = None,
            ("rate", [text]) => {
                limits.messages_per_minute = Some(text.parse().ok().filter(|n| *n <= 1_000_000)?);
            }
            ("connections", [text]) => {
                limits.connections_max = text.parse().ok().filter(|n| *n <= 10_000)?;
            }
            ("connections-per-source", [text]) => limits.per_source_max = text.parse().ok()?,
            ("source-share", [text]) => limits.source_share_percent = percent(text)? as usize,
            ("session", [text]) => limits.session_ms = duration(text)?,
            ("idle", [text]) => limits.idle_ms = duration(text)?,
            ("tarpit", [text]) => limits.tarpit_ms = duration(text)?,
            ("errors", [text]) => limits.errors_max = text.parse().ok()?,
            ("lose-replies", [text]) => self.faults.lose_replies = text.parse().ok()?,
            _ => return None,
        }
        Some(())
    }

    /// Who gets mail, and where it lies.
    fn set_site(&mut self, name: &str, arguments: &[&str]) -> Option<()> {
        let site = &mut self.site;
        let host = |text: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            (text.chars().all(fits) && !text.is_empty()).then(|| text.to_ascii_lowercase())
        };
        match (name, arguments) {
            ("identity", [text]) => site.host = host(text)?,
            ("certificate", [word]) => {
                let next = match (*word, self.certificate) {
                    ("off", _) => None,
                    ("new", _) => {
                        self.keys_made += 1;
                        Some(Certificate { key: self.keys_made, renewals: 0, broken: false })
                    }
                    ("renewed", Some(now)) => {
                        Some(Certificate { renewals: now.renewals + 1, broken: false, ..now })
                    }
                    ("broken", Some(now)) => Some(Certificate { broken: true, ..now }),
                    ("broken", None) => Some(Certificate { key: 0, renewals: 0, broken: true }),
                    _ => return None,
                };
                self.certificate = next;
            }
            ("domain", [text]) => {
                let domain = host(text)?;
                if !site.domains.contains(&domain) {
                    site.domains.push(domain);
                }
            }
            ("directory", ["full"]) => site.directory = Directory::Full,
            ("directory", ["empty"]) => site.directory = Directory::Empty,
            ("directory", ["partly", share]) => site.directory = Directory::Partly(percent(share)? / 100.0),
            ("known", [text]) => drop(site.known.insert(address(text)?, true)),
            ("unknown", [text]) => drop(site.known.insert(address(text)?, false)),
            ("contact", [text]) => drop(site.contacts.insert(address(text)?)),
            ("probe", [text]) => drop(site.probes.insert(address(text)?)),
            ("databases", [text]) => {
                site.databases = text.parse().ok().filter(|n| (1..=100).contains(n))?;
            }
            ("dismount", [text]) => drop(site.dismounted.insert(database(text, site.databases)?)),
            ("mount", [text]) => drop(site.dismounted.remove(&database(text, site.databases)?)),
            ("place", [text, place]) => {
                site.places.insert(address(text)?, database(place, site.databases)?);
            }
            ("throttle", [text, "off"]) => drop(site.throttled.remove(&address(text)?)),
            ("throttle", [text, rate]) => {
                let rate = rate.parse().ok().filter(|n| *n > 0)?;
                site.throttled.insert(address(text)?, rate);
            }
            ("retry", [text]) => site.retry_ms = duration(text).filter(|ms| *ms > 0)?,
            ("expire", [text]) => site.expire_ms = duration(text)?,
            ("duplicates", ["off"]) => site.duplicates_ms = 0,
            ("duplicates", [text]) => site.duplicates_ms = duration(text)?,
            _ => return None,
        }
        Some(())
    }
}

/// A command whose arguments make no sense, with its example.
fn wrong(name: &str) -> CommandError {
    let (example, help) = HELP
        .iter()
        .find(|(example, help)| mentions(example, help, name))
        .unwrap_or(&("help", "lists what there is"));
    CommandError::new(format!("'{name}' needs other words behind it, for example: {example} ({help})"))
}

fn mentions(example: &str, help: &str, name: &str) -> bool {
    let mut words = help.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ':'));
    example.split(' ').next() == Some(name) || words.any(|word| word == name)
}

/// `usual` is `Some(None)`: as the face has it.
fn stage_of(word: &str) -> Option<Option<Stage>> {
    match word {
        "usual" => Some(None),
        "mail" => Some(Some(Stage::Mail)),
        "data" => Some(Some(Stage::Data)),
        "end" => Some(Some(Stage::End)),
        _ => None,
    }
}

fn on_or_off(word: &str) -> Option<bool> {
    match word {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn is_broken(word: &str, broken: &str) -> Option<bool> {
    (word == broken || word == "ok").then_some(word == broken)
}

fn address(text: &str) -> Option<String> {
    domain_of(text).map(|_| text.to_ascii_lowercase())
}

/// `DB1` is number 0.
fn database(text: &str, databases: usize) -> Option<usize> {
    let number: usize = text.strip_prefix("DB")?.parse().ok()?;
    (1..=databases).contains(&number).then(|| number - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_of_the_help_is_a_command() {
        for (example, _) in HELP {
            let mut config = Config::default();
            let done = config.set(example, &mut Random::seeded(1));
            assert!(done.is_ok(), "{example}: {done:?}");
        }
    }

    #[test]
    fn a_wrong_command_says_what_is_right_and_changes_nothing() {
        let mut config = Config::default();
        let before = format!("{config:?}");
        for wrong in [
            "disk 120%",
            "capacity fast",
            "capacity 1000001",
            "state asleep",
            "dismount DB9",
            "known nobody",
            "restart soon",
            "move here",
            "idle",
            "session 1y",
            "identity a b",
            "dance",
            "",
        ] {
            let error = config.set(wrong, &mut Random::seeded(1)).unwrap_err().to_string();
            assert!(error.contains("example") || error.contains("no command"), "{wrong}: {error}");
        }
        assert_eq!(format!("{config:?}"), before);
    }
}
