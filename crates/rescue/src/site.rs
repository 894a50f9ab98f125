//! What the settings say about mail: who may bring it, for whom, how much of it.

use core::net::{IpAddr, SocketAddr};

use penstock_settings::{Network, NotAllowed, TakingSettings};
use penstock_smtp::server::{BareNewlines, Config, Greeting};
use penstock_smtp::{Address, Reply, replies};

use crate::envelope::RECIPIENTS_MAX;
use crate::pace::Patience;
use crate::{SESSIONS_MAX, Trouble};

/// How many sessions one source may hold, whatever the settings allow: nobody fills the box alone.
const SESSIONS_PER_SOURCE_MAX: usize = 4;

/// What somebody counts as: an IPv4 address, or the IPv6 network of 64 bits that one machine is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The site, as the settings have it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) settings: TakingSettings,
    config: Config,
    pub(crate) patience: Patience,
}

impl Site {
    /// # Errors
    /// What is wrong with the settings.
    pub(crate) fn new(settings: TakingSettings) -> Result<Self, Trouble> {
        let listen = &settings.listen;
        let mut config = Config::new(settings.system.hostname.as_str()).map_err(|_| Trouble::HostName)?;
        config.greeting = Greeting::new("ESMTP Penstock rescue");
        config.size_bytes_max = listen.size_max.0;
        config.recipients_max = listen.recipients_max.min(RECIPIENTS_MAX);
        config.transactions_max = Some(listen.session_messages_max).filter(|max| *max > 0);
        config.errors_max = listen.protocol_errors_max;
        // Nothing is offered that the next hop may not take, and it cannot be asked.
        config.dsn = false;
        config.smtp_utf8 = false;
        config.chunking = false;
        config.binary_mime = false;
        Ok(Self { patience: Patience::of(listen), config, settings })
    }

    /// Our name.
    pub(crate) fn host_name(&self) -> &str {
        self.config.host_name.as_str()
    }

    /// How a session with that client behaves.
    pub(crate) fn config_for(&self, client: IpAddr) -> Config {
        let is_old_device = listed(&self.settings.listen.bare_newlines_from, client);
        let bare_newlines = if is_old_device { BareNewlines::Normalise } else { BareNewlines::Refuse };
        Config { bare_newlines, ..self.config.clone() }
    }

    /// Whether somebody may connect who holds so many sessions already.
    ///
    /// # Errors
    /// What to say instead of a greeting.
    pub(crate) fn admit(&self, client: IpAddr, held: usize) -> Result<(), Reply<'static>> {
        let listen = &self.settings.listen;
        let is_front = listed(&listen.trusted_fronts, client);
        if !listen.allowed.is_empty() && !is_front && !listed(&listen.allowed, client) {
            return Err(match listen.not_allowed {
                NotAllowed::PutOff => replies::NETWORK_PUT_OFF,
                NotAllowed::Refuse => replies::NETWORK_REFUSED,
            });
        }
        let by_settings =
            usize::try_from(listen.connections_per_source_max).unwrap_or(SESSIONS_PER_SOURCE_MAX);
        if !is_front && held >= by_settings.min(SESSIONS_PER_SOURCE_MAX) {
            return Err(replies::CONNECTIONS_MAX);
        }
        Ok(())
    }

    /// Whether so many sessions are so many that those who do nothing have to make room.
    pub(crate) fn is_busy(&self, sessions: usize) -> bool {
        sessions * 100 > SESSIONS_MAX * self.settings.listen.busy_percent as usize
    }

    /// Whether mail for somebody is taken: the site's domains and no others, whoever is there.
    pub(crate) fn takes(&self, recipient: &Address<'_>) -> bool {
        match recipient.domain() {
            // Postmaster without a domain is ours (RFC 5321 §4.5.1).
            None => !recipient.is_null(),
            Some(domain) => self.settings.domains.accepted.iter().any(|ours| ours.accepts(domain)),
        }
    }

    /// Whether mail is taken at an address of ours.
    pub(crate) fn listens_at(&self, local: SocketAddr) -> bool {
        self.settings.listen.addresses.iter().any(|ours| {
            let is_any = ours.ip().is_unspecified() && (ours.is_ipv6() || local.is_ipv4());
            ours.port() == local.port() && (is_any || ours.ip().to_canonical() == local.ip())
        })
    }
}

fn listed(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}
