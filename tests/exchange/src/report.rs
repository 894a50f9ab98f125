//! Delivery status notifications (RFC 3464): how a sender learns what became of mail after 250.

use crate::message::{Message, Recipient};
use crate::units::{HOUR, SECOND};

/// What a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// It lies in the mailbox.
    Delivered,
    /// There is no such recipient.
    UnknownRecipient,
    /// It could not be delivered within two days.
    Expired,
    /// It is larger than the organisation takes.
    TooLarge,
}

impl ReportKind {
    const fn action(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            _ => "failed",
        }
    }

    const fn status(self) -> &'static str {
        match self {
            Self::Delivered => "2.0.0",
            Self::UnknownRecipient => "5.1.10",
            Self::Expired => "4.4.7",
            Self::TooLarge => "5.2.3",
        }
    }

    const fn diagnostic(self) -> &'static str {
        match self {
            Self::Delivered => "250 2.0.0 OK",
            Self::UnknownRecipient => {
                "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"
            }
            Self::Expired => "550 4.4.7 QUEUE.Expired; message expired",
            Self::TooLarge => "550 5.2.3 RESOLVER.RST.RecvSizeLimit; message too large for this recipient",
        }
    }
}

/// A report that the server has made about a message it had taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it says.
    pub kind: ReportKind,
    /// The recipient it is about.
    pub recipient: String,
    /// Whom it is for: the sender's address, empty if there is nobody to tell.
    pub to: String,
    /// The message it is about.
    pub message_id: Option<String>,
    /// ENVID of that message.
    pub envelope_id: Option<String>,
    /// When it was made, in milliseconds of the server's time.
    pub at_ms: u64,
}

impl Report {
    pub(crate) fn about(message: &Message, recipient: &Recipient, kind: ReportKind, at_ms: u64) -> Self {
        Self {
            kind,
            recipient: recipient.address.clone(),
            to: message.envelope.from.clone(),
            message_id: message.message_id.clone(),
            envelope_id: message.envelope.envelope_id.clone(),
            at_ms,
        }
    }

    /// The report as a message.
    pub(crate) fn to_message(&self, host: &str, number: u64, date: &str, original: Option<&str>) -> Vec<u8> {
        let failed = self.kind != ReportKind::Delivered;
        let subject = if failed { "Undeliverable" } else { "Delivered" };
        let said = if failed { "could not be delivered" } else { "was delivered" };
        let mut text = format!(
            "From: <postmaster@{host}>\r\nTo: <{to}>\r\nDate: {date}\r\nSubject: {subject}\r\n\
             Message-ID: <report-{number}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=\"part\"\r\n",
            to = self.to,
        );
        if let Some(message_id) = &self.message_id {
            text.push_str(&format!("In-Reply-To: {message_id}\r\n"));
        }
        text.push_str(&format!(
            "\r\n--part\r\nContent-Type: text/plain\r\n\r\nYour message to {recipient} {said}.\r\n\r\n\
             --part\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns;{host}\r\n",
            recipient = self.recipient,
        ));
        if let Some(envelope_id) = &self.envelope_id {
            text.push_str(&format!("Original-Envelope-Id: {envelope_id}\r\n"));
        }
        text.push_str("\r\n");
        if let Some(original) = original {
            text.push_str(&format!("Original-Recipient: {original}\r\n"));
        }
        text.push_str(&format!(
            "Final-Recipient: rfc822;{}\r\nAction: {}\r\nStatus: {}\r\nDiagnostic-Code: smtp;{}\r\n\r\n--part--\r\n",
            self.recipient,
            self.kind.action(),
            self.kind.status(),
            self.kind.diagnostic(),
        ));
        text.into_bytes()
    }
}

/// A date as headers and banners have it, from milliseconds of the server's time.
pub(crate) fn date(epoch_s: i64, now_ms: u64) -> String {
    // No scenario lasts so long that this could overflow; if one did, its dates would stand still.
    let now_ms = now_ms.min(1_000_000 * HOUR);
    let seconds = epoch_s.saturating_add_unsigned(now_ms / SECOND);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_carries_what_proves_which_message_it_is_about() {
        let report = Report {
            kind: ReportKind::Delivered,
            recipient: "probe@example.com".into(),
            to: "box@example.net".into(),
            message_id: Some("<1@box>".into()),
            envelope_id: Some("QQ314159".into()),
            at_ms: 0,
        };
        let text = report.to_message("mail.example.com", 7, &date(0, 1000), Some("rfc822;probe@example.com"));
        let text = String::from_utf8(text).unwrap();
        for line in [
            "To: <box@example.net>",
            "Date: Thu, 01 Jan 1970 00:00:01 +0000",
            "In-Reply-To: <1@box>",
            "Original-Envelope-Id: QQ314159",
            "Original-Recipient: rfc822;probe@example.com",
            "Final-Recipient: rfc822;probe@example.com",
            "Action: delivered",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in\n{text}");
        }
    }
}
