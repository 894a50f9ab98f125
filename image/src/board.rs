//! `board.toml`: what a board is.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use penstock_slots::{BOARD_BYTES_MAX, Kept};
use serde::Deserialize;

use crate::Error;

/// What memory is mapped by, in bytes.
const PAGE_BYTES: u64 = 4096;

/// A board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Its name, which is that of its folder.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// What QEMU has to emulate.
    pub machine: Machine,
    /// Where in its memory things are before the kernel has it, and what the kernel leaves alone.
    pub memory: Memory,
    /// What may still be started.
    pub security: Security,
    /// How its kernel is started.
    pub kernel: Kernel,
    /// What takes the mail.
    pub disk: Disk,
    /// Its flash chips in the order of their addresses.
    pub flash: Vec<Flash>,
}

/// What QEMU has to emulate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// QEMU's name of the machine.
    #[serde(rename = "type")]
    pub kind: String,
    /// QEMU's name of the processor.
    pub cpu: String,
    /// How many cores.
    pub cpus: u32,
    /// How much memory.
    pub memory_mib: u32,
    /// QEMU's name of the watchdog.
    pub watchdog: String,
}

/// A map of the memory, in addresses.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Where it begins, and the device tree with it.
    pub ram_base: u64,
    /// What stage 0 is linked to.
    pub stage0_base: u64,
    /// What the firmware is linked to.
    pub firmware_base: u64,
    /// What outlasts a reset begins here.
    pub reserved_base: u64,
    /// How large that is.
    pub reserved_bytes: u64,
}

/// Security versions. What is below a floor is not started.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// That of what is built.
    pub version: u32,
    /// The floor of systems, of a box that knows no higher one.
    pub system_floor: u32,
    /// The floor of firmware, of a box that knows no higher one.
    pub firmware_floor: u32,
}

/// How a kernel is started.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Its command line, but for what is made from the rest of the board.
    pub command_line: String,
    /// What it calls the flash chips, all as one.
    pub mtd_id: String,
}

/// The disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// What the kernel calls it.
    pub device: String,
    /// The size of an emulated one.
    pub size_mib: u32,
}

/// A flash chip.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flash {
    /// Where it is in the address space.
    pub base: u64,
    /// How large it is.
    pub size_bytes: u64,
    /// What is erased at once.
    pub erase_bytes: u64,
    /// Its parts, in the order of their offsets.
    pub partition: Vec<Partition>,
}

/// A part of a flash chip.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// What it is called, also by the kernel.
    pub name: String,
    /// Where in its chip it begins.
    pub offset: u64,
    /// How large it is.
    pub size_bytes: u64,
}

impl Security {
    /// The lowest security version of a kind that is started.
    pub const fn floor(&self, kind: Kept) -> u32 {
        match kind {
            Kept::System => self.system_floor,
            Kept::Firmware => self.firmware_floor,
        }
    }
}

