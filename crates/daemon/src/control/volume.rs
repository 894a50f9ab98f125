//! The language of the control interface about volumes: what one is, and how far a scrub has come.
//!
//! The same is told of the running volume and of an image that nobody has mounted, so what is known of a mounted spool
//! becomes these types here.

use std::fmt::Write as _;

use penstock_flash::Medium;
use penstock_spool::{MountReport, ScrubReport, Spool};
use serde::{Deserialize, Serialize};

use super::Store;

/// What a volume is, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Its file or device.
    pub path: String,
    /// The name that it got when it was made, in hexadecimal.
    pub id: String,
    /// The version of its format.
    pub format: u16,
    /// Features as bits: those that may be ignored.
    pub features_compatible: u32,
    /// Features without which it is not written.
    pub features_append_compatible: u32,
    /// Features without which it is not mounted.
    pub features_incompatible: u32,
    /// The size of the medium.
    pub medium_bytes: u64,
    /// The size of a segment.
    pub segment_bytes: u32,
    /// The program unit.
    pub unit_bytes: u32,
    /// What mail may take in all.
    pub capacity_bytes: u64,
    /// What undelivered mail takes, envelopes and overhead included.
    pub live_bytes: u64,
    /// What finished mail kept for replay takes; it counts as free.
    pub kept_bytes: u64,
    /// What mail may still take.
    pub free_bytes: u64,
    /// Messages with a recipient that is not done.
    pub messages: u64,
    /// Finished messages kept for replay.
    pub kept_messages: u64,
    /// Undelivered messages that are damaged.
    pub damaged_messages: u64,
    /// Segments by what they are doing.
    pub segments: Segments,
    /// The lowest erase count of a segment.
    pub erase_count_min: u32,
    /// The mean of them.
    pub erase_count_mean: u32,
    /// The highest.
    pub erase_count_max: u32,
    /// The number of the mount in the volume's life.
    pub boot: u32,
    /// What the mount found.
    pub mount: Mount,
}

/// Segments by what they are doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// All of them.
    pub total: u32,
    /// Ready to be used.
    pub free: u32,
    /// Being written.
    pub open: u32,
    /// Full, or left by an unclean stop.
    pub sealed: u32,
    /// Given up, and not yet ready to be used again.
    pub retired: u32,
    /// Used, and without a header: left alone.
    pub quarantined: u32,
    /// Could not be erased or written: never used again.
    pub bad: u32,
    /// Tell a mount where to begin.
    pub anchors: u32,
    /// Among the sealed ones, those with something in them that cannot be read.
    pub unreadable: u32,
}

/// What a mount found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// How long it took.
    pub took_ms: u64,
    /// Whether the stop before it was clean.
    pub clean: bool,
    /// Segments that were read whole.
    pub scanned_segments: u32,
    /// Frames, or stretches without any, that could not be read; the torn end of a cut write is among them.
    pub damaged_frames: u32,
    /// Messages that were not whole and had never been acknowledged.
    pub torn_messages: u32,
    /// Messages that may have been acknowledged and are not whole.
    pub damaged_messages: u32,
}

impl VolumeInfo {
    /// What is known of a mounted volume.
    pub fn of<M: Medium, B: AsRef<[u8]> + AsMut<[u8]>>(
        spool: &Spool<M, B>,
        path: &str,
        took_ms: u64,
    ) -> Self {
        let (info, facts) = (spool.info(), spool.facts());
        let MountReport { clean, scanned_segments, damaged_frames, torn_messages, damaged_messages, .. } =
            spool.mount_report();
        Self {
            path: path.to_owned(),
            id: hexadecimal(&info.volume),
            format: facts.format,
            features_compatible: facts.features[0],
            features_append_compatible: facts.features[1],
            features_incompatible: facts.features[2],
            medium_bytes: info.medium_bytes,
            segment_bytes: facts.segment_bytes,
            unit_bytes: facts.unit_bytes,
            capacity_bytes: info.capacity_bytes,
            live_bytes: info.live_bytes,
            kept_bytes: info.kept_bytes,
            free_bytes: info.free_bytes(),
            messages: info.messages as u64,
            kept_messages: info.kept_messages as u64,
            damaged_messages: facts.damaged_messages,
            segments: Segments {
                total: facts.segments.total,
                free: facts.segments.free,
                open: facts.segments.open,
                sealed: facts.segments.sealed,
                retired: facts.segments.retired,
                quarantined: facts.segments.quarantined,
                bad: facts.segments.bad,
                anchors: facts.segments.anchors,
                unreadable: facts.segments.unreadable,
            },
            erase_count_min: facts.erase_counts.0,
            erase_count_mean: facts.erase_counts.1,
            erase_count_max: facts.erase_counts.2,
            boot: info.boot,
            mount: Mount {
                took_ms,
                clean,
                scanned_segments,
                damaged_frames,
                torn_messages,
                damaged_messages,
            },
        }
    }
}

