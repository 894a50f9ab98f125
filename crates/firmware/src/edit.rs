//! The device tree for the kernel: the machine's own, with what the kernel and `penstock init` are to know.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use dtoolkit::ToPropertyValue;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use penstock_identity::Serial;
use penstock_slots::Slot;

use crate::Error;
use crate::board::BOARD;
use crate::plan::{PAGE_BYTES, TREE_BYTES_MAX};

/// What is told.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The command line, as it was signed.
    pub command_line: &'a str,
    /// Where the initramfs is in memory.
    pub initramfs: Range<u64>,
    /// Fresh random bytes.
    pub seed: Option<[u8; 32]>,
    /// The firmware's version.
    pub firmware_version: &'a str,
    /// The slot that it was started from.
    pub firmware_slot: Slot,
    /// The slot that is started.
    pub system_slot: Slot,
    /// Which of them are on trial.
    pub trial: &'a str,
    /// What the last reset was for.
    pub reason: &'a str,
    /// The box's serial number and network address, if it has them yet.
    pub identity: Option<(Serial, [u8; 6])>,
}

/// Makes the tree.
///
/// # Errors
/// [`Error::TreeTooLarge`].
pub fn for_kernel(tree: Fdt<'_>, told: &Told<'_>) -> Result<Vec<u8>, Error> {
    let mut tree = DeviceTree::from_fdt(&tree);
    let root = &mut tree.root;
    chosen(child(root, "chosen"), told);
    reserve(root);
    partitions(root);
    let bytes = tree.to_dtb();
    if bytes.len() as u64 > TREE_BYTES_MAX { Err(Error::TreeTooLarge) } else { Ok(bytes) }
}

fn chosen(node: &mut DeviceTreeNode, told: &Told<'_>) {
    set(node, "bootargs", told.command_line);
    set(node, "linux,initrd-start", told.initramfs.start);
    set(node, "linux,initrd-end", told.initramfs.end);
    match told.seed {
        Some(seed) => set(node, "rng-seed", seed),
        None => drop(node.remove_property("rng-seed")),
    }
    set(node, "penstock,firmware-version", told.firmware_version);
    set(node, "penstock,firmware-slot", slot_text(told.firmware_slot));
    set(node, "penstock,system-slot", slot_text(told.system_slot));
    set(node, "penstock,trial", told.trial);
    set(node, "penstock,reason", told.reason);
    if let Some((serial, mac)) = &told.identity {
        set(node, "penstock,serial", serial.as_str());
        // A virtio device takes its address from its host, whatever the tree says: init gives it this one.
        set(node, "penstock,mac", *mac);
    }
}

/// Keeps the kernel from using what outlasts a reset, and lets it have that as a device (MTD).
fn reserve(root: &mut DeviceTreeNode) {
    let (base, size) = (BOARD.memory.reserved_base, BOARD.memory.reserved_bytes);
    let memory = child(root, "reserved-memory");
    set(memory, "#address-cells", 2_u32);
    set(memory, "#size-cells", 2_u32);
    set(memory, "ranges", [0_u8; 0]);
    let region = child(memory, &format!("penstock@{base:x}"));
    set(region, "reg", cells(base, size));
    set(region, "no-map", [0_u8; 0]);

    let mailbox = child(root, &format!("mailbox@{base:x}"));
    set(mailbox, "compatible", "mtd-ram");
    set(mailbox, "reg", cells(base, 2 * PAGE_BYTES));
    set(mailbox, "bank-width", 4_u32);
    set(mailbox, "linux,mtd-name", "mailbox");
    set(mailbox, "label", "mailbox");
}

/// The partitions of all banks, which the kernel sees as one device.
fn partitions(root: &mut DeviceTreeNode) {
    let Some(first) = BOARD.banks.first() else { return };
    let partitions = child(child(root, &format!("flash@{:x}", first.base)), "partitions");
    set(partitions, "compatible", "fixed-partitions");
    set(partitions, "#address-cells", 1_u32);
    set(partitions, "#size-cells", 1_u32);
    for bank in BOARD.banks {
        for partition in bank.partitions {
            let start = (bank.base - first.base) as u32 + partition.offset;
            let node = child(partitions, &format!("partition@{start:x}"));
            set(node, "label", partition.name);
            let reg = [start.to_be_bytes(), partition.size_bytes.to_be_bytes()];
            set(node, "reg", reg.as_flattened());
        }
    }
}

const fn slot_text(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "a",
        Slot::B => "b",
    }
}