impl Board {
    /// Reads and checks `board.toml` in a folder.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Board`].
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("board.toml");
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        Self::parse(&text).map_err(|reason| Error::Board { path, reason })
    }

    /// Reads and checks the text of a `board.toml`. What is wrong comes back as a sentence.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let board: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        board.check()?;
        Ok(board)
    }

    fn check(&self) -> Result<(), String> {
        let fits =
            self.name.len() <= BOARD_BYTES_MAX && self.name.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits || self.name.is_empty() {
            return Err(format!("the name of a board has 1 to {BOARD_BYTES_MAX} letters of ASCII"));
        }
        self.check_memory()?;
        if self.security.version < self.security.system_floor.max(self.security.firmware_floor) {
            return Err("what is built would be below its own floor".into());
        }
        let first = self.flash.first().ok_or("a board needs at least one [[flash]]")?;
        let mut next_base = first.base;
        let mut names: Vec<&str> = Vec::new();
        for flash in &self.flash {
            // The kernel sees one device, in which chips follow each other.
            if flash.base != next_base {
                return Err(format!(
                    "flash at {:#x} does not begin where the one before it ends",
                    flash.base
                ));
            }
            next_base += flash.size_bytes;
            if !flash.erase_bytes.is_power_of_two() {
                return Err(format!("erase_bytes of {} is no power of two", flash.erase_bytes));
            }
            let mut free_from = 0;
            for Partition { name, offset, size_bytes } in &flash.partition {
                if names.contains(&name.as_str()) {
                    return Err(format!("there are two partitions '{name}'"));
                }
                names.push(name);
                if !offset.is_multiple_of(flash.erase_bytes) || !size_bytes.is_multiple_of(flash.erase_bytes)
                {
                    return Err(format!("partition '{name}' does not consist of whole sectors"));
                }
                if *offset < free_from || *size_bytes == 0 {
                    return Err(format!(
                        "partition '{name}' is empty or begins before the one before it ends"
                    ));
                }
                free_from = offset + size_bytes;
                if free_from > flash.size_bytes {
                    return Err(format!("partition '{name}' is larger than its flash"));
                }
            }
        }
        Ok(())
    }

    /// What stands in memory stands in it, in this order and with room for each: the device tree and a kernel, stage 0, the
    /// firmware, what outlasts a reset.
    fn check_memory(&self) -> Result<(), String> {
        let Memory { ram_base, stage0_base, firmware_base, reserved_base, reserved_bytes } = self.memory;
        let ram_end = ram_base.saturating_add(u64::from(self.machine.memory_mib) << 20);
        let reserved_end = reserved_base.saturating_add(reserved_bytes);
        let places = [
            ("ram_base", ram_base),
            ("stage0_base", stage0_base),
            ("firmware_base", firmware_base),
            ("reserved_base", reserved_base),
            ("the end of what is reserved", reserved_end),
        ];
        if let Some((name, at)) = places.iter().find(|(_, at)| !at.is_multiple_of(PAGE_BYTES)) {
            return Err(format!("[memory] {name} at {at:#x} is not at the beginning of a page"));
        }
        if !places.is_sorted_by(|(_, before), (_, after)| before < after) || reserved_end > ram_end {
            return Err(format!(
                "[memory] does not have ram_base, stage0_base, firmware_base and what is reserved in this order, up to at \
                 most {ram_end:#x}"
            ));
        }
        Ok(())
    }

    /// A partition by its name, with the flash it is in.
    pub fn partition(&self, name: &str) -> Option<(&Flash, &Partition)> {
        self.flash.iter().find_map(|flash| {
            let partition = flash.partition.iter().find(|partition| partition.name == name)?;
            Some((flash, partition))
        })
    }

    /// The whole command line of the kernel. What stands after `--` is for the first process.
    pub fn command_line(&self) -> String {
        let mut line = format!("{} mtdparts={}:", self.kernel.command_line, self.kernel.mtd_id);
        let origin = self.flash.first().map_or(0, |flash| flash.base);
        let mut sep = "";
        for flash in &self.flash {
            for Partition { name, offset, size_bytes } in &flash.partition {
                let at = flash.base - origin + offset;
                // Writing to a String does not fail.
                let _ = write!(line, "{sep}{}k@{}k({name})", size_bytes / 1024, at / 1024);
                sep = ",";
            }
        }
        // Words with a dot are nothing to the kernel; the first process makes an identity with them.
        let _ = write!(line, " penstock.board={} penstock.revision={}", self.name, self.revision);
        // And of which security version it may put something into a slot, on a box that knows no higher floor.
        let Security { system_floor, firmware_floor, .. } = self.security;
        let _ = write!(line, " penstock.floors={system_floor},{firmware_floor}");
        line.push_str(" rdinit=/bin/penstock -- init");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD: &str = r#"
name = "test"
revision = 4
disk = { device = "/dev/vda", size_mib = 64 }
kernel = { command_line = "quiet", mtd_id = "0.flash" }
machine = { type = "virt", cpu = "cortex-a53", cpus = 2, memory_mib = 256, watchdog = "i6300esb" }
security = { version = 3, system_floor = 2, firmware_floor = 1 }
[memory]
ram_base = 0x40000000
stage0_base = 0x46000000
firmware_base = 0x46400000
reserved_base = 0x47f00000
reserved_bytes = 0x100000
[[flash]]
base = 0
size_bytes = 0x10000
erase_bytes = 0x1000
partition = [{ name = "a", offset = 0, size_bytes = 0x1000 }, { name = "b", offset = 0x2000, size_bytes = 0xe000 }]
[[flash]]
base = 0x10000
size_bytes = 0x10000
erase_bytes = 0x1000
partition = [{ name = "c", offset = 0x1000, size_bytes = 0x1000 }]
"#;

    #[test]
    fn the_kernel_is_told_where_every_partition_is() {
        let board = Board::parse(BOARD).unwrap();
        assert_eq!(
            board.command_line(),
            "quiet mtdparts=0.flash:4k@0k(a),56k@8k(b),4k@68k(c) penstock.board=test penstock.revision=4 \
             penstock.floors=2,1 rdinit=/bin/penstock -- init"
        );
        assert_eq!(board.partition("c").unwrap().0.base, 0x10000);
        assert!(board.partition("d").is_none());
    }

    #[test]
    fn a_map_that_cannot_be_is_refused() {
        for (right, wrong, says) in [
            ("base = 0x10000", "base = 0x20000", "does not begin where"),
            ("name = \"c\"", "name = \"a\"", "two partitions"),
            ("offset = 0x2000", "offset = 0x0800", "whole sectors"),
            ("offset = 0x2000", "offset = 0x0000", "begins before"),
            ("size_bytes = 0xe000", "size_bytes = 0xf000", "larger than its flash"),
            ("cpus = 2", "cores = 2", "unknown field"),
            ("name = \"test\"", "name = \"two words\"", "letters of ASCII"),
            ("stage0_base = 0x46000000", "stage0_base = 0x47000000", "in this order"),
            ("reserved_base = 0x47f00000", "reserved_base = 0x47f00010", "beginning of a page"),
            ("memory_mib = 256", "memory_mib = 127", "at most 0x47f00000"),
            ("system_floor = 2", "system_floor = 4", "below its own floor"),
        ] {
            let text = BOARD.replacen(right, wrong, 1);
            assert_ne!(text, BOARD, "{right}");
            let reason = Board::parse(&text).unwrap_err();
            assert!(reason.contains(says), "{wrong}: {reason}");
        }
    }

    #[test]
    fn the_boards_that_there_are_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../board/qemu-virt");
        let board = Board::read(&folder).unwrap();
        assert_eq!(board.name, "qemu-virt");
        let (_, settings) = board.partition("settings").unwrap();
        assert_eq!(settings.size_bytes, 2 * 256 * 1024, "two copies, a sector each");
        let (_, seed) = board.partition("seed").unwrap();
        assert!(seed.size_bytes >= 2 * 256 * 1024, "one sector keeps the seed while the other is erased");
        assert_eq!(board.partition("identity").unwrap().1.size_bytes, 256 * 1024);
    }
}
