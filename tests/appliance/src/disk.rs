//! A disk that can be taken out of a box that runs. QEMU cannot unplug a virtio disk of this machine; so another process
//! has the file, and QEMU asks it (NBD). When that process is gone the box's reads and writes fail, after a second in which
//! QEMU tries to reach it; when it is stopped they hang.

use std::path::PathBuf;
use std::process::Command;

use penstock_peers::process::{Process, signal, wait_until};
use rustix::process::Signal;

/// The disk.
pub struct Disk {
    file: PathBuf,
    socket: PathBuf,
    server: Option<Process>,
}

impl Disk {
    /// Puts it in.
    pub(crate) fn serve(file: PathBuf, socket: PathBuf) -> Self {
        let mut disk = Self { file, socket, server: None };
        disk.put_in();
        disk
    }

    /// Puts it back.
    pub fn put_in(&mut self) {
        // One that was killed leaves its socket behind.
        let _ = std::fs::remove_file(&self.socket);
        let mut server = Command::new("qemu-storage-daemon");
        server.arg("--blockdev").arg(format!("driver=file,node-name=disk,filename={}", self.file.display()));
        server.arg("--nbd-server").arg(format!("addr.type=unix,addr.path={}", self.socket.display()));
        server.args(["--export", "type=nbd,id=disk,node-name=disk,name=disk,writable=on"]);
        self.server = Some(Process::spawn(&mut server));
        wait_until("the disk is served", || self.socket.exists());
    }

    /// Takes it out: from now on whatever the box asks of it fails.
    pub fn take_out(&mut self) {
        self.server.take().expect("it is in").kill();
    }

    /// Lets it hang: whatever the box asks of it does not come back.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends that.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, which: Signal) {
        signal(self.server.as_ref().expect("it is in").id(), which);
    }
}
