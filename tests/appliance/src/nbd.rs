//! A disk that remembers what was asked of it and when: a server of the network block device protocol
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>), to which QEMU connects in place of a file.
//!
//! Its clock is that of this process ([`Instant`]), as is that of the recorder which stands before the clients. So writes,
//! flushes and acknowledgements are on one time line: what a box does after it was told something comes after it there.
//! A request is taken off the connection as soon as it arrives, whatever is being done; so the beginning of a flush is not
//! later than it was in truth, and no write is held for covered that was still under way then.
//!
//! Only what QEMU uses is spoken: fixed newstyle, one export, simple replies; reads, writes, flushes and FUA.

use std::io::{self, Read, Write as _};
use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use penstock_peers::scratch::Scratch;

/// How long a flush takes at least, as on flash. What a box tells its clients before a flush is over is then told
/// noticeably before.
const FLUSH_TAKES: Duration = Duration::from_millis(4);
/// The longest write that is taken, in bytes; QEMU is told.
const REQUEST_BYTES_MAX: u32 = 4 << 20;

/// A write.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where on the disk it begins.
    pub at: u64,
    /// What was written.
    pub bytes: Box<[u8]>,
    /// Whether it was to be durable when it was answered (FUA).
    pub through: bool,
    /// When it was asked for. From then on some of it may be on the disk.
    pub began: Instant,
    /// When it was answered; never, where the power was cut before.
    pub ended: Option<Instant>,
}

impl Write {
    /// Where on the disk it is.
    pub fn range(&self) -> Range<u64> {
        self.at..self.at + self.bytes.len() as u64
    }
}

/// A flush: what was answered before it began is durable when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    /// When it was asked for.
    pub began: Instant,
    /// When it was answered.
    pub ended: Option<Instant>,
}

/// What was asked of a disk, in the order in which it was.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The writes.
    pub writes: Vec<Write>,
    /// The flushes.
    pub flushes: Vec<Flush>,
}

/// A disk, blank at first, which lives as long as this does, whoever connects in the meantime.
pub struct RecordedDisk {
    shared: Arc<Shared>,
    scratch: Scratch,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    disk: Mutex<Disk>,
    stopping: AtomicBool,
}

struct Disk {
    bytes: Vec<u8>,
    recording: Recording,
}

impl RecordedDisk {
    /// A disk of this size.
    pub fn start(size_bytes: usize) -> Self {
        let scratch = Scratch::new("disk");
        let listener = UnixListener::bind(socket_in(&scratch)).unwrap();
        let disk = Mutex::new(Disk { bytes: vec![0; size_bytes], recording: Recording::default() });
        let shared = Arc::new(Shared { disk, stopping: AtomicBool::new(false) });
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if own.stopping.load(Ordering::SeqCst) {
                    break;
                }
                // That a plug was pulled is no error.
                let _ = serve(&stream.unwrap(), &own.disk);
            }
        });
        Self { shared, scratch, thread: Some(thread) }
    }

    /// The socket at which QEMU finds it.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.scratch)
    }

    /// What was recorded. Whoever was connected is gone.
    pub fn finish(self) -> Recording {
        std::mem::take(&mut self.shared.disk.lock().unwrap().recording)
    }
}

impl Drop for RecordedDisk {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The accept that is waiting has to see the flag.
        let _ = UnixStream::connect(self.socket());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn socket_in(scratch: &Scratch) -> PathBuf {
    scratch.join("socket")
}

/// What a client asks for, and the number that it knows it by.
struct Asked {
    cookie: u64,
    what: What,
}

enum What {
    Read {
        at: u64,
        len: usize,
    },
    /// A write by its place in the recording.
    Write(usize),
    /// A flush by its place in the recording.
    Flush(usize),
    /// An error number instead.
    Refuse(u32),
}

const EINVAL: u32 = 22;

fn serve(stream: &UnixStream, disk: &Mutex<Disk>) -> io::Result<()> {
    let size_bytes = disk.lock().unwrap().bytes.len() as u64;
    if !negotiate(stream, size_bytes)? {
        return Ok(());
    }
    let (asks, asked) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            if answer(asked, stream, disk).is_err() {
                // Nobody is left to answer to.
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        let ended = take_requests(&asks, stream, disk, size_bytes);
        // So that the other thread ends when it has answered them all.
        drop(asks);
        ended
    })
}

