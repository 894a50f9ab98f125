//! The custody ledger: what is written on the volume about what became of mail, and who did what to it.
//!
//! Texts name recipients and what servers replied, never subjects or bodies. The numbers are part of what is on
//! volumes: none is ever used for something else.

mod notes;

use penstock_spool::{EVENT_TEXT_BYTES_MAX, Event, MessageId, Stamp};

pub(crate) use notes::Notes;

/// The namespace of META under which the box keeps what belongs to no message (`boxstate`).
pub(crate) const META_RELEASE: u8 = 1;
/// The namespace under which the watch over the volume keeps when it last went through it.
pub(crate) const META_SCRUB: u8 = 2;
/// The namespace under which a volume keeps how far the numbers of messages have come elsewhere.
pub(crate) const META_NUMBERS: u8 = 3;
/// The namespace under which it is kept how far the mail of other volumes was taken over.
pub(crate) const META_ADOPTED: u8 = 4;
/// The namespace under which it is kept how far a replay has come.
pub(crate) const META_REPLAY: u8 = 5;
/// The namespace of the list of recipients (`directory`).
pub(crate) const META_RECIPIENTS: u8 = 7;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// A write failed, and the volume was mounted anew.
    VolumeRecovered = 1,
    /// Another volume fails, is missing or does not answer.
    VolumeLost = 2,
    /// A next hop took custody.
    Delivered = 10,
    /// An attempt failed and will be repeated.
    Deferred = 11,
    /// A next hop refused, or an attempt is not to be repeated: it waits for the operator.
    Held = 12,
    /// The message is not what was written.
    Damaged = 13,
    /// Flipped bits were put right, and it was written again.
    Repaired = 14,
    /// It came to be safe after its sender had been told to come back.
    TooLate = 15,
    /// A next hop refused it while its client waited, who was told so: it is nobody's any more.
    Refused = 16,
    /// A next hop took it that sends no report of its delivery, which its sender had asked for.
    Relayed = 17,
    /// The operator removed it.
    Removed = 20,
    /// The operator read its body.
    Exported = 21,
    /// The operator had it tried at once.
    Released = 22,
    /// The operator changed the mode.
    Mode = 23,
    /// It was taken over from another box's volume.
    Adopted = 24,
    /// The operator had other settings tried, or they went back.
    Settings = 25,
    /// The operator had what was delivered go out once more.
    Replayed = 27,
    /// The operator had its sender told that it was not delivered.
    Bounced = 28,
    /// Another list of recipients was imported, or refused, or the list was cleared.
    Recipients = 26,
    /// A next hop is in another state.
    Hop = 30,
    /// The operator said that a next hop is itself.
    Confirmed = 31,
    /// A certificate: that clients are shown, or that a next hop showed.
    Certificate = 32,
    /// The daemon started, or stopped.
    Started = 40,
    Stopped = 41,
    /// Which system the box was started with and why, an update, what came of a trial.
    Box = 42,
    /// The volume was gone through.
    Scrubbed = 50,
    /// Something on the volume that is no message cannot be read.
    Rot = 51,
    /// What SPF, DKIM and DMARC said when it came in.
    Authenticity = 60,
    /// It was not taken byte for byte as it came.
    Altered = 61,
    /// The rescue of the firmware took it, while no system ran. The rescue writes this one.
    Rescued = 62,
}

impl Kind {
    const ALL: &[Self] = &[
        Self::VolumeRecovered,
        Self::VolumeLost,
        Self::Delivered,
        Self::Deferred,
        Self::Held,
        Self::Damaged,
        Self::Repaired,
        Self::TooLate,
        Self::Refused,
        Self::Relayed,
        Self::Removed,
        Self::Exported,
        Self::Released,
        Self::Mode,
        Self::Adopted,
        Self::Settings,
        Self::Replayed,
        Self::Bounced,
        Self::Recipients,
        Self::Hop,
        Self::Confirmed,
        Self::Certificate,
        Self::Started,
        Self::Stopped,
        Self::Box,
        Self::Scrubbed,
        Self::Rot,
        Self::Authenticity,
        Self::Altered,
        Self::Rescued,
    ];

    /// The kind as one word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::VolumeRecovered => "volume_recovered",
            Self::VolumeLost => "volume_lost",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Damaged => "damaged",
            Self::Repaired => "repaired",
            Self::TooLate => "too_late",
            Self::Refused => "refused",
            Self::Relayed => "relayed",
            Self::Removed => "removed",
            Self::Exported => "exported",
            Self::Released => "released",
            Self::Mode => "mode",
            Self::Adopted => "adopted",
            Self::Settings => "settings",
            Self::Replayed => "replayed",
            Self::Bounced => "bounced",
            Self::Recipients => "recipients",
            Self::Hop => "hop",
            Self::Confirmed => "confirmed",
            Self::Certificate => "certificate",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Box => "box",
            Self::Scrubbed => "scrubbed",
            Self::Rot => "rot",
            Self::Authenticity => "authenticity",
            Self::Altered => "altered",
            Self::Rescued => "rescued",
        }
    }

    /// The word for the number of an event, perhaps of a later version.
    pub(crate) fn name_of(code: u16) -> &'static str {
        Self::ALL.iter().find(|kind| **kind as u16 == code).map_or("unknown", |kind| kind.as_str())
    }

    /// An event of this kind, with as much of the text as an event holds.
    pub(crate) fn event(self, at: Stamp, message: Option<MessageId>, text: String) -> Event {
        Event { at, code: self as u16, message, text: cut(text) }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > EVENT_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(EVENT_TEXT_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_for_an_event_is_cut_between_characters() {
        let event = Kind::Settings.event(Stamp::default(), None, "é".repeat(400));
        assert!(event.text.len() <= EVENT_TEXT_BYTES_MAX && event.text.ends_with("é…"), "{}", event.text);
        assert_eq!(Kind::Settings.event(Stamp::default(), None, "short".to_owned()).text, "short");
    }

    #[test]
    fn every_kind_has_a_number_and_a_word_of_its_own() {
        for (n, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(Kind::name_of(*kind as u16), kind.as_str());
            for other in &Kind::ALL[..n] {
                assert_ne!((*kind as u16, kind.as_str()), (*other as u16, other.as_str()));
            }
        }
        assert_eq!(Kind::name_of(9999), "unknown");
    }
}
