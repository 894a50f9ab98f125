//! Why a message is held, read back from the ledger: there alone it outlives a restart.
//!
//! The texts are those that `deliver` writes. What stands in them of strangers (addresses, what a server said) is read so
//! that none of them can make one reason look like another.

use penstock_release::Phase;

use crate::ledger::Kind;

/// Why recipients of a message are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) cause: Cause,
    /// The next hop that refused them.
    pub(super) hop: Option<String>,
    /// Which recipients; nobody by name where the text names none.
    pub(super) names: Vec<String>,
    /// Whether there are more than those named.
    pub(super) has_more: bool,
    /// What the server said, where it is whole.
    pub(super) reply: Option<Said>,
    /// All that is known, for people.
    pub(super) text: String,
}

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The next hop refused it for good.
    Refused,
    /// It failed again and again while others passed.
    Poison,
    /// It is older than mail may become.
    Expired,
    /// Its bytes are not those that were written.
    Damaged,
    /// The next hop does not offer what it needs.
    Unfit,
    Other,
}

/// A reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: u16,
    pub(super) enhanced: Option<(u8, u16, u16)>,
    pub(super) words: String,
    pub(super) phase: Phase,
}

impl Cause {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Poison => "poison",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Unfit => "unfit",
            Self::Other => "other",
        }
    }
}

/// What stands between next hop and recipients of one that was refused.
const REFUSED: &str = " refused it for ";

impl Reason {
    /// Reads an event of the ledger that says that something is held.
    pub(super) fn read(code: u16, text: &str) -> Self {
        let other = Self {
            cause: Cause::Other,
            hop: None,
            names: Vec::new(),
            has_more: false,
            reply: None,
            text: text.to_owned(),
        };
        if code == Kind::Damaged as u16 {
            return Self { cause: Cause::Damaged, ..other };
        }
        // No name of a hop has a blank.
        if let Some((hop, rest)) = text.split_once(REFUSED).filter(|(hop, _)| hop.split(' ').count() == 2) {
            let (names, has_more, said) = names(rest);
            let hop = hop.split(' ').next().map(str::to_owned);
            let reply = said.and_then(Said::read);
            let text = said.unwrap_or(rest).to_owned();
            return Self { cause: Cause::Refused, hop, names, has_more, reply, text };
        }
        let of_hop = text.split_once(", ").filter(|(hop, _)| !hop.contains(' '));
        let (names, has_more, said) = of_hop.map_or((Vec::new(), false, None), |(_, rest)| names(rest));
        let why = said.unwrap_or(text);
        let cause = if why.starts_with("it failed again and again") {
            Cause::Poison
        } else if why.starts_with("older than mail may become") {
            Cause::Expired
        } else if why.starts_with("PS-D350") {
            Cause::Unfit
        } else {
            Cause::Other
        };
        Self { cause, names, has_more, text: why.to_owned(), ..other }
    }

    /// Whether it may be about that recipient: it is named, or not all are.
    pub(super) fn concerns(&self, address: &str) -> bool {
        self.has_more || self.names.is_empty() || self.names.iter().any(|name| name == address)
    }
}

/// Splits `a@b, "c, d"@e and 7 more: rest` into the addresses, whether there are more, and the rest. In an address a colon
/// with a blank behind it stands within quotation marks only.
fn names(text: &str) -> (Vec<String>, bool, Option<&str>) {
    let (mut quoted, mut escaped, mut end) = (false, false, None);
    let mut names = Vec::new();
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted && rest.starts_with(", ") => {
                names.push(text[from..at].to_owned());
                from = at + 2;
            }
            ':' if !quoted && rest.starts_with(": ") => {
                end = Some(at);
                break;
            }
            _ => {}
        }
    }
    let Some(end) = end else { return (Vec::new(), true, None) };
    let last = &text[from..end];
    let counted = last.strip_suffix(" more").and_then(|last| last.rsplit_once(" and "));
    let is_count = |count: &str| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let (last, has_more) = match counted {
        Some((last, count)) if is_count(count) => (last, true),
        _ => (last, false),
    };
    names.push(last.to_owned());
    (names, has_more, Some(&text[end + 2..]))
}

