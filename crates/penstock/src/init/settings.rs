//! The settings of a box: in flash, and in the file that the daemon and the console read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;

use penstock_flash_linux::{Mtd, MtdError};
use penstock_settings::{
    FILE_BYTES_MAX, LEASES_AT, LentAddress, RECORD_HEADER_BYTES, Record, RecordError, Settings,
    newest_record, survey_leases,
};

use super::{DAEMON_ID, Error, SETTINGS_FILE, directory};

/// The partition that holds them, in each of its sectors one copy.
const PARTITION: &str = "settings";

/// Settings that were read and understood.
#[derive(Clone, Debug)]
pub(super) struct Understood {
    pub(super) text: String,
    pub(super) settings: Settings,
}

impl Understood {
    pub(super) fn new(text: String) -> Result<Self, Error> {
        let settings = Settings::parse(&text).map_err(Error::BadSettings)?;
        Ok(Self { text, settings })
    }
}

/// Reads the newest settings in flash that are intact.
pub(super) fn load() -> Result<Understood, Error> {
    let flash = open(false)?;
    let (_, record) = newest(&flash)?.map_err(Error::NoSettings)?;
    Understood::new(record.text)
}

/// Writes settings into flash. Until the last byte is programmed those from before count, and after it these.
pub(super) fn store(text: &str) -> Result<(), Error> {
    let flash = open(true)?;
    let newest = newest(&flash)?.ok();
    let (sector, sequence) = place(newest.as_ref(), sector_count(&flash));
    let record = Record { sequence, text: text.to_owned() };
    let bytes = record.to_bytes().ok_or(Error::NoSettings(RecordError::Damaged))?;
    let lent = newest.as_ref().and_then(|(at, _)| leases(&flash, *at as u32).ok()?.0);
    flash.erase(sector)?;
    // The address that was lent goes along. It comes first, since what counts is the record; without it none is missed but by
    // a rescue whose DHCP server is away.
    if let Some(lent) = lent {
        flash.program(leases_at(&flash, sector), &lent.to_bytes())?;
    }
    flash.program(u64::from(sector) * u64::from(flash.erase_bytes()), &bytes)?;
    // What counts is what the next start will find.
    match self::newest(&flash)? {
        Ok((_, found)) if found == record => Ok(()),
        _ => Err(Error::NoSettings(RecordError::Damaged)),
    }
}

/// Notes the address that a DHCP server lent, for the rescue, behind the settings that it belongs to. One that is there already
/// is not written again; where the sector is full the next settings make room.
pub(super) fn note_lent(lent: LentAddress) -> Result<(), Error> {
    let flash = open(true)?;
    let Ok((sector, _)) = newest(&flash)? else { return Ok(()) };
    let sector = sector as u32;
    match leases(&flash, sector)? {
        (known, Some(at)) if known != Some(lent) => {
            Ok(flash.program(leases_at(&flash, sector) + at as u64, &lent.to_bytes())?)
        }
        _ => Ok(()),
    }
}

/// Where the leases of a sector begin.
fn leases_at(flash: &Mtd, sector: u32) -> u64 {
    u64::from(sector) * u64::from(flash.erase_bytes()) + LEASES_AT as u64
}

fn leases(flash: &Mtd, sector: u32) -> Result<(Option<LentAddress>, Option<usize>), MtdError> {
    let mut bytes = vec![0; (flash.erase_bytes() as usize).saturating_sub(LEASES_AT)];
    flash.read(leases_at(flash, sector), &mut bytes)?;
    Ok(survey_leases(&bytes))
}

/// Erases all copies.
pub(super) fn erase() -> Result<(), Error> {
    let flash = open(true)?;
    (0..sector_count(&flash)).try_for_each(|sector| flash.erase(sector))?;
    forget()
}

/// Takes them away from where programs look.
pub(super) fn forget() -> Result<(), Error> {
    match fs::remove_file(SETTINGS_FILE) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { path: SETTINGS_FILE.into(), source })
        }
        _ => Ok(()),
    }
}

fn open(writable: bool) -> Result<Mtd, MtdError> {
    Mtd::open(&Mtd::find(PARTITION)?, writable)
}

fn sector_count(flash: &Mtd) -> u32 {
    u32::try_from(flash.size_bytes() / u64::from(flash.erase_bytes())).unwrap_or(u32::MAX)
}

/// The newest record in flash.
fn newest(flash: &Mtd) -> Result<Result<(usize, Record), RecordError>, MtdError> {
    let len_bytes = (FILE_BYTES_MAX + RECORD_HEADER_BYTES).min(flash.erase_bytes() as usize);
    let read = |sector: u32| {
        let mut bytes = vec![0; len_bytes];
        flash.read(u64::from(sector) * u64::from(flash.erase_bytes()), &mut bytes).map(|()| bytes)
    };
    let sectors = (0..sector_count(flash)).map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(newest_record(sectors.iter().map(Vec::as_slice)))
}

/// Where the next record goes, and which number it has: never where the newest one is.
fn place(newest: Option<&(usize, Record)>, sectors: u32) -> (u32, u64) {
    match newest {
        None => (0, 1),
        Some((at, record)) => {
            let at = u32::try_from(*at).unwrap_or(0);
            ((at + 1) % sectors.max(1), record.sequence.saturating_add(1))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_record_never_goes_where_the_newest_one_is() {
        let record = |sequence| Record { sequence, text: String::new() };
        assert_eq!(place(None, 2), (0, 1));
        assert_eq!(place(Some(&(0, record(1))), 2), (1, 2));
        assert_eq!(place(Some(&(1, record(2))), 2), (0, 3));
    }
}
