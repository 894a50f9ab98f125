//! What is written into a flash chip before a box is started for the first time.

use penstock_settings::Record;

use crate::Error;
use crate::board::Board;

/// The partition that holds the settings, in each of its sectors one copy.
pub const SETTINGS_PARTITION: &str = "settings";

/// The content of the chip with the partitions of a box's own: erased, but for its settings, if it is to have any. A box
/// without asks for them on its serial console.
///
/// # Errors
/// [`Error::TooLarge`] if the settings do not fit.
pub fn own_flash(board: &Board, settings: Option<&str>) -> Result<Vec<u8>, Error> {
    let Some((flash, partition)) = board.partition(SETTINGS_PARTITION) else {
        let reason = format!("there is no partition '{SETTINGS_PARTITION}'");
        return Err(Error::Board { path: board.name.clone().into(), reason });
    };
    // Erased NOR flash is all ones.
    let mut bytes = vec![0xFF; flash.size_bytes as usize];
    let Some(settings) = settings else { return Ok(bytes) };
    let record = Record { sequence: 1, text: settings.to_owned() }.to_bytes();
    let record =
        record.filter(|record| record.len() as u64 <= flash.erase_bytes).ok_or_else(|| Error::TooLarge {
            what: "the settings file".into(),
            size_bytes: settings.len() as u64,
            room_bytes: (flash.erase_bytes).min(penstock_settings::FILE_BYTES_MAX as u64),
        })?;
    let at = partition.offset as usize;
    bytes[at..at + record.len()].copy_from_slice(&record);
    Ok(bytes)
}
