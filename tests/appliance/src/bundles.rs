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

/// The system of a box's image with a change, signed by a key that the box knows.
pub fn system(appliance: &Appliance, change: &Change<'_>) -> Vec<u8> {
    let key = std::env::var_os("PENSTOCK_KEY")
        .expect("PENSTOCK_KEY is not set: run the tests through scripts/test, which has the key");
    let key = Key::read(Path::new(&key)).unwrap();
    let line = String::from_utf8(appliance.image_file(COMMAND_LINE)).unwrap();
    let line = match change.words {
        None => line,
        // What stands behind the dashes is for the first process.
        Some(words) => line.replacen(" -- ", &format!(" {words} -- "), 1),
    };
    let (kernel, initramfs) = (appliance.image_file(KERNEL), appliance.image_file(INITRAMFS));
    let held = Held { version: Held::version_number(change.version).unwrap(), security: change.security };
    let parts: [&[u8]; 3] = [&kernel, &initramfs, line.as_bytes()];
    let mut bundle = Bundle::new(Kept::System, &appliance.board().name, held, &parts).unwrap();
    key.sign(&mut bundle);
    bundle.bytes().to_vec()
}

/// The same with one bit flipped.
pub fn damaged(bundle: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bundle.to_vec();
    bytes[at] ^= 0x10;
    bytes
}
