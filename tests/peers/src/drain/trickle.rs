//! One message a second, from submission to mailbox: what somebody else, or the same sender's new mail, notices of a
//! drain.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::backlog::{message_id, text};
use super::site::{Seen, Site};
use crate::client::Client;

/// Connections at the same time: fewer than the 20 that a receive connector takes from one source.
const CONNECTIONS: usize = 10;
/// What is put off is tried again after a minute of the model's time.
const AGAIN_AFTER_S: u32 = 60;
/// The length of such a message in bytes.
const LEN_BYTES: usize = 4096;

#[derive(Clone, Copy)]
struct Waiting {
    number: u32,
    due: Instant,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// When each was submitted, in ms of the model's time.
    submitted_ms: Vec<u64>,
    /// Replies of 4xx, and of these 452 at the end of data.
    put_off: u64,
    in_vain: u64,
    stopping: bool,
}

struct Shared {
    kind: &'static str,
    to: SocketAddr,
    from: Option<IpAddr>,
    again_after: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Sends a message a second of the model's time, until it is stopped.
pub struct Trickle {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Trickle {
    /// Starts sending messages of a kind to a server, from an address of this machine.
    pub fn start(kind: &'static str, to: SocketAddr, from: Option<IpAddr>, site: &Site, speed: u32) -> Self {
        let again_after = Duration::from_secs(u64::from(AGAIN_AFTER_S)) / speed;
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { kind, to, from, again_after, state, changed });
        let (ticking, site) = (Arc::clone(&shared), site.clone());
        let mut threads = vec![thread::spawn(move || tick(&ticking, &site, speed))];
        for _ in 0..CONNECTIONS {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || work(&shared)));
        }
        Self { shared, threads }
    }

    /// How many were submitted.
    pub fn submitted(&self) -> usize {
        self.shared.state().submitted_ms.len()
    }

    /// Replies of 4xx that it got, and of these 452 at the end of data.
    pub fn put_off(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.put_off, state.in_vain)
    }

    /// How long each that was submitted in a span of time took to its mailbox, in ms, sorted. What has not arrived by
    /// `now_ms` counts as if it had just then.
    pub fn waits_ms(&self, seen: &[Seen], span_ms: Range<u64>, now_ms: u64) -> Vec<u64> {
        let arrived = self.arrived(seen);
        let state = self.shared.state();
        let submitted = (0u32..).zip(&state.submitted_ms).filter(|(_, at_ms)| span_ms.contains(*at_ms));
        let mut waits: Vec<u64> = submitted
            .map(|(number, at_ms)| arrived.get(&number).unwrap_or(&now_ms).saturating_sub(*at_ms))
            .collect();
        waits.sort_unstable();
        waits
    }

    /// Whether all have arrived that were submitted before a moment.
    pub fn has_all(&self, seen: &[Seen], before_ms: u64) -> bool {
        let arrived = self.arrived(seen);
        let state = self.shared.state();
        let mut submitted = (0u32..).zip(&state.submitted_ms).filter(|(_, at_ms)| **at_ms < before_ms);
        submitted.all(|(number, _)| arrived.contains_key(&number))
    }

    /// When each came to lie in its mailbox.
    fn arrived(&self, seen: &[Seen]) -> BTreeMap<u32, u64> {
        let own = seen.iter().filter(|seen| seen.kind == self.shared.kind);
        own.map(|seen| (seen.number, seen.delivered_ms)).collect()
    }

    /// No more messages; those that wait are still sent, until this is dropped.
    pub fn finish(&self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.stopping = true;
            state.waiting.clear();
        }
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // If it panicked it has said so.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared, site: &Site, speed: u32) {
    let began = Instant::now();
    for number in 0.. {
        let due = began + Duration::from_secs(1) * number / speed;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now_ms = site.now_ms();
        let mut state = shared.state();
        if state.stopping {
            return;
        }
        state.submitted_ms.push(now_ms);
        state.waiting.push(Waiting { number, due: Instant::now() });
        drop(state);
        shared.changed.notify_one();
    }
}

fn work(shared: &Shared) {
    let mut state = shared.state();
    loop {
        let now = Instant::now();
        let next = state.waiting.iter().enumerate().min_by_key(|(_, waiting)| waiting.due);
        match next.map(|(index, waiting)| (index, waiting.due)) {
            Some((index, due)) if due <= now => {
                let Waiting { number, .. } = state.waiting.swap_remove(index);
                drop(state);
                let code = send(shared, number);
                state = shared.state();
                if code.is_none_or(|(code, _)| code >= 400) {
                    state.put_off += 1;
                    state.in_vain += u64::from(code == Some((452, true)));
                    state.waiting.push(Waiting { number, due: Instant::now() + shared.again_after });
                }
            }
            None if state.stopping => return,
            next => {
                let left = next.map_or(Duration::from_secs(1), |(_, due)| due - now);
                state = shared.changed.wait_timeout(state, left).unwrap().0;
            }
        }
    }
}

/// One transaction: the code that ended it, and whether that was at the end of data. `None` where the connection was
/// cut.
fn send(shared: &Shared, number: u32) -> Option<(u16, bool)> {
    let mut client = Client::try_connect_from(shared.from, shared.to)?;
    if client.banner.code != 220 {
        return Some((client.banner.code, false));
    }
    let to = format!("{}@example.com", shared.kind);
    let lines = ["EHLO client.example", "MAIL FROM:<a@client.example>", &format!("RCPT TO:<{to}>"), "DATA"];
    for line in lines {
        client.try_send(format!("{line}\r\n").as_bytes()).then_some(())?;
        let code = client.try_reply()?.code;
        if code >= 400 {
            return Some((code, false));
        }
    }
    let message = [text(&message_id(shared.kind, number), LEN_BYTES).as_slice(), b".\r\n"].concat();
    client.try_send(&message).then_some(())?;
    let code = client.try_reply()?.code;
    client.try_send(b"QUIT\r\n");
    Some((code, true))
}

/// The value that so many percent of them do not exceed, in s. `None` of nothing.
pub fn percentile_s(sorted_ms: &[u64], percent: usize) -> Option<f64> {
    let index = (sorted_ms.len() * percent).div_ceil(100).saturating_sub(1);
    sorted_ms.get(index).map(|ms| *ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_the_second_worst_is_the_99th_percentile() {
        let waits: Vec<u64> = (1..=100).map(|n| n * 1000).collect();
        assert_eq!(percentile_s(&waits, 99), Some(99.0));
        assert_eq!(percentile_s(&waits, 50), Some(50.0));
        assert_eq!(percentile_s(&waits[..1], 99), Some(1.0));
        assert_eq!(percentile_s(&[], 99), None);
    }
}
