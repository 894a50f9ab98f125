//! What a report says (RFC 3464): whether a message lies in a mailbox, or never will.

use std::borrow::Cow;

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

/// As much of a report is read, in bytes. What comes first is for people and short, then what counts; a message that is
/// sent back is behind it.
pub(crate) const REPORT_BYTES_MAX: usize = 256 * 1024;
/// The longest reason that is kept, in bytes.
const WHY_BYTES_MAX: usize = 200;

/// What has become of a message, by its report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::deliver) enum Verdict {
    /// It lies in the mailbox.
    Delivered,
    /// It will never lie there: why, in one line.
    Failed(String),
    /// Nothing that proves the one or the other.
    Nothing,
}

/// Reads a report.
///
/// Of the actions of RFC 3464 §2.3.3 only `delivered` proves a mailbox. `relayed` says that the message went to a system
/// that makes no reports, `expanded` that an address stood for others, `delayed` that it still may arrive. A message that
/// is no report, such as an automatic answer, says nothing.
pub(super) fn verdict(message: &[u8]) -> Verdict {
    let Some(message) = MessageParser::default().parse(message) else { return Verdict::Nothing };
    let mut delivered = false;
    for fields in recipients(&message) {
        match fields.get("action").map(|action| without_comment(action).to_ascii_lowercase()).as_deref() {
            Some("delivered") => delivered = true,
            Some("failed") => return Verdict::Failed(fields.why()),
            _ => {}
        }
    }
    if delivered { Verdict::Delivered } else { Verdict::Nothing }
}

/// What is said of each recipient: the groups of fields of the part `message/delivery-status`, but for the first, which
/// is about the message (RFC 3464 §2.1).
fn recipients(message: &Message<'_>) -> Vec<Fields> {
    let root = message.root_part();
    let is_report = root.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("multipart")
            && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"))
            && kind
                .attribute("report-type")
                .is_some_and(|report| report.eq_ignore_ascii_case("delivery-status"))
    });
    let PartType::Multipart(parts) = &root.body else { return Vec::new() };
    if !is_report {
        return Vec::new();
    }
    let statuses = parts.iter().filter_map(|part| message.part(*part)).filter(|part| {
        part.content_type().is_some_and(|kind| {
            kind.ctype().eq_ignore_ascii_case("message")
                && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("delivery-status"))
        })
    });
    // There is one such part.
    let groups = statuses.take(1).flat_map(|part| Fields::groups(&String::from_utf8_lossy(part.contents())));
    groups.skip(1).collect()
}

