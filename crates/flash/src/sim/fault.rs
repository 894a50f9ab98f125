//! What can be made to go wrong, and the one line in which a scenario is written down.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// One thing that goes wrong. Those that speak of an operation strike once, at the first one that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power fails during an operation.
    Cut,
    /// A program fails with this code; each of its units is kept, dropped or torn.
    FailProgram {
        /// The code in [`Error::Io`](crate::Error::Io).
        code: i32,
    },
    /// A sync fails with this code; what was pending stays in doubt for good.
    FailSync {
        /// The code in [`Error::Io`](crate::Error::Io).
        code: i32,
    },
    /// A poll of an erase fails with this code; the segment is left as by a power cut.
    FailErase {
        /// The code in [`Error::Io`](crate::Error::Io).
        code: i32,
    },
    /// A read fails with this code; the next one is as if nothing had been.
    FailRead {
        /// The code in [`Error::Io`](crate::Error::Io).
        code: i32,
    },
    /// A program does nothing and reports success.
    IgnoreProgram,
    /// An erase does nothing and reports success.
    IgnoreErase,
    /// A program goes to another place, as far as that place is on the medium. Physical media AND it into what is
    /// there, block media overwrite it.
    Misdirect {
        /// The segment it goes to.
        segment: u32,
        /// The offset it goes to, in bytes.
        offset: u32,
    },
    /// Bits of one byte change.
    Flip {
        /// The segment.
        segment: u32,
        /// The offset of the byte.
        offset: u32,
        /// The bits that change.
        mask: u8,
    },
    /// Bits of one byte read 1 or 0 for ever, whatever is programmed or erased.
    Stuck {
        /// The segment.
        segment: u32,
        /// The offset of the byte.
        offset: u32,
        /// The bits that are stuck.
        mask: u8,
        /// Whether they read 1.
        ones: bool,
    },
    /// A range cannot be read until it is erased or, on block media, programmed again.
    Unreadable {
        /// The segment.
        segment: u32,
        /// The offset of its first byte.
        offset: u32,
        /// Its length in bytes.
        len_bytes: u32,
    },
    /// From now on a segment that was erased so often fails the next time, and each time after.
    Endurance {
        /// How many erases a segment survives.
        erases: u64,
    },
    /// From now on `sync` and `program_through` harden nothing and report success. No log survives this: it shows
    /// that a check can fail.
    NoSync,
}

impl Fault {
    /// Whether it strikes the medium itself rather than an operation.
    pub(super) fn concerns_medium(&self) -> bool {
        matches!(
            self,
            Self::Flip { .. }
                | Self::Stuck { .. }
                | Self::Unreadable { .. }
                | Self::Endurance { .. }
                | Self::NoSync
        )
    }

    /// Whether it strikes a program.
    pub(super) fn concerns_program(&self) -> bool {
        matches!(self, Self::FailProgram { .. } | Self::IgnoreProgram | Self::Misdirect { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => write!(f, "cut"),
            Self::FailProgram { code } => write!(f, "fail-program={code}"),
            Self::FailSync { code } => write!(f, "fail-sync={code}"),
            Self::FailErase { code } => write!(f, "fail-erase={code}"),
            Self::FailRead { code } => write!(f, "fail-read={code}"),
            Self::IgnoreProgram => write!(f, "ignore-program"),
            Self::IgnoreErase => write!(f, "ignore-erase"),
            Self::Misdirect { segment, offset } => write!(f, "misdirect={segment}:{offset}"),
            Self::Flip { segment, offset, mask } => write!(f, "flip={segment}:{offset}:{mask}"),
            Self::Stuck { segment, offset, mask, ones } => {
                write!(f, "stuck={segment}:{offset}:{mask}:{}", u8::from(*ones))
            }
            Self::Unreadable { segment, offset, len_bytes } => {
                write!(f, "unreadable={segment}:{offset}:{len_bytes}")
            }
            Self::Endurance { erases } => write!(f, "endurance={erases}"),
            Self::NoSync => write!(f, "no-sync"),
        }
    }
}

impl FromStr for Fault {
    type Err = StoryError;

