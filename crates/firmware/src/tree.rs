//! What the device tree says of the machine: where its devices are.
//!
//! Only memory and flash are where `board.toml` says, and only because code has to be linked somewhere; that is compared.
//! All else is found here.

use core::ops::Range;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::{NodeStandard as _, Reg};
use dtoolkit::{Node as _, Property as _};
use heapless::Vec;

use crate::Error;
use crate::board::BOARD;

/// The most virtio devices that are looked at.
pub const VIRTIO_MAX: usize = 32;

/// How the firmware below is called (SMC Calling Convention).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// By `hvc`.
    Hvc,
    /// By `smc`.
    Smc,
}

/// The serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Where its registers are.
    pub base: u64,
    /// How fast it is clocked, in Hz.
    pub clock_hz: u32,
}

/// A PCI host: where configuration space is, and addresses for devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pci {
    /// The configuration space (ECAM).
    pub ecam: Range<u64>,
    /// Addresses below 4 GiB that devices may be given.
    pub memory32: Range<u64>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its memory: the first bank.
    pub ram: Range<u64>,
    /// Its serial port.
    pub serial: Serial,
    /// How to call what is below.
    pub conduit: Conduit,
    /// Its clock (PL031).
    pub rtc: Option<u64>,
    /// Its virtio devices, by MMIO.
    pub virtio: Vec<Range<u64>, VIRTIO_MAX>,
    /// Its PCI.
    pub pci: Option<Pci>,
    /// Random bytes that somebody gave.
    pub seed: Option<[u8; 32]>,
}

/// The device tree in front of `bytes`, which are as many as it may have at most.
///
/// # Errors
/// [`Error::NoTree`].
pub fn find(bytes: &[u8]) -> Result<Fdt<'_>, Error> {
    let size: [u8; 4] = bytes.get(4..8).and_then(|size| size.try_into().ok()).ok_or(Error::NoTree)?;
    let tree = bytes.get(..u32::from_be_bytes(size) as usize).ok_or(Error::NoTree)?;
    Fdt::new(tree).map_err(|_| Error::NoTree)
}

impl Machine {
    /// Reads a device tree.
    ///
    /// # Errors
    /// [`Error::NoDevice`] for what nothing goes without; [`Error::OtherBoard`].
    pub fn read(tree: Fdt<'_>) -> Result<Self, Error> {
        let root = tree.root();
        let compatible = |what| root.children().filter(move |node| node.is_compatible(what));
        let address = |node: FdtNode<'_>| regions(node).next().map(|region| region.start);

        let ram = root
            .children()
            .filter(|node| node.name_without_address() == "memory")
            .find_map(|node| regions(node).next());
        let uart = compatible("arm,pl011").next().ok_or(Error::NoDevice("arm,pl011"))?;
        let serial = Serial {
            base: address(uart).ok_or(Error::NoDevice("arm,pl011"))?,
            clock_hz: clock_hz(root, uart).ok_or(Error::NoDevice("clock of the arm,pl011"))?,
        };
        let psci = ["arm,psci-1.0", "arm,psci-0.2"].into_iter().find_map(|what| compatible(what).next());
        let psci = psci.ok_or(Error::NoDevice("arm,psci-0.2"))?;
        let conduit = match psci.property("method").and_then(|method| method.value_as::<&str>().ok()) {
            Some("hvc") => Conduit::Hvc,
            Some("smc") => Conduit::Smc,
            _ => return Err(Error::NoDevice("method of the arm,psci")),
        };
        let machine = Self {
            ram: ram.ok_or(Error::NoDevice("memory"))?,
            serial,
            conduit,
            rtc: compatible("arm,pl031").find_map(address),
            virtio: compatible("virtio,mmio")
                .filter_map(|node| regions(node).next())
                .take(VIRTIO_MAX)
                .collect(),
            pci: compatible("pci-host-ecam-generic").find_map(pci),
            seed: root.child("chosen").and_then(|node| node.property("rng-seed")?.value().try_into().ok()),
        };
        let flash = compatible("cfi-flash").flat_map(regions);
        let ours = BOARD.banks.iter().map(|bank| bank.base..bank.base + bank.size_bytes);
        if flash.eq(ours) { Ok(machine) } else { Err(Error::OtherBoard) }
    }
}

