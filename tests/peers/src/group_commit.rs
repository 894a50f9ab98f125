//! The bound of a file system: many writers, one committer that appends what they left and syncs once for all.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Log {
    pending: Vec<u8>,
    appended: u64,
    durable: u64,
    finished: bool,
}

/// What a run came to.
pub struct Run {
    /// Records.
    pub records: u64,
    /// Syncs.
    pub syncs: u64,
    /// From the first record to the last.
    pub took: Duration,
}

/// Lets `writers` threads write `records` records in all; each waits until its record is durable before the next.
pub fn group_commit(file: &Path, record_bytes: usize, writers: u64, records: u64) -> Run {
    let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    let log = Mutex::new(Log::default());
    let (work, done) = (Condvar::new(), Condvar::new());
    let each = records.div_ceil(writers);
    let began = Instant::now();
    let mut syncs = 0;
    thread::scope(|scope| {
        let committer = scope.spawn(|| {
            let mut batch = Vec::new();
            let mut syncs = 0;
            loop {
                let mut state = work
                    .wait_while(log.lock().unwrap(), |log| log.pending.is_empty() && !log.finished)
                    .unwrap();
                if state.pending.is_empty() {
                    return syncs;
                }
                batch.clear();
                std::mem::swap(&mut batch, &mut state.pending);
                let upto = state.appended;
                drop(state);
                file.write_all(&batch).unwrap();
                file.sync_data().unwrap();
                syncs += 1;
                log.lock().unwrap().durable = upto;
                done.notify_all();
            }
        });
        let writing: Vec<_> = (0..writers)
            .map(|_| {
                scope.spawn(|| {
                    let record = vec![b'x'; record_bytes];
                    for _ in 0..each {
                        let mut state = log.lock().unwrap();
                        state.pending.extend_from_slice(&record);
                        state.appended += 1;
                        let mine = state.appended;
                        work.notify_one();
                        drop(done.wait_while(state, |log| log.durable < mine).unwrap());
                    }
                })
            })
            .collect();
        writing.into_iter().for_each(|writer| writer.join().unwrap());
        log.lock().unwrap().finished = true;
        work.notify_one();
        syncs = committer.join().unwrap();
    });
    Run { records: each * writers, syncs, took: began.elapsed() }
}
