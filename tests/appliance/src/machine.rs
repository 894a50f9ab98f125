//! A box under QEMU: the image as shipped, with settings, a disk and a flash of its own.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use penstock_image::board::Board;
use penstock_image::bundle::{COMMAND_LINE, INITRAMFS, KERNEL, OWN_FLASH, SYSTEM_FLASH};
use penstock_image::cpio::Archive;
use penstock_image::flash::own_flash;
use penstock_image::qemu::{Boot, HOST_IN_BOX, Machine, Serial, greets};
use penstock_peers::daemon::Settings;
use penstock_peers::process::{HANG_GUARD, Process, free_port, wait_until};
use penstock_peers::scratch::Scratch;
use serde_json::json;

use crate::disk::Disk;
use crate::monitor::Monitor;
use crate::nbd::RecordedDisk;

/// A box.
pub struct Appliance {
    process: Option<Process>,
    machine: Machine,
    scratch: Scratch,
}

/// The settings of such a box whose disk is missing.
pub fn settings_without_disk(next_hop: SocketAddr) -> Settings {
    settings_before(next_hop).set("volume.path", "\"/dev/vdb\"")
}

/// The settings of a box before a next hop on this machine. Everything else is as the tests of the daemon have it.
pub fn settings_before(next_hop: SocketAddr) -> Settings {
    Settings::before(SocketAddr::new(HOST_IN_BOX.into(), next_hop.port()))
        .set("network.addresses", "[\"10.0.2.15/24\"]")
        .set("network.gateways", &format!("[\"{HOST_IN_BOX}\"]"))
        .set("volume.path", "\"/dev/vda\"")
        .set("volume.reserve", "\"mtd:mail\"")
}

/// The same with an address that QEMU's DHCP server lends.
pub fn with_lent_address(settings: Settings) -> Settings {
    settings.set("network.dhcp", "true").set("network.addresses", "[]").set("network.gateways", "[]")
}

impl Appliance {
    /// Everything but the start.
    pub fn prepare(settings: &Settings) -> Self {
        Self::prepare_with(Some(&settings.to_toml()))
    }

    /// A box as it leaves the factory, which has not been told yet what to do.
    pub fn prepare_blank() -> Self {
        Self::prepare_with(None)
    }

    fn prepare_with(settings: Option<&str>) -> Self {
        let scratch = Scratch::new("box");
        let board =
            Board::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board/qemu-virt")).unwrap();
        let flash = own_flash(&board, settings).unwrap();
        fs::write(scratch.join(OWN_FLASH), flash).unwrap();
        let machine = Machine {
            board,
            image: image("PENSTOCK_IMAGE"),
            state: scratch.path().to_owned(),
            boot: Boot::Direct,
            smtp_port: free_port(),
            serial: Serial::Socket { socket: scratch.join("serial"), log: scratch.join("serial.log") },
            monitor: Some(scratch.join("monitor")),
            kernel_words: String::new(),
            chip_time: None,
            disk_server: None,
            stick: None,
        };
        machine.prepare().unwrap();
        Self { process: None, machine, scratch }
    }

    /// Starts one on a blank disk.
    pub fn start(settings: &Settings) -> Self {
        let mut appliance = Self::prepare(settings);
        appliance.up();
        appliance
    }

    /// Has it start from its flash as a box does, by stage 0 and firmware, instead of being given a kernel.
    pub fn from_flash(mut self) -> Self {
        self.machine.boot = Boot::Flash;
        self.machine.prepare().unwrap();
        self
    }

