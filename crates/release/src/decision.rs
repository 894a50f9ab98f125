//! What [`Release`](crate::Release) decides, and what its caller reports.

use crate::HopId;
use crate::reply::Evidence;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send this message through this hop, and report with [`finished`](crate::Release::finished). It is in flight from now on.
    Send {
        /// Which message.
        message: u64,
        /// Through which hop.
        hop: HopId,
        /// Why now.
        why: Why,
    },
    /// Connect to this hop, speak SMTP up to the answer to `MAIL FROM:<>`, quit, and report with [`probed`](crate::Release::probed).
    /// If the hop has refused a recipient as none of its own ([`Evidence::denies_relay`]), name the last such one before
    /// that, and report what is said to it, until it is taken.
    Probe {
        /// Which hop.
        hop: HopId,
    },
    /// Send a canary to a probe mailbox of this hop, and report with [`canary_ended`](crate::Release::canary_ended), and
    /// when it has reached its mailbox with [`canary_arrived`](crate::Release::canary_arrived).
    Canary {
        /// Through which hop.
        hop: HopId,
        /// To which of its probe mailboxes: below [`HopConfig::probes`](crate::HopConfig::probes).
        probe: u16,
        /// Its number, which no other canary has until the next start.
        canary: u64,
    },
    /// Ask this hop, in a session up to the answer to RCPT, whether it takes the recipient that stands for a domain that is
    /// held there ([`held_domains`](crate::Release::held_domains)), and report with [`asked`](crate::Release::asked).
    Ask {
        /// Which hop.
        hop: HopId,
        /// The route of the domain.
        route: u16,
    },
    /// This message has left the queue and is the operator's: keep it, note why, and tell.
    SetAside {
        /// Which message.
        message: u64,
        /// Why.
        why: SetAside,
    },
    /// Nothing before this moment (monotonic ms), or before something happens.
    Wait {
        /// The moment, if there is one.
        until_ms: Option<u64>,
    },
}

/// Why a message goes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is its turn.
    Turn,
    /// To find out whether the hop takes mail.
    Trial,
    /// Before its time, since the last messages all failed and that may be over.
    Early,
}

/// Why a message is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetAside {
    /// It is older than mail may become.
    Expired,
    /// It did harm again and again while others passed.
    Poison,
}

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Every recipient has its fate: delivered or set aside.
    Done {
        /// Whether the hop took custody for at least one of them, in this attempt.
        delivered: bool,
    },
    /// Some recipients are still open. A session that has carried a message before and is lost at MAIL is no evidence:
    /// the server may have closed it while it was idle. Connect again first.
    Open {
        /// What kept them open; of several pieces, the last.
        evidence: Evidence<'a>,
        /// As above.
        delivered: bool,
    },
    /// What is open of it is for recipients that are held: it lies aside until that route is free. Where its open
    /// recipients are on several such routes, any one of them.
    Parked {
        /// Which route, see [`hold_route`](crate::Release::hold_route).
        route: u16,
        /// As above.
        delivered: bool,
    },
    /// What is open of it is for recipients who have other hops. Tell with [`addressed`](crate::Release::addressed) before
    /// that which ways theirs are.
    Elsewhere {
        /// As above.
        delivered: bool,
    },
    /// The caller could not try it at all. It keeps its place and comes up again at once.
    NotTried,
}

impl Outcome<'_> {
    /// Whether the hop took custody for at least one recipient.
    pub(crate) fn is_delivered(&self) -> bool {
        match self {
            Self::Done { delivered }
            | Self::Open { delivered, .. }
            | Self::Parked { delivered, .. }
            | Self::Elsewhere { delivered } => *delivered,
            Self::NotTried => false,
        }
    }
}

/// What became of a canary that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryOutcome<'a> {
    /// The hop took it: from now on its arrival is waited for.
    Taken,
    /// It did not.
    Refused(Evidence<'a>),
    /// The caller could not try it at all.
    NotTried,
}

/// What follows for the message: for the caller to write down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has left the queue.
    Done,
    /// It keeps its place; nothing to write down.
    Kept,
    /// It waits.
    Waits {
        /// How long, in ms.
        for_ms: u64,
        /// How many attempts it has had, at most [`ATTEMPTS_MAX`](crate::ATTEMPTS_MAX).
        attempts: u32,
    },
    /// It has left the queue and is the operator's.
    SetAside(SetAside),
}

/// What [`remove`](crate::Release::remove) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was in the queue and is no longer.
    Yes,
    /// It is in flight: try again when that has ended.
    InFlight,
    /// It is not here.
    Unknown,
}
