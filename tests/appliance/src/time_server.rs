//! A time server (SNTP) on a loopback port, which a box reaches as it reaches its next hop.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock_image::qemu::HOST_IN_BOX;

/// From 1900 to 1970, in seconds.
const UNIX_EPOCH_S: i64 = 2_208_988_800;
/// How often it is looked whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Shared {
    silent: AtomicBool,
    /// By how much it is ahead, in seconds.
    ahead_s: AtomicI64,
    gone: AtomicBool,
}

/// The server. It goes when it is dropped.
pub struct TimeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl TimeServer {
    /// Starts one that is right.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        thread::spawn(move || serve(&socket, &own));
        Self { address, shared }
    }

    /// Where a box finds it, as its settings have it.
    pub fn in_box(&self) -> String {
        format!("\"{HOST_IN_BOX}:{}\"", self.address.port())
    }

    /// Answers no more, or again.
    pub fn be_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// Says from now on that it is later by so many seconds.
    pub fn be_ahead(&self, seconds: i64) {
        self.shared.ahead_s.store(seconds, Ordering::Relaxed);
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Relaxed);
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut packet = [0; 48];
    while !shared.gone.load(Ordering::Relaxed) {
        let Ok((48, client)) = socket.recv_from(&mut packet) else { continue };
        if shared.silent.load(Ordering::Relaxed) {
            continue;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seconds = now.as_secs() as i64 + UNIX_EPOCH_S + shared.ahead_s.load(Ordering::Relaxed);
        let mut timestamp = (seconds as u32).to_be_bytes().to_vec();
        timestamp.extend(((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000).to_be_bytes()[4..].to_vec());
        let mut answer = [0; 48];
        // Version 4, a server, stratum 2; its question comes back as the origin.
        answer[..2].copy_from_slice(&[4 << 3 | 4, 2]);
        answer[24..32].copy_from_slice(&packet[40..48]);
        answer[32..40].copy_from_slice(&timestamp);
        answer[40..48].copy_from_slice(&timestamp);
        // Who has gone does not need it.
        let _ = socket.send_to(&answer, client);
    }
}
