//! How QEMU is started on an image: the one place that knows its command line.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::board::Board;
use crate::bundle::{COMMAND_LINE, DISK, INITRAMFS, KERNEL, OWN_FLASH, STAGE0, SYSTEM_FLASH, blank_disk};

/// The program.
const PROGRAM: &str = "qemu-system-aarch64";
/// Where a box finds the machine on which QEMU runs.
pub const HOST_IN_BOX: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Where the serial line of a box ends.
#[derive(Clone, Debug)]
pub enum Serial {
    /// In the terminal. Ctrl-A X ends QEMU.
    Terminal,
    /// At a Unix socket that one program may connect to, and in a file.
    Socket {
        /// The socket.
        socket: PathBuf,
        /// The file, which everything that comes out is added to.
        log: PathBuf,
    },
}

/// How a box starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// As one of metal does: from its flash, by stage 0.
    Flash,
    /// QEMU itself loads kernel and initramfs, as a boot loader would. There is no firmware, and nothing that it says.
    Direct,
}

impl Boot {
    /// From flash if the image has what runs there.
    pub fn of(image: &Path) -> Self {
        if image.join(STAGE0).exists() { Self::Flash } else { Self::Direct }
    }
}

/// An emulated box.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The board.
    pub board: Board,
    /// The folder of the image.
    pub image: PathBuf,
    /// The folder with what the box has written: its disk and its flash.
    pub state: PathBuf,
    /// How it starts.
    pub boot: Boot,
    /// The loopback port at which its port 25 can be reached.
    pub smtp_port: u16,
    /// Where its serial line ends.
    pub serial: Serial,
    /// A Unix socket on which QEMU itself takes commands (QMP).
    pub monitor: Option<PathBuf>,
    /// Words that the kernel is told besides those of the image; only with [`Boot::Direct`], since the others are signed.
    pub kernel_words: String,
    /// What its clock chip shows when it is switched on (`2026-11-22T03:19:40`), if not what this machine's does.
    pub chip_time: Option<String>,
    /// A Unix socket at which an NBD server has the disk under the name `disk`, instead of QEMU. While nobody answers there
    /// the disk of the box fails.
    pub disk_server: Option<PathBuf>,
    /// A file that is a second disk, which nobody writes to: a stick with an update.
    pub stick: Option<PathBuf>,
}

impl Machine {
    /// The file that is the disk.
    pub fn disk(&self) -> PathBuf {
        self.state.join(DISK)
    }

    /// Makes disk and flash unless they are there: the disk blank, the flash as the image has it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn prepare(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.state).map_err(Error::file("make", &self.state))?;
        // The software is in a chip of its own, which a box that is started without a firmware does not see.
        let chips: &[&str] = if self.boot == Boot::Flash { &[SYSTEM_FLASH, OWN_FLASH] } else { &[OWN_FLASH] };
        for chip in chips {
            let flash = self.state.join(chip);
            if !flash.exists() {
                let from = self.image.join(chip);
                fs::copy(&from, &flash).map_err(Error::file("copy", &from))?;
            }
        }
        let disk = self.disk();
        if !disk.exists() {
            blank_disk(&disk, &self.board)?;
        }
        Ok(())
    }

    /// The command that starts it.
    ///
    /// # Errors
    /// [`Error::File`] if the image cannot be read; [`Error::Qemu`] for words that nobody could tell the kernel.
    pub fn command(&self) -> Result<Command, Error> {
        let machine = &self.board.machine;
        let mut qemu = Command::new(PROGRAM);
        // With ACPI a box that starts from flash has its power key there, and none in the device tree.
        qemu.args(["-machine", &format!("{},acpi=off", machine.kind)]);
        qemu.args(["-cpu", &machine.cpu, "-smp", &machine.cpus.to_string()]);
        qemu.args(["-m", &machine.memory_mib.to_string(), "-nodefaults", "-display", "none"]);
        let mut chips = vec![(1, OWN_FLASH)];
        match self.boot {
            Boot::Flash if !self.kernel_words.is_empty() => {
                let reason =
                    format!("the kernel cannot be told '{}': its words are signed", self.kernel_words);
                return Err(Error::Qemu(reason));
            }
            Boot::Flash => chips.push((0, SYSTEM_FLASH)),
            Boot::Direct => {
                qemu.arg("-kernel").arg(self.image.join(KERNEL));
                qemu.arg("-initrd").arg(self.image.join(INITRAMFS));
                qemu.args(["-append", &self.words()?]);
            }
        }
        qemu.args(["-global", "virtio-mmio.force-legacy=false"]);
        let file = |path: &Path| path.display().to_string().replace(',', ",,");
        for (unit, chip) in chips {
            let path = file(&self.state.join(chip));
            qemu.arg("-drive").arg(format!("if=pflash,unit={unit},format=raw,file={path}"));
        }
        // Linux and the firmware find last first: before the disk, so that this one is the second.
        if let Some(stick) = &self.stick {
            let path = file(stick);
            qemu.arg("-drive").arg(format!("if=none,id=stick,format=raw,readonly=on,file={path}"));
            qemu.args(["-device", "virtio-blk-device,drive=stick"]);
        }
        // A flush of the box is a sync of the file.
        let disk = match &self.disk_server {
            None => format!("file={}", file(&self.disk())),
            Some(socket) => format!(
                "file.driver=nbd,file.server.type=unix,file.server.path={},file.export=disk,file.reconnect-delay=1",
                file(socket)
            ),
        };
        qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,cache=writeback,{disk}"));
        qemu.args(["-device", "virtio-blk-device,drive=disk,werror=report,rerror=report"]);
        let forward = format!("user,id=net,hostfwd=tcp:127.0.0.1:{}-:25", self.smtp_port);
        qemu.args(["-netdev", &forward, "-device", "virtio-net-device,netdev=net"]);
        qemu.args(["-device", &machine.watchdog, "-action", "watchdog=reset"]);
        match &self.serial {
            Serial::Terminal => {
                qemu.args(["-serial", "mon:stdio"]);
            }
            Serial::Socket { socket, log } => {
                let (socket, log) = (file(socket), file(log));
                qemu.arg("-chardev").arg(format!(
                    "socket,id=serial,path={socket},server=on,wait=off,logfile={log},logappend=on"
                ));
                qemu.args(["-serial", "chardev:serial"]);
            }
        }
        if let Some(time) = &self.chip_time {
            qemu.args(["-rtc", &format!("base={time}")]);
        }
        if let Some(monitor) = &self.monitor {
            qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", file(monitor)));
        }
        Ok(qemu)
    }

    /// What the kernel is told.
    fn words(&self) -> Result<String, Error> {
        let line = self.image.join(COMMAND_LINE);
        let words = fs::read_to_string(&line).map_err(Error::file("read", &line))?;
        Ok(match words.split_once(" -- ") {
            // What stands behind the dashes is for the first process.
            Some((kernel, init)) if !self.kernel_words.is_empty() => {
                format!("{kernel} {} -- {init}", self.kernel_words)
            }
            _ => words,
        })
    }

    /// How large kernel and initramfs are, in bytes.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn system_bytes(&self) -> Result<[u64; 2], Error> {
        let size = |name: &str| {
            let path = self.image.join(name);
            fs::metadata(&path).map(|metadata| metadata.len()).map_err(Error::file("examine", &path))
        };
        Ok([size(KERNEL)?, size(INITRAMFS)?])
    }

    /// Starts it with its serial line in the terminal, and calls `told` with the time after which it greeted for the
    /// first time. Returns when QEMU ends.
    ///
    /// # Errors
    /// [`Error::Qemu`] if it does not start.
    pub fn run(&self, told: impl Fn(Duration) + Sync) -> Result<ExitStatus, Error> {
        let began = Instant::now();
        let mut qemu = self.command()?.spawn().map_err(|error| {
            Error::Qemu(format!("{PROGRAM} cannot be started ({error}): run scripts/setup"))
        })?;
        let ended = AtomicBool::new(false);
        let status = thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    if greets(SocketAddr::from((Ipv4Addr::LOCALHOST, self.smtp_port))) {
                        return told(began.elapsed());
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let status = qemu.wait();
            ended.store(true, Ordering::Relaxed);
            status
        });
        status.map_err(|error| Error::Qemu(format!("{PROGRAM}: {error}")))
    }
}

