//! What can be done to a spool and to the medium below it, and how it is drawn.
//!
//! An act names what it is about by position among what there is, modulo how much there is. So each sequence of acts
//! can be carried out, whatever was left out of it, and a failure shrinks to the few acts that it takes.

use penstock_flash::sim::{SEED_DROP_ALL, SEED_KEEP_ALL};
use penstock_spool::Fate;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use crate::common::GEOMETRIES;

/// The most transactions that are open at a time.
const SESSIONS_MAX: usize = 6;

/// One thing that is done.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Begin {
        recipients: u16,
        declared: Option<u16>,
    },
    Write {
        session: usize,
        bytes: u16,
    },
    Commit {
        session: usize,
    },
    Abort {
        session: usize,
    },
    /// Whole messages at once, with one sync after them or one after each.
    Store {
        messages: u8,
        recipients: u16,
        bytes: u16,
        sync_each: bool,
    },
    Sync,
    /// A fate for a run of recipients of one message.
    Fate {
        message: usize,
        first: u16,
        count: u16,
        fate: Fate,
    },
    /// A run of recipients of a message is to be delivered again.
    Replay {
        message: usize,
        first: u16,
        count: u16,
    },
    /// The oldest messages are delivered, one sync after each or one after all.
    Deliver {
        messages: u8,
        sync_each: bool,
    },
    PutMeta {
        key: u8,
        bytes: u16,
        value: u8,
    },
    Event {
        about: Option<usize>,
        text_bytes: u16,
    },
    /// Housekeeping.
    Step {
        times: u8,
    },
    Read {
        message: usize,
    },
    Close,
    /// The program dies, the medium does not notice.
    Crash,
    /// The power fails between two operations.
    PowerCut {
        seed: u64,
    },
    /// The power fails in one of the next operations, whatever that is for.
    CutAfter {
        operations: u16,
        seed: u64,
    },
    /// Something breaks that is no power cut.
    Break(Defect),
}

/// What breaks on a medium that is not what it says. Places are shares of the medium in 1/65,536.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Defect {
    Flip { place: u16, fine: u16, bit: u8 },
    Unreadable { place: u16, fine: u16, bytes: u16 },
    Stuck { place: u16, fine: u16, bit: u8, ones: bool },
    FailRead,
    FailProgram,
    FailSync,
    FailErase,
    IgnoreProgram,
    IgnoreErase,
    Misdirect { place: u16 },
}

/// What must be known to draw the next act: no more than what makes it likely to be worth something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) shape: usize,
    sessions: usize,
}

/// Draws what is done, with defects of class B or without.
pub(crate) struct Plans<const CLASS_B: bool>;

impl<const CLASS_B: bool> ReferenceStateMachine for Plans<CLASS_B> {
    type State = Plan;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Plan> {
        (0..GEOMETRIES.len()).prop_map(|shape| Plan { shape, sessions: 0 }).boxed()
    }

    fn transitions(plan: &Plan) -> BoxedStrategy<Act> {
        // Acts that find nothing to be about do nothing, and are drawn seldom.
        let likely = |is_likely: bool, weight: u32| if is_likely { weight } else { 1 };
        let open = plan.sessions > 0;
        let session = 0..SESSIONS_MAX;
        let sizes = prop_oneof![4 => 0..400u16, 3 => 400..3000u16, 1 => 3000..20_000u16];
        let seed = prop_oneof![1 => Just(SEED_DROP_ALL), 1 => Just(SEED_KEEP_ALL), 6 => 2..u64::MAX];
        let acts = prop_oneof![
            likely(plan.sessions < SESSIONS_MAX, 6) => (1..5u16, proptest::option::of(0..6000u16))
                .prop_map(|(recipients, declared)| Act::Begin { recipients, declared }),
            likely(open, 8) => (session.clone(), 1..5000u16).prop_map(|(session, bytes)| Act::Write { session, bytes }),
            likely(open, 6) => session.clone().prop_map(|session| Act::Commit { session }),
            1 => session.prop_map(|session| Act::Abort { session }),
            4 => (1..8u8, prop_oneof![6 => 1..4u16, 1 => 4..90u16], sizes, any::<bool>()).prop_map(
                |(messages, recipients, bytes, sync_each)| Act::Store { messages, recipients, bytes, sync_each }
            ),
            6 => Just(Act::Sync),
            8 => (0..64usize, 0..4u16, 1..5u16, fates()).prop_map(|(message, first, count, fate)| Act::Fate {
                message, first, count, fate
            }),
            3 => (0..64usize, 0..4u16, 1..5u16)
                .prop_map(|(message, first, count)| Act::Replay { message, first, count }),
            4 => (1..12u8, any::<bool>()).prop_map(|(messages, sync_each)| Act::Deliver { messages, sync_each }),
            2 => (0..6u8, 0..300u16, any::<u8>()).prop_map(|(key, bytes, value)| Act::PutMeta { key, bytes, value }),
            2 => (proptest::option::of(0..64usize), 0..600u16)
                .prop_map(|(about, text_bytes)| Act::Event { about, text_bytes }),
            4 => (1..40u8).prop_map(|times| Act::Step { times }),
            2 => (0..64usize).prop_map(|message| Act::Read { message }),
            1 => Just(Act::Close),
            1 => Just(Act::Crash),
            1 => seed.clone().prop_map(|seed| Act::PowerCut { seed }),
            2 => (0..60u16, seed).prop_map(|(operations, seed)| Act::CutAfter { operations, seed }),
        ];
        if CLASS_B {
            prop_oneof![30 => acts, 1 => defects().prop_map(Act::Break)].boxed()
        } else {
            acts.boxed()
        }
    }

    fn apply(mut plan: Plan, act: &Act) -> Plan {
        match act {
            Act::Begin { .. } => plan.sessions += 1,
            Act::Commit { .. } | Act::Abort { .. } => plan.sessions = plan.sessions.saturating_sub(1),
            Act::Close | Act::Crash | Act::PowerCut { .. } => plan.sessions = 0,
            _ => {}
        }
        plan
    }
}

fn fates() -> impl Strategy<Value = Fate> + Clone {
    prop_oneof![
        3 => Just(Fate::Deferred),
        1 => Just(Fate::Held),
        1 => Just(Fate::Queued),
        4 => Just(Fate::Delivered),
        1 => Just(Fate::Removed),
        1 => Just(Fate::RefusedInSession),
    ]
}

fn defects() -> impl Strategy<Value = Defect> {
    let place = any::<u16>();
    let fine = any::<u16>();
    prop_oneof![
        6 => (place, fine, 0..8u8).prop_map(|(place, fine, bit)| Defect::Flip { place, fine, bit }),
        3 => (place, fine, 1..6000u16).prop_map(|(place, fine, bytes)| Defect::Unreadable { place, fine, bytes }),
        1 => (place, fine, 0..8u8, any::<bool>()).prop_map(|(place, fine, bit, ones)| Defect::Stuck {
            place, fine, bit, ones
        }),
        1 => Just(Defect::FailRead),
        1 => Just(Defect::FailProgram),
        1 => Just(Defect::FailSync),
        1 => Just(Defect::FailErase),
        1 => Just(Defect::IgnoreProgram),
        1 => Just(Defect::IgnoreErase),
        1 => place.prop_map(|place| Defect::Misdirect { place }),
    ]
}
