//! Whether a device's flush can be believed.
//!
//! A log is worth what the flush under it is worth. Short of pulling the plug that can only be guessed: from what the
//! kernel says about the device ([`Attributes`]), and from how long a flush takes compared with what its medium can do
//! ([`Latencies`], [`judge`]). What settles it is a [`trial`]: records written and acknowledged until the power goes, and
//! looked for afterwards, as Brad Fitzpatrick's diskchecker.pl did it.

mod attributes;
mod latency;
pub mod trial;

pub use attributes::Attributes;
pub use latency::{Latencies, Latency};

/// What can be said of a device's flush without pulling the plug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Plausible(String),
    /// It is faster than its medium can be, or is not done at all.
    Doubtful(String),
    /// It depends on what cannot be seen from here.
    Unknown(String),
}

/// The shortest time in which a turning disk can have put a write on its platters, in µs: half a turn at 15,000 a minute.
const ROTATION_US_MIN: u64 = 2_000;
/// The shortest time in which flash can have programmed a page, in µs: SLC takes 100 and more, TLC several hundred.
const PROGRAM_US_MIN: u64 = 60;
/// A flush that makes a write so little slower, in percent, does nothing.
const FLUSH_PERCENT_MIN: u64 = 115;

/// Judges by attributes and latencies.
pub fn judge(attributes: &Attributes, latencies: &Latencies) -> Verdict {
    let flushed = latencies.flush.median_us;
    if let Some(what) = attributes.volatile_memory() {
        return Verdict::Doubtful(format!("it is {what}: nothing there survives a power cut"));
    }
    if let Some(host) = attributes.virtual_kind() {
        return Verdict::Unknown(format!(
            "it is {host}, so that what a flush does is decided behind it: on the host, or by the file or disk that it \
             stands on; qualify that one, or pull the plug of the whole machine"
        ));
    }
    if attributes.rotational == Some(true) && flushed < ROTATION_US_MIN {
        return Verdict::Doubtful(format!(
            "a turning disk cannot have written within {flushed} µs: a cache says yes for it; unless that cache has a \
             battery, turn it off (`hdparm -W0`)"
        ));
    }
    if attributes.rotational == Some(false) && flushed < PROGRAM_US_MIN {
        return Verdict::Doubtful(format!(
            "flash cannot have programmed a page within {flushed} µs: a cache says yes for it; believe it only if the \
             maker promises protection of data in flight when power fails"
        ));
    }
    let cached = attributes.write_cache.as_deref() == Some("write back");
    if cached && flushed * 100 < latencies.write.median_us * FLUSH_PERCENT_MIN {
        return Verdict::Doubtful(format!(
            "it says that it has a volatile cache, but a write with its flush ({flushed} µs) takes no longer than one \
             without ({} µs): the flush seems to do nothing",
            latencies.write.median_us
        ));
    }
    if attributes.write_cache.is_none() {
        return Verdict::Unknown("the kernel does not say what device is behind it".to_owned());
    }
    Verdict::Plausible(format!("a flush takes {flushed} µs, as long as its medium may need"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(write_us: u64, flush_us: u64) -> Latencies {
        let of = |us| Latency { median_us: us, worst_us: 2 * us, writes: 100 };
        Latencies { write: of(write_us), flush: of(flush_us), through: Some(of(flush_us)) }
    }

    fn disk(rotational: bool, write_cache: &str) -> Attributes {
        Attributes {
            name: Some("sda".into()),
            rotational: Some(rotational),
            write_cache: Some(write_cache.into()),
            ..Attributes::default()
        }
    }

    #[test]
    fn what_is_faster_than_its_medium_is_doubted() {
        assert!(matches!(judge(&disk(true, "write back"), &measured(90, 150)), Verdict::Doubtful(_)));
        assert!(matches!(judge(&disk(false, "write through"), &measured(20, 25)), Verdict::Doubtful(_)));
        assert!(matches!(judge(&disk(true, "write back"), &measured(90, 8_000)), Verdict::Plausible(_)));
        assert!(matches!(judge(&disk(false, "write back"), &measured(90, 900)), Verdict::Plausible(_)));
    }

    #[test]
    fn a_flush_that_costs_nothing_on_a_volatile_cache_is_doubted() {
        assert!(matches!(judge(&disk(false, "write back"), &measured(400, 410)), Verdict::Doubtful(_)));
        assert!(matches!(judge(&disk(false, "write through"), &measured(400, 410)), Verdict::Plausible(_)));
    }

    #[test]
    fn of_a_virtual_disk_nothing_is_said_and_of_memory_the_worst() {
        let virtual_disk = Attributes { name: Some("vda".into()), ..disk(false, "write back") };
        assert!(matches!(judge(&virtual_disk, &measured(90, 900)), Verdict::Unknown(_)));
        let memory = Attributes { name: None, file_system: Some("tmpfs"), ..Attributes::default() };
        assert!(matches!(judge(&memory, &measured(5, 6)), Verdict::Doubtful(_)));
        assert!(matches!(judge(&Attributes::default(), &measured(90, 900)), Verdict::Unknown(_)));
    }
}
