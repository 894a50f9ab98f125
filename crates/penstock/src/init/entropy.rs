//! Random numbers: the stored seed, rotated before it is used; and with it the time as it was last known.
//!
//! What the records are and why this order: `crates/identity/FORMAT.md`. The firmware's `rng-seed` the kernel has taken by
//! itself before this process began.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use penstock_flash_linux::{Mtd, MtdError};
use penstock_identity::{SEED_BYTES, SEED_RECORD_BYTES, SeedRecord, Seeds, rotate, survey};
use rustix::rand::{GetRandomFlags, getrandom};

use super::Error;
use super::log::say;

/// The partition.
const PARTITION: &str = "seed";
/// What the kernel is told of a seed that is good: all of its bits.
const CREDIT_BITS: i32 = (SEED_BYTES * 8) as i32;

/// The records in flash.
#[derive(Debug)]
pub(super) struct Store {
    flash: Mtd,
    seeds: Seeds,
}

impl Store {
    /// Reads what is there.
    pub(super) fn open() -> Result<Self, Error> {
        let open = || {
            let flash = Mtd::open(&Mtd::find(PARTITION)?, true)?;
            let seeds = read(&flash)?;
            Ok(Self { flash, seeds })
        };
        open().map_err(Error::Seed)
    }

    /// Gives the stored seed to the kernel, after its successor was stored.
    pub(super) fn sow(&mut self) -> Result<(), Error> {
        let stored = self.seeds.newest.map(|record| record.seed);
        let (next, used) = rotate(stored.as_ref(), &random()?);
        let (unix_ms, trusted) = (super::clock::now_ms(), false);
        let rotated = self.append(unix_ms, trusted, next);
        // A seed that may be used again is no secret of this start.
        let credit = if stored.is_some() && rotated.is_ok() { CREDIT_BITS } else { 0 };
        give_to_kernel(used, credit)?;
        match (stored.is_some(), &rotated) {
            (true, Ok(())) => {}
            (false, Ok(())) => {
                say("random numbers begin with what the firmware gave; from now on there is a seed in flash");
            }
            (_, Err(_)) => say("the seed in flash cannot be replaced: it is used and counts for nothing"),
        }
        rotated
    }

    /// The time in the newest record that was written under a trusted clock, in Unix milliseconds.
    pub(super) fn last_trusted_ms(&self) -> Option<u64> {
        self.seeds.last_trusted_ms
    }

    /// Notes the time under a trusted clock, with a fresh seed.
    pub(super) fn note_time(&mut self, unix_ms: u64) -> Result<(), Error> {
        let seed = random()?;
        self.append(unix_ms, true, seed)
    }

    fn append(&mut self, unix_ms: u64, trusted: bool, seed: [u8; SEED_BYTES]) -> Result<(), Error> {
        let sequence = self.seeds.newest.map_or(1, |newest| newest.sequence.saturating_add(1));
        let record = SeedRecord { sequence, unix_ms, trusted, seed };
        let next = self.seeds.next;
        let sector_bytes = u64::from(self.flash.erase_bytes());
        let write = || -> Result<(), MtdError> {
            if next.erase {
                self.flash.erase(next.sector as u32)?;
            }
            self.flash.program(next.sector as u64 * sector_bytes + next.offset as u64, &record.to_bytes())
        };
        let written = write();
        // What stands there now is read back, whether it worked or not: the next one goes behind it.
        self.seeds = read(&self.flash).map_err(Error::Seed)?;
        written.map_err(Error::Seed)
    }
}

fn read(flash: &Mtd) -> Result<Seeds, MtdError> {
    let sector_bytes = flash.erase_bytes() as usize / SEED_RECORD_BYTES * SEED_RECORD_BYTES;
    let count = flash.size_bytes() / u64::from(flash.erase_bytes()).max(1);
    let mut sectors = Vec::new();
    for sector in 0..count {
        let mut bytes = vec![0; sector_bytes];
        flash.read(sector * u64::from(flash.erase_bytes()), &mut bytes)?;
        sectors.push(bytes);
    }
    let sectors: Vec<&[u8]> = sectors.iter().map(Vec::as_slice).collect();
    Ok(survey(&sectors))
}

/// Random bytes from the kernel. Waits until it has seen enough to have any, which takes it a second at worst.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .map_err(Error::system("get random numbers"))?;
    }
    Ok(bytes)
}

/// What RNDADDENTROPY takes: `struct rand_pool_info` with a buffer.
#[repr(C)]
struct PoolInfo {
    entropy_bits: i32,
    size_bytes: i32,
    bytes: [u8; SEED_BYTES],
}

fn give_to_kernel(bytes: [u8; SEED_BYTES], entropy_bits: i32) -> Result<(), Error> {
    let pool = File::options().write(true).open("/dev/urandom");
    let pool = pool.map_err(Error::io("open the random numbers of the kernel"))?;
    let info = PoolInfo { entropy_bits, size_bytes: SEED_BYTES as i32, bytes };
    add_entropy(&pool, &info)
        .map_err(|error| Error::io("seed the random numbers of the kernel")(error.into()))
}

mod calls {
    //! The macro of `nix` makes an unsafe function. The number carries the size of the structure without its buffer.
    #![allow(missing_docs, unreachable_pub, unsafe_code, reason = "made by a macro")]

    nix::ioctl_write_ptr_bad!(add_entropy, nix::request_code_write!(b'R', 3, 8), super::PoolInfo);
}

#[allow(unsafe_code, reason = "the kernel has no other way to be told how good a seed is")]
fn add_entropy(pool: &File, info: &PoolInfo) -> Result<(), Errno> {
    // SAFETY: `pool` keeps the descriptor open during the call, and is /dev/urandom. RNDADDENTROPY reads two `int`s and as
    // many bytes behind them as the second one says; `info` has those, `repr(C)`, and lives until this returns.
    unsafe { calls::add_entropy(pool.as_raw_fd(), info) }.map(drop)
}
