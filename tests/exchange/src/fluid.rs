//! A queue that is worked off in order at a rate that may change with time: the categorizer, and each database.

use std::collections::VecDeque;

use crate::curve::Curve;

/// The rate is looked at anew at least this often.
const SLICE_MS: f64 = 1000.0;

/// What waits, each with its cost. A cost of 1 takes a second at a rate of 1.
#[derive(Debug)]
pub(crate) struct Fluid<T> {
    items: VecDeque<(f64, T)>,
    /// What the first one still costs.
    remaining: f64,
    /// The present slice of work: fractions of a millisecond count at high rates.
    began_ms: f64,
    until_ms: f64,
    rate: f64,
    /// Whether the slice ends the first item. What is left of it then is an error of rounding.
    finishes: bool,
}

impl<T> Fluid<T> {
    pub(crate) fn new() -> Self {
        Self {
            items: VecDeque::new(),
            remaining: 0.0,
            began_ms: 0.0,
            until_ms: 0.0,
            rate: 0.0,
            finishes: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn push(&mut self, now_ms: u64, rate: &Curve, cost: f64, item: T) {
        self.items.push_back((cost, item));
        if self.items.len() == 1 {
            self.began_ms = now_ms as f64;
            self.remaining = cost;
            self.plan(rate);
        }
    }

    /// When something has to be done.
    pub(crate) fn next_event_ms(&self) -> Option<u64> {
        (!self.items.is_empty()).then(|| self.until_ms.ceil() as u64)
    }

    /// The next that is done by now.
    pub(crate) fn pop(&mut self, now_ms: u64, rate: &Curve) -> Option<T> {
        while self.next_event_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.remaining -= (self.until_ms - self.began_ms) * self.rate / 1000.0;
            self.began_ms = self.until_ms;
            if self.finishes {
                let (_, item) = self.items.pop_front()?;
                if let Some((cost, _)) = self.items.front() {
                    self.remaining = *cost;
                    self.plan(rate);
                }
                return Some(item);
            }
            self.plan(rate);
        }
        None
    }

    /// The first that is like this.
    pub(crate) fn first_that(&self, like: impl Fn(&T) -> bool) -> Option<&T> {
        self.items.iter().map(|(_, item)| item).find(|item| like(item))
    }

    /// Takes out whatever is to be gone.
    pub(crate) fn remove_if(&mut self, now_ms: u64, rate: &Curve, gone: impl Fn(&T) -> bool) -> Vec<T> {
        if !self.items.iter().any(|(_, item)| gone(item)) {
            return Vec::new();
        }
        let (out, kept): (Vec<_>, Vec<_>) = self.items.drain(..).partition(|(_, item)| gone(item));
        for (cost, item) in kept {
            self.push(now_ms, rate, cost, item);
        }
        out.into_iter().map(|(_, item)| item).collect()
    }

    fn plan(&mut self, rate: &Curve) {
        self.rate = rate.at(self.began_ms as u64);
        let left_ms = if self.rate > 0.0 { self.remaining / self.rate * 1000.0 } else { SLICE_MS };
        self.finishes = self.rate > 0.0 && left_ms <= SLICE_MS;
        self.until_ms = self.began_ms + left_ms.min(SLICE_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_messages_at_three_hundred_a_second_take_their_time_to_the_millisecond() {
        let rate = Curve::Fixed(300.0);
        let mut queue = Fluid::new();
        (0..1000).for_each(|n| queue.push(0, &rate, 1.0, n));
        let mut last_ms = 0;
        let mut order = Vec::new();
        while let Some(due_ms) = queue.next_event_ms() {
            last_ms = due_ms;
            while let Some(n) = queue.pop(due_ms, &rate) {
                order.push(n);
            }
        }
        assert_eq!(last_ms, 3334);
        assert!(order.iter().copied().eq(0..1000));
    }

    #[test]
    fn after_a_year_the_end_of_an_item_is_still_found() {
        let rate = Curve::Fixed(50.0);
        let mut queue = Fluid::new();
        let year_ms = 366 * 86_400_000;
        (0..100).for_each(|n| queue.push(year_ms, &rate, 0.9 + 0.001 * f64::from(n), n));
        let done = (0..100).filter(|_| queue.pop(year_ms + 2000, &rate).is_some()).count();
        assert_eq!(done, 100);
    }

    #[test]
    fn nothing_is_done_at_rate_zero_and_work_goes_on_with_the_rate() {
        let mut queue = Fluid::new();
        queue.push(0, &Curve::Fixed(0.0), 2.0, ());
        assert_eq!(queue.pop(10_000, &Curve::Fixed(0.0)), None);
        assert_eq!(queue.pop(12_900, &Curve::Fixed(1.0)), None);
        assert_eq!(queue.pop(13_000, &Curve::Fixed(1.0)), Some(()));
        assert_eq!(queue.next_event_ms(), None);
    }
}
