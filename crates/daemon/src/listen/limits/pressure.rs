//! Whether file descriptors or memory run short.
//!
//! Both are looked at every second. In between as many sessions may be added as there is room for by the last look, so that a
//! flood cannot use up in a second what was there. Once one of the two is short, it stays so until there is clearly enough
//! again; until then whoever comes has to take somebody's place.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no client gets: volumes, next hops, operators, and what libraries open.
pub(crate) const DESCRIPTORS_RESERVED: u64 = 64;
/// What a session may come to need in memory, in bytes: the session itself, a message that fits into memory, and its part
/// of what is on its way to the volume.
const SESSION_BYTES: u64 = 192 * 1024;

/// What may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    Descriptors,
    Memory,
}

impl Shortage {
    /// A word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
        }
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) descriptors: u64,
    pub(crate) descriptors_max: Option<u64>,
    /// What could be had without taking it from somebody; not known on every system.
    pub(crate) memory_free_bytes: Option<u64>,
}

/// The state between two looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pressure {
    memory_free_min_bytes: u64,
    pub(super) reading: Reading,
    descriptors_short: bool,
    memory_short: bool,
    /// Places there were at the last look, and how many more may be added before the next.
    places: u32,
    room: u32,
}

impl Pressure {
    pub(super) fn new(memory_free_min_bytes: u64) -> Self {
        Self {
            memory_free_min_bytes,
            reading: Reading::default(),
            descriptors_short: false,
            memory_short: false,
            places: 0,
            room: u32::MAX,
        }
    }

    /// Takes note of what a look found while there were so many places. What became short, or is no longer (`false`).
    pub(super) fn look(&mut self, reading: Reading, places: u32) -> Vec<(Shortage, bool)> {
        let descriptors = reading.descriptors_max.map(|max| {
            let free = max.saturating_sub(reading.descriptors);
            (free.saturating_sub(DESCRIPTORS_RESERVED), free >= 2 * DESCRIPTORS_RESERVED)
        });
        let min = self.memory_free_min_bytes;
        let memory = reading.memory_free_bytes.filter(|_| min > 0).map(|free| {
            (free.saturating_sub(min).div_ceil(SESSION_BYTES), free >= min.saturating_add(min / 2))
        });
        let mut changes = Vec::new();
        let mut judge = |short: &mut bool, found: Option<(u64, bool)>, what: Shortage| {
            let (room, enough) = found.unwrap_or((u64::MAX, true));
            let now = if *short { !enough } else { room == 0 };
            if now != *short {
                *short = now;
                changes.push((what, now));
            }
            if now { 0 } else { room }
        };
        let room = judge(&mut self.descriptors_short, descriptors, Shortage::Descriptors).min(judge(
            &mut self.memory_short,
            memory,
            Shortage::Memory,
        ));
        self.room = u32::try_from(room).unwrap_or(u32::MAX);
        (self.reading, self.places) = (reading, places);
        changes
    }

    /// What is short.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        if self.memory_short {
            Some(Shortage::Memory)
        } else {
            self.descriptors_short.then_some(Shortage::Descriptors)
        }
    }

    /// How many sessions there may be, of `most` by the settings, where there are `sessions` now.
    pub(super) fn capacity(&self, most: u32, sessions: u32) -> u32 {
        let room = self.places.saturating_add(self.room);
        let fits = if self.shortage().is_some() { sessions } else { room };
        most.min(fits)
    }
}

impl Reading {
    /// How it is now.
    pub(crate) fn now() -> Self {
        Self {
            descriptors: descriptors(Path::new("/proc/self/fd")),
            descriptors_max: getrlimit(Resource::Nofile).current,
            memory_free_bytes: memory_free_bytes(Path::new("/")),
        }
    }
}

/// Raises the limit on descriptors as far as the system lets us.
pub(crate) fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where that is not allowed the limit is what it was, which is looked at all the time.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// How many are open. Kernels from 6.2 on say it in one word.
fn descriptors(directory: &Path) -> u64 {
    match fs::metadata(directory).map(|it| it.len()) {
        Ok(count) if count > 0 => count,
        _ => fs::read_dir(directory).map_or(0, |entries| entries.count() as u64),
    }
}

