//! MTA-STS (RFC 8461): what a domain says of the servers that take its mail.

/// What senders do that find something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They do not deliver.
    Enforce,
    /// They deliver and report it.
    Testing,
    /// Nothing.
    None,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) mode: Mode,
    /// The names of the servers, which may begin with `*.`.
    pub(super) mx: Vec<String>,
    /// For how long it is believed.
    pub(super) max_age_s: u64,
}

/// Whether a text of `_mta-sts.DOMAIN` announces a policy (section 3.1).
pub(super) fn is_announcement(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut fields = text.split(';').map(str::trim);
    fields.next() == Some("v=STSv1") && fields.any(|field| field.starts_with("id="))
}

impl Policy {
    /// Reads a policy (section 3.2); what is wrong is told in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut version, mut mode, mut mx, mut max_age_s) = (None, None, Vec::new(), None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let Some((key, value)) = line.split_once(':') else {
                return Err(format!("the line \"{line}\" has no colon"));
            };
            let value = value.trim();
            match key.trim() {
                "version" => version = Some(value),
                "mode" => mode = Some(value),
                "mx" => mx.push(value.trim_end_matches('.').to_ascii_lowercase()),
                "max_age" => max_age_s = value.parse().ok(),
                // Others may be added (section 3.2).
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err("it has no line \"version: STSv1\"".to_owned());
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err("its mode is none of enforce, testing and none".to_owned()),
        };
        let max_age_s = max_age_s.ok_or("it has no max_age in seconds")?;
        if mx.is_empty() && mode != Mode::None {
            return Err("it names no mx".to_owned());
        }
        Ok(Self { mode, mx, max_age_s })
    }

    /// Whether it has that server.
    pub(super) fn has(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| is_like(host, pattern))
    }
}

/// Whether a host is one of a pattern, which may begin with `*.` for one label.
pub(super) fn is_like(host: &str, pattern: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
        None => host.eq_ignore_ascii_case(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_the_rfc_has_it() {
        let text = "version: STSv1\r\nmode: enforce\r\nmx: Mail.Example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";
        let policy = Policy::parse(text).unwrap();
        assert_eq!((policy.mode, policy.max_age_s), (Mode::Enforce, 604_800));
        assert!(policy.has("mail.example.com") && policy.has("a.EXAMPLE.net"));
        assert!(!policy.has("example.net") && !policy.has("a.b.example.net") && !policy.has("example.com"));
        assert!(Policy::parse("version:STSv1\nmode:none\nmax_age:0\nnew: thing").is_ok());
        for (text, why) in [
            ("", "version"),
            ("version: STSv2\nmode: none\nmax_age: 1", "version"),
            ("version: STSv1\nmode: always\nmax_age: 1", "mode"),
            ("version: STSv1\nmode: enforce\nmx: a.example", "max_age"),
            ("version: STSv1\nmode: enforce\nmax_age: 1", "names no mx"),
            ("<html>", "colon"),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_policy_is_announced_by_version_and_number() {
        assert!(is_announcement(b"v=STSv1; id=20260101T000000;"));
        assert!(!is_announcement(b"v=STSv1") && !is_announcement(b"v=spf1 -all") && !is_announcement(b"\xFF"));
    }
}
