//! Mail as a site gets it, and the volumes that take it.

use std::fs::OpenOptions;
use std::path::Path;

use penstock_flash::Medium;
use penstock_flash::sim::Rng;
use penstock_flash_linux::{AlignedBuffer, Volume};
use penstock_spool::{
    Begin, Body, Buffers, Error, Fate, MessageId, MountOptions, Recipient, Spool, Stamp, Status, format,
};

pub type Bench<M> = Spool<M, AlignedBuffer>;

/// Buffers as the daemon has them.
pub fn buffers() -> Buffers<AlignedBuffer> {
    Buffers {
        hot: AlignedBuffer::new(512 * 1024),
        moved: AlignedBuffer::new(128 * 1024),
        status: AlignedBuffer::new(32 * 1024),
    }
}

pub fn stamp(unix_ms: u64) -> Stamp {
    Stamp { unix_ms, boot: 1, trusted: true }
}

/// The options of these benches: room for more messages than any of them has.
pub fn options() -> MountOptions {
    MountOptions { messages_max: 1_100_000, ..MountOptions::default() }
}

pub fn mount<M: Medium>(medium: M, options: MountOptions) -> Bench<M> {
    Spool::mount(medium, buffers(), options).unwrap()
}

/// An empty volume in a file with holes, which takes no more of the disk than what is written to it.
pub fn sparse_volume(path: &Path, volume_bytes: u64, segment_bytes: u32) -> Volume {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
    file.set_len(volume_bytes).unwrap();
    drop(file);
    let mut volume = Volume::open(path, segment_bytes).unwrap();
    format(&mut volume, *b"bench volume 001", false, |_, _| {}).unwrap();
    volume
}

/// Envelopes and bodies, all different in their first bytes and else from a pool.
pub struct Mail {
    pool: Vec<u8>,
    pub begin: Begin,
    pub recipients: Vec<Recipient>,
}

/// The largest body of [`Mail`].
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Default for Mail {
    fn default() -> Self {
        let mut pool = vec![0; BODY_BYTES_MAX];
        Rng::new(1).fill(&mut pool);
        Self {
            pool,
            begin: Begin {
                received: stamp(1_700_000_000_000),
                sender: "someone@sender.example".into(),
                helo: "mx.sender.example".into(),
                client: Some("192.0.2.1:2525".parse().unwrap()),
                body: Body::EightBitMime,
                ..Begin::default()
            },
            recipients: vec![Recipient { address: "user@site.example".into(), ..Recipient::default() }],
        }
    }
}

impl Mail {
    /// Stores a message as a session does: in pieces as they come off the network. Not durable before a sync.
    pub fn store<M: Medium>(&self, spool: &mut Bench<M>, body_bytes: usize) -> Result<MessageId, Error> {
        let mut incoming = spool.begin(&self.begin, &self.recipients, Some(body_bytes as u64))?;
        for piece in self.pool[..body_bytes].chunks(64 * 1024) {
            if let Err(error) = spool.write(&mut incoming, piece) {
                spool.abort(incoming);
                return Err(error);
            }
        }
        spool.commit(incoming)
    }
}

/// A fate for the one recipient of a message.
pub fn delivered() -> Status {
    Status {
        first: 0,
        count: 1,
        fate: Fate::Delivered,
        attempts: 1,
        reply_code: 250,
        at: stamp(1_700_000_000_000),
    }
}
