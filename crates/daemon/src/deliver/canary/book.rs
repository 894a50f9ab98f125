//! The canaries that were sent lately, by hop: whose reports are awaited, and what came of the others. In memory only: a
//! restart sends new ones.

use std::collections::VecDeque;

use penstock_release::HopId;
use penstock_spool::Stamp;

use super::message::Token;
use super::report::Verdict;

/// Canaries that are kept in mind for each hop; of more, the oldest that is over is forgotten, else the oldest.
const KEPT_MAX: usize = 64;
/// How long a report is awaited. Exchange tries a mailbox database that is away again for two days; what proves that a
/// mailbox is there *now* is a canary that was sent now.
const AWAITED_FOR_MS: u64 = 3_600_000;

/// So many refusals in a row are no accident.
const REFUSED_MIN: usize = 3;

/// What has become of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is on its way to the hop.
    Going,
    /// The hop did not take it: why.
    Refused(String),
    /// The hop took it, and no report has come.
    Taken,
    /// It lies in its mailbox, so long after it was begun.
    Arrived { sojourn_ms: u64 },
    /// It will never lie there: why.
    Failed(String),
}

/// A canary that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    /// What `release` calls it.
    pub(super) id: u64,
    token: Token,
    /// Which of the hop's probe mailboxes it went to.
    pub(crate) probe: u16,
    pub(crate) begun_mono_ms: u64,
    pub(crate) begun: Stamp,
    pub(crate) fate: Fate,
}

impl Canary {
    /// Whether its report would still count.
    pub(crate) fn is_awaited(&self, now_ms: u64) -> bool {
        self.is_known(now_ms) && matches!(self.fate, Fate::Going | Fate::Taken)
    }

    /// Whether a report about it is taken: one that comes twice is not sent back.
    fn is_known(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.begun_mono_ms) < AWAITED_FOR_MS
    }
}

/// The canaries of one hop.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfHop {
    /// Oldest first.
    pub(crate) canaries: VecDeque<Canary>,
    /// How many the hop took, and how many arrived, since the start.
    pub(crate) taken: u64,
    pub(crate) arrived: u64,
    /// How long the last one that arrived had been on its way, in ms.
    pub(crate) sojourn_ms: Option<u64>,
    /// Whether the hop makes no reports: it offers no DSN.
    pub(crate) without_dsn: bool,
    /// Since when canaries are taken and none arrives, in monotonic ms: the first one after the last that arrived.
    pub(crate) silent_since_ms: Option<u64>,
    last_arrived: Option<u64>,
}

impl OfHop {
    /// Why the hop takes no canaries, where it has refused the last few of them.
    pub(crate) fn refused(&self) -> Option<&str> {
        let mut last = self.canaries.iter().rev().map(|canary| match &canary.fate {
            Fate::Refused(why) => Some(why.as_str()),
            _ => None,
        });
        let why = last.next()??;
        (last.by_ref().take(REFUSED_MIN - 1).flatten().count() == REFUSED_MIN - 1).then_some(why)
    }

    /// Keeps a canary that is about to be sent.
    fn keep(&mut self, canary: Canary, now_ms: u64) {
        if self.canaries.len() >= KEPT_MAX {
            let over = self.canaries.iter().position(|canary| !canary.is_awaited(now_ms));
            self.canaries.remove(over.unwrap_or(0));
        }
        self.canaries.push_back(canary);
    }

    /// The hop took a canary, of which it is not known yet whether it arrives.
    fn silence(&mut self, id: u64, begun_mono_ms: u64) {
        if self.silent_since_ms.is_none() && self.last_arrived.is_none_or(|last| last < id) {
            self.silent_since_ms = Some(begun_mono_ms);
        }
    }

    /// A canary has arrived: what was silence before it is none.
    fn sound(&mut self, id: u64) {
        let last = self.last_arrived.map_or(id, |last| last.max(id));
        self.last_arrived = Some(last);
        let since = self
            .canaries
            .iter()
            .find(|canary| canary.id > last && matches!(canary.fate, Fate::Taken | Fate::Failed(_)));
        self.silent_since_ms = since.map(|canary| canary.begun_mono_ms);
    }
}

/// What a report has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) hop: HopId,
    pub(super) id: u64,
    pub(super) probe: u16,
    pub(super) fate: Fate,
    /// It is the first that arrives, or the first since one did not.
    pub(super) is_news: bool,
}

/// The canaries of all hops.
#[derive(Debug, Default)]
pub(super) struct Book {
    hops: Vec<OfHop>,
}

