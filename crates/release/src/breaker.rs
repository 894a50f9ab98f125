//! Whether refusals tell of the server rather than of mail.
//!
//! Everything in a message is its sender's to choose: envelope, text, how many there are. What he cannot choose freely
//! is where he connects from; so a *source* is the network of the client, as the caller tells it. Each rule here is such
//! that what one source does, whatever it is, is never enough: of the five refusals of known recipients none counts for
//! more than two, so that three are of others; and the share of mail that is refused for no known reason has to be too
//! high whichever source is left out, so that it is too high among the others.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::cause::Cause;
use crate::custody::Refusal;
use crate::domains::domain_of;
use crate::fingerprint::digest;
use crate::reply::Evidence;

/// For how long an attempt counts.
const WINDOW_MS: u64 = 10 * 60_000;
/// How many attempts are kept; of more, the last ones count.
const ATTEMPTS_MAX: usize = 1_024;
/// How many of them of one source, lest it drives out what others did.
const ATTEMPTS_PER_SOURCE: usize = 64;
/// How many refusals of known recipients are kept.
const REFUSALS_MAX: usize = 64;
/// So many known recipients …
const GOOD_REFUSED: usize = 5;
/// … of which no source counts for more than so many.
const GOOD_REFUSED_PER_SOURCE: usize = 2;
/// The share of the attempts that may be refused for no known reason, as one in so many …
const SHARE: usize = 5;
/// … where there are so many such at least, of so many sources.
const SHARE_REFUSED_MIN: usize = 5;
const SHARE_SOURCES_MIN: usize = 2;
/// How many domains are kept of which recipients were taken.
const DOMAINS_MAX: usize = 64;
/// So many sources are not one sender's doing.
pub(crate) const SOURCES_MIN: usize = 3;

/// What an attempt to send a message showed beside its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness<'a> {
    /// Who the message came from: a digest of the client's network. No sender must be able to have several.
    pub source: u64,
    /// Whom the hop refused for good. Of recipients refused together, each.
    pub refused: &'a [Refused<'a>],
    /// The addresses of those whom it took.
    pub taken: &'a [&'a str],
}

/// A recipient that was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// A digest of the address.
    pub recipient: u64,
    /// The address.
    pub address: &'a str,
    /// Whether it is known to be there.
    pub known_good: bool,
    /// What the hop said.
    pub evidence: Evidence<'a>,
}

#[derive(Clone, Copy, Debug)]
struct Attempted {
    at_ms: u64,
    source: u64,
    /// Whether the message or one of its recipients was refused for no known reason.
    oddly_refused: bool,
}

#[derive(Clone, Copy, Debug)]
struct GoodRefused {
    at_ms: u64,
    source: u64,
    recipient: u64,
    /// A digest of its domain.
    domain: u32,
}

/// What nothing more goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trip {
    /// The hop, since that is so.
    Hop(Cause),
    /// The domain of the recipients that were refused now: those of others are taken.
    Domain,
}

/// What a hop did with mail of late.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    attempts: VecDeque<Attempted>,
    good_refused: VecDeque<GoodRefused>,
    /// Domains of which recipients were taken, as digests, with the last moment.
    taken: VecDeque<(u32, u64)>,
}

impl Breaker {
    /// Takes in an attempt. Tells why nothing more should go, if that follows.
    pub(crate) fn take(&mut self, witness: Witness<'_>, now_ms: u64) -> Option<Trip> {
        let Witness { source, refused, taken } = witness;
        for address in taken {
            let domain = digest(domain_of(address));
            self.taken.retain(|(other, _)| *other != domain);
            keep(&mut self.taken, (domain, now_ms), DOMAINS_MAX, DOMAINS_MAX, |_| true);
        }
        let oddly_refused = refused.iter().any(|it| it.evidence.refusal() == Refusal::Odd);
        let attempted = Attempted { at_ms: now_ms, source, oddly_refused };
        keep(&mut self.attempts, attempted, ATTEMPTS_MAX, ATTEMPTS_PER_SOURCE, |it| it.source == source);
        let absent = |it: &&Refused<'_>| it.known_good && it.evidence.refusal() == Refusal::Recipient;
        let mut absentees = refused.iter().filter(absent).peekable();
        let of_domain = absentees.peek().map(|it| digest(domain_of(it.address)));
        for Refused { recipient, address, .. } in absentees {
            let domain = digest(domain_of(address));
            let one = GoodRefused { at_ms: now_ms, source, recipient: *recipient, domain };
            self.good_refused.retain(|it| it.source != source || it.recipient != *recipient);
            keep(&mut self.good_refused, one, REFUSALS_MAX, GOOD_REFUSED_PER_SOURCE, |it| {
                it.source == source
            });
        }
        let from_ms = now_ms.saturating_sub(WINDOW_MS);
        self.attempts.retain(|it| it.at_ms >= from_ms);
        self.good_refused.retain(|it| it.at_ms >= from_ms);
        self.taken.retain(|(_, at_ms)| *at_ms >= from_ms);
        match of_domain {
            Some(domain) if self.are_good_refused() => {
                let is_alone = self.good_refused.iter().all(|it| it.domain == domain);
                if !is_alone || self.taken.iter().all(|(other, _)| *other == domain) {
                    return Some(Trip::Hop(Cause::GoodRefused));
                }
                // From now on it is known, and says nothing more of the hop.
                self.good_refused.clear();
                Some(Trip::Domain)
            }
            _ if oddly_refused && self.are_many_refused() => Some(Trip::Hop(Cause::ManyRefused)),
            _ => None,
        }
    }