/// Bytes as lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Says which volume is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// The volume.
    #[serde(default = "disk")]
    pub volume: Store,
}

const fn disk() -> Store {
    Store::Disk
}

/// Asks for the volume to be gone through now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubRequest {
    /// Whether what can be repaired is written again.
    pub repair: bool,
}

/// How the volume is watched over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubView {
    /// The pass that is under way.
    pub running: Option<ScrubRun>,
    /// The last one that ended.
    pub last: Option<ScrubResult>,
    /// When the next begins by itself; `null` while one runs or where none does.
    pub next_in_s: Option<u64>,
}

/// A pass that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubRun {
    /// Its number since the daemon started.
    pub number: u64,
    /// Whether somebody asked for it, so that it goes as fast as mail lets it.
    pub asked: bool,
    /// Whether it writes again what can be repaired.
    pub repair: bool,
    /// How much was gone through, estimated.
    pub done_bytes: u64,
    /// How much there is.
    pub total_bytes: u64,
    /// When it will be done at its pace so far; `null` in the first moments.
    pub left_in_s: Option<u64>,
    /// What it found so far.
    pub found: ScrubCounts,
}

/// A pass that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubResult {
    /// Its number since the daemon started; 0 if that was before.
    pub number: u64,
    /// When it ended; `null` if the clock was not trusted then.
    pub ended_unix_ms: Option<u64>,
    /// Whether it came to the end; else it was stopped.
    pub complete: bool,
    /// Whether it wrote again what could be repaired.
    pub repair: bool,
    /// What it found.
    pub found: ScrubCounts,
}

/// What a pass found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScrubCounts {
    /// Messages that are whole.
    pub messages: u64,
    /// The size of their bodies.
    pub message_bytes: u64,
    /// Messages that could be read only at another try.
    pub unsteady: u64,
    /// Messages that were repaired.
    pub repaired: u64,
    /// Messages that could be repaired and were not.
    pub repairable: u64,
    /// Undelivered messages that are damaged.
    pub damaged: u64,
    /// Finished messages that are damaged.
    pub kept_damaged: u64,
    /// Records of fates and state that are whole.
    pub records: u64,
    /// Records that are not.
    pub damaged_records: u64,
    /// Records that a power cut tore: no sign of rot.
    pub torn_records: u64,
    /// Segments of whose header a copy cannot be read.
    pub damaged_headers: u32,
}

impl From<ScrubReport> for ScrubCounts {
    fn from(report: ScrubReport) -> Self {
        Self {
            messages: report.messages,
            message_bytes: report.message_bytes,
            unsteady: report.unsteady,
            repaired: report.repaired,
            repairable: report.repairable,
            damaged: report.damaged,
            kept_damaged: report.kept_damaged,
            records: report.records,
            damaged_records: report.damaged_records,
            torn_records: report.torn_records,
            damaged_headers: report.damaged_headers,
        }
    }
}

impl ScrubCounts {
    /// What was not as it was written, one sentence's worth: `1 message damaged, 2 repaired`; nothing if all was.
    pub fn flaws(&self) -> Option<String> {
        let one_of = [
            (self.damaged, "undelivered message", "damaged and set aside"),
            (self.kept_damaged, "delivered message", "damaged and no longer to be replayed"),
            (self.repaired, "message", "repaired"),
            (self.repairable, "message", "repairable"),
            (self.unsteady, "message", "read right only at another try"),
            (self.damaged_records, "record", "of fates and state unreadable"),
            (u64::from(self.damaged_headers), "segment", "with a header copy unreadable"),
        ];
        let told: Vec<String> = one_of
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, thing, how)| format!("{count} {thing}{} {how}", if count == 1 { "" } else { "s" }))
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}
