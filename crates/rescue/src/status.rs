//! How the rescue stands, for the console.

use core::fmt;

use penstock_spool::Info;
use smoltcp::wire::IpCidr;

use crate::net::NetCounters;
use crate::trouble::Trouble;
use crate::volumes::VolumeState;

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that got a session.
    pub sessions: u64,
    /// Connections that were sent away: too many in all or of one source, or from a network that is not allowed.
    pub sessions_refused: u64,
    /// Sessions that ended because their client was too slow.
    pub sessions_timed_out: u64,
    /// Messages taken into custody.
    pub messages: u64,
    /// Their bytes.
    pub message_bytes: u64,
    /// Messages, or attempts at one, that were put off for want of room.
    pub refused_full: u64,
    /// Messages, or attempts at one, that were put off because something failed.
    pub refused_failure: u64,
    /// Recipients of domains that are not the site's.
    pub refused_relay: u64,
    /// Messages that go in circles.
    pub refused_loop: u64,
    /// Syncs, each of which made one or more messages durable.
    pub syncs: u64,
    /// Figures of the network.
    pub net: NetCounters,
}

/// Whether mail is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'a> {
    /// It is.
    Taking,
    /// It is not, and why.
    Refusing(&'a Trouble),
    /// Sessions come to their end, and no new ones begin.
    Stopping,
    /// The last session has ended.
    Stopped,
}

/// A volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeStatus {
    /// What it is good for.
    pub state: VolumeState,
    /// How it stands, if it was mounted.
    pub info: Option<Info>,
}

/// How the rescue stands.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// Whether mail is taken.
    pub mode: Mode<'a>,
    /// Our name.
    pub host_name: &'a str,
    /// The addresses of the box.
    pub addresses: &'a [IpCidr],
    /// Sessions at this moment.
    pub sessions: usize,
    /// Connections that are about to begin.
    pub half_open: usize,
    /// The disk.
    pub disk: VolumeStatus,
    /// The NOR flash.
    pub nor: VolumeStatus,
    /// What has happened.
    pub counters: Counters,
}

impl fmt::Display for VolumeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        if let (VolumeState::Well, Some(info)) = (self.state, self.info) {
            let (segments, free, _) = info.segments;
            write!(f, ", {} MiB free, {free} of {segments} segments", info.free_bytes() >> 20)?;
        }
        Ok(())
    }
}

/// Some lines for people. What is in them may change.
impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Taking => writeln!(f, "rescue     takes mail as {}", self.host_name)?,
            Mode::Refusing(trouble) => writeln!(f, "rescue     takes no mail: {trouble}")?,
            Mode::Stopping => writeln!(f, "rescue     stopping")?,
            Mode::Stopped => writeln!(f, "rescue     stopped")?,
        }
        f.write_str("addresses ")?;
        if self.addresses.is_empty() {
            f.write_str(" none yet")?;
        }
        for address in self.addresses {
            write!(f, " {address}")?;
        }
        let Counters { sessions, sessions_refused, sessions_timed_out, messages, message_bytes, .. } =
            self.counters;
        let Counters { refused_full, refused_failure, refused_relay, refused_loop, net, .. } = self.counters;
        writeln!(
            f,
            "\nsessions   {} now, {} half-open; {sessions} so far, {sessions_refused} sent away, {sessions_timed_out} \
             timed out, {} half-open displaced",
            self.sessions, self.half_open, net.half_open_displaced
        )?;
        writeln!(
            f,
            "mail       {messages} messages, {message_bytes} bytes taken; put off: {refused_full} for room, \
             {refused_failure} for failures; refused: {refused_relay} relays, {refused_loop} loops"
        )?;
        writeln!(f, "disk       {}", self.disk)?;
        write!(f, "nor        {}", self.nor)
    }
}
