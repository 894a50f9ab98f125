//! What is known of one source.

use penstock_settings::Listen;

use super::rate::Rate;

/// How many times the limits of a machine hold for its site, where it is known to which site a machine belongs.
pub(super) const SITE_FACTOR: u32 = 4;
/// After so many connections and no message a source seems to want nothing here.
const BARREN_CONNECTIONS: u64 = 10;
/// For how long a source that came to a limit counts as being there.
pub(super) const AT_LIMIT_MS: u64 = 60_000;

/// What a source can have too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// It has no business here: `listen.allowed`.
    Network,
    /// `listen.connections_per_source_max`
    Connections,
    /// `listen.messages_per_minute_per_source_max`
    Messages,
    /// `listen.recipients_per_minute_per_source_max`
    Recipients,
    /// `listen.errors_per_minute_per_source_max`
    Errors,
    /// `listen.reserved_per_source_max`
    Space,
}

impl Limit {
    pub(super) const ALL: [Self; 6] =
        [Self::Network, Self::Connections, Self::Messages, Self::Recipients, Self::Errors, Self::Space];

    /// A word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Connections => "connections",
            Self::Messages => "messages",
            Self::Recipients => "recipients",
            Self::Errors => "errors",
            Self::Space => "space",
        }
    }
}

/// What a source holds now, what it did lately, and what it did since it was first seen.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) trusted: bool,
    /// Its sessions.
    pub(super) sessions: u32,
    /// Its places: sessions, and those that were displaced and have not ended yet.
    pub(super) places: u32,
    pub(super) reserved_bytes: u64,
    /// Messages that it began, recipients that it named, mistakes that it made.
    pub(super) messages: Rate,
    pub(super) recipients: Rate,
    pub(super) errors: Rate,
    /// The same since it was first seen, and of messages those that were accepted.
    pub(super) sums: Sums,
    pub(super) seen_ms: u64,
    /// When it last came to each limit; 0 if it never did.
    hit_ms: [u64; Limit::ALL.len()],
    told: [bool; Limit::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) connections: u64,
    pub(crate) refused: u64,
    pub(crate) messages: u64,
    pub(crate) recipients: u64,
    pub(crate) errors: u64,
}

impl Account {
    /// Takes note that it came to a limit. Whether nobody has been told yet.
    pub(super) fn hit(&mut self, limit: Limit, now_ms: u64) -> bool {
        self.hit_ms[limit as usize] = now_ms.max(1);
        !std::mem::replace(&mut self.told[limit as usize], true)
    }

    /// The limits to which it came within the last minute.
    pub(super) fn limits(&self, now_ms: u64) -> impl Iterator<Item = Limit> {
        let lately = move |hit_ms: u64| hit_ms > 0 && now_ms.saturating_sub(hit_ms) < AT_LIMIT_MS;
        let hit_ms = self.hit_ms;
        Limit::ALL.into_iter().filter(move |limit| lately(hit_ms[*limit as usize]))
    }

    /// Whether it has come often and never brought a message.
    pub(super) fn is_barren(&self) -> bool {
        self.sums.messages == 0 && self.sums.connections > BARREN_CONNECTIONS
    }

    /// How much of what it may do in a minute it has done, in parts of a thousand of what is most used up. It is what a
    /// source would like to have forgotten.
    pub(super) fn owes(&self, settings: &Listen, now_ms: u64) -> u64 {
        let part = |rate: Rate, max: u32| {
            (u64::from(rate.per_minute(now_ms)) * 1000).checked_div(u64::from(max)).unwrap_or(0)
        };
        part(self.messages, settings.messages_per_minute_per_source_max)
            .max(part(self.recipients, settings.recipients_per_minute_per_source_max))
            .max(part(self.errors, settings.errors_per_minute_per_source_max))
    }
}
