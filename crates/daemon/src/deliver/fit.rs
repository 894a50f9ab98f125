//! Whether a message can go to a hop as it is: nothing is ever converted, since that breaks signatures, and nothing is sent to
//! a server that would have to guess what it got.
//!
//! As the listener offers only what the hops take (`mirror`), a message that does not fit was accepted before its hop changed.

use penstock_smtp::client::Capabilities;
use penstock_spool::{Begin, Body, Envelope, Error};

use crate::storage::Source;

/// What a message needs and a hop does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacks {
    /// It is not made of lines, and can go by BDAT alone.
    BinaryMime,
    /// An address, or perhaps its header, is UTF-8.
    SmtpUtf8,
    /// It has bytes beyond ASCII and was declared so.
    EightBitMime,
}

impl Lacks {
    /// The extension.
    pub(super) const fn keyword(self) -> &'static str {
        match self {
            Self::BinaryMime => "CHUNKING and BINARYMIME",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::EightBitMime => "8BITMIME",
        }
    }
}

/// What a message needs of a server. Whether it has bytes beyond ASCII is looked up when that decides, and once.
#[derive(Debug)]
pub(super) struct Needs {
    body: Body,
    utf8: bool,
    /// An address is UTF-8.
    utf8_address: bool,
    has_eight_bits: Option<bool>,
}

impl Needs {
    pub(super) fn of(envelope: &Envelope) -> Self {
        let Begin { sender, body, smtputf8, .. } = &envelope.begin;
        let is_ascii = |recipient: &penstock_spool::Recipient| {
            recipient.address.is_ascii() && recipient.orcpt.as_deref().is_none_or(str::is_ascii)
        };
        let utf8_address = !(sender.is_ascii() && envelope.recipients.iter().all(is_ascii));
        Self { body: *body, utf8: *smtputf8, utf8_address, has_eight_bits: None }
    }

    /// What this server lacks for it, if anything. The message is at its beginning again afterwards.
    ///
    /// # Errors
    /// As [`Source::next_chunk`].
    pub(super) async fn lacking(
        &mut self,
        offered: &Capabilities,
        source: &mut Source,
    ) -> Result<Option<Lacks>, Error> {
        if self.body == Body::BinaryMime {
            return Ok((!(offered.chunking && offered.binary_mime)).then_some(Lacks::BinaryMime));
        }
        if self.utf8_address && !offered.smtp_utf8 {
            return Ok(Some(Lacks::SmtpUtf8));
        }
        let lacks = if self.utf8 && !offered.smtp_utf8 {
            Lacks::SmtpUtf8
        } else if self.body == Body::EightBitMime && !offered.eight_bit_mime {
            Lacks::EightBitMime
        } else {
            return Ok(None);
        };
        // Many a sender declares what it does not use.
        Ok(self.has_eight_bits(source).await?.then_some(lacks))
    }

    async fn has_eight_bits(&mut self, source: &mut Source) -> Result<bool, Error> {
        if let Some(known) = self.has_eight_bits {
            return Ok(known);
        }
        source.rewind();
        let mut found = false;
        while !found && let Some(chunk) = source.next_chunk().await? {
            found = !chunk.is_ascii();
        }
        source.rewind();
        self.has_eight_bits = Some(found);
        Ok(found)
    }
}
