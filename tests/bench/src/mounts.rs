//! Mount time, what it reads and what it takes, against the number of messages and the size of the volume.
//!
//! Each mount runs in a process of its own, so that its peak of memory is its own too, and begins with nothing of the
//! volume in the page cache. The volumes are files with holes: what was never written costs neither disk nor time, and
//! is read as zeros without a request to the device.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use penstock_flash::Medium;
use penstock_flash_linux::Volume;
use penstock_spool::{MessageId, MountOptions, Step};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};

use crate::mail::{Mail, delivered, mount, options, sparse_volume, stamp};

/// What makes this program mount a volume, print what it took, and end.
pub const CHILD: &str = "--mount-child";
/// The bodies that are stored: small, since what they hold does not matter to a mount.
const BODY_BYTES: usize = 1024;
/// Messages that share a sync while the volume is filled.
const MESSAGES_A_SYNC: u64 = 256;

/// A volume, and the numbers of messages at which its mount is measured, rising.
struct Series {
    volume_bytes: u64,
    segment_bytes: u32,
    messages: &'static [u64],
}

const SERIES: [Series; 3] = [
    Series { volume_bytes: 64 << 20, segment_bytes: 1 << 20, messages: &[1_000, 10_000] },
    Series { volume_bytes: 1 << 30, segment_bytes: 4 << 20, messages: &[1_000, 10_000, 100_000] },
    Series {
        volume_bytes: 32 << 30,
        segment_bytes: 16 << 20,
        messages: &[1_000, 10_000, 100_000, 1_000_000],
    },
];

/// Measures all of them, and tells of each as it is done.
pub fn measure(folder: &Path, quick: bool, mut tell: impl FnMut(&Value)) -> Vec<Value> {
    let mail = Mail::default();
    let mut rows = Vec::new();
    for Series { volume_bytes, segment_bytes, messages } in SERIES {
        let path = folder.join("mount");
        drop(sparse_volume(&path, volume_bytes, segment_bytes));
        let mut stored = 0;
        let counts = messages.iter().copied().filter(|count| !quick || *count <= 10_000);
        let last = counts.clone().max().unwrap();
        for messages in counts {
            let mut spool = mount(Volume::open(&path, segment_bytes).unwrap(), options());
            while stored < messages {
                mail.store(&mut spool, BODY_BYTES).unwrap();
                stored += 1;
                if stored % MESSAGES_A_SYNC == 0 {
                    spool.sync().unwrap();
                }
            }
            drop(spool.close().unwrap());
            let mut row = child(&path, segment_bytes);
            assert_eq!(row["messages"], messages);
            assert_eq!(row["scanned_segments"], 0, "a clean stop leaves nothing to scan");
            row["volume_bytes"] = volume_bytes.into();
            row["segments"] = (volume_bytes / u64::from(segment_bytes)).into();
            if messages == last {
                // The power fails, so to say, after some more mail. It leaves segments that were open, so nothing that
                // ought to be clean is measured after it.
                let mut spool = mount(Volume::open(&path, segment_bytes).unwrap(), options());
                for _ in 0..MESSAGES_A_SYNC {
                    mail.store(&mut spool, BODY_BYTES).unwrap();
                }
                spool.sync().unwrap();
                drop(spool.into_medium());
                let unclean = child(&path, segment_bytes);
                for key in ["mount_ms", "bytes_read", "requests"] {
                    row[format!("unclean_{key}")] = unclean[key].clone();
                }
                let (steps, longest_ms) = keep_house(&path, segment_bytes);
                row["steps"] = steps.into();
                row["longest_step_ms"] = longest_ms.into();
            }
            tell(&row);
            rows.push(row);
        }
        std::fs::remove_file(&path).unwrap();
    }
    rows
}

/// Delivers a tenth of the mail, the oldest, but for one message in fifty, and lets housekeeping give up what is
/// finished. How many steps that took, and how long the longest was in milliseconds.
fn keep_house(path: &Path, segment_bytes: u32) -> (u64, f64) {
    let options = MountOptions { kept_bytes_max: 0, ..options() };
    let mut spool = mount(Volume::open(path, segment_bytes).unwrap(), options);
    let count = spool.info().messages / 10;
    let ids: Vec<MessageId> = spool.queue(MessageId(0)).take(count).map(|mail| mail.id).collect();
    for ids in ids.chunks(MESSAGES_A_SYNC as usize) {
        for id in ids.iter().filter(|id| id.0 % 50 != 0) {
            spool.set_status(*id, &delivered()).unwrap();
        }
        spool.sync().unwrap();
    }
    let (mut steps, mut longest) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        let step = spool.step(stamp(1_700_000_000_000)).unwrap();
        longest = longest.max(began.elapsed());
        steps += 1;
        if step == Step::Idle {
            return (steps, round(longest.as_secs_f64() * 1e3));
        }
    }
}

fn child(path: &Path, segment_bytes: u32) -> Value {
    let program = std::env::current_exe().unwrap();
    let done = Command::new(program).arg(CHILD).arg(path).arg(segment_bytes.to_string()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The process that mounts.
pub fn mount_once(path: &Path, segment_bytes: u32) -> Value {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let volume = Volume::open(path, segment_bytes).unwrap();
    let reader = volume.reader();
    let resident_before = memory_bytes("VmRSS");
    let began = Instant::now();
    let spool = mount(volume, options());
    let took = began.elapsed();
    let peak = memory_bytes("VmHWM").saturating_sub(resident_before);
    let read = reader.counters();
    let info = spool.info();
    json!({
        "messages": info.messages,
        "volume_bytes": info.medium_bytes,
        "mount_ms": round(took.as_secs_f64() * 1e3),
        "bytes_read": read.read_bytes,
        "requests": read.read_requests,
        "index_bytes": info.index_bytes,
        "peak_bytes": peak,
        "scanned_segments": spool.mount_report().scanned_segments,
    })
}

/// A line of this process's status in bytes.
fn memory_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
