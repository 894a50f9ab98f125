//! Clients in the language of the control interface: who holds sessions, and who came to which limit.

use serde::{Deserialize, Serialize};

/// How many clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientsFilter {
    /// At most so many; 0 leaves it to the daemon.
    pub limit: u32,
}

/// Clients, and what they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientsPage {
    /// Sessions now, and how many there may be.
    pub sessions: u32,
    /// As the settings have it.
    pub sessions_max: u32,
    /// Whether sessions run short, so that time-outs are shorter.
    pub busy: bool,
    /// Sessions that wait for the answer to their mistakes.
    pub held_back: u32,
    /// What the machine runs short of, so that idle sessions end: `memory` or `descriptors`.
    pub short_of: Option<String>,
    /// File descriptors that are open, and how many may be.
    pub descriptors: u64,
    /// `null` where there is no limit.
    pub descriptors_max: Option<u64>,
    /// Memory that could be had; `null` where that is not known.
    pub memory_free_bytes: Option<u64>,
    /// Space of the volume that is reserved for messages that are coming in, and how much may be.
    pub reserved_bytes: u64,
    /// As the settings have it.
    pub reserved_bytes_max: u64,
    /// The address that nearly all connections come from, if there is one that is not known as a front.
    pub gateway: Option<String>,
    /// Since the start: connections, those refused, those from networks that are not allowed, and sessions that had to make
    /// room.
    pub connections: u64,
    /// For lack of sessions or of something else.
    pub refused: u64,
    /// Not in `listen.allowed`.
    pub not_allowed: u64,
    /// For others, or because something ran short.
    pub displaced: u64,
    /// Sources that have sessions, and those that something is remembered of.
    pub sources: u32,
    /// With those that have sessions.
    pub remembered: u32,
    /// The sources that hold or do most, the most first.
    pub rows: Vec<ClientView>,
}

/// A source: an IPv4 address or an IPv6 network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Its address; a network with the length of its prefix.
    pub source: String,
    /// Whether it is one of `listen.trusted_fronts`.
    pub trusted: bool,
    /// Its sessions.
    pub sessions: u32,
    /// Space that is reserved for what it sends.
    pub reserved_bytes: u64,
    /// Messages that it began in the last minute.
    pub messages_per_minute: u32,
    /// Recipients that it named in the last minute.
    pub recipients_per_minute: u32,
    /// Mistakes that it made in the last minute.
    pub errors_per_minute: u32,
    /// The limits that it came to in the last minute: `network`, `connections`, `messages`, `recipients`, `errors`, `space`.
    pub limits: Vec<String>,
    /// Since it was first seen: connections, and what of it was refused for a limit.
    pub connections: u64,
    /// Connections, messages and recipients.
    pub refused: u64,
    /// Messages accepted from it.
    pub messages: u64,
    /// Recipients that it named.
    pub recipients: u64,
    /// Mistakes that it made.
    pub errors: u64,
    /// How long ago it connected last.
    pub seen_ms_ago: u64,
}
