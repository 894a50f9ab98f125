//! What the ledger is to say of the box itself: told on the serial line at once, and kept until the service fetches it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use penstock_daemon::keeper::NEWS_MAX;

use super::log::say;

/// What has not been fetched yet.
#[derive(Debug, Default)]
pub(super) struct News(Mutex<VecDeque<String>>);

impl News {
    /// Tells something.
    pub(super) fn tell(&self, sentence: &str) {
        say(sentence);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= NEWS_MAX {
            kept.pop_front();
        }
        kept.push_back(sentence.to_owned());
    }

    /// All of it, which then is not kept any more.
    pub(super) fn take(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_fetched_once_and_the_oldest_makes_room() {
        let news = News::default();
        for number in 0..=NEWS_MAX {
            news.tell(&number.to_string());
        }
        let taken = news.take();
        assert_eq!((taken.len(), taken[0].as_str()), (NEWS_MAX, "1"));
        assert!(news.take().is_empty());
    }
}
