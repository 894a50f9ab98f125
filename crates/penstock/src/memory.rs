//! How much memory there is, as the kernel says.

use std::fs;

/// What the kernel tells, as text.
pub(crate) struct Memory(String);

impl Memory {
    /// As it is now; nothing is known where the kernel does not tell.
    pub(crate) fn now() -> Self {
        Self(fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    /// One of its figures in KiB, such as that of `MemTotal`.
    pub(crate) fn kib(&self, name: &str) -> Option<u64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse().ok()
    }
}

/// How much memory is left, as a person says it.
pub(crate) fn sentence() -> String {
    let memory = Memory::now();
    match (memory.kib("MemAvailable"), memory.kib("MemTotal")) {
        (Some(free), Some(total)) => format!("{} of {} MiB of memory are free", free / 1024, total / 1024),
        _ => "how much memory is free is not known".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let memory =
            Memory("MemTotal:         244812 kB\nMemFree:           90000 kB\nCached:  12 kB\n".into());
        assert_eq!(memory.kib("MemTotal"), Some(244_812));
        assert_eq!(memory.kib("Mem"), None);
        assert_eq!(memory.kib("MemAvailable"), None);
    }
}
