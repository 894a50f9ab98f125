//! Whether a disk holds what was answered for by a moment: every message that a client was told is safe and that was not
//! handed on yet, byte for byte with all its recipients; no other mail than was sent; and nothing by halves.
//!
//! What is on the disk is found by the code that finds it on a box: the log, mounted from an image.

use std::path::Path as FilePath;
use std::time::Instant;

use penstock_flash_linux::{AlignedBuffer, Image, ImageReader, is_blank};
use penstock_peers::content::{Content, Digester};
use penstock_peers::envelope::Path;
use penstock_peers::ledger::Balance;
use penstock_peers::recorder::{Outcome, Transaction};
use penstock_peers::sink::Delivery;
use penstock_spool::{Buffers, Envelope, Error, Message, MessageId, MountOptions, Spool, Summary};

/// The group buffers of a log that is only read.
const BUFFER_BYTES: usize = 128 * 1024;

/// What clients were told and the next hop was given, and when.
pub struct Testimony {
    /// When the recorder was started, from which its moments are counted.
    pub began: Instant,
    /// What it recorded.
    pub transactions: Vec<Transaction>,
    /// What the next hop was given.
    pub deliveries: Vec<Delivery>,
    /// The size of a segment of the volume in bytes.
    pub segment_bytes: u32,
}

/// A message on a disk.
struct Held {
    message: Delivery,
    /// Whether every recipient still is to get it.
    open_for_all: bool,
}

impl Testimony {
    /// Holds the disk in a file against what had been told by a moment. Returns how many messages it owes, or what is wrong.
    pub fn judge(&self, now: Instant, disk: &FilePath) -> Result<usize, String> {
        let sent = self.sent_by(now);
        let Some(mut spool) = mount(disk, self.segment_bytes)? else {
            // A volume that was not finished has not taken any mail; the box makes it anew.
            let owed = Balance::of(&sent, &[]).acknowledged;
            return if owed == 0 { Ok(0) } else { Err(format!("no volume, and {owed} messages are owed")) };
        };
        let report = spool.mount_report();
        if report.damaged_messages + report.rotten_segments + report.quarantined_segments > 0 {
            return Err(format!("something durable is not as it was written: {report:?}"));
        }
        let held = read_all(&mut spool, now)?;
        for Held { message, open_for_all } in &held {
            if !open_for_all && !self.was_delivered(message.content, &message.to, now) {
                return Err(format!("taken for delivered, and it was not: {message:?}"));
            }
        }
        let messages: Vec<Delivery> = held.into_iter().map(|held| held.message).collect();
        let balance = Balance::of(&sent, &messages);
        let wrong = [
            ("lost", balance.lost.len(), balance.lost.first()),
            ("strange", balance.strange.len(), balance.strange.first()),
        ];
        for (what, count, first) in wrong {
            if count > 0 {
                return Err(format!("{count} {what}, first {first:?}"));
            }
        }
        if let Some(first) = balance.again.first() {
            return Err(format!("{} there twice, first {first:?}", balance.again.len()));
        }
        Ok(balance.acknowledged)
    }

    /// The transactions as they stood at a moment. One that was acknowledged and handed on by then may be there or not.
    fn sent_by(&self, now: Instant) -> Vec<Transaction> {
        let mut sent = self.transactions.clone();
        for one in &mut sent {
            if let Outcome::Acknowledged { at } = one.outcome
                && (self.began + at > now || self.was_delivered(one.content, &one.to, now))
            {
                one.outcome = Outcome::Unknown;
            }
        }
        sent
    }

    /// Whether the next hop had been given this by a moment.
    fn was_delivered(&self, content: Content, to: &[Path], now: Instant) -> bool {
        let mut by_then = self.deliveries.iter().filter(|delivery| delivery.at <= now);
        by_then.any(|delivery| delivery.content == content && same(&delivery.to, to))
    }
}

/// Whether the same addresses stand in both, in any order.
fn same(one: &[Path], other: &[Path]) -> bool {
    one.len() == other.len() && one.iter().all(|path| other.iter().any(|to| to.address == path.address))
}

type Mounted = Spool<Image, AlignedBuffer>;

/// Mounts the log on a disk, or finds the disk so blank that a box makes a volume of it.
fn mount(disk: &FilePath, segment_bytes: u32) -> Result<Option<Mounted>, String> {
    let image = Image::open(disk, segment_bytes).map_err(|error| error.to_string())?;
    let buffer = || AlignedBuffer::new(BUFFER_BYTES);
    let buffers = Buffers { hot: buffer(), moved: buffer(), status: buffer() };
    match Spool::mount(image, buffers, MountOptions::default()) {
        Ok(spool) => Ok(Some(spool)),
        Err(Error::NotAVolume) if is_blank(disk, segment_bytes).is_ok_and(|blank| blank) => Ok(None),
        Err(error) => Err(format!("the volume cannot be mounted: {error}")),
    }
}

/// Reads all messages, whatever their fate.
fn read_all(spool: &mut Mounted, now: Instant) -> Result<Vec<Held>, String> {
    let all: Vec<Summary> = spool.queue(MessageId(0)).chain(spool.kept(MessageId(0))).collect();
    let read = |summary: Summary| {
        let wrong = |error: Error| format!("message {} cannot be read: {error}", summary.id);
        let mut message = spool.open(summary.id).map_err(wrong)?;
        let envelope = message.envelope().map_err(wrong)?;
        let message = read_message(&mut message, envelope, now).map_err(wrong)?;
        Ok(Held { message, open_for_all: summary.open_recipients == summary.recipients })
    };
    all.into_iter().map(read).collect()
}

fn read_message(
    message: &mut Message<ImageReader>,
    Envelope { begin, recipients }: Envelope,
    at: Instant,
) -> Result<Delivery, Error> {
    // Our Received line is on top of it.
    let mut digester = Digester::after_fields(1);
    while let Some(chunk) = message.next_chunk()? {
        digester.update(chunk);
    }
    let (trace, content) = digester.finish();
    let path = |address: String| Path { address, parameters: Vec::new() };
    Ok(Delivery {
        session: 0,
        from: path(begin.sender),
        to: recipients.into_iter().map(|recipient| path(recipient.address)).collect(),
        trace: String::from_utf8_lossy(&trace).into_owned(),
        content,
        raw: Vec::new(),
        at,
    })
}