    /// Forgets what it knows: the hop is believed again.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether more than one recipient that is known to be there was refused lately. One may have left the site since.
    pub(crate) fn is_directory_in_doubt(&self, now_ms: u64) -> bool {
        self.good_refused_len(now_ms.saturating_sub(WINDOW_MS)) > 1
    }

    /// Whether enough different recipients were refused that are known to be there.
    fn are_good_refused(&self) -> bool {
        self.good_refused_len(0) >= GOOD_REFUSED
    }

    /// How many different ones were since then.
    fn good_refused_len(&self, from_ms: u64) -> usize {
        let mut counted: Vec<&GoodRefused> = Vec::new();
        for one in self.good_refused.iter().filter(|it| it.at_ms >= from_ms) {
            if !counted.iter().any(|it| it.recipient == one.recipient) {
                counted.push(one);
            }
        }
        counted.len()
    }

    /// Whether too much was refused for no known reason, whichever source is left out.
    fn are_many_refused(&self) -> bool {
        let mut by_source: Vec<(u64, bool)> =
            self.attempts.iter().map(|it| (it.source, it.oddly_refused)).collect();
        by_source.sort_unstable();
        let sums: Vec<(usize, usize)> = by_source
            .chunk_by(|one, other| one.0 == other.0)
            .map(|of_one| (of_one.len(), of_one.iter().filter(|it| it.1).count()))
            .collect();
        let (attempts, refused) = sums.iter().fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1));
        let sources = sums.iter().filter(|it| it.1 > 0).count();
        sums.iter().all(|(own_attempts, own_refused)| {
            let (attempts, refused) = (attempts - own_attempts, refused - own_refused);
            let sources = sources - usize::from(*own_refused > 0);
            refused >= SHARE_REFUSED_MIN && sources >= SHARE_SOURCES_MIN && refused * SHARE > attempts
        })
    }
}

/// Adds one. Where there are too many of its source, or in all, the oldest of these goes.
fn keep<T>(all: &mut VecDeque<T>, one: T, max: usize, own_max: usize, is_own: impl Fn(&T) -> bool) {
    if all.iter().filter(|it| is_own(it)).count() >= own_max
        && let Some(oldest) = all.iter().position(is_own)
    {
        all.remove(oldest);
    } else if all.len() >= max {
        all.pop_front();
    }
    all.push_back(one);
}

/// On whose behalf a hop was asked something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behalf {
    /// Nobody's: a probe, with its empty sender.
    Probe,
    /// Ours: a canary, to a mailbox that is there.
    Canary,
    /// That of a sender outside, from a source if it is known.
    Message(Option<u64>),
}

/// Sources whose mail a hop answered as if it did not know the site. One of them may have brought that about.
#[derive(Debug, Default)]
pub(crate) struct Accusers(Vec<u64>);

impl Accusers {
    /// Adds one. Tells whether they are too many to be one sender.
    pub(crate) fn add(&mut self, source: Option<u64>) -> bool {
        if let Some(source) = source
            && self.0.len() < SOURCES_MIN
            && !self.0.contains(&source)
        {
            self.0.push(source);
        }
        self.0.len() >= SOURCES_MIN
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::reply::{Event, Phase, Reply};

    const MINUTE: u64 = 60_000;

    fn refused(recipient: u64, known_good: bool, code: u16, text: &str) -> Refused<'_> {
        let event = Event::Reply(Reply::new(code, text));
        let evidence = Evidence { phase: Phase::Rcpt, event, accepted: 0 };
        Refused { recipient, address: "user@one.example", known_good, evidence }
    }

    fn witness<'a>(source: u64, refused: &'a [Refused<'a>]) -> Witness<'a> {
        Witness { source, refused, taken: &[] }
    }

    fn absent(recipient: u64) -> Refused<'static> {
        refused(recipient, true, 550, "5.1.1 User unknown")
    }

