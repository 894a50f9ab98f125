//! Whether all connections come from one address: a firewall that hides the senders behind its own, or a filter in front
//! that nobody has named. Limits per source would then hold for everybody at once.

use super::Source;

/// So many connections are looked at together.
const SPAN: u32 = 100;
/// How many of these one source must have. The others may be a printer and who looks after the box.
const SHARE: u32 = 95;

/// The connections of those who are not known to be in front.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    /// Which source may have most, by the vote of Boyer and Moore, and how sure that is.
    candidate: Option<Source>,
    votes: u32,
    /// The candidate of the span before, and its part of this one.
    suspect: Option<Source>,
    theirs: u32,
    all: u32,
    found: Option<Source>,
}

impl Gateway {
    /// The address from which nearly all connections come.
    pub(super) fn found(&self) -> Option<Source> {
        self.found
    }

    /// Counts a connection. The gateway, if it becomes known with it.
    pub(super) fn count(&mut self, source: Source) -> Option<Source> {
        if self.votes == 0 {
            self.candidate = Some(source);
        }
        if self.candidate == Some(source) {
            self.votes += 1;
        } else {
            self.votes -= 1;
        }
        self.all += 1;
        self.theirs += u32::from(self.suspect == Some(source));
        if self.all < SPAN {
            return None;
        }
        let before = self.found;
        self.found = self.suspect.filter(|_| self.theirs >= SHARE);
        self.suspect = self.candidate.take();
        (self.votes, self.theirs, self.all) = (0, 0, 0);
        self.found.filter(|_| before != self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn a_gateway_is_found_although_a_printer_and_the_operator_connect_too() {
        let mut gateway = Gateway::default();
        let told: Vec<_> =
            (0..400).filter_map(|n| gateway.count(if n % 50 == 0 { source(2) } else { source(1) })).collect();
        assert_eq!(told, [source(1)], "told once");
        assert_eq!(gateway.found(), Some(source(1)));
    }

    #[test]
    fn one_sender_of_most_mail_is_no_gateway_and_what_was_found_is_forgotten_when_others_come() {
        let mut gateway = Gateway::default();
        assert!((0..1000).all(|n| gateway.count(source(if n % 10 == 0 { n } else { 1 })).is_none()));
        for _ in 0..300 {
            let _ = gateway.count(source(1));
        }
        assert!(gateway.found().is_some());
        for n in 0..100 {
            let _ = gateway.count(source(n));
        }
        assert_eq!(gateway.found(), None);
    }
}
