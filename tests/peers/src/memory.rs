//! How much memory the daemon takes while something happens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The most that is measured while `work` runs, in KiB.
pub fn peak_kib(measure: impl Fn() -> u64 + Sync, work: impl FnOnce()) -> u64 {
    let peak = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(measure(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
    peak.into_inner()
}
