//! A message as an attachment of a new one (RFC 2046 §5.2.1), so that a server that has seen it does not know it again.

use penstock_smtp::trace::Date;
use std::fmt::Write as _;

use penstock_settings::Settings;
use penstock_spool::{Begin, Body, Envelope, Error as SpoolError, Recipient};

use super::super::{Operator, postmaster};
use super::choose::Chosen;
use crate::control::MailId;
use crate::control::volume::hexadecimal;
use crate::header;
use crate::storage::{Draft, NewMessage, Source, Storage};

/// The longest Subject that is taken over, in bytes; a line has 998 at most (RFC 5322 §2.1.1).
const SUBJECT_BYTES_MAX: usize = 800;

/// Stores a message that holds another one, to those of its recipients who were chosen. Its name; it is durable and with
/// release. `None` if the other one is such a message itself.
///
/// # Errors
/// What the log says of either message.
pub(super) async fn store(
    operator: &Operator,
    storage: &Storage,
    chosen: &Chosen,
) -> Result<Option<MailId>, SpoolError> {
    let (open, ()) = storage.open_with(chosen.id, |_| ()).await?;
    let (mut source, envelope) = Source::open(open, storage).await?;
    let begin = &envelope.begin;
    let ours = operator.settings.system.hostname.as_str();
    if begin.client.is_none() && begin.helo == ours && begin.sender == postmaster(&operator.settings) {
        return Ok(None);
    }
    let subject = header::read(&mut source).await?.field("subject").unwrap_or_default();
    source.rewind();
    let received = operator.clock.stamp();
    let wrapper = Wrapper {
        settings: &operator.settings,
        id: storage.mail_id(chosen.id),
        envelope: &envelope,
        sha256: source.sha256(),
        subject: &subject,
        unix_ms: received.unix_ms,
        boot: received.boot,
    };
    let recipients: Vec<Recipient> = (0u16..)
        .zip(&envelope.recipients)
        .filter(|(number, _)| chosen.holds(*number))
        // Reports about the first delivery were asked for by its sender, who knows nothing of this one.
        .map(|(_, recipient)| Recipient { address: recipient.address.clone(), ..Recipient::default() })
        .collect();
    let to = if let [only] = recipients.as_slice() { Some(only.address.as_str()) } else { None };
    let ((before, behind), tail) = (wrapper.head(to), wrapper.tail());
    let begin = Begin {
        received,
        sender: postmaster(&operator.settings),
        helo: operator.settings.system.hostname.as_str().to_owned(),
        body: envelope.begin.body,
        smtputf8: envelope.begin.smtputf8,
        ..Begin::default()
    };
    let head = Draft::new(&before, &behind, 0);
    let size_bytes = head.len() as u64 + source.size_bytes() + tail.len() as u64;
    let onto = operator.volumes.for_mail(Some(size_bytes))?.clone();
    let _transaction = onto.transaction();
    let new = NewMessage { begin, recipients, declared_bytes: Some(size_bytes), head };
    let incoming = onto.begin(Box::new(new)).await?;
    while let Some(chunk) = source.next_chunk().await? {
        incoming.push(chunk.into()).await?;
    }
    incoming.push(tail.into_bytes()).await?;
    incoming.commit().await.map(|stored| Some(stored.id))
}

/// What stands around the message.
struct Wrapper<'a> {
    settings: &'a Settings,
    id: MailId,
    envelope: &'a Envelope,
    sha256: [u8; 32],
    subject: &'a [u8],
    unix_ms: u64,
    boot: u32,
}

impl Wrapper<'_> {
    /// What no message holds that it is made from: nobody can write the hash of a message into it.
    fn boundary(&self) -> String {
        format!("=_{}", hexadecimal(&self.sha256[..16]))
    }

    /// What stands before the number of the new message, and what between it and the old message. One recipient is named;
    /// several are not told of each other.
    fn head(&self, to: Option<&str>) -> (String, String) {
        let Self { id, unix_ms, boot, .. } = self;
        let hostname = self.settings.system.hostname.as_str();
        let begin = &self.envelope.begin;
        let (kind, encoding) = match begin.body {
            // A header in UTF-8 makes it another type (RFC 6532 §3.7).
            Body::BinaryMime => (if begin.smtputf8 { "message/global" } else { "message/rfc822" }, "binary"),
            Body::SevenBit | Body::EightBitMime => {
                (if begin.smtputf8 { "message/global" } else { "message/rfc822" }, "8bit")
            }
        };
        let boundary = self.boundary();
        let mut text = format!(";\r\n\t{}\r\n", Date(*unix_ms));
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "Date: {}\r\nFrom: Penstock <{}>\r\nTo: {}\r\nMessage-ID: <replay.{id}.{boot}.{unix_ms}@{hostname}>\r\n\
             Subject: Replay: {}\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n",
            Date(*unix_ms),
            postmaster(self.settings),
            to.map_or_else(|| "undisclosed-recipients:;".to_owned(), |to| format!("<{to}>")),
            subject(self.subject, begin.smtputf8),
        );
        let received = begin.received;
        let when = if received.trusted { format!(" on {}", Date(received.unix_ms)) } else { String::new() };
        let sender = if begin.sender.is_empty() { "the null sender" } else { &begin.sender };
        let _ = write!(
            text,
            "--{boundary}\r\nContent-Type: text/plain; charset={}\r\n\r\n\
             The attached message came in{when}\r\nfrom {sender}. It had been delivered before,\r\n\
             and is sent once more on behalf of the administrator.\r\n\
             --{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\
             Content-Disposition: attachment; filename=\"{id}.eml\"\r\n\r\n",
            if begin.smtputf8 { "utf-8" } else { "us-ascii" },
        );
        (format!("Received: by {hostname} id "), text)
    }

    /// What stands behind it.
    fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary())
    }
}

/// The Subject of another message as part of one's own: bounded, and ASCII unless the message may be UTF-8.
fn subject(original: &[u8], is_utf8: bool) -> String {
    let text = String::from_utf8_lossy(original);
    let fits = |c: char| if c.is_control() || !is_utf8 && !c.is_ascii() { '?' } else { c };
    let mut text: String = text.chars().map(fits).collect();
    if text.len() > SUBJECT_BYTES_MAX {
        // Between words, since half an encoded word is none.
        let end = text.floor_char_boundary(SUBJECT_BYTES_MAX);
        let end = text[..end].rfind(' ').unwrap_or(end);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_is_taken_over_stays_one_line_of_what_a_header_may_hold() {
        assert_eq!(
            subject(b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?= from Mia", false),
            "=?utf-8?Q?Gr=C3=BC=C3=9Fe?= from Mia"
        );
        assert_eq!(subject("Grüße".as_bytes(), true), "Grüße");
        assert_eq!(subject("Grüße\r\nBcc: x@example.org".as_bytes(), false), "Gr??e??Bcc: x@example.org");
        let long = subject("word ".repeat(400).as_bytes(), false);
        assert!(long.len() <= SUBJECT_BYTES_MAX && long.ends_with("word"), "{}", long.len());
    }
}