impl Book {
    pub(super) fn new(hops: usize) -> Self {
        Self { hops: vec![OfHop::default(); hops] }
    }

    pub(super) fn of(&self, hop: HopId) -> Option<&OfHop> {
        self.hops.get(usize::from(hop.0))
    }

    fn of_mut(&mut self, hop: HopId) -> Option<&mut OfHop> {
        self.hops.get_mut(usize::from(hop.0))
    }

    /// A canary is about to be sent.
    pub(super) fn begin(
        &mut self,
        hop: HopId,
        id: u64,
        probe: u16,
        token: Token,
        begun_mono_ms: u64,
        begun: Stamp,
    ) {
        let Some(of_hop) = self.of_mut(hop) else { return };
        let canary = Canary { id, token, probe, begun_mono_ms, begun, fate: Fate::Going };
        of_hop.keep(canary, begun_mono_ms);
    }

    /// The hop took it, or not. Its report may have been quicker.
    pub(super) fn ended(&mut self, hop: HopId, id: u64, fate: Fate) {
        let Some(of_hop) = self.of_mut(hop) else { return };
        of_hop.taken += u64::from(fate == Fate::Taken);
        let canary = of_hop.canaries.iter_mut().rev().find(|canary| canary.id == id);
        let Some(canary) = canary.filter(|canary| canary.fate == Fate::Going) else { return };
        canary.fate = fate;
        if canary.fate == Fate::Taken {
            let begun_mono_ms = canary.begun_mono_ms;
            of_hop.silence(id, begun_mono_ms);
        }
    }

    /// It could not be tried.
    pub(super) fn forget(&mut self, hop: HopId, id: u64) {
        if let Some(of_hop) = self.of_mut(hop) {
            of_hop.canaries.retain(|canary| canary.id != id);
        }
    }

    /// Takes note whether the hop makes reports. Whether that is news.
    pub(super) fn set_without_dsn(&mut self, hop: HopId, without_dsn: bool) -> bool {
        let Some(of_hop) = self.of_mut(hop) else { return false };
        std::mem::replace(&mut of_hop.without_dsn, without_dsn) != without_dsn
    }

    /// Whether a report may come.
    pub(super) fn awaits_any(&self, now_ms: u64) -> bool {
        self.hops.iter().flat_map(|of_hop| &of_hop.canaries).any(|canary| canary.is_awaited(now_ms))
    }

    /// Whether a report with this token is taken.
    pub(super) fn knows(&self, token: Token, now_ms: u64) -> bool {
        let mut canaries = self.hops.iter().flat_map(|of_hop| &of_hop.canaries);
        canaries.any(|canary| canary.token == token && canary.is_known(now_ms))
    }

