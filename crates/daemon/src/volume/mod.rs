//! A volume: opened, made if there is none, mounted, and tried again after it failed.
//!
//! Nothing that is there is ever overwritten. A volume is made where there is no file, and on a file or device that is
//! blank: that is what a making that was interrupted leaves behind, and a new disk.

mod backing;
mod medium;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use penstock_flash::{Erase, Geometry, Medium as _};
use penstock_flash_linux::{AlignedBuffer, Create, Mtd, MtdVolume, Volume, VolumeError, is_blank};
use penstock_settings::{Reserve, Settings};
use penstock_spool::{Buffers, MountOptions};
use tracing::{info, warn};

use crate::Error;
use crate::control::Store;
use backing::Backing;
#[cfg(feature = "faults")]
pub use medium::FAULTS_VARIABLES;
pub(crate) use medium::{Medium, Reader};

/// The log on the volume.
pub(crate) type Spool = penstock_spool::Spool<Medium, AlignedBuffer>;
/// A message on the volume.
pub(crate) type Message = penstock_spool::Message<Reader>;

/// The group of mail that comes in. A hundred small messages, or some pieces of a large one, fit into one write.
const HOT_BYTES: usize = 512 * 1024;
/// The group of mail that reclaim moves. A chunk of 64 KiB with its header fits.
const MOVED_BYTES: usize = 128 * 1024;
/// The group of fates and events.
const STATUS_BYTES: usize = 32 * 1024;

/// The size of a new reserve in a file, and of its segments: about as the flash of a box has it.
const RESERVE_BYTES: u64 = 64 << 20;
const RESERVE_SEGMENT_BYTES: u32 = 256 << 10;

/// Where a volume is, and how one is made there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) store: Store,
    at: At,
    /// Of a new file, in bytes.
    size_bytes: u64,
    /// Of a new volume, where the medium does not say, in bytes.
    segment_bytes: u32,
    messages_max: u32,
    kept_percent_max: u32,
    kept_age_max: Duration,
}

/// Where a volume is.
#[derive(Clone, Debug)]
enum At {
    Path(PathBuf),
    /// A partition of raw flash, by name.
    Partition(String),
}

impl Place {
    /// The volume that takes mail as long as all is well.
    pub(crate) fn disk(settings: &Settings) -> Self {
        let volume = &settings.volume;
        Self {
            store: Store::Disk,
            at: At::Path(volume.path.as_str().into()),
            size_bytes: volume.size.0,
            segment_bytes: u32::try_from(volume.segment_size.0).unwrap_or(u32::MAX),
            messages_max: volume.messages_max,
            kept_percent_max: volume.kept_percent_max,
            kept_age_max: volume.kept_age_max,
        }
    }

    /// The volume that stands in for it, if there is one.
    pub(crate) fn reserve(settings: &Settings) -> Option<Self> {
        let at = match &settings.volume.reserve {
            Reserve::None => return None,
            Reserve::Partition(name) => At::Partition(name.clone()),
            Reserve::Path(path) => At::Path(path.as_str().into()),
        };
        Some(Self {
            store: Store::Nor,
            at,
            size_bytes: RESERVE_BYTES,
            segment_bytes: RESERVE_SEGMENT_BYTES,
            ..Self::disk(settings)
        })
    }

    /// As the settings name it.
    pub(crate) fn name(&self) -> String {
        match &self.at {
            At::Path(path) => path.display().to_string(),
            At::Partition(name) => format!("mtd:{name}"),
        }
    }

    /// Opens the volume, or makes it, and mounts it.
    ///
    /// # Errors
    /// [`Error::Volume`], [`Error::Mount`], [`Error::NotBlank`].
    pub(crate) fn open(&self) -> Result<Mounted, Error> {
        match &self.at {
            At::Path(path) => self.open_path(path),
            At::Partition(name) => self.open_partition(name),
        }
    }

    fn open_path(&self, path: &Path) -> Result<Mounted, Error> {
        let segment_bytes = self.segment_bytes;
        if !path.exists() && !path.starts_with("/dev") {
            let volume = create(path, self.size_bytes, segment_bytes)?;
            return self.make(Backing::Volume(volume));
        }
        let open = |segment_bytes: u32| Volume::open(path, segment_bytes).map(Backing::Volume);
        match self.mount_first(open(segment_bytes)?) {
            // Made with other segments than a new one would be: they are its own.
            Err(Error::Mount(penstock_spool::Error::GeometryChanged { volume: (_, bytes), .. }))
                if bytes != segment_bytes =>
            {
                self.mount_first(open(bytes)?).inspect(|mounted| self.tell(mounted))
            }
            Err(Error::Mount(penstock_spool::Error::NotAVolume)) => {
                info!(path = %path.display(), "no volume there; looking whether it is blank");
                if !is_blank(path, segment_bytes).map_err(Error::ReadBlank)? {
                    return Err(Error::NotBlank { path: path.to_owned() });
                }
                self.make(open(segment_bytes)?)
            }
            mounted => mounted.inspect(|mounted| self.tell(mounted)),
        }
    }

