//! The counters of a server's queues, read for `release` from where windows_exporter serves them: what waits behind the
//! `250`, which SMTP does not tell.
//!
//! Only a reading that is fresh and can be right is passed on. What cannot be read, or stands still while mail goes, is
//! told once; release then goes by what else it knows.

mod exposition;
mod fetch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_release::{Counters, HopId, Mode};
use penstock_settings::HttpUrl;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Delivery;
use crate::stop;

/// How often counters are read while there is no mail. While there is some, `release` says how often.
const IDLE_INTERVAL_MS: u64 = 30_000;
/// How often it is looked whether there is.
const LOOK_INTERVAL_MS: u64 = 2_000;
/// Counters stand still when they have had the same totals for so long …
const STILL_MS: u64 = 10_000;
/// … and the hop took so many messages meanwhile.
const STILL_MESSAGES: u64 = 20;

/// What is known of a hop's counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// When they were last read and found to be of use, in monotonic ms.
    pub(crate) read_mono_ms: Option<u64>,
    /// What they were then.
    pub(crate) counters: Counters,
    /// Why they are of no use now.
    pub(crate) trouble: Option<String>,
    /// Messages that the hop took since the start.
    taken: u64,
    /// Since when they have had the totals of the last reading although it took mail, and how many messages it had taken then.
    still_since_ms: u64,
    still_since_taken: u64,
    last_totals: Option<(Option<u64>, Option<u64>)>,
}

/// What a reading means for who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    Trouble,
    Well,
}

impl Known {
    /// Takes a reading. What is to be told.
    fn take(&mut self, reading: Result<Counters, String>, now_ms: u64) -> News {
        let checked = reading.and_then(|counters| self.check_moving(&counters, now_ms).map(|()| counters));
        let before = (self.trouble.is_some(), self.read_mono_ms.is_some());
        match checked {
            Ok(counters) => {
                (self.read_mono_ms, self.counters, self.trouble) = (Some(now_ms), counters, None);
                if before == (false, true) { News::None } else { News::Well }
            }
            Err(why) => {
                self.trouble = Some(why);
                if before.0 { News::None } else { News::Trouble }
            }
        }
    }

    /// Whether totals grow when mail is taken; those of an old exporter, which has none, cannot be held to it.
    fn check_moving(&mut self, counters: &Counters, now_ms: u64) -> Result<(), String> {
        let totals = (counters.submitted_total, counters.completed_total);
        if totals == (None, None) || self.last_totals != Some(totals) {
            (self.last_totals, self.still_since_ms, self.still_since_taken) =
                (Some(totals), now_ms, self.taken);
            return Ok(());
        }
        let messages = self.taken - self.still_since_taken;
        if messages == 0 {
            // Nothing had to move.
            self.still_since_ms = now_ms;
        }
        if now_ms >= self.still_since_ms + STILL_MS && messages >= STILL_MESSAGES {
            return Err(format!("they stand still, although the server took {messages} messages meanwhile"));
        }
        Ok(())
    }
}

/// What is known of all hops' counters.
#[derive(Debug)]
pub(super) struct AllCounters(Mutex<Vec<Known>>);

impl AllCounters {
    pub(super) fn new(hops: usize) -> Self {
        Self(Mutex::new(vec![Known::default(); hops]))
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hop took a message.
    pub(super) fn took(&self, hop: HopId) {
        if let Some(known) = self.known().get_mut(usize::from(hop.0)) {
            known.taken += 1;
        }
    }
}

impl Delivery {
    /// Reads the counters of all hops that have any, until it is told to stop.
    pub(crate) async fn count(self: Arc<Self>) {
        let mut hops = JoinSet::new();
        for (n, settings) in self.settings.next_hops.iter().enumerate() {
            if let (Some(url), Ok(n)) = (&settings.counters_url, u8::try_from(n)) {
                hops.spawn(Arc::clone(&self).count_hop(HopId(n), url.clone()));
            }
        }
        while hops.join_next().await.is_some() {}
    }

    async fn count_hop(self: Arc<Self>, hop: HopId, url: HttpUrl) {
        let reading = async {
            let mut due_ms = 0;
            loop {
                let began_ms = self.clock.mono_ms();
                let interval_ms = self.counting_interval_ms(hop);
                if let Some(interval_ms) = interval_ms
                    && (began_ms >= due_ms || interval_ms <= LOOK_INTERVAL_MS)
                {
                    self.read_counters(hop, &url).await;
                    due_ms = began_ms + interval_ms;
                }
                let look_ms = interval_ms.map_or(LOOK_INTERVAL_MS, |ms| ms.min(LOOK_INTERVAL_MS));
                self.sleep_until(Some(began_ms + look_ms)).await;
            }
        };
        tokio::select! {
            () = reading => {}
            () = stop::signalled(self.stopping.clone()) => {}
        }
    }