impl Said {
    /// Reads `550 5.1.1 no such user (RCPT)`. `None` if it is no reply, or was cut.
    fn read(text: &str) -> Option<Self> {
        let (rest, at) = text.strip_suffix(')')?.rsplit_once(" (")?;
        let phase = match at {
            "greeting" => Phase::Banner,
            "EHLO" => Phase::Ehlo,
            "MAIL" => Phase::Mail,
            "RCPT" => Phase::Rcpt,
            "DATA" => Phase::Data,
            "end of data" => Phase::EndOfData,
            _ => return None,
        };
        let (code, words) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
        let code = code.parse().ok().filter(|_| is_code)?;
        let reply = penstock_release::Reply::new(code, words);
        Some(Self { code, enhanced: reply.enhanced, words: reply.text.to_owned(), phase })
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some((class, subject, detail)) = self.enhanced {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        write!(f, " {}", self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> Reason {
        Reason::read(Kind::Held as u16, text)
    }

    #[test]
    fn a_refusal_is_read_back_with_its_recipients_and_what_was_said() {
        let reason = held(
            "exchange [127.0.0.1:2526] refused it for gone@example.org, x@example.org: 550 5.1.10 \
             RESOLVER.ADR.RecipientNotFound (RCPT)",
        );
        assert_eq!((reason.cause, reason.hop.as_deref()), (Cause::Refused, Some("exchange")));
        assert_eq!(reason.names, ["gone@example.org", "x@example.org"]);
        assert!(
            !reason.has_more && reason.concerns("gone@example.org") && !reason.concerns("mia@example.org")
        );
        let said = reason.reply.unwrap();
        assert_eq!((said.code, said.enhanced, said.phase), (550, Some((5, 1, 10)), Phase::Rcpt));
        assert_eq!(said.to_string(), "550 5.1.10 RESOLVER.ADR.RecipientNotFound");
        let many = held("exchange [::1] refused it for a@example.org and 7 more: 554 no (end of data)");
        assert!(many.has_more && many.concerns("mia@example.org"));
        assert_eq!(
            many.reply.map(|said| (said.code, said.enhanced, said.phase)),
            Some((554, None, Phase::EndOfData))
        );
    }

    #[test]
    fn what_a_stranger_wrote_makes_no_other_reason_of_it() {
        let quoted = "\"x: 550 5.1.1 gone (RCPT)\"@example.org";
        let reason = held(&format!("exchange [::1] refused it for {quoted}: 550 5.7.1 spam (end of data)"));
        assert_eq!(reason.names, [quoted]);
        assert_eq!(
            reason.reply.map(|said| (said.enhanced, said.phase)),
            Some((Some((5, 7, 1)), Phase::EndOfData))
        );
        let escaped = r#""a\": 550 5.1.1 x, y"@example.org"#;
        let reason = held(&format!("exchange [::1] refused it for {escaped}: 550 5.7.1 spam (end of data)"));
        assert_eq!(reason.names, [escaped]);
        let said = "550 5.7.1 spam: 550 5.1.1 gone (RCPT) (end of data)";
        let reason = held(&format!("exchange [::1] refused it for a@example.org: {said}"));
        assert_eq!(
            reason.reply.map(|said| (said.enhanced, said.phase)),
            Some((Some((5, 7, 1)), Phase::EndOfData))
        );
    }

    #[test]
    fn what_was_cut_is_no_reply() {
        for text in [
            "exchange [::1] refused it for a@example.org: 550 5.1.1 long wor",
            "exchange [::1] refused it for a@example.org",
            "exchange [::1] refused it for a@example.org: the server closed the connection (RCPT)",
        ] {
            let reason = held(text);
            assert_eq!((reason.cause, reason.reply), (Cause::Refused, None), "{text}");
        }
    }

    #[test]
    fn what_no_server_said_is_told_apart() {
        let cause = |text: &str| held(text).cause;
        assert_eq!(cause("older than mail may become"), Cause::Expired);
        assert_eq!(cause("it failed again and again while others passed"), Cause::Poison);
        let poison =
            held("exchange, a@example.org: it failed again and again while others passed: no answer (DATA)");
        assert_eq!((poison.cause, &poison.names[..]), (Cause::Poison, &["a@example.org".to_owned()][..]));
        assert_eq!(cause("something that a later version writes"), Cause::Other);
        assert_eq!(Reason::read(Kind::Damaged as u16, "the bytes").cause, Cause::Damaged);
    }
}
