//! A box under QEMU: the image as shipped, with settings, a disk and a flash of its own.

use std::env;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use penstock_image::board::Board;
use penstock_image::bundle::OWN_FLASH;
use penstock_image::flash::own_flash;
use penstock_image::qemu::{HOST_IN_BOX, Machine, Serial, greets};
use penstock_peers::daemon::Settings;
use penstock_peers::process::{HANG_GUARD, Process, free_port, wait_until};
use penstock_peers::scratch::Scratch;
use serde_json::json;

use crate::monitor::Monitor;
use crate::nbd::RecordedDisk;

/// A box.
pub struct Appliance {
    process: Option<Process>,
    machine: Machine,
    scratch: Scratch,
}

/// The settings of a box before a next hop on this machine. Everything else is as the tests of the daemon have it.
pub fn settings_before(next_hop: SocketAddr) -> Settings {
    Settings::before(SocketAddr::new(HOST_IN_BOX.into(), next_hop.port()))
        .set("network.addresses", "[\"10.0.2.15/24\"]")
        .set("network.gateways", &format!("[\"{HOST_IN_BOX}\"]"))
        .set("volume.path", "\"/dev/vda\"")
}

impl Appliance {
    /// Everything but the start.
    pub fn prepare(settings: &Settings) -> Self {
        let scratch = Scratch::new("box");
        let board =
            Board::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board/qemu-virt")).unwrap();
        let flash = own_flash(&board, Some(&settings.to_toml())).unwrap();
        fs::write(scratch.join(OWN_FLASH), flash).unwrap();
        let machine = Machine {
            board,
            image: image("PENSTOCK_IMAGE"),
            state: scratch.path().to_owned(),
            smtp_port: free_port(),
            serial: Serial::Socket { socket: scratch.join("serial"), log: scratch.join("serial.log") },
            monitor: Some(scratch.join("monitor")),
            kernel_words: String::new(),
            disk_server: None,
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
        let mut serial = self.serial();
        self.monitor().execute("chardev-send-break", &json!({ "id": "serial" }));
        serial.write_all(b"c").unwrap();
        wait_until("the kernel panics", || self.serial_log().contains("Kernel panic"));
    }

    /// Its serial line. There is one; it may be taken again after it was let go of.
    pub fn serial(&self) -> UnixStream {
        UnixStream::connect(self.scratch.join("serial")).unwrap()
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