/// An address and a size of two cells each.
fn cells(start: u64, size: u64) -> Vec<u8> {
    [start.to_be_bytes(), size.to_be_bytes()].concat()
}

/// A child, which is made if need be.
fn child<'n>(node: &'n mut DeviceTreeNode, name: &str) -> &'n mut DeviceTreeNode {
    node.add_child_mut(DeviceTreeNode::new_unchecked(String::from(name)))
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;

    use dtoolkit::{Node as _, Property as _};

    use super::*;
    use crate::testing::virt_tree;
    use crate::tree::{Machine, find};

    fn told() -> Told<'static> {
        Told {
            command_line: "console=ttyAMA0,115200",
            initramfs: 0x4900_0000..0x4900_1234,
            seed: Some([7; 32]),
            firmware_version: "0.1.0",
            firmware_slot: Slot::A,
            system_slot: Slot::B,
            trial: "system",
            reason: "watchdog",
            identity: Some((Serial::from_random([3; 10]), [2, 1, 2, 3, 4, 5])),
        }
    }

    #[test]
    fn the_kernel_and_init_are_told_what_they_need() {
        let own = virt_tree();
        let bytes = for_kernel(find(&own).unwrap(), &told()).unwrap();
        let tree = find(&bytes).unwrap();
        let chosen = tree.find_node("/chosen").unwrap();
        let text = |name: &str| chosen.property(name).unwrap().value_as::<&str>().unwrap().to_owned();
        assert_eq!(text("bootargs"), "console=ttyAMA0,115200");
        assert_eq!((text("penstock,firmware-slot"), text("penstock,system-slot")), ("a".into(), "b".into()));
        assert_eq!((text("penstock,trial"), text("penstock,reason")), ("system".into(), "watchdog".into()));
        assert_eq!(
            (text("penstock,firmware-version"), text("stdout-path")),
            ("0.1.0".into(), "/pl011@9000000".into())
        );
        assert_eq!(text("penstock,serial"), Serial::from_random([3; 10]).as_str());
        let value = |name: &str| chosen.property(name).unwrap().value().to_vec();
        assert_eq!(value("rng-seed"), [7; 32]);
        assert_eq!(value("penstock,mac"), [2, 1, 2, 3, 4, 5]);
        assert_eq!(value("linux,initrd-end"), 0x4900_1234_u64.to_be_bytes());
    }

    #[test]
    fn what_outlasts_a_reset_is_kept_from_the_kernel_and_is_a_device() {
        let own = virt_tree();
        let bytes = for_kernel(find(&own).unwrap(), &told()).unwrap();
        let tree = find(&bytes).unwrap();
        let region = tree.find_node("/reserved-memory/penstock@47f00000").unwrap();
        assert!(region.property("no-map").is_some());
        assert_eq!(region.property("reg").unwrap().value(), cells(0x47F0_0000, 0x10_0000));
        let mailbox = tree.find_node("/mailbox@47f00000").unwrap();
        assert_eq!(mailbox.property("reg").unwrap().value(), cells(0x47F0_0000, 0x2000));
        assert_eq!(mailbox.property("compatible").unwrap().value_as::<&str>(), Ok("mtd-ram"));
    }

    #[test]
    fn partitions_of_both_banks_stand_behind_each_other() {
        let own = virt_tree();
        let bytes = for_kernel(find(&own).unwrap(), &told()).unwrap();
        let partitions = find(&bytes).unwrap().find_node("/flash@0/partitions").unwrap();
        let mut end = 0;
        for node in partitions.children() {
            let reg = node.property("reg").unwrap().value_as::<u64>().unwrap();
            assert!(reg >> 32 >= end, "{}", node.name());
            end = (reg >> 32) + (reg & 0xFFFF_FFFF);
        }
        let seed = partitions.children().find(|node| node.name() == "partition@40c0000").unwrap();
        assert_eq!(seed.property("label").unwrap().value_as::<&str>(), Ok("seed"));
    }

    #[test]
    fn the_rest_of_the_tree_is_as_it_was() {
        let own = virt_tree();
        let nothing = Told { seed: None, identity: None, ..told() };
        let bytes = for_kernel(find(&own).unwrap(), &nothing).unwrap();
        let machine = Machine::read(find(&bytes).unwrap()).unwrap();
        assert_eq!(machine, Machine { seed: None, ..Machine::read(find(&own).unwrap()).unwrap() });
        assert!(find(&bytes).unwrap().find_node("/chosen").unwrap().property("penstock,serial").is_none());
    }
}