/// Whether somebody says `220` there. QEMU takes a connection before the box can, so that only words count.
pub fn greets(address: SocketAddr) -> bool {
    let look = || -> std::io::Result<bool> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.starts_with("220"))
    };
    look().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(boot: Boot, words: &str) -> (tempfile::TempDir, Machine) {
        let folder = tempfile::tempdir().unwrap();
        let (image, state) = (folder.path().join("image"), folder.path().join("state"));
        fs::create_dir(&image).unwrap();
        for name in [SYSTEM_FLASH, OWN_FLASH] {
            fs::write(image.join(name), name).unwrap();
        }
        fs::write(image.join(COMMAND_LINE), "quiet -- init").unwrap();
        let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("../board/qemu-virt");
        let machine = Machine {
            board: Board::read(&board).unwrap(),
            image,
            state,
            boot,
            smtp_port: 2525,
            serial: Serial::Terminal,
            monitor: None,
            kernel_words: words.into(),
            chip_time: None,
            disk_server: None,
            stick: None,
        };
        (folder, machine)
    }

    fn arguments(machine: &Machine) -> String {
        machine.prepare().unwrap();
        let command = machine.command().unwrap();
        command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_box_starts_from_its_own_copy_of_the_flash() {
        let (_folder, machine) = machine(Boot::Flash, "");
        let words = arguments(&machine);
        let flash = machine.state.join(SYSTEM_FLASH);
        assert!(words.contains(&format!("if=pflash,unit=0,format=raw,file={}", flash.display())), "{words}");
        assert!(words.contains("if=pflash,unit=1") && !words.contains("-kernel"), "{words}");
        // What it wrote there stays.
        fs::write(&flash, "written").unwrap();
        machine.prepare().unwrap();
        assert_eq!(fs::read(&flash).unwrap(), b"written");
    }

    #[test]
    fn without_firmware_the_kernel_is_loaded_and_can_be_told_more() {
        let (_folder, direct) = machine(Boot::Direct, "oops");
        let words = arguments(&direct);
        assert!(words.contains("-append quiet oops -- init") && !words.contains("unit=0"), "{words}");
        assert!(!direct.state.join(SYSTEM_FLASH).exists());
        let (_folder, flash) = machine(Boot::Flash, "oops");
        flash.prepare().unwrap();
        assert!(matches!(flash.command(), Err(Error::Qemu(_))), "what is signed takes no more words");
    }

    #[test]
    fn the_image_says_how_a_box_starts() {
        let (_folder, machine) = machine(Boot::Direct, "");
        assert_eq!(Boot::of(&machine.image), Boot::Direct);
        fs::write(machine.image.join(STAGE0), "stage 0").unwrap();
        assert_eq!(Boot::of(&machine.image), Boot::Flash);
    }
}
