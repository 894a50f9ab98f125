//! What is written into the flash chips before a box is started for the first time.

use penstock_settings::Record;

use crate::Error;
use crate::board::{Board, Flash, Partition};

/// The slots that hold a system. A new box has one in the first.
pub const SYSTEM_PARTITIONS: [&str; 2] = ["system-a", "system-b"];
/// The slots that hold a firmware. A new box has it in both, so that it can lose either.
pub const FIRMWARE_PARTITIONS: [&str; 2] = ["firmware-a", "firmware-b"];
/// What is started by the processor itself.
pub const STAGE0_PARTITION: &str = "stage0";
/// The partition that holds the settings, in each of its sectors one copy.
pub const SETTINGS_PARTITION: &str = "settings";
/// What NOR flash holds where nothing was written.
pub const ERASED: u8 = 0xFF;

/// What the chip with the software is made of.
#[derive(Clone, Copy, Debug)]
pub struct Software<'a> {
    /// A signed system.
    pub system: &'a [u8],
    /// Stage 0 and a signed firmware, where there is one.
    pub firmware: Option<(&'a [u8], &'a [u8])>,
}

/// The content of the chip with the software: erased, but for stage 0, the firmware in both of its slots and the system in
/// the first one of its own. What is known of the slots is erased too, which means that whatever verifies may be started.
///
/// # Errors
/// [`Error::TooLarge`] if something does not fit into each of its slots: an update puts it into either.
pub fn system_flash(board: &Board, software: Software<'_>) -> Result<Vec<u8>, Error> {
    let (flash, _) = partition(board, SYSTEM_PARTITIONS[0])?;
    let mut chip = blank(flash);
    let both =
        |names: [&str; 2], what, bytes| names.iter().try_for_each(|name| fits(board, name, what, bytes));
    both(SYSTEM_PARTITIONS, "the system", software.system)?;
    put(board, &mut chip, SYSTEM_PARTITIONS[0], software.system)?;
    if let Some((stage0, firmware)) = software.firmware {
        both(FIRMWARE_PARTITIONS, "the firmware", firmware)?;
        fits(board, STAGE0_PARTITION, "stage 0", stage0)?;
        for name in FIRMWARE_PARTITIONS {
            put(board, &mut chip, name, firmware)?;
        }
        put(board, &mut chip, STAGE0_PARTITION, stage0)?;
    }
    Ok(chip)
}

/// The content of the chip with the partitions of a box's own: erased, but for its settings, if it is to have any. A box
/// without asks for them on its serial console.
///
/// # Errors
/// [`Error::TooLarge`] if the settings do not fit.
pub fn own_flash(board: &Board, settings: Option<&str>) -> Result<Vec<u8>, Error> {
    let (flash, _) = partition(board, SETTINGS_PARTITION)?;
    let mut chip = blank(flash);
    let Some(settings) = settings else { return Ok(chip) };
    let record = Record { sequence: 1, text: settings.to_owned() }.to_bytes();
    let record =
        record.filter(|record| record.len() as u64 <= flash.erase_bytes).ok_or_else(|| Error::TooLarge {
            what: "the settings file".into(),
            size_bytes: settings.len() as u64,
            room_bytes: (flash.erase_bytes).min(penstock_settings::FILE_BYTES_MAX as u64),
        })?;
    put(board, &mut chip, SETTINGS_PARTITION, &record)?;
    Ok(chip)
}

fn partition<'b>(board: &'b Board, name: &str) -> Result<(&'b Flash, &'b Partition), Error> {
    board.partition(name).ok_or_else(|| Error::Board {
        path: board.name.clone().into(),
        reason: format!("there is no partition '{name}'"),
    })
}

fn fits(board: &Board, name: &str, what: &str, content: &[u8]) -> Result<(), Error> {
    let (_, Partition { size_bytes: room_bytes, .. }) = partition(board, name)?;
    let (size_bytes, room_bytes) = (content.len() as u64, *room_bytes);
    if size_bytes <= room_bytes {
        return Ok(());
    }
    Err(Error::TooLarge { what: format!("{what} for partition '{name}'"), size_bytes, room_bytes })
}

fn blank(flash: &Flash) -> Vec<u8> {
    vec![ERASED; flash.size_bytes as usize]
}

/// Writes something that fits to the start of a partition.
fn put(board: &Board, chip: &mut [u8], name: &str, content: &[u8]) -> Result<(), Error> {
    let at = partition(board, name)?.1.offset as usize;
    chip[at..at + content.len()].copy_from_slice(content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn board() -> Board {
        Board::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../board/qemu-virt")).unwrap()
    }

    /// Where a partition is in its chip.
    fn place(board: &Board, name: &str) -> usize {
        board.partition(name).unwrap().1.offset as usize
    }

    #[test]
    fn the_software_stands_at_its_places_and_all_else_is_erased() {
        let board = board();
        let chip =
            system_flash(&board, Software { system: b"system", firmware: Some((b"stage0", b"firmware")) })
                .unwrap();
        assert_eq!(chip.len() as u64, board.flash[0].size_bytes);
        let mut rest = chip.clone();
        for (name, content) in [
            ("stage0", "stage0"),
            ("firmware-a", "firmware"),
            ("firmware-b", "firmware"),
            ("system-a", "system"),
        ] {
            let at = place(&board, name);
            assert_eq!(&chip[at..at + content.len()], content.as_bytes(), "{name}");
            rest[at..at + content.len()].fill(ERASED);
        }
        assert!(rest.iter().all(|byte| *byte == ERASED));
        let bare = system_flash(&board, Software { system: b"system", firmware: None }).unwrap();
        assert!(bare[..place(&board, "system-a")].iter().all(|byte| *byte == ERASED));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_sizes() {
        let mut board = board();
        let room_bytes = board.partition("system-b").unwrap().1.size_bytes;
        let system = vec![0; room_bytes as usize + 1];
        let error =
            system_flash(&board, Software { system: &system, firmware: None }).unwrap_err().to_string();
        assert!(error.contains("PS-A004") && error.contains("'system-a'"), "{error}");
        assert!(error.contains(&(room_bytes + 1).to_string()) && error.contains(&room_bytes.to_string()));
        // An update goes into the other slot.
        board.flash[0].partition.last_mut().unwrap().size_bytes -= 0x4_0000;
        let software = Software { system: &system[1..], firmware: None };
        assert!(system_flash(&board, software).unwrap_err().to_string().contains("'system-b'"));
        let too_large = vec![0; 0x20_0001];
        for (firmware, name) in [
            ((&b"stage0"[..], &too_large[..]), "'firmware-a'"),
            ((&too_large[..], &b"firmware"[..]), "'stage0'"),
        ] {
            let software = Software { system: b"system", firmware: Some(firmware) };
            let error = system_flash(&board, software).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}
