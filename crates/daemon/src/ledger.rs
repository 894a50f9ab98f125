//! The custody ledger: what is written on the volume about what became of mail, and who did what to it.
//!
//! Texts name recipients and what servers replied, never subjects or bodies. The numbers are part of what is on
//! volumes: none is ever used for something else.

/// A write failed, and the volume was mounted anew.
pub(crate) const VOLUME_RECOVERED: u16 = 1;
