//! Raw NOR flash, by the character devices that the kernel makes of its partitions.
//!
//! [`Mtd`] is a partition: where it is, how large, and reading, programming and erasing at places in bytes. It knows
//! nothing of segments and records; those who keep something in flash do. Only NOR is taken: of NAND some blocks are bad,
//! and what is read needs an ECC of its own.
//!
//! Writes to such a device are synchronous: the kernel's driver returns when the chip says that it is done, and nothing
//! stands between it and the chip. What [`program`](Mtd::program) has reported is therefore durable.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Where the kernel lists the partitions.
const LIST: &str = "/sys/class/mtd";
/// Where their devices are.
const DEVICES: &str = "/dev";

/// How much is programmed, read back and compared at once, in bytes: the kernel copies it to memory of its own.
const CHUNK_BYTES: usize = 16 * 1024;

/// `MTD_NORFLASH`.
const NOR: u8 = 3;

/// What the kernel says of a device: `struct mtd_info_user`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    kind: u8,
    flags: u32,
    size: u32,
    erase_size: u32,
    write_size: u32,
    oob_size: u32,
    padding: u64,
}

/// A stretch of a device: `struct erase_info_user`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u32,
    length: u32,
}

mod calls {
    //! The calls that are neither read nor write. The macros of `nix` make an unsafe function of each.
    #![allow(missing_docs, unreachable_pub, unsafe_code, reason = "made by macros")]

    nix::ioctl_read!(get_info, b'M', 1, super::Info);
    nix::ioctl_write_ptr!(erase, b'M', 2, super::Stretch);
    nix::ioctl_write_ptr!(unlock, b'M', 6, super::Stretch);
}

/// A partition of NOR flash.
#[derive(Debug)]
pub struct Mtd {
    path: PathBuf,
    file: File,
    info: Info,
}

impl Mtd {
    /// The device of the partition that has this name.
    ///
    /// # Errors
    /// [`MtdError::NoPartition`].
    pub fn find(name: &str) -> Result<PathBuf, MtdError> {
        find_in(Path::new(LIST), name)
    }

    /// Opens a device. It is not locked.
    ///
    /// # Errors
    /// [`MtdError::WrongKind`], [`MtdError::Io`].
    pub fn open(path: &Path, writable: bool) -> Result<Self, MtdError> {
        let wrong = || MtdError::WrongKind { path: path.to_owned() };
        let found = fs::metadata(path).map_err(MtdError::io("examine", path))?;
        if !found.file_type().is_char_device() {
            return Err(wrong());
        }
        let opened = OpenOptions::new().read(true).write(writable).open(path);
        let file = opened.map_err(MtdError::io("open", path))?;
        let info = get_info(&file).map_err(|error| match error {
            Errno::NOTTY | Errno::INVAL => wrong(),
            other => MtdError::io("examine", path)(other.into()),
        })?;
        let sizes_fit = info.erase_size > 0
            && info.size.is_multiple_of(info.erase_size)
            && info.write_size.is_power_of_two()
            && info.erase_size.is_multiple_of(info.write_size);
        if info.kind != NOR || !sizes_fit {
            return Err(wrong());
        }
        Ok(Self { path: path.to_owned(), file, info })
    }

    /// The size of the partition in bytes.
    pub fn size_bytes(&self) -> u64 {
        u64::from(self.info.size)
    }

    /// What is erased at once, in bytes.
    pub fn erase_bytes(&self) -> u32 {
        self.info.erase_size
    }

    /// The smallest piece that can be programmed, in bytes: a power of two, 1 on most NOR.
    pub fn unit_bytes(&self) -> u32 {
        self.info.write_size
    }

    /// The device, to be locked by who must have it for himself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads from the chip.
    ///
    /// # Errors
    /// [`MtdError::OutOfBounds`], [`MtdError::Io`].
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MtdError> {
        self.check(offset, into.len())?;
        self.file.read_exact_at(into, offset).map_err(MtdError::io("read", &self.path))
    }

