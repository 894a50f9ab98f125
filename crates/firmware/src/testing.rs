//! What tests share.

use alloc::vec::Vec;

/// The device tree of QEMU's `virt` (7.2): two cores, 256 MiB, `dumpdtb`, without the zeros behind it.
pub(crate) fn virt_tree() -> Vec<u8> {
    include_bytes!("../testdata/virt.dtb").to_vec()
}