    /// How often to read now; `None` while the servers are to be left alone.
    fn counting_interval_ms(&self, hop: HopId) -> Option<u64> {
        let now = self.now();
        let mut release = self.release();
        let progress = release.progress(now);
        match release.mode() {
            Mode::Stop => None,
            Mode::Hold { .. } => Some(IDLE_INTERVAL_MS),
            Mode::Auto | Mode::Drain if progress.messages > 0 || progress.in_flight > 0 => {
                Some(release.counting_interval_ms(hop, now))
            }
            Mode::Auto | Mode::Drain => Some(IDLE_INTERVAL_MS),
        }
    }

    async fn read_counters(&self, hop: HopId, url: &HttpUrl) {
        let reading = match fetch::page(url, self.from).await {
            Ok(page) => exposition::counters(&page).map_err(|missing| missing.as_str().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let (news, known) = {
            let mut all = self.counters.known();
            let Some(known) = all.get_mut(usize::from(hop.0)) else { return };
            (known.take(reading, self.clock.mono_ms()), known.clone())
        };
        if known.trouble.is_none() {
            self.release().counted(hop, &known.counters, self.now());
            self.wake();
        }
        let name = self.hop_name(hop);
        match news {
            News::None => {}
            News::Well => info!(hop = name, %url, "the counters of the next hop can be read"),
            News::Trouble => {
                let why = known.trouble.unwrap_or_default();
                warn!(code = "PS-D292", hop = name, %url, why, "the counters of the next hop are of no use; mail goes without them");
            }
        }
    }

    /// What is known of a hop's counters; `None` if they are read from nowhere.
    pub(crate) fn counters_of(&self, hop: HopId) -> Option<Known> {
        self.settings.next_hops.get(usize::from(hop.0))?.counters_url.as_ref()?;
        self.counters.known().get(usize::from(hop.0)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(submitted: u64, completed: u64) -> Result<Counters, String> {
        Ok(Counters {
            submitted_total: Some(submitted),
            completed_total: Some(completed),
            ..Counters::default()
        })
    }

    #[test]
    fn trouble_is_told_once_and_so_is_its_end() {
        let mut known = Known::default();
        assert_eq!(known.take(Err("no connection".into()), 1000), News::Trouble);
        assert_eq!(known.take(Err("no answer".into()), 2000), News::None);
        assert_eq!((known.read_mono_ms, known.trouble.as_deref()), (None, Some("no answer")));
        assert_eq!(known.take(totals(1, 1), 3000), News::Well);
        assert_eq!(known.take(totals(1, 1), 4000), News::None);
        assert_eq!((known.read_mono_ms, known.trouble.as_deref()), (Some(4000), None));
        assert_eq!(known.take(Err("no connection".into()), 5000), News::Trouble);
        assert_eq!(known.read_mono_ms, Some(4000), "how old they are is known");
    }

    #[test]
    fn counters_that_stand_still_while_mail_is_taken_are_of_no_use() {
        let mut known = Known::default();
        for n in 0..10 {
            known.take(totals(7, 7), n * STILL_MS);
        }
        assert_eq!(known.trouble, None, "no mail, and nothing moves");
        known.taken += STILL_MESSAGES;
        assert_eq!(known.take(totals(7, 7), 10 * STILL_MS - 1), News::None);
        assert_eq!(known.take(totals(7, 7), 10 * STILL_MS), News::Trouble);
        assert_eq!(known.take(totals(8, 7), 10 * STILL_MS + 1), News::Well);
    }

    #[test]
    fn a_burst_between_two_readings_is_no_standstill() {
        let mut known = Known::default();
        known.take(totals(7, 7), 0);
        known.taken += 100 * STILL_MESSAGES;
        assert_eq!(known.take(totals(7, 7), 1), News::None);
        assert_eq!(known.trouble, None);
    }

    #[test]
    fn an_old_exporter_without_totals_is_not_held_to_them() {
        let mut known = Known::default();
        let old = Counters { active_mailbox: Some(0), ..Counters::default() };
        for n in 0..100 {
            known.taken += STILL_MESSAGES;
            known.take(Ok(old), n);
        }
        assert_eq!(known.trouble, None);
    }
}
