//! The settings of a box: from flash to the file that the daemon reads.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;

use penstock_flash_linux::{Mtd, MtdError};
use penstock_settings::{FILE_BYTES_MAX, RECORD_HEADER_BYTES, Settings, newest_record};

use super::{DAEMON_ID, Error, SETTINGS_FILE, directory};

/// The partition that holds them, in each of its sectors one copy.
const PARTITION: &str = "settings";

/// Reads the newest settings in flash that are intact.
pub(super) fn load() -> Result<(String, Settings), Error> {
    let sectors = read_sectors(FILE_BYTES_MAX + RECORD_HEADER_BYTES)?;
    let (_, record) = newest_record(sectors.iter().map(Vec::as_slice)).map_err(Error::NoSettings)?;
    let settings = Settings::parse(&record.text).map_err(Error::BadSettings)?;
    Ok((record.text, settings))
}

/// The first bytes of each sector of the partition.
fn read_sectors(len_bytes: usize) -> Result<Vec<Vec<u8>>, MtdError> {
    let flash = Mtd::open(&Mtd::find(PARTITION)?, false)?;
    let sector_bytes = u64::from(flash.erase_bytes());
    let len_bytes = len_bytes.min(flash.erase_bytes() as usize);
    (0..flash.size_bytes() / sector_bytes)
        .map(|sector| {
            let mut bytes = vec![0; len_bytes];
            flash.read(sector * sector_bytes, &mut bytes).map(|()| bytes)
        })
        .collect()
}

/// Puts them where the daemon and the console read them.
pub(super) fn write(text: &str) -> Result<(), Error> {
    // The control socket of the daemon is here too.
    directory("/run/penstock", DAEMON_ID, 0o750)?;
    directory("/etc/penstock", 0, 0o750)?;
    let put = || -> std::io::Result<()> {
        fs::write(SETTINGS_FILE, text)?;
        chown(SETTINGS_FILE, None, Some(DAEMON_ID))?;
        fs::set_permissions(SETTINGS_FILE, fs::Permissions::from_mode(0o640))
    };
    put().map_err(|source| Error::File { path: SETTINGS_FILE.into(), source })
}