/// Agrees on the one export. `false`: the client only wanted to look.
fn negotiate(mut stream: &UnixStream, size_bytes: u64) -> io::Result<bool> {
    const NEWSTYLE: u64 = 0x4948_4156_454F_5054; // "IHAVEOPT"
    const REPLY: u64 = 0x0003_e889_0455_65a9;
    const FIXED_NEWSTYLE_WITHOUT_ZEROES: u16 = 0b11;
    const HAS_FLAGS_FLUSH_FUA: u16 = 0b1101;
    const OPTION_ABORT: u32 = 2;
    const OPTION_INFO: u32 = 6;
    const OPTION_GO: u32 = 7;
    const REPLY_ACK: u32 = 1;
    const REPLY_INFO: u32 = 3;
    const REPLY_UNSUPPORTED: u32 = (1 << 31) + 1;
    let reply = |option: u32, kind: u32, data: &[u8]| -> io::Result<()> {
        let mut bytes = REPLY.to_be_bytes().to_vec();
        for number in [option, kind, data.len() as u32] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(data);
        (&mut &*stream).write_all(&bytes)
    };
    stream.write_all(b"NBDMAGICIHAVEOPT")?;
    stream.write_all(&FIXED_NEWSTYLE_WITHOUT_ZEROES.to_be_bytes())?;
    let _flags: [u8; 4] = read(stream)?;
    loop {
        let head: [u8; 16] = read(stream)?;
        let (option, len) = (u32_at(&head, 8), u32_at(&head, 12));
        if u64_at(&head, 0) != NEWSTYLE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if len > 64 * 1024 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match option {
            OPTION_INFO | OPTION_GO => {
                let mut export = 0u16.to_be_bytes().to_vec();
                export.extend(size_bytes.to_be_bytes());
                export.extend(HAS_FLAGS_FLUSH_FUA.to_be_bytes());
                reply(option, REPLY_INFO, &export)?;
                // The smallest request is a sector.
                let mut sizes = 3u16.to_be_bytes().to_vec();
                for number in [512, 4096, REQUEST_BYTES_MAX] {
                    sizes.extend(number.to_be_bytes());
                }
                reply(option, REPLY_INFO, &sizes)?;
                reply(option, REPLY_ACK, &[])?;
                if option == OPTION_GO {
                    return Ok(true);
                }
            }
            OPTION_ABORT => {
                reply(option, REPLY_ACK, &[])?;
                return Ok(false);
            }
            _ => reply(option, REPLY_UNSUPPORTED, &[])?,
        }
    }
}

/// Takes requests as they come and notes when they did, until the client has no more.
fn take_requests(
    asks: &Sender<Asked>,
    mut stream: &UnixStream,
    disk: &Mutex<Disk>,
    size_bytes: u64,
) -> io::Result<()> {
    const REQUEST: u32 = 0x2560_9513;
    const FUA: u16 = 1;
    loop {
        let head: [u8; 28] = read(stream)?;
        if u32_at(&head, 0) != REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (flags, kind) = (u16_at(&head, 4), u16_at(&head, 6));
        let (cookie, at, len) = (u64_at(&head, 8), u64_at(&head, 16), u32_at(&head, 24));
        let fits =
            len <= REQUEST_BYTES_MAX && at.checked_add(len.into()).is_some_and(|end| end <= size_bytes);
        let what = match kind {
            0 if fits => What::Read { at, len: len as usize },
            1 => {
                if len > REQUEST_BYTES_MAX {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut bytes = vec![0; len as usize].into_boxed_slice();
                stream.read_exact(&mut bytes)?;
                if fits {
                    let through = flags & FUA != 0;
                    let writes = &mut disk.lock().unwrap().recording.writes;
                    writes.push(Write { at, bytes, through, began: Instant::now(), ended: None });
                    What::Write(writes.len() - 1)
                } else {
                    What::Refuse(EINVAL)
                }
            }
            2 => return Ok(()),
            3 => {
                let flushes = &mut disk.lock().unwrap().recording.flushes;
                flushes.push(Flush { began: Instant::now(), ended: None });
                What::Flush(flushes.len() - 1)
            }
            _ => What::Refuse(EINVAL),
        };
        if asks.send(Asked { cookie, what }).is_err() {
            return Ok(());
        }
    }
}

/// Does what was asked for, one thing after the other, and notes that it is done before it says so.
fn answer(asked: Receiver<Asked>, mut stream: &UnixStream, disk: &Mutex<Disk>) -> io::Result<()> {
    const REPLY: u32 = 0x6744_6698;
    for Asked { cookie, what } in asked {
        let mut error = 0;
        let mut data = Vec::new();
        match what {
            What::Read { at, len } => {
                data.extend_from_slice(&disk.lock().unwrap().bytes[at as usize..at as usize + len]);
            }
            What::Write(index) => {
                let disk = &mut *disk.lock().unwrap();
                let write = &mut disk.recording.writes[index];
                let range = write.range();
                disk.bytes[range.start as usize..range.end as usize].copy_from_slice(&write.bytes);
                write.ended = Some(Instant::now());
            }
            What::Flush(index) => {
                thread::sleep(FLUSH_TAKES);
                disk.lock().unwrap().recording.flushes[index].ended = Some(Instant::now());
            }
            What::Refuse(number) => error = number,
        }
        let mut reply = REPLY.to_be_bytes().to_vec();
        reply.extend(u32::to_be_bytes(error));
        reply.extend(cookie.to_be_bytes());
        reply.extend(data);
        stream.write_all(&reply)?;
    }
    Ok(())
}

fn read<const N: usize>(mut stream: &UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}
