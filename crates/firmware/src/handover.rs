//! What stage 0 tells the firmware: bytes in memory, whose address is the first argument.
//!
//! Both were built at different times, so this is a format: what is added goes to the end, and its length says what is
//! there.
//!
//! ```text
//!  0  "PS-HND-1"
//!  8  length, u32          of all of it, in bytes
//! 12  slot                 0 A, 1 B
//! 13  trial                1 if it is on trial
//! 14  reason               what caused the reset: as in the mailbox; 255 if the power came
//! 15  mailbox              1 if there is one
//! 16  reset, u64           what the generic timer showed at the reset
//! 24  mailbox, 24 bytes    as the firmware is to take it into account
//! ```

use penstock_slots::{Cause, MAILBOX_BYTES, Mailbox, Slot};

/// What it takes, in bytes.
pub const HANDOVER_BYTES: usize = 48;
/// What stands at its beginning. The last character is the version of the format.
const MAGIC: [u8; 8] = *b"PS-HND-1";
const NO_REASON: u8 = 255;

/// What stage 0 knows and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The slot that the firmware was started from.
    pub slot: Slot,
    /// Whether that slot is on trial.
    pub is_trial: bool,
    /// What caused the reset; nothing did if the power came.
    pub reason: Option<Cause>,
    /// What the generic timer showed at the reset.
    pub reset_ticks: u64,
    /// What the reset left in memory, for the firmware to count.
    pub mailbox: Option<Mailbox>,
}

impl Handover {
    /// The bytes to be left in memory.
    pub fn to_bytes(&self) -> [u8; HANDOVER_BYTES] {
        let mut bytes = [0; HANDOVER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&(HANDOVER_BYTES as u32).to_le_bytes());
        bytes[12] = u8::from(self.slot == Slot::B);
        bytes[13] = u8::from(self.is_trial);
        bytes[14] = self.reason.map_or(NO_REASON, |cause| cause as u8);
        bytes[15] = u8::from(self.mailbox.is_some());
        bytes[16..24].copy_from_slice(&self.reset_ticks.to_le_bytes());
        if let Some(mailbox) = self.mailbox {
            bytes[24..24 + MAILBOX_BYTES].copy_from_slice(&mailbox.to_bytes());
        }
        bytes
    }

    /// Reads what stage 0 left. `None` if that was none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HANDOVER_BYTES>()?;
        let len = u32::from_le_bytes(bytes[8..12].try_into().ok()?);
        if !bytes.starts_with(&MAGIC) || (len as usize) < HANDOVER_BYTES {
            return None;
        }
        Some(Self {
            slot: if bytes[12] == 0 { Slot::A } else { Slot::B },
            is_trial: bytes[13] != 0,
            reason: (bytes[14] != NO_REASON).then(|| Cause::from_byte(bytes[14])),
            reset_ticks: u64::from_le_bytes(bytes[16..24].try_into().ok()?),
            mailbox: if bytes[15] == 0 { None } else { Mailbox::from_bytes(&bytes[24..]) },
        })
    }
}

/// What the kernel and people are told that the last reset was for.
pub fn reason_name(reason: Option<Cause>) -> &'static str {
    reason.map_or("power", Cause::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stage_0_says_is_what_the_firmware_hears() {
        let mailbox = Mailbox { cause: Cause::Panic, resets: 2, was_trial: true, turn: 1, since_s: 77 };
        let reasons = Cause::ALL.map(Some).into_iter().chain([None]);
        for ((reason, slot), mailbox) in
            reasons.zip(Slot::BOTH.into_iter().cycle()).zip([Some(mailbox), None].into_iter().cycle())
        {
            let said = Handover { slot, is_trial: slot == Slot::B, reason, reset_ticks: 1 << 40, mailbox };
            let mut bytes = said.to_bytes().to_vec();
            assert_eq!(Handover::from_bytes(&bytes), Some(said));
            bytes.extend([1, 2, 3]);
            assert_eq!(Handover::from_bytes(&bytes), Some(said), "a later stage 0 says more");
            assert_eq!(Handover::from_bytes(&bytes[1..]), None);
            assert_eq!(Handover::from_bytes(&bytes[..HANDOVER_BYTES - 1]), None);
        }
    }
}
