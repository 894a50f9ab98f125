//! When mail goes to the next hop, how fast, and whether.
//!
//! [`Release`] is told what happened (mail was accepted, a server answered, the operator spoke) and is asked what to do
//! next. It does no I/O, reads no clock and draws no random numbers: time comes as an argument, jitter from a seed, so
//! that a test can run a week of outage in milliseconds. `DESIGN.md` has the control law and its reasons.
//!
//! A message that it decides to send becomes a [`MessageAttempt`], which says who goes in which [`Transaction`] and what
//! follows from each reply. What a reply means, for a recipient, a message or the whole server, is
//! [`Evidence::verdict`], a pure function.
//!
//! The crate leaves to its caller: sessions and their bytes, the log on flash, which recipients of a message are open
//! when an attempt begins, and telling people.

#![no_std]

extern crate alloc;

mod attempt;
mod best;
mod breaker;
mod canary;
mod cause;
mod ceiling;
mod config;
mod counters;
mod custody;
mod decision;
mod domains;
mod doubt;
mod error;
mod fingerprint;
mod flow;
mod found;
mod hop;
mod latency;
mod pace;
mod progress;
mod proofs;
mod queue;
mod queues;
mod recent;
mod release;
mod reply;
mod saved;
mod text;
mod through;
mod transaction;
mod trust;
mod ways;

pub use attempt::{Aside, Fated, MessageAttempt, Settled};
pub use breaker::{Refused, Witness};
pub use cause::Cause;
pub use config::{BLIND_PER_MINUTE_MAX, Config, HOPS_MAX, HopConfig, PROBES_MAX};
pub use counters::{Counters, Grade};
pub use custody::{Trouble, Verdict};
pub use decision::{CanaryOutcome, Decision, Fate, Outcome, Removed, SetAside, Why};
pub use domains::{DOMAIN_ADVICE, ROUTES_OWN};
pub use error::Error;
pub use fingerprint::{Change, Faces, Fingerprint, Greeting};
pub use found::Found;
pub use hop::{HopStatus, State};
pub use progress::{Progress, Stillness};
pub use queue::{ATTEMPTS_MAX, Message, Priority};
pub use release::{Release, route};
pub use reply::{Event, Evidence, Phase, Reply};
pub use saved::{Mode, SAVED_BYTES_MAX, Saved, SavedHop};
pub use text::{REPLY_TEXT_BYTES_MAX, ReplyText};
pub use through::NotThrough;
pub use transaction::{AfterEnvelope, End, Transaction};
pub use ways::{HopSet, WAYS_MAX, WayId, WaySet};

/// A next hop: its place in [`Config::hops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopId(pub u8);

/// The time, twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since any moment before the first call; never goes back. All waiting is measured with it.
    pub mono_ms: u64,
    /// Milliseconds since 1970, if the clock can be trusted. Without it nothing expires and no hold ends by itself.
    pub unix_ms: Option<u64>,
}