/// The regions of a device, of those that a 64-bit processor can reach.
fn regions(node: FdtNode<'_>) -> impl Iterator<Item = Range<u64>> {
    let region = |reg: Reg<'_>| {
        let start = reg.address::<u64>().ok()?;
        Some(start..start.checked_add(reg.size::<u64>().ok()?)?)
    };
    node.reg().ok().flatten().into_iter().flatten().filter_map(region)
}

/// What the first clock of a device runs at.
fn clock_hz(root: FdtNode<'_>, device: FdtNode<'_>) -> Option<u32> {
    let clocks = device.property("clocks")?;
    let phandle = u32::from_be_bytes(clocks.value().get(..4)?.try_into().ok()?);
    let clock = root.children().find(|node| node.phandle() == Ok(Some(phandle)))?;
    clock.property("clock-frequency")?.value_as().ok()
}

/// A PCI host and its window for memory below 4 GiB.
fn pci(node: FdtNode<'_>) -> Option<Pci> {
    /// What kind of addresses a range is for stands in these bits of its first cell; this is memory of 32 bits.
    const SPACE: u32 = 0x0300_0000;
    const MEMORY32: u32 = 0x0200_0000;
    let ecam = regions(node).next()?;
    let ranges = node.property("ranges")?;
    // Three cells for the address on the bus, two for that of the processor, two for the size.
    let memory32 = ranges.value().chunks_exact(7 * 4).find_map(|range| {
        let cell =
            |number: usize| range.get(number * 4..number * 4 + 4)?.try_into().ok().map(u32::from_be_bytes);
        let long = |number| Some(u64::from(cell(number)?) << 32 | u64::from(cell(number + 1)?));
        let (on_bus, start, size) = (long(1)?, long(3)?, long(5)?);
        // One address for both, as everywhere that has been seen.
        let is_ours = cell(0)? & SPACE == MEMORY32 && on_bus == start;
        is_ours.then_some(start..start.checked_add(size)?)
    })?;
    Some(Pci { ecam, memory32 })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use dtoolkit::model::DeviceTree;

    use super::*;
    use crate::testing::virt_tree;

    #[test]
    fn the_devices_are_where_the_tree_says() {
        let tree = virt_tree();
        let machine = Machine::read(find(&tree).unwrap()).unwrap();
        assert_eq!(machine.ram, 0x4000_0000..0x5000_0000);
        assert_eq!(machine.serial, Serial { base: 0x0900_0000, clock_hz: 24_000_000 });
        assert_eq!((machine.conduit, machine.rtc), (Conduit::Hvc, Some(0x0901_0000)));
        assert_eq!(machine.virtio.len(), 32);
        assert!(machine.virtio.contains(&(0x0a00_3e00..0x0a00_4000)));
        let pci = machine.pci.unwrap();
        assert_eq!(pci.ecam, 0x40_1000_0000..0x40_2000_0000);
        assert_eq!(pci.memory32, 0x1000_0000..0x3eff_0000);
        assert!(machine.seed.is_some_and(|seed| seed != [0; 32]));
    }

    fn changed(change: impl FnOnce(&mut DeviceTree)) -> Result<Machine, Error> {
        let bytes = virt_tree();
        let mut tree = DeviceTree::from_fdt(&find(&bytes).unwrap());
        change(&mut tree);
        let bytes: Vec<u8> = tree.to_dtb();
        Machine::read(find(&bytes).unwrap())
    }

    #[test]
    fn what_is_missing_is_told_or_done_without() {
        let without = |name: &'static str| changed(move |tree| drop(tree.root.remove_child(name)));
        assert_eq!(without("pl011@9000000"), Err(Error::NoDevice("arm,pl011")));
        assert_eq!(without("psci"), Err(Error::NoDevice("arm,psci-0.2")));
        assert_eq!(without("memory@40000000"), Err(Error::NoDevice("memory")));
        assert_eq!(without("flash@0"), Err(Error::OtherBoard));
        assert_eq!(without("pl031@9010000").map(|machine| machine.rtc), Ok(None));
        assert_eq!(without("pcie@10000000").map(|machine| machine.pci), Ok(None));
        assert_eq!(without("chosen").map(|machine| machine.seed), Ok(None));
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let tree = virt_tree();
        for damaged in [&[][..], &tree[..7], &tree[..tree.len() - 1], &[0xFF; 64]] {
            assert!(find(damaged).is_err());
        }
        let mut longer = tree.clone();
        longer.extend([0xAA; 16]);
        assert!(find(&longer).is_ok(), "what follows it is none of its business");
    }
}
