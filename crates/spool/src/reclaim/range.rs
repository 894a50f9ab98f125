//! Which messages have anything in a segment: a range of ids, gone through in pieces.
//!
//! Ids grow by arrival and segments fill by arrival, so what stands in a segment has ids that are close together,
//! and to find them takes a look at few entries of the index. Where they are not (mail moved together, one session
//! that took hours) the range is wide and the search long, but it is never wrong and no piece of it is long.

use alloc::vec::Vec;

use super::ENTRIES_A_STEP;
use crate::index::{Entry, Index};
use crate::record::MessageId;

/// The ids of all messages that ever had something in a segment since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRange {
    first: u64,
    last: u64,
}

impl IdRange {
    pub(crate) const EMPTY: Self = Self { first: u64::MAX, last: 0 };

    pub(crate) fn extend(&mut self, id: u64) {
        self.first = self.first.min(id);
        self.last = self.last.max(id);
    }

    pub(crate) fn holds(&self, id: u64) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

/// How far a search through a range has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    left: IdRange,
}

impl Search {
    pub(crate) fn through(range: IdRange) -> Self {
        Self { left: range }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.left.first > self.left.last
    }

    /// Looks at the next [`ENTRIES_A_STEP`] entries, or fewer if `found_max` are found before, and gives the ids of
    /// those that are wanted, in order.
    pub(crate) fn next(
        &mut self,
        index: &Index,
        found_max: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Vec<MessageId> {
        let mut found = Vec::new();
        for (seen, entry) in index.iter_from(MessageId(self.left.first)).enumerate() {
            if entry.id > self.left.last {
                break;
            }
            if seen == ENTRIES_A_STEP || found.len() == found_max {
                self.left.first = entry.id;
                return found;
            }
            if wanted(entry) {
                found.push(MessageId(entry.id));
            }
        }
        self.left = IdRange::EMPTY;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Place;

    #[test]
    fn pieces_of_a_search_find_what_one_look_would() {
        let mut index = Index::default();
        let mut range = IdRange::EMPTY;
        for id in (10..80_000).step_by(3) {
            index.insert(Entry::new(id, Place { segment: (id % 2) as u32, offset: 0 }, 1, 1), &[]);
        }
        assert!(Search::through(range).is_done(), "nothing to look through");
        range.extend(70_000);
        range.extend(100);
        assert_eq!([99, 100, 70_000, 70_001].map(|id| range.holds(id)), [false, true, true, false]);
        let wanted = |entry: &Entry| entry.commit.segment == 1;
        let expected: Vec<u64> = (100..=70_000).filter(|id| id % 3 == 1 && id % 2 == 1).collect();
        for found_max in [1, 7, 1000] {
            let mut search = Search::through(range);
            let mut found = Vec::new();
            while !search.is_done() {
                found.extend(search.next(&index, found_max, wanted).into_iter().map(|id| id.0));
            }
            assert_eq!(found, expected, "in pieces of {found_max}");
        }
    }
}