    fn from_str(text: &str) -> Result<Self, StoryError> {
        let (name, arguments) = text.split_once('=').unwrap_or((text, ""));
        let mut arguments = Arguments(arguments);
        let fault = match name {
            "cut" => Self::Cut,
            "fail-program" => Self::FailProgram { code: arguments.next()? },
            "fail-sync" => Self::FailSync { code: arguments.next()? },
            "fail-erase" => Self::FailErase { code: arguments.next()? },
            "fail-read" => Self::FailRead { code: arguments.next()? },
            "ignore-program" => Self::IgnoreProgram,
            "ignore-erase" => Self::IgnoreErase,
            "misdirect" => Self::Misdirect { segment: arguments.next()?, offset: arguments.next()? },
            "flip" => {
                Self::Flip { segment: arguments.next()?, offset: arguments.next()?, mask: arguments.next()? }
            }
            "stuck" => Self::Stuck {
                segment: arguments.next()?,
                offset: arguments.next()?,
                mask: arguments.next()?,
                ones: arguments.next::<u8>()? != 0,
            },
            "unreadable" => Self::Unreadable {
                segment: arguments.next()?,
                offset: arguments.next()?,
                len_bytes: arguments.next()?,
            },
            "endurance" => Self::Endurance { erases: arguments.next()? },
            "no-sync" => Self::NoSync,
            _ => return Err(StoryError),
        };
        if arguments.0.is_empty() { Ok(fault) } else { Err(StoryError) }
    }
}

/// Numbers divided by colons.
struct Arguments<'a>(&'a str);

impl Arguments<'_> {
    fn next<T: FromStr>(&mut self) -> Result<T, StoryError> {
        let (first, rest) = self.0.split_once(':').unwrap_or((self.0, ""));
        self.0 = rest;
        first.parse().map_err(|_| StoryError)
    }
}

/// One step of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `FAULT@OPERATION`: a fault that strikes at the operation with this number, or at the first after it that fits.
    Inject {
        /// The number of the operation, over all boots.
        at: u64,
        /// What goes wrong.
        fault: Fault,
    },
    /// `on@SEED`: the power comes back, and the seed decides what is left.
    PowerOn {
        /// The seed.
        seed: u64,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inject { at, fault } => write!(f, "{fault}@{at}"),
            Self::PowerOn { seed } => write!(f, "on@{seed}"),
        }
    }
}

impl FromStr for Step {
    type Err = StoryError;

    fn from_str(text: &str) -> Result<Self, StoryError> {
        let (what, number) = text.rsplit_once('@').ok_or(StoryError)?;
        let number = number.parse().map_err(|_| StoryError)?;
        match what {
            "on" => Ok(Self::PowerOn { seed: number }),
            _ => Ok(Self::Inject { at: number, fault: what.parse()? }),
        }
    }
}

/// All that went wrong with a medium, in order: `flip=3:120:4@17 cut@20 on@99`. Together with the geometry and the
/// workload this is the whole scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The steps, in the order in which they were asked for.
    pub steps: Vec<Step>,
}

impl Story {
    /// The faults, each with the number of its operation.
    pub fn faults(&self) -> impl Iterator<Item = (u64, Fault)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Inject { at, fault } => Some((*at, *fault)),
            Step::PowerOn { .. } => None,
        })
    }

    /// The seeds, one for each time that the power came back.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        self.steps.iter().filter_map(|step| match step {
            Step::Inject { .. } => None,
            Step::PowerOn { seed } => Some(*seed),
        })
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.steps.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(f, "{space}{step}")?;
        }
        Ok(())
    }
}

impl FromStr for Story {
    type Err = StoryError;

    fn from_str(line: &str) -> Result<Self, StoryError> {
        let steps = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { steps })
    }
}

/// A line that is no story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoryError;

impl fmt::Display for StoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a story: expected steps such as flip=3:120:4@17, cut@20 or on@99")
    }
}

impl core::error::Error for StoryError {}