    fn odd() -> Refused<'static> {
        refused(1, false, 554, "5.3.0 Other or undefined mail system status")
    }

    #[test]
    fn five_known_recipients_from_three_sources_are_the_servers_fault() {
        let mut breaker = Breaker::default();
        let mut say = |source, recipient| breaker.take(witness(source, &[absent(recipient)]), source);
        for (source, recipient) in [(1, 1), (1, 2), (2, 3), (2, 4), (3, 4)] {
            assert_eq!(say(source, recipient), None, "{source} {recipient}");
        }
        assert_eq!(say(3, 5), Some(Trip::Hop(Cause::GoodRefused)));
    }

    #[test]
    fn those_of_one_domain_say_nothing_of_a_server_that_takes_others() {
        let of = |address: &'static str, recipient| Refused { address, ..absent(recipient) };
        let trips = |taken: &[&str], addresses: [&'static str; 5]| {
            let mut breaker = Breaker::default();
            assert_eq!(breaker.take(Witness { source: 9, refused: &[], taken }, 1), None);
            let trips =
                (1..).zip(addresses).map(|(n, address)| breaker.take(witness(n, &[of(address, n)]), 2));
            let trips: Vec<_> = trips.collect();
            assert!(trips[..4].iter().all(Option::is_none));
            (trips[4], breaker.take(witness(6, &[of(addresses[4], 6)]), 3))
        };
        let one = ["a@one.example", "b@one.example", "c@One.example", "d@one.example", "e@one.example"];
        let hop = Some(Trip::Hop(Cause::GoodRefused));
        assert_eq!(trips(&["a@two.example"], one), (Some(Trip::Domain), None), "and that is known then");
        assert_eq!(trips(&["a@ONE.example"], one), (hop, hop), "it took none of another");
        let two = ["a@one.example", "b@two.example", "c@one.example", "d@one.example", "e@one.example"];
        assert_eq!(trips(&["a@three.example"], two), (hop, hop));
    }

    #[test]
    fn recipients_nobody_knows_and_reasons_of_their_own_are_no_evidence() {
        let mut breaker = Breaker::default();
        for n in 0..500 {
            for one in [
                refused(n, false, 550, "5.1.1 User unknown"),
                refused(n, true, 550, "5.7.1 Message rejected by a rule"),
                refused(n, true, 552, "5.2.2 Mailbox full"),
                refused(n, true, 550, "5.1.8 Sender address rejected"),
            ] {
                assert_eq!(breaker.take(witness(n, &[one]), 1), None);
            }
        }
    }

    #[test]
    fn what_was_more_than_ten_minutes_ago_no_longer_counts() {
        let mut breaker = Breaker::default();
        for n in 0..30 {
            assert_eq!(breaker.take(witness(n, &[absent(n)]), n * 3 * MINUTE), None);
        }
    }

    #[test]
    fn a_fifth_of_the_mail_refused_for_no_known_reason_is_too_much() {
        let mut breaker = Breaker::default();
        for n in 0..40 {
            assert_eq!(breaker.take(witness(n, &[]), n), None);
        }
        let trips = (40..).position(|n| breaker.take(witness(n, &[odd()]), n).is_some());
        // Without any one of them ten of fifty would be a fifth and no more.
        assert_eq!(trips.map(|n| n + 1), Some(12));
    }

    #[test]
    fn it_holds_no_more_than_it_says() {
        let mut breaker = Breaker::default();
        for n in 0..5_000 {
            breaker.take(witness(n, &[absent(n), absent(n + 1)]), 1);
        }
        assert!(breaker.attempts.len() <= ATTEMPTS_MAX && breaker.good_refused.len() <= REFUSALS_MAX);
    }

    proptest! {
        /// Whatever one source sends and is answered, and however much of it: unless the others' refusals are reason
        /// enough by themselves, nothing follows.
        #[test]
        fn no_single_source_is_enough(
            others in prop::collection::vec((1u64..6, 0u64..8, 0u8..12), 0..60),
            own in prop::collection::vec((0usize..61, 0u64..8, 0u8..3, 1usize..80), 0..60),
        ) {
            let say = |recipient, kind| match kind {
                0 => Some(absent(recipient)),
                1 => Some(odd()),
                _ => None,
            };
            let told = |breaker: &mut Breaker, source, recipient, kind| {
                let refused = say(recipient, kind);
                breaker.take(witness(source, refused.as_slice()), 1)
            };
            let absentees: BTreeSet<_> = others.iter().filter(|it| it.2 == 0).map(|it| it.1).collect();
            prop_assume!(absentees.len() < GOOD_REFUSED - GOOD_REFUSED_PER_SOURCE);
            let odd = |n: usize| others[..n].iter().filter(|it| it.2 == 1).count();
            prop_assume!((0..=others.len()).all(|n| odd(n) < SHARE_REFUSED_MIN || odd(n) * SHARE <= n));
            let mut both = Breaker::default();
            for (n, (source, recipient, kind)) in others.iter().enumerate() {
                prop_assert_eq!(told(&mut both, *source, *recipient, *kind), None);
                for (_, recipient, kind, times) in own.iter().filter(|it| it.0 == n) {
                    for _ in 0..*times {
                        prop_assert_eq!(told(&mut both, 99, *recipient + 100, *kind), None);
                    }
                }
            }
        }
    }
}