    /// Puts a stick with these bytes in, or takes it out, before the next start.
    pub fn set_stick(&mut self, bytes: Option<&[u8]>) {
        self.machine.stick = bytes.map(|bytes| {
            let path = self.scratch.join("stick.img");
            // Whole sectors, as sticks have.
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len().next_multiple_of(1 << 20), 0);
            fs::write(&path, bytes).unwrap();
            path
        });
    }

    /// Writes into a partition of its flash, as rot or a programmer would; it must be off.
    pub fn write_partition(&self, name: &str, bytes: &[u8]) {
        assert!(self.process.is_none(), "it runs");
        let board = &self.machine.board;
        let (flash, partition) = board.partition(name).unwrap();
        let chip = if flash.base == board.flash[0].base { SYSTEM_FLASH } else { OWN_FLASH };
        let file = File::options().write(true).open(self.scratch.join(chip)).unwrap();
        file.write_all_at(bytes, partition.offset).unwrap();
    }

    /// A file of its image.
    pub fn image_file(&self, name: &str) -> Vec<u8> {
        fs::read(self.machine.image.join(name)).unwrap()
    }

    /// The board that it is.
    pub fn board(&self) -> &Board {
        &self.machine.board
    }

    /// Tells the kernel more at its next starts, or nothing more.
    pub fn tell_the_kernel(&mut self, words: &str) {
        words.clone_into(&mut self.machine.kernel_words);
    }

    /// The same, before the first start.
    pub fn with_kernel_words(mut self, words: &str) -> Self {
        self.tell_the_kernel(words);
        self
    }

    /// Runs the image that was built for tests: what its medium does wrong can be told to its kernel (`PENSTOCK_FAULT=…`).
    pub fn with_faults_image(mut self) -> Self {
        self.machine.image = image("PENSTOCK_FAULTS_IMAGE");
        self
    }

    /// Has a disk that remembers from the next start on.
    pub fn with_recorded_disk(mut self, disk: &RecordedDisk) -> Self {
        self.machine.disk_server = Some(disk.socket());
        self
    }

    /// Lets processes of it hang: puts the saboteur into the place of its first process, with what it is to do when
    /// [`give_the_sign`](Self::give_the_sign) is called.
    pub fn with_sabotage(mut self, what: &str) -> Self {
        let saboteur = env::var_os("PENSTOCK_SABOTEUR")
            .expect("PENSTOCK_SABOTEUR is not set: run the tests through scripts/test, which builds it");
        let mut archive = Archive::new();
        archive.file("bin/saboteur", 0o755, &fs::read(saboteur).unwrap());
        // The kernel unpacks one archive after the other; the second begins at a multiple of four bytes.
        let mut initramfs = fs::read(self.machine.image.join(INITRAMFS)).unwrap();
        initramfs.resize(initramfs.len().next_multiple_of(4), 0);
        initramfs.extend(archive.finish());
        let image = self.scratch.join("image");
        fs::create_dir(&image).unwrap();
        fs::write(image.join(INITRAMFS), initramfs).unwrap();
        for name in [KERNEL, COMMAND_LINE] {
            fs::copy(self.machine.image.join(name), image.join(name)).unwrap();
        }
        self.machine.image = image;
        self.with_kernel_words(&format!("sysrq_always_enabled rdinit=/bin/saboteur SABOTAGE={what}"))
    }

    /// Lets its clock chip show this time at its next start, or that of this machine.
    pub fn set_chip_time(&mut self, time: Option<&str>) {
        self.machine.chip_time = time.map(ToOwned::to_owned);
    }

    /// Has a server of its own keep the disk, so that it can be taken away and brought back while the box runs.
    pub fn with_removable_disk(mut self) -> (Self, Disk) {
        let socket = self.scratch.join("disk.sock");
        self.machine.disk_server = Some(socket.clone());
        let disk = Disk::serve(self.machine.disk(), socket);
        (self, disk)
    }

    /// Plugs it in.
    pub fn plug_in(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.process = Some(Process::spawn(&mut self.machine.command().unwrap()));
    }

    /// Plugs it in and waits until it greets. Returns how long that took.
    pub fn up(&mut self) -> Duration {
        let began = Instant::now();
        self.plug_in();
        self.wait_until_it_greets();
        began.elapsed()
    }

    /// Waits for `220`.
    pub fn wait_until_it_greets(&mut self) {
        let began = Instant::now();
        while !greets(self.address()) {
            let ended = self.process.as_mut().expect("it is plugged in").ended();
            assert!(ended.is_none(), "QEMU ended: {ended:?}\n{}", self.serial_log());
            assert!(began.elapsed() < HANG_GUARD, "the box does not greet:\n{}", self.serial_log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Pulls the plug.
    pub fn unplug(&mut self) {
        self.process.take().expect("it is plugged in").kill();
    }

    /// Presses the power key and waits until the power is off.
    pub fn press_power_key(&mut self) -> ExitStatus {
        self.monitor().execute("system_powerdown", &json!({}));
        self.wait_until_off()
    }

    /// Waits until the power is off.
    pub fn wait_until_off(&mut self) -> ExitStatus {
        self.process.take().expect("it is plugged in").wait()
    }

    /// Speaks with QEMU.
    pub fn monitor(&self) -> Monitor {
        Monitor::connect(self.machine.monitor.as_deref().expect("it has a monitor"))
    }

    /// Lets the kernel panic, by a break on the serial line and a letter. Needs a kernel that was told
    /// `sysrq_always_enabled`.
    pub fn make_the_kernel_panic(&self) {
        self.ask_the_kernel(b"c");
        wait_until("the kernel panics", || self.serial_log().contains("Kernel panic"));
    }

    /// Gives the saboteur its sign: the kernel logs what it can be asked for.
    pub fn give_the_sign(&self) {
        self.ask_the_kernel(b"h");
    }

    fn ask_the_kernel(&self, letter: &[u8; 1]) {
        let mut serial = self.serial();
        self.monitor().execute("chardev-send-break", &json!({ "id": "serial" }));
        serial.write_all(letter).unwrap();
    }

    /// How often it has started so far.
    pub fn starts(&self) -> usize {
        self.serial_log().matches(concat!("Penstock ", env!("CARGO_PKG_VERSION"), " starts")).count()
    }

    /// Its serial line. There is one; it may be taken again after it was let go of.
    pub fn serial(&self) -> UnixStream {
        UnixStream::connect(self.scratch.join("serial")).unwrap()
    }

    /// Waits until its serial line can be taken.
    pub fn wait_for_serial(&self) {
        wait_until("there is a serial line", || self.scratch.join("serial").exists());
    }

    /// Where mail is handed in.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.machine.smtp_port))
    }

    /// How large its kernel and its initramfs are, in bytes.
    pub fn system_bytes(&self) -> [u64; 2] {
        self.machine.system_bytes().unwrap()
    }

    /// The file that is its disk.
    pub fn disk(&self) -> PathBuf {
        self.machine.disk()
    }

    /// All that has come out of its serial line.
    pub fn serial_log(&self) -> String {
        let bytes = fs::read(self.scratch.join("serial.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The folder of an image, which `scripts/test` has built and named.
fn image(variable: &str) -> PathBuf {
    let folder = env::var_os(variable).unwrap_or_else(|| {
        panic!("{variable} is not set: run the tests through scripts/test, which builds the image")
    });
    folder.into()
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what came out of the serial line:\n{}", self.serial_log());
        }
    }
}
