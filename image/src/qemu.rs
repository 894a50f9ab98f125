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
use crate::bundle::{COMMAND_LINE, DISK, INITRAMFS, KERNEL, OWN_FLASH, blank_disk};

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

/// An emulated box.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The board.
    pub board: Board,
    /// The folder of the image.
    pub image: PathBuf,
    /// The folder with what the box has written: its disk and its flash.
    pub state: PathBuf,
    /// The loopback port at which its port 25 can be reached.
    pub smtp_port: u16,
    /// Where its serial line ends.
    pub serial: Serial,
    /// A Unix socket on which QEMU itself takes commands (QMP).
    pub monitor: Option<PathBuf>,
    /// Words that the kernel is told besides those of the image.
    pub kernel_words: String,
    /// A Unix socket at which an NBD server has the disk under the name `disk`, instead of QEMU. While nobody answers there
    /// the disk of the box fails.
    pub disk_server: Option<PathBuf>,
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
        let flash = self.state.join(OWN_FLASH);
        if !flash.exists() {
            let from = self.image.join(OWN_FLASH);
            fs::copy(&from, &flash).map_err(Error::file("copy", &from))?;
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
    /// [`Error::File`] if the image cannot be read.
    pub fn command(&self) -> Result<Command, Error> {
        let line = self.image.join(COMMAND_LINE);
        let words = fs::read_to_string(&line).map_err(Error::file("read", &line))?;
        // What stands behind the dashes is for the first process.
        let words = match words.split_once(" -- ") {
            Some((kernel, init)) if !self.kernel_words.is_empty() => {
                format!("{kernel} {} -- {init}", self.kernel_words)
            }
            _ => words,
        };
        let machine = &self.board.machine;
        let mut qemu = Command::new(PROGRAM);
        qemu.args(["-machine", &machine.kind, "-cpu", &machine.cpu, "-smp", &machine.cpus.to_string()]);
        qemu.args(["-m", &machine.memory_mib.to_string(), "-nodefaults", "-display", "none"]);
        qemu.arg("-kernel").arg(self.image.join(KERNEL)).arg("-initrd").arg(self.image.join(INITRAMFS));
        qemu.args(["-append", &words]);
        qemu.args(["-global", "virtio-mmio.force-legacy=false"]);
        let file = |path: &Path| path.display().to_string().replace(',', ",,");
        qemu.arg("-drive")
            .arg(format!("if=pflash,unit=1,format=raw,file={}", file(&self.state.join(OWN_FLASH))));
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
        if let Some(monitor) = &self.monitor {
            qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", file(monitor)));
        }
        Ok(qemu)
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