/// Fields as a header has them, up to an empty line.
#[derive(Debug, Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn groups(text: &str) -> Vec<Self> {
        let mut groups = vec![Self::default()];
        for line in text.lines() {
            let Some(Self(fields)) = groups.last_mut() else { break };
            if line.trim().is_empty() {
                if !fields.is_empty() {
                    groups.push(Self::default());
                }
            } else if line.starts_with([' ', '\t']) {
                // The line before goes on.
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        groups
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// What the server said, else the status alone; in one line.
    fn why(&self) -> String {
        let said =
            self.get("diagnostic-code").map(|said| said.split_once(';').map_or(said, |(_, said)| said));
        let why = said.or_else(|| self.get("status")).unwrap_or("no reason is given").trim();
        let mut why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
        why
    }
}

/// A value without what stands in brackets behind it (RFC 822 §3.4.3).
fn without_comment(value: &str) -> Cow<'_, str> {
    Cow::Borrowed(value.split_once('(').map_or(value, |(value, _)| value).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report as Exchange makes one, with this for its part on the recipients.
    fn report(recipients: &str) -> String {
        format!(
            "Received: from mail.example.com (192.0.2.25) by box.example.com\r\n\
             MIME-Version: 1.0\r\nFrom: <postmaster@example.com>\r\nTo: <penstock-canary+1@box.example.com>\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"c2c05\"\r\n\
             Subject: Delivered: canary\r\n\r\n\
             --c2c05\r\nContent-Type: multipart/alternative; differences=Content-Type;\r\n\tboundary=\"inner\"\r\n\r\n\
             --inner\r\nContent-Type: text/plain; charset=\"us-ascii\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             Your message has been delivered to the following recipients:=\r\n\r\n\
             --inner\r\nContent-Type: text/html; charset=\"us-ascii\"\r\n\r\n<html>Action: failed</html>\r\n--inner--\r\n\
             --c2c05\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns;mail.example.com\r\nOriginal-Envelope-Id: 1\r\n\r\n{recipients}\r\n\
             --c2c05\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: canary\r\nAction: delivered\r\n--c2c05--\r\n"
        )
    }

    fn of(recipients: &str) -> Verdict {
        verdict(report(recipients).as_bytes())
    }

    #[test]
    fn only_delivered_proves_a_mailbox() {
        assert_eq!(
            of("Final-Recipient: rfc822;a@example.com\r\nAction: delivered\r\nStatus: 2.0.0\r\n"),
            Verdict::Delivered
        );
        assert_eq!(
            of("final-recipient: rfc822;a@b\r\nACTION:\r\n Delivered (to mailbox)\r\n"),
            Verdict::Delivered
        );
        for action in ["relayed", "expanded", "delayed", "delivered-not", "", "failed-not"] {
            assert_eq!(of(&format!("Action: {action}\r\nStatus: 2.0.0\r\n")), Verdict::Nothing, "{action}");
        }
        assert_eq!(of(""), Verdict::Nothing);
    }

    #[test]
    fn a_failure_says_why_and_outweighs_the_rest() {
        let failed =
            "Action: failed\r\nStatus: 5.1.10\r\nDiagnostic-Code: smtp;550 5.1.10\r\n RecipientNotFound\r\n";
        assert_eq!(of(failed), Verdict::Failed("550 5.1.10 RecipientNotFound".into()));
        assert_eq!(of("Action: failed\r\nStatus: 4.4.7\r\n"), Verdict::Failed("4.4.7".into()));
        assert_eq!(
            of(&format!("Action: delivered\r\n\r\n{failed}")),
            Verdict::Failed("550 5.1.10 RecipientNotFound".into())
        );
        let long = format!("Action: failed\r\nDiagnostic-Code: smtp;\u{1b}[2J{}\r\n", "é".repeat(5000));
        let Verdict::Failed(why) = of(&long) else { panic!("it failed") };
        assert!(why.len() <= WHY_BYTES_MAX && !why.contains('\u{1b}'), "{why}");
    }

    #[test]
    fn what_is_said_of_the_message_is_not_said_of_its_recipient() {
        let text = report("Action: relayed\r\n").replace("Original-Envelope-Id: 1", "Action: delivered");
        assert_eq!(verdict(text.as_bytes()), Verdict::Nothing);
    }

    #[test]
    fn what_is_no_report_proves_nothing() {
        let delivered = "Action: delivered\r\n";
        for (right, wrong) in [
            ("multipart/report", "multipart/mixed"),
            ("report-type=delivery-status", "report-type=disposition-notification"),
            (" report-type=delivery-status;", ""),
            ("message/delivery-status", "text/plain"),
            ("Content-Type: multipart/report", "X-Content-Type: multipart/report"),
        ] {
            let text = report(delivered);
            assert!(text.contains(right));
            assert_eq!(verdict(text.replacen(right, wrong, 1).as_bytes()), Verdict::Nothing, "{right}");
        }
        // A report that somebody else was sent, as the content of a message.
        let inside =
            format!("Subject: see this\r\nContent-Type: message/rfc822\r\n\r\n{}", report(delivered));
        assert_eq!(verdict(inside.as_bytes()), Verdict::Nothing);
        let answer = "From: a@example.com\r\nSubject: away\r\n\r\nI am away.\r\n\r\nAction: delivered\r\n";
        assert_eq!(verdict(answer.as_bytes()), Verdict::Nothing);
    }

    #[test]
    fn nothing_that_is_sent_in_a_reports_place_does_harm() {
        let whole = report("Action: delivered\r\n").into_bytes();
        // Cut anywhere, it is not taken for more than it says.
        for end in 0..whole.len() {
            let cut = verdict(&whole[..end]);
            assert!(matches!(cut, Verdict::Nothing | Verdict::Delivered), "{end}: {cut:?}");
        }
        let mut flipped = whole.clone();
        for at in 0..flipped.len() {
            flipped[at] ^= 0x80;
            verdict(&flipped);
            flipped[at] ^= 0x80;
        }
        let deep = "Content-Type: multipart/report; report-type=delivery-status; boundary=a\r\n\r\n--a\r\n"
            .repeat(3000);
        assert_eq!(verdict(deep.as_bytes()), Verdict::Nothing);
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(REPORT_BYTES_MAX / 32);
        assert_eq!(verdict(nested.as_bytes()), Verdict::Nothing);
        for byte in [0, b'\n', b':', b'-', b' ', 0xFF] {
            assert_eq!(verdict(&vec![byte; REPORT_BYTES_MAX]), Verdict::Nothing);
        }
        let groups = of(&"Action: relayed\r\n\r\n".repeat(10_000));
        assert_eq!(groups, Verdict::Nothing);
    }
}