/// What could be had of the machine's memory, or of what the control groups leave to this process if that is less.
fn memory_free_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let machine = number_of(&text, "MemAvailable:").map(|kib| kib * 1024);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let below = root.join("sys/fs/cgroup");
    let levels = group.into_iter().flat_map(|group| {
        let here: PathBuf = below.join(group);
        let levels: Vec<_> =
            here.ancestors().take_while(|it| it.starts_with(&below)).map(Path::to_owned).collect();
        levels
    });
    levels.filter_map(|level| group_free_bytes(&level)).chain(machine).min()
}

/// What a control group has left; `None` if it has no limit.
fn group_free_bytes(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let max: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    // Pages of files that nobody has used lately go at once when memory is wanted.
    let pages = number_of(&read("memory.stat")?, "inactive_file").unwrap_or(0);
    Some(max.saturating_sub(used.saturating_sub(pages)))
}

fn number_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn reading(descriptors: u64, free_mib: u64) -> Reading {
        Reading { descriptors, descriptors_max: Some(1024), memory_free_bytes: Some(free_mib * MIB) }
    }

    #[test]
    fn between_two_looks_no_more_come_than_there_is_room_for() {
        let mut pressure = Pressure::new(16 * MIB);
        assert!(pressure.look(reading(100, 1000), 50).is_empty());
        assert_eq!(pressure.capacity(200, 60), 200);
        assert_eq!(pressure.capacity(10_000, 60), 50 + (1024 - 64 - 100));
        assert!(pressure.look(reading(100, 19), 50).is_empty());
        assert_eq!(pressure.capacity(10_000, 60), 50 + 16);
    }

    #[test]
    fn a_shortage_ends_only_when_there_is_clearly_enough() {
        use Shortage::{Descriptors, Memory};
        let mut pressure = Pressure::new(16 * MIB);
        assert_eq!(pressure.look(reading(960, 16), 900), [(Descriptors, true), (Memory, true)]);
        assert_eq!(pressure.capacity(1000, 900), 900);
        assert!(pressure.look(reading(900, 23), 840).is_empty());
        assert_eq!((pressure.shortage(), pressure.capacity(1000, 840)), (Some(Memory), 840));
        assert_eq!(pressure.look(reading(896, 24), 840), [(Descriptors, false), (Memory, false)]);
        assert_eq!((pressure.shortage(), pressure.capacity(1000, 840)), (None, 840 + 43));
    }

    #[test]
    fn what_is_not_known_is_not_short() {
        let mut pressure = Pressure::new(16 * MIB);
        assert!(pressure.look(Reading::default(), 5).is_empty());
        assert_eq!(pressure.capacity(200, 5), 200);
        let mut unwatched = Pressure::new(0);
        assert!(unwatched.look(reading(1, 0), 5).is_empty());
    }

    #[test]
    fn the_tightest_of_machine_and_control_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(memory_free_bytes(root.path()), None);
        write("proc/meminfo", "MemTotal: 250000 kB\nMemFree: 1000 kB\nMemAvailable:  102400 kB\n");
        assert_eq!(memory_free_bytes(root.path()), Some(100 * MIB));
        write("proc/self/cgroup", "0::/system.slice/penstock.service\n");
        assert_eq!(memory_free_bytes(root.path()), Some(100 * MIB));
        let group = "sys/fs/cgroup/system.slice/penstock.service";
        write(&format!("{group}/memory.max"), "max\n");
        write(&format!("{group}/memory.current"), "70000000\n");
        write(&format!("{group}/memory.stat"), "anon 3\ninactive_file 10485760\n");
        assert_eq!(memory_free_bytes(root.path()), Some(100 * MIB));
        write(&format!("{group}/memory.max"), &format!("{}\n", 64 * MIB));
        write(&format!("{group}/memory.current"), &format!("{}\n", 60 * MIB));
        assert_eq!(memory_free_bytes(root.path()), Some(14 * MIB));
        write("sys/fs/cgroup/system.slice/memory.max", &format!("{}\n", 30 * MIB));
        write("sys/fs/cgroup/system.slice/memory.current", &format!("{}\n", 25 * MIB));
        write("sys/fs/cgroup/system.slice/memory.stat", "anon 3\n");
        assert_eq!(memory_free_bytes(root.path()), Some(5 * MIB));
    }

    #[test]
    fn this_process_has_descriptors_and_memory() {
        let _file = fs::File::open("/proc/self/stat").unwrap();
        let reading = Reading::now();
        assert!(
            reading.descriptors >= 1 && reading.descriptors_max.is_some_and(|max| max > reading.descriptors)
        );
        assert!(reading.memory_free_bytes.is_some_and(|free| free > MIB));
    }
}
