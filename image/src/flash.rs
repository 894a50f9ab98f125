//! What is written into the flash chips before a box is started for the first time.

use penstock_settings::Record;

use crate::Error;
use crate::board::{Board, Flash, Partition};

/// The slots that hold a system. A new box has one in the first.
pub const SYSTEM_PARTITIONS: [&str; 2] = ["system-a", "system-b"];
/// The partition that holds the settings, in each of its sectors one copy.
pub const SETTINGS_PARTITION: &str = "settings";
/// What NOR flash holds where nothing was written.
const ERASED: u8 = 0xFF;

/// The content of the chip with the system: erased, but for the bundle in its slot.
///
/// # Errors
/// [`Error::TooLarge`] if the bundle does not fit into each of the slots: an update puts it into either.
pub fn system_flash(board: &Board, bundle: &[u8]) -> Result<Vec<u8>, Error> {
    for name in SYSTEM_PARTITIONS {
        let (_, slot) = partition(board, name)?;
        if bundle.len() as u64 > slot.size_bytes {
            let what = format!("the system for partition '{name}'");
            let size_bytes = bundle.len() as u64;
            return Err(Error::TooLarge { what, size_bytes, room_bytes: slot.size_bytes });
        }
    }
    let (flash, slot) = partition(board, SYSTEM_PARTITIONS[0])?;
    Ok(chip(flash, slot, bundle))
}

/// The content of the chip with the partitions of a box's own: erased, but for its settings, if it is to have any. A box
/// without takes no mail.
///
/// # Errors
/// [`Error::TooLarge`] if the settings do not fit.
pub fn own_flash(board: &Board, settings: Option<&str>) -> Result<Vec<u8>, Error> {
    let (flash, slot) = partition(board, SETTINGS_PARTITION)?;
    let Some(settings) = settings else { return Ok(chip(flash, slot, &[])) };
    let record = Record { sequence: 1, text: settings.to_owned() }.to_bytes();
    let record =
        record.filter(|record| record.len() as u64 <= flash.erase_bytes).ok_or_else(|| Error::TooLarge {
            what: "the settings file".into(),
            size_bytes: settings.len() as u64,
            room_bytes: (flash.erase_bytes).min(penstock_settings::FILE_BYTES_MAX as u64),
        })?;
    Ok(chip(flash, slot, &record))
}

fn partition<'b>(board: &'b Board, name: &str) -> Result<(&'b Flash, &'b Partition), Error> {
    board.partition(name).ok_or_else(|| Error::Board {
        path: board.name.clone().into(),
        reason: format!("there is no partition '{name}'"),
    })
}

/// A chip that holds these bytes at the start of a partition, and nothing else.
fn chip(flash: &Flash, partition: &Partition, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![ERASED; flash.size_bytes as usize];
    let at = partition.offset as usize;
    bytes[at..at + content.len()].copy_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::{Manifest, bundle};

    fn board() -> Board {
        Board::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../board/qemu-virt")).unwrap()
    }

    #[test]
    fn the_system_stands_at_its_place_and_all_else_is_erased() {
        let board = board();
        let bundle = bundle(&board.name, "0.1.0", 1, [b"kernel", b"initramfs", b"words"]).unwrap();
        let flash = system_flash(&board, &bundle).unwrap();
        let (chip, slot) = board.partition("system-a").unwrap();
        assert_eq!(flash.len() as u64, chip.size_bytes);
        let (before, rest) = flash.split_at(slot.offset as usize);
        assert!(Manifest::verify(rest).is_ok());
        let mut outside = before.iter().chain(&rest[bundle.len()..]);
        assert!(outside.all(|byte| *byte == 0xFF));
    }

    #[test]
    fn a_system_that_does_not_fit_is_refused_with_both_sizes() {
        let mut board = board();
        let room_bytes = board.partition("system-b").unwrap().1.size_bytes;
        let error = system_flash(&board, &vec![0; room_bytes as usize + 1]).unwrap_err().to_string();
        assert!(error.contains("PS-B004") && error.contains("'system-a'"), "{error}");
        assert!(error.contains(&(room_bytes + 1).to_string()) && error.contains(&room_bytes.to_string()));
        // An update goes into the other slot.
        board.flash[0].partition.last_mut().unwrap().size_bytes -= 0x4_0000;
        let error = system_flash(&board, &vec![0; room_bytes as usize]).unwrap_err().to_string();
        assert!(error.contains("'system-b'"), "{error}");
    }
}
