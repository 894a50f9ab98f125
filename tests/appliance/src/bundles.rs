//! Bundles that no builder makes: of other versions, of systems that fail, damaged.

use std::path::Path;

use penstock_image::bundle::{COMMAND_LINE, INITRAMFS, KERNEL};
use penstock_image::keys::Key;
use penstock_image::slot::Bundle;
use penstock_slots::{Held, Kept};

use crate::machine::Appliance;

/// What is otherwise about a system.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Its version.
    pub version: &'a str,
    /// Its security version.
    pub security: u32,
    /// What its kernel is told besides.
    pub words: Option<&'a str>,
}

impl Default for Change<'_> {
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), security: 1, words: None }
    }
}

/// A firmware that starts the machine again as soon as it is started itself.
pub fn failing_firmware(appliance: &Appliance, version: &str) -> Vec<u8> {
    // movz w0, #9; movk w0, #0x8400, lsl #16; hvc #0; b . (SYSTEM_RESET of PSCI)
    let code: [u32; 4] = [0x5280_0120, 0x72b0_8000, 0xd400_0002, 0x1400_0000];
    let code: Vec<u8> = code.into_iter().flat_map(u32::to_le_bytes).collect();
    signed(appliance, Kept::Firmware, &Change { version, ..Change::default() }, &[&code])
}

/// The system of a box's image with a change.
pub fn system(appliance: &Appliance, change: &Change<'_>) -> Vec<u8> {
    let line = String::from_utf8(appliance.image_file(COMMAND_LINE)).unwrap();
    let line = match change.words {
        None => line,
        // What stands behind the dashes is for the first process.
        Some(words) => line.replacen(" -- ", &format!(" {words} -- "), 1),
    };
    let (kernel, initramfs) = (appliance.image_file(KERNEL), appliance.image_file(INITRAMFS));
    signed(appliance, Kept::System, change, &[&kernel, &initramfs, line.as_bytes()])
}

/// A bundle, signed by a key that the box knows.
fn signed(appliance: &Appliance, kept: Kept, change: &Change<'_>, parts: &[&[u8]]) -> Vec<u8> {
    let key = std::env::var_os("PENSTOCK_KEY")
        .expect("PENSTOCK_KEY is not set: run the tests through scripts/test, which has the key");
    let key = Key::read(Path::new(&key)).unwrap();
    let held = Held { version: Held::version_number(change.version).unwrap(), security: change.security };
    let mut bundle = Bundle::new(kept, &appliance.board().name, held, parts).unwrap();
    key.sign(&mut bundle);
    bundle.bytes().to_vec()
}

/// The same with one bit flipped.
pub fn damaged(bundle: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bundle.to_vec();
    bytes[at] ^= 0x10;
    bytes
}
