//! What the proof sees of the inside, and what it can break.
//!
//! A proof that cannot fail proves nothing, and one that never enters a branch says nothing of it. So the log names
//! each [`Branch`] that only a stop or rot leads to, and asks of each [`Protection`] whether it is on. Without the
//! feature `proof` both cost nothing: reaching a branch does nothing and every protection is on. With it, which is
//! for this crate's tests alone, they are kept for each thread by itself, so that tests run side by side.

#[cfg(feature = "proof")]
mod breaking;
#[cfg(feature = "proof")]
pub mod frames;

/// Defines an enum with its list, so that none can be left out of it.
macro_rules! listed {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        #[cfg(feature = "proof")]
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}

listed! {
    /// Something that keeps a promise, and can be turned off to see that its absence is found.
    Protection {
        /// A sync reaches the medium.
        Sync,
        /// The CRCs of frames begin with the volume and the segment's sequence.
        SeededCrc,
        /// Each group begins on a program unit of its own.
        FreshUnit,
        /// A segment is erased only after its RETIRE is durable and known to be.
        RetireBeforeErase,
        /// A segment's header is written twice.
        HeaderTwice,
        /// A used segment without a header is left alone.
        Quarantine,
        /// What a status segment says last of anything is written again before it is given up.
        StatusOutlivesCommit,
        /// What an unclean stop left open is never programmed again.
        SealAfterUnclean,
        /// The tail is written anew before anything builds upon it.
        TailAnew,
        /// The last segments are for status and reclaim alone.
        Reserve,
        /// What was programmed is read back before it counts, on media that program cells.
        ReadBack,
    }
}

listed! {
    /// A branch that only a stop, a cut or rot leads to.
    Branch {
        /// A mount came upon an erase that was still going on.
        EraseGoingOn,
        /// A read failed, and the next one did not.
        ReadAgain,
        /// A long read failed, and what was needed of it was read alone.
        ReadAlone,
        /// The first copy of a segment's header was not whole, and the second was.
        SecondHeader,
        /// A segment without a proven summary was scanned.
        Scanned,
        /// A segment's end tells of a summary that is not whole.
        SummaryRotten,
        /// A scan came upon a frame that was damaged, or a stretch without any.
        FrameDamaged,
        /// Something that was durable is missing in a segment, or not whole.
        RotFound,
        /// The newest root did not lead to all there is.
        HintsRefused,
        /// A boot had too few segments, and gave one up without opening another.
        GivenUpByRoot,
        /// Frames were read in a segment that had lost its header.
        HeadlessRead,
        /// A segment has a header and nothing else.
        NeverOpened,
        /// A record gave a segment away and was not known to be durable.
        NotBelieved,
        /// A used segment has no header, and is quarantined.
        Quarantined,
        /// The tail has a gap, and messages beyond it were read through.
        BeyondGap,
        /// A message of the tail was torn.
        Torn,
        /// A message that may have been acknowledged is not whole.
        Damaged,
        /// A copy of a message was found that does not count.
        CopyNotBelieved,
        /// Something stands in the tail.
        TailToSettle,
        /// A suspect segment was erased before it was opened.
        SuspectErased,
        /// Another erase had to end before that.
        OtherErasedFirst,
        /// A record says of a torn message that it never counted.
        TornRecorded,
        /// A message of the tail was written anew.
        TailMoved,
        /// A message of the tail could no longer be read when it was to be written anew.
        TailFaded,
        /// The fates of the tail were written anew.
        TailFates,
        /// The state of the tail was written anew.
        TailState,
        /// There was no room to write a message of the tail anew.
        TailNoRoom,
        /// A write failed, and the log takes nothing more.
        WriteFailed,
        /// A segment could not be erased or programmed, and is used no more.
        GoneBad,
        /// Reclaim came upon a message that it could not read, and leaves it where it stands.
        LeftDamaged,
        /// Reclaim found no room for what it was moving, and gave up.
        MovingStopped,
        /// Status had taken of its last segments, and others were given up at once.
        ReserveRefilled,
        /// A segment was given up and an older copy of a message counts again.
        FallBack,
    }
}

#[cfg(feature = "proof")]
mod on {
    use core::cell::Cell;
    use std::thread_local;

    use super::{Branch, Protection};

    thread_local! {
        static OFF: Cell<u64> = const { Cell::new(0) };
        static REACHED: Cell<u128> = const { Cell::new(0) };
    }

    impl Protection {
        /// Turns it off for this thread, and all others on.
        pub fn turn_off_alone(self) {
            OFF.set(1 << self as u32);
        }

        /// Turns all of them on for this thread.
        pub fn turn_all_on() {
            OFF.set(0);
        }

        pub(crate) fn is_on(self) -> bool {
            OFF.get() >> self as u32 & 1 == 0
        }
    }

    impl Branch {
        /// Those that this thread has been in since it was asked last.
        pub fn take_reached() -> impl Iterator<Item = Self> {
            let reached = REACHED.take();
            Self::ALL.iter().copied().filter(move |branch| reached >> *branch as u32 & 1 == 1)
        }

        /// Whether this thread has been in it since it was asked last for all.
        pub fn was_reached(self) -> bool {
            REACHED.get() >> self as u32 & 1 == 1
        }

        pub(crate) fn reach(self) {
            REACHED.set(REACHED.get() | 1 << self as u32);
        }
    }
}

#[cfg(not(feature = "proof"))]
mod off {
    use super::{Branch, Protection};

    impl Protection {
        #[inline(always)]
        #[allow(clippy::unused_self, reason = "with the feature it is asked")]
        pub(crate) const fn is_on(self) -> bool {
            true
        }
    }

    impl Branch {
        #[inline(always)]
        #[allow(clippy::unused_self, reason = "with the feature it is noted")]
        pub(crate) const fn reach(self) {}
    }
}
