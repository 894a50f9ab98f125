//! The volume: opened, made if there is none, mounted, and tried again after it failed.
//!
//! Nothing that is there is ever overwritten. A volume is made where there is no file, and on a file or device that is
//! blank: that is what a making that was interrupted leaves behind, and a new disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use penstock_flash as flash;
use penstock_flash::{Erase, EraseProgress, Geometry, Medium as _};
use penstock_flash_linux::{AlignedBuffer, Create, Volume, VolumeError, WriteBehind, is_blank};
use penstock_settings::Settings;
use penstock_spool::{Buffers, MountOptions};
use tracing::{info, warn};

use crate::Error;

#[cfg(not(feature = "faults"))]
type Disk = Volume;
#[cfg(feature = "faults")]
type Disk = penstock_flash_linux::Faulty<Volume>;
/// The disk, with a thread that writes while the storage thread appends.
type Opened = WriteBehind<Disk>;

/// The environment variable that names the faults of the medium, in builds for tests.
#[cfg(feature = "faults")]
pub const FAULTS_VARIABLE: &str = "PENSTOCK_FAULT";

/// The handle that reads the volume on any thread.
pub(crate) type Reader = <Opened as flash::Medium>::Reader;
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

/// The volume as a medium that can be mounted a second time while the first mount still reads: so it is tried again
/// after a failed write, without letting go of what can be read.
#[derive(Clone, Debug)]
pub(crate) struct Medium(Arc<Mutex<Opened>>);

impl Medium {
    fn new(opened: Volume) -> Result<Self, Error> {
        let opened = WriteBehind::new(with_faults(opened)?).map_err(Error::System)?;
        Ok(Self(Arc::new(Mutex::new(opened))))
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets writes be tried again after a write or a sync that failed. What they do to what was in doubt is for the log
    /// to know: to be called before a mount and at no other time.
    pub(crate) fn forget_failure(&self) {
        let mut opened = self.lock();
        opened.forget_failure();
        #[cfg(feature = "faults")]
        opened.medium().inner_mut().forget_failure();
        #[cfg(not(feature = "faults"))]
        opened.medium().forget_failure();
    }
}

#[cfg(not(feature = "faults"))]
fn with_faults(volume: Volume) -> Result<Disk, Error> {
    Ok(volume)
}

#[cfg(feature = "faults")]
fn with_faults(volume: Volume) -> Result<Disk, Error> {
    let words = std::env::var(FAULTS_VARIABLE).unwrap_or_default();
    let faults = words.parse().map_err(|error| Error::Faults(format!("{error}")))?;
    if !words.is_empty() {
        warn!(faults = words, "the medium has faults on demand: this is a build for tests");
    }
    Ok(penstock_flash_linux::Faulty::new(volume, faults))
}

impl flash::Medium for Medium {
    type Reader = Reader;

    fn geometry(&self) -> Geometry {
        self.lock().geometry()
    }

    fn reader(&self) -> Reader {
        self.lock().reader()
    }

    fn program(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), flash::Error> {
        self.lock().program(segment, offset, bytes)
    }

    fn program_behind(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), flash::Error> {
        self.lock().program_behind(segment, offset, bytes)
    }

    fn program_through(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), flash::Error> {
        self.lock().program_through(segment, offset, bytes)
    }

    fn sync(&mut self) -> Result<(), flash::Error> {
        self.lock().sync()
    }

    fn start_erase(&mut self, segment: u32) -> Result<(), flash::Error> {
        self.lock().start_erase(segment)
    }

    fn poll_erase(&mut self) -> Result<EraseProgress, flash::Error> {
        self.lock().poll_erase()
    }
}

/// The volume that the settings name, mounted.
#[derive(Debug)]
pub(crate) struct Mounted {
    pub(crate) medium: Medium,
    pub(crate) spool: Spool,
    pub(crate) options: MountOptions,
    /// How long the mount took.
    pub(crate) took: Duration,
}

/// Opens the volume, or makes it, and mounts it.
///
/// # Errors
/// [`Error::Volume`], [`Error::Mount`], [`Error::NotBlank`].
pub(crate) fn open(settings: &Settings) -> Result<Mounted, Error> {
    let path = Path::new(settings.volume.path.as_str());
    let segment_bytes = u32::try_from(settings.volume.segment_size.0).unwrap_or(u32::MAX);
    if !path.exists() && !settings.volume.is_device() {
        let medium = Medium::new(create(path, settings.volume.size.0, segment_bytes)?)?;
        format(&medium)?;
        return mount_first(medium, settings);
    }
    let volume = Volume::open(path, segment_bytes)?;
    match mount_first(Medium::new(volume)?, settings) {
        // Made with other segments than a new one would be: they are its own.
        Err(Error::Mount(penstock_spool::Error::GeometryChanged { volume: (_, bytes), .. }))
            if bytes != segment_bytes =>
        {
            mount_first(Medium::new(Volume::open(path, bytes)?)?, settings)
        }
        Err(Error::Mount(penstock_spool::Error::NotAVolume)) => {
            info!(path = %path.display(), "no volume there; looking whether it is blank");
            if !is_blank(path, segment_bytes).map_err(Error::ReadBlank)? {
                return Err(Error::NotBlank { path: path.to_owned() });
            }
            let medium = Medium::new(Volume::open(path, segment_bytes)?)?;
            format(&medium)?;
            mount_first(medium, settings)
        }
        mounted => mounted.inspect(tell),
    }
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

fn format(medium: &Medium) -> Result<(), Error> {
    let mut name = [0; 16];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut name)).map_err(Error::Random)?;
    penstock_spool::format(&mut medium.clone(), name, false, |_, _| {}).map_err(Error::Mount)
}

fn mount_first(medium: Medium, settings: &Settings) -> Result<Mounted, Error> {
    let kept_share = u64::from(settings.volume.kept_percent_max);
    let options = MountOptions {
        messages_max: settings.volume.messages_max as usize,
        kept_bytes_max: medium.geometry().capacity_bytes() / 100 * kept_share,
        kept_age_max_ms: u64::try_from(settings.volume.kept_age_max.as_millis()).unwrap_or(u64::MAX),
        erased_floor_bytes: erased_floor_bytes(&medium.geometry()),
        ..MountOptions::default()
    };
    let started = Instant::now();
    let spool = mount(medium.clone(), options).map_err(Error::Mount)?;
    Ok(Mounted { medium, spool, options, took: started.elapsed() })
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

fn tell(mounted: &Mounted) {
    let (info, report) = (mounted.spool.info(), mounted.spool.mount_report());
    info!(
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
            messages = report.damaged_messages,
            "messages on the volume are damaged; they are kept and not given out: `penstock queue` shows them"
        );
    }
    let left_alone = report.quarantined_segments + report.rotten_segments;
    if left_alone > 0 {
        warn!(
            code = "PS-D211",
            segments = left_alone,
            "parts of the volume cannot be read and are left alone; plan to replace the disk"
        );
    }
}