    /// Programs erased flash, and reads back what it holds then: a chip that is protected, worn or gone may say that all
    /// is well. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// [`MtdError::OutOfBounds`], [`MtdError::Io`], [`MtdError::NotAsWritten`]: what was to be programmed holds anything.
    pub fn program(&self, offset: u64, bytes: &[u8]) -> Result<(), MtdError> {
        self.check(offset, bytes.len())?;
        let mut at = offset;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let write = || self.file.write_all_at(chunk, at);
            let written = write().or_else(|error| self.unlocked(error, at).and_then(|()| write()));
            written.map_err(MtdError::io("program", &self.path))?;
            self.verify(at, chunk)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Erases a sector, counted from 0. It takes of the order of a second and blocks for as long.
    ///
    /// # Errors
    /// [`MtdError::OutOfBounds`], [`MtdError::Io`]: the sector holds anything.
    pub fn erase(&self, sector: u32) -> Result<(), MtdError> {
        let at = u64::from(sector) * u64::from(self.info.erase_size);
        self.check(at, self.info.erase_size as usize)?;
        let erase = || self.on_sector(at, Call::Erase);
        let erased = erase().or_else(|error| self.unlocked(error, at).and_then(|()| erase()));
        erased.map_err(MtdError::io("erase", &self.path))
    }

    /// Takes away the protection of the sector at a place, if it was that which was in the way. Some chips have all of
    /// them protected when power comes.
    fn unlocked(&self, error: io::Error, at: u64) -> io::Result<()> {
        if Errno::from_io_error(&error) != Some(Errno::ROFS) {
            return Err(error);
        }
        self.on_sector(at, Call::Unlock)
    }

    fn on_sector(&self, at: u64, call: Call) -> io::Result<()> {
        let length = self.info.erase_size;
        // Within a size that is a u32 itself.
        let start = u32::try_from(at - at % u64::from(length)).unwrap_or(u32::MAX);
        Ok(call.make(&self.file, Stretch { start, length })?)
    }

    fn verify(&self, offset: u64, bytes: &[u8]) -> Result<(), MtdError> {
        let mut found = vec![0; bytes.len()];
        self.read(offset, &mut found)?;
        match found.iter().zip(bytes).position(|(found, wanted)| found != wanted) {
            None => Ok(()),
            Some(first) => {
                Err(MtdError::NotAsWritten { path: self.path.clone(), offset: offset + first as u64 })
            }
        }
    }

    fn check(&self, offset: u64, len: usize) -> Result<(), MtdError> {
        let end = offset.checked_add(len as u64);
        if end.is_some_and(|end| end <= self.size_bytes()) {
            return Ok(());
        }
        Err(MtdError::OutOfBounds { path: self.path.clone(), offset })
    }
}

/// What is asked for a whole sector.
#[derive(Clone, Copy)]
enum Call {
    Erase,
    Unlock,
}

impl Call {
    #[allow(unsafe_code, reason = "MTD has no other interface for this")]
    fn make(self, file: &File, stretch: Stretch) -> nix::Result<()> {
        let (device, stretch) = (file.as_raw_fd(), &raw const stretch);
        // SAFETY: `file` keeps the descriptor open during the call. MEMERASE and MEMUNLOCK read one `erase_info_user`,
        // which is what `stretch` points to: same fields, `repr(C)`, alive until the end of this function. Neither call
        // touches other memory of this process. Only [`Mtd::open`] makes files that come here, and it made sure by
        // MEMGETINFO that this is an MTD device, where these numbers mean these calls.
        unsafe {
            match self {
                Self::Erase => calls::erase(device, stretch),
                Self::Unlock => calls::unlock(device, stretch),
            }
        }
        .map(drop)
    }
}

#[allow(unsafe_code, reason = "MTD has no other interface for this")]
fn get_info(file: &File) -> Result<Info, Errno> {
    let mut info = Info::default();
    // SAFETY: `file` keeps the descriptor open during the call. MEMGETINFO fills one `mtd_info_user`, whose fields, order
    // and padding `Info` has (`repr(C)`); the size of the struct is part of the number of the call, so that a kernel with
    // another one refuses. Every bit pattern is a valid `Info`. On a character device that is no MTD the number means
    // nothing, or is that of a call that also fills that many bytes at most, as the number says.
    let got = unsafe { calls::get_info(file.as_raw_fd(), &raw mut info) };
    got.map(|_| info).map_err(|error| Errno::from_raw_os_error(error as i32))
}

fn find_in(list: &Path, name: &str) -> Result<PathBuf, MtdError> {
    let none = || MtdError::NoPartition { name: name.to_owned() };
    for entry in fs::read_dir(list).map_err(|_| none())?.flatten() {
        // Beside each one stands its read-only twin, `mtd3ro`, which has no name of its own.
        let found = fs::read_to_string(entry.path().join("name"));
        if found.is_ok_and(|found| found.trim_end_matches('\n') == name) {
            return Ok(Path::new(DEVICES).join(entry.file_name()));
        }
    }
    Err(none())
}

/// What raw flash can refuse, in words for the operator.
#[derive(Debug)]
#[non_exhaustive]
pub enum MtdError {
    /// There is no partition of that name.
    NoPartition {
        /// The name.
        name: String,
    },
    /// The device is no NOR flash.
    WrongKind {
        /// The device.
        path: PathBuf,
    },
    /// A place beyond the end of the partition.
    OutOfBounds {
        /// The device.
        path: PathBuf,
        /// Where, in bytes from its start.
        offset: u64,
    },
    /// What was programmed does not stand there. The chip said that it does.
    NotAsWritten {
        /// The device.
        path: PathBuf,
        /// The first byte that differs, from the start of the device.
        offset: u64,
    },
    /// The operating system refuses.
    Io {
        /// What was to be done, as a verb with its object.
        action: &'static str,
        /// To which device.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl MtdError {
    /// The stable code under which documents and logs speak of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoPartition { .. } => "PS-M110",
            Self::WrongKind { .. } => "PS-M111",
            Self::OutOfBounds { .. } => "PS-M112",
            Self::NotAsWritten { .. } => "PS-M113",
            Self::Io { .. } => "PS-M114",
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl fmt::Display for MtdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code())?;
        match self {
            Self::NoPartition { name } => {
                write!(f, "the flash has no partition '{name}': is this the image of another board?")
            }
            Self::WrongKind { path } => write!(f, "{} is no NOR flash", path.display()),
            Self::OutOfBounds { path, offset } => {
                write!(f, "{} ends before what was to be done at byte {offset}", path.display())
            }
            Self::NotAsWritten { path, offset } => write!(
                f,
                "{} does not hold at byte {offset} what was programmed: the flash is worn or protected",
                path.display()
            ),
            Self::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for MtdError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the place of a device: it does all but what is asked by ioctl.
    fn flash(dir: &tempfile::TempDir) -> Mtd {
        let path = dir.path().join("mtd0");
        fs::write(&path, vec![0xFF; 4 * 65_536]).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let info = Info { kind: NOR, size: 4 * 65_536, erase_size: 65_536, write_size: 1, ..Info::default() };
        Mtd { path, file, info }
    }

    #[test]
    fn a_partition_is_found_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        for (device, name) in
            [("mtd0", "stage0\n"), ("mtd1", "mail\n"), ("mtd1ro", ""), ("mtd2", "mail too\n")]
        {
            fs::create_dir(dir.path().join(device)).unwrap();
            if !name.is_empty() {
                fs::write(dir.path().join(device).join("name"), name).unwrap();
            }
        }
        assert_eq!(find_in(dir.path(), "mail").unwrap(), Path::new("/dev/mtd1"));
        for absent in ["", "mai", "MAIL"] {
            assert!(matches!(find_in(dir.path(), absent), Err(MtdError::NoPartition { .. })), "{absent}");
        }
        let nowhere = find_in(&dir.path().join("nothing"), "mail");
        assert_eq!(nowhere.unwrap_err().code(), "PS-M110");
    }