    /// A report has come. What that changed, if anything.
    pub(super) fn reported(&mut self, token: Token, verdict: Verdict, now_ms: u64) -> Option<Reported> {
        let known = |canary: &Canary| canary.token == token && canary.is_awaited(now_ms);
        let at = self.hops.iter().position(|of_hop| of_hop.canaries.iter().any(known))?;
        let of_hop = self.hops.get_mut(at)?;
        let before = of_hop.canaries.iter().rev().find_map(|canary| match canary.fate {
            Fate::Arrived { .. } => Some(true),
            Fate::Failed(_) => Some(false),
            _ => None,
        });
        let canary = of_hop.canaries.iter_mut().find(|canary| known(canary))?;
        let arrived = match verdict {
            Verdict::Delivered => {
                let sojourn_ms = now_ms.saturating_sub(canary.begun_mono_ms);
                canary.fate = Fate::Arrived { sojourn_ms };
                of_hop.arrived += 1;
                of_hop.sojourn_ms = Some(sojourn_ms);
                true
            }
            Verdict::Failed(why) => {
                canary.fate = Fate::Failed(why);
                false
            }
            Verdict::Nothing => return None,
        };
        let (id, probe, fate) = (canary.id, canary.probe, canary.fate.clone());
        if arrived {
            of_hop.sound(id);
        }
        let hop = HopId(u8::try_from(at).ok()?);
        Some(Reported { hop, id, probe, fate, is_news: before != Some(arrived) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: HopId = HopId(0);

    fn stamp() -> Stamp {
        Stamp { unix_ms: 1, boot: 1, trusted: true }
    }

    /// A book with canaries that were taken, begun a second apart, and their tokens.
    fn book(canaries: u64) -> (Book, Vec<Token>) {
        let mut book = Book::new(2);
        let tokens = (0..canaries).map(|id| {
            let token = Token::draw().unwrap();
            book.begin(HOP, id, 0, token, id * 1000, stamp());
            book.ended(HOP, id, Fate::Taken);
            token
        });
        let tokens = tokens.collect();
        (book, tokens)
    }

    #[test]
    fn a_canary_arrives_once() {
        let (mut book, tokens) = book(2);
        let reported = book.reported(tokens[1], Verdict::Delivered, 5000).unwrap();
        assert_eq!(
            (reported.id, reported.fate, reported.is_news),
            (1, Fate::Arrived { sojourn_ms: 4000 }, true)
        );
        assert_eq!(book.reported(tokens[1], Verdict::Delivered, 5000), None);
        assert_eq!(book.reported(tokens[1], Verdict::Failed("no".into()), 5000), None);
        assert!(book.knows(tokens[1], 5000), "who sends it again is not told that nobody is here");
        assert_eq!(book.of(HOP).map(|of| (of.taken, of.arrived, of.sojourn_ms)), Some((2, 1, Some(4000))));
        assert!(!book.reported(tokens[0], Verdict::Delivered, 6000).unwrap().is_news);
    }

    #[test]
    fn a_report_that_is_quicker_than_the_reply_counts() {
        let mut book = Book::new(1);
        let token = Token::draw().unwrap();
        book.begin(HOP, 7, 0, token, 0, stamp());
        assert!(book.reported(token, Verdict::Delivered, 10).is_some());
        book.ended(HOP, 7, Fate::Taken);
        assert_eq!(book.of(HOP).unwrap().canaries[0].fate, Fate::Arrived { sojourn_ms: 10 });
    }

    #[test]
    fn no_other_token_is_known_and_none_for_ever() {
        let (mut book, tokens) = book(1);
        let other = Token::draw().unwrap();
        assert!(!book.knows(other, 0) && book.reported(other, Verdict::Delivered, 0).is_none());
        let end_ms = AWAITED_FOR_MS;
        assert!(book.knows(tokens[0], end_ms - 1) && book.awaits_any(end_ms - 1));
        assert!(!book.knows(tokens[0], end_ms) && !book.awaits_any(end_ms));
        assert_eq!(book.reported(tokens[0], Verdict::Delivered, end_ms), None);
    }

    #[test]
    fn the_book_does_not_grow_without_end() {
        let (book, tokens) = book(1000);
        assert_eq!(book.of(HOP).unwrap().canaries.len(), KEPT_MAX);
        assert!(!book.knows(tokens[0], 0) && book.knows(tokens[999], 0));
        assert_eq!(book.of(HOP).unwrap().silent_since_ms, Some(0), "that there were more is not forgotten");
    }

    #[test]
    fn refusals_count_when_there_are_some_in_a_row() {
        let (mut book, _) = book(1);
        let refused = |book: &Book| book.of(HOP).unwrap().refused().map(str::to_owned);
        for id in 10..13 {
            assert_eq!(refused(&book), None);
            book.begin(HOP, id, 0, Token::draw().unwrap(), 0, stamp());
            book.ended(HOP, id, Fate::Refused(format!("550 {id}")));
        }
        assert_eq!(refused(&book).as_deref(), Some("550 12"));
        book.begin(HOP, 13, 0, Token::draw().unwrap(), 0, stamp());
        assert_eq!(refused(&book), None, "the next one may be taken");
    }

    #[test]
    fn those_that_are_over_make_room_first() {
        let (mut book, tokens) = book(KEPT_MAX as u64);
        book.reported(tokens[1], Verdict::Delivered, 0);
        book.begin(HOP, 1000, 0, Token::draw().unwrap(), 0, stamp());
        assert!(book.knows(tokens[0], 0) && !book.knows(tokens[1], 0));
    }

    #[test]
    fn silence_is_counted_from_the_first_canary_after_the_last_that_arrived() {
        let (mut book, tokens) = book(4);
        assert_eq!(book.of(HOP).unwrap().silent_since_ms, Some(0));
        book.reported(tokens[1], Verdict::Delivered, 9000);
        assert_eq!(book.of(HOP).unwrap().silent_since_ms, Some(2000));
        book.reported(tokens[2], Verdict::Failed("550".into()), 9000);
        assert_eq!(book.of(HOP).unwrap().silent_since_ms, Some(2000));
        book.reported(tokens[3], Verdict::Delivered, 9000);
        book.reported(tokens[0], Verdict::Delivered, 9000);
        assert_eq!(book.of(HOP).unwrap().silent_since_ms, None);
    }
}