    fn open_partition(&self, name: &str) -> Result<Mounted, Error> {
        let path = Mtd::find(name).map_err(VolumeError::Mtd)?;
        match self.mount_first(Backing::Nor(MtdVolume::open(&path)?)) {
            Err(Error::Mount(penstock_spool::Error::NotAVolume)) => {
                info!(partition = name, "no volume there; looking whether it is blank");
                let nor = MtdVolume::open(&path)?;
                if !nor.is_blank()? {
                    return Err(Error::NotBlank { path });
                }
                info!(partition = name, "making a new volume; each sector is erased, which can take minutes");
                self.make(Backing::Nor(nor))
            }
            mounted => mounted.inspect(|mounted| self.tell(mounted)),
        }
    }

    /// Makes a volume.
    fn make(&self, backing: Backing) -> Result<Mounted, Error> {
        let medium = Medium::new(backing, self.store)?;
        let mut name = [0; 16];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut name))
            .map_err(Error::Random)?;
        penstock_spool::format(&mut medium.clone(), name, false, |_, _| {}).map_err(Error::Mount)?;
        self.mount(medium)
    }

    fn mount_first(&self, backing: Backing) -> Result<Mounted, Error> {
        self.mount(Medium::new(backing, self.store)?)
    }

    fn mount(&self, medium: Medium) -> Result<Mounted, Error> {
        let kept_share = u64::from(self.kept_percent_max);
        let options = MountOptions {
            messages_max: self.messages_max as usize,
            kept_bytes_max: medium.geometry().capacity_bytes() / 100 * kept_share,
            kept_age_max_ms: u64::try_from(self.kept_age_max.as_millis()).unwrap_or(u64::MAX),
            erased_floor_bytes: erased_floor_bytes(&medium.geometry()),
            ..MountOptions::default()
        };
        let started = Instant::now();
        let spool = mount(medium.clone(), options).map_err(Error::Mount)?;
        Ok(Mounted { medium, spool, options, took: started.elapsed() })
    }

    fn tell(&self, mounted: &Mounted) {
        let (info, report) = (mounted.spool.info(), mounted.spool.mount_report());
        let volume = self.store.as_str();
        info!(
            volume,
            messages = info.messages,
            live_bytes = info.live_bytes,
            free_bytes = info.free_bytes(),
            clean = report.clean,
            took_ms = u64::try_from(mounted.took.as_millis()).unwrap_or(u64::MAX),
            "volume mounted"
        );
        if report.damaged_messages > 0 {
            warn!(
                code = "PS-D210",
                volume,
                messages = report.damaged_messages,
                "messages on the volume are damaged; they are kept and not given out: `penstock queue` shows them"
            );
        }
        let left_alone = report.quarantined_segments + report.rotten_segments;
        if left_alone > 0 {
            warn!(
                code = "PS-D211",
                volume,
                segments = left_alone,
                "parts of the volume cannot be read and are left alone; plan to replace the disk"
            );
        }
    }
}

/// A volume, mounted.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) medium: Medium,
    pub(crate) spool: Spool,
    pub(crate) options: MountOptions,
    /// How long the mount took.
    pub(crate) took: Duration,
}

fn create(path: &Path, size_bytes: u64, segment_bytes: u32) -> Result<Volume, VolumeError> {
    info!(path = %path.display(), size_bytes, "making a new volume, written out in full so that it cannot run out of space");
    let mut told = Instant::now();
    let create = Create { size_bytes, segment_bytes, overwrite: false };
    Volume::create(path, &create, |done_bytes, total_bytes| {
        if told.elapsed() >= Duration::from_secs(5) {
            told = Instant::now();
            info!(done_percent = done_bytes * 100 / total_bytes.max(1), "writing the volume");
        }
    })
}

/// What is held erased for the rescue, in bytes: it takes mail when Linux cannot, and gives nothing up to have room.
fn erased_floor_bytes(geometry: &Geometry) -> u64 {
    let capacity_bytes = geometry.capacity_bytes();
    match geometry.erase {
        // Nothing has to be erased here, but it must be known to be free.
        Erase::Logical => (capacity_bytes / 16).min(1 << 30),
        // Erasing is slow: what stands erased is what can be taken at the pace of the network.
        Erase::Physical => (capacity_bytes / 4).min(16 << 20),
    }
}

/// Mounts what is on the medium, also beside an earlier mount that only reads any more.
pub(crate) fn mount(medium: Medium, options: MountOptions) -> Result<Spool, penstock_spool::Error> {
    let buffers = Buffers {
        hot: AlignedBuffer::new(HOT_BYTES),
        moved: AlignedBuffer::new(MOVED_BYTES),
        status: AlignedBuffer::new(STATUS_BYTES),
    };
    Spool::mount(medium, buffers, options)
}