    #[test]
    fn what_is_no_flash_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, [0; 16]).unwrap();
        for path in [&file, dir.path(), Path::new("/dev/null")] {
            assert!(matches!(Mtd::open(path, false), Err(MtdError::WrongKind { .. })), "{}", path.display());
        }
        assert!(matches!(Mtd::open(&dir.path().join("none"), false), Err(MtdError::Io { .. })));
    }

    #[test]
    fn nothing_is_read_programmed_or_erased_beyond_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let flash = flash(&dir);
        let end = flash.size_bytes();
        let code = |done: Result<(), MtdError>| done.unwrap_err().code();
        assert_eq!(code(flash.read(end - 1, &mut [0; 2])), "PS-M112");
        assert_eq!(code(flash.read(u64::MAX, &mut [0; 2])), "PS-M112");
        assert_eq!(code(flash.program(end - 1, &[0; 2])), "PS-M112");
        assert_eq!(code(flash.erase(4)), "PS-M112");
        assert_eq!(code(flash.erase(u32::MAX)), "PS-M112");
        assert_eq!(fs::metadata(dir.path().join("mtd0")).unwrap().len(), end, "and nothing was added");
        flash.read(end, &mut []).unwrap();
    }

    #[test]
    fn what_was_programmed_reads_back_however_long_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let flash = flash(&dir);
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 7).map(|index| (index % 251) as u8).collect();
        flash.program(65_530, &bytes).unwrap();
        let mut found = vec![0; bytes.len()];
        flash.read(65_530, &mut found).unwrap();
        assert_eq!(found, bytes);
    }

    #[test]
    fn a_program_that_did_nothing_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let flash = flash(&dir);
        flash.verify(100, &[0xFF; 3]).unwrap();
        match flash.verify(100, &[0xFF, 0xFF, 0x7F]) {
            Err(MtdError::NotAsWritten { offset, .. }) => assert_eq!(offset, 102),
            other => panic!("{other:?}"),
        }
        // Written where nothing is kept, and said to be written.
        let full = Mtd {
            file: OpenOptions::new().read(true).write(true).open("/dev/zero").unwrap(),
            ..self::flash(&dir)
        };
        assert_eq!(full.program(0, &[1; 4]).unwrap_err().code(), "PS-M113");
    }

    #[test]
    fn the_structures_are_those_of_the_kernel() {
        assert_eq!((size_of::<Info>(), size_of::<Stretch>()), (32, 8));
        assert_eq!(std::mem::offset_of!(Info, write_size), 16);
    }
}
