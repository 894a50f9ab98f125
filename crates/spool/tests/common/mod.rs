//! A spool on simulated flash, beside a model of what it promised.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

use std::collections::BTreeMap;

use penstock_flash::sim::{Rng, Sim, SimMedium};
use penstock_flash::{Erase, Geometry};
use penstock_spool::{
    Begin, Body, Buffers, Error, Fate, MessageId, MountOptions, Notify, Recipient, Ret, Spool, Stamp, Status,
    Step, format,
};

pub(crate) type TestSpool = Spool<SimMedium, Vec<u8>>;

/// The shapes that the log must work on: NOR by program unit, block media by sector.
pub(crate) const GEOMETRIES: [(&str, Geometry); 6] = [
    ("nor-1", geometry(1, 4096, 32, Erase::Physical)),
    ("nor-4", geometry(4, 4096, 32, Erase::Physical)),
    ("nor-8", geometry(8, 4096, 32, Erase::Physical)),
    ("nor-32", geometry(32, 4096, 32, Erase::Physical)),
    ("block-512", geometry(512, 8192, 32, Erase::Logical)),
    ("block-4k", geometry(4096, 65536, 32, Erase::Logical)),
];

pub(crate) const fn geometry(unit_bytes: u32, segment_bytes: u32, segments: u32, erase: Erase) -> Geometry {
    Geometry { segments, segment_bytes, unit_bytes, erase }
}

pub(crate) const VOLUME: [u8; 16] = *b"test volume 0001";

pub(crate) fn formatted(geometry: Geometry) -> Sim {
    let sim = Sim::new(geometry).unwrap();
    format(&mut sim.medium(), VOLUME, false, |_, _| {}).unwrap();
    sim
}

pub(crate) fn buffers() -> Buffers<Vec<u8>> {
    Buffers { hot: vec![0; 16384], moved: vec![0; 8192], status: vec![0; 8192] }
}

pub(crate) fn mount(medium: SimMedium) -> Result<TestSpool, Error> {
    Spool::mount(medium, buffers(), MountOptions::default())
}

pub(crate) fn stamp(unix_ms: u64) -> Stamp {
    Stamp { unix_ms, boot: 0, trusted: true }
}

/// A message as a client would send it, different for each number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) begin: Begin,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn mail(number: u64, recipients: u16, size_bytes: usize) -> Mail {
    let mut body = vec![0; size_bytes];
    Rng::new(number).fill(&mut body);
    let recipient = |r: u16| Recipient {
        address: format!("r{r}.{number}@example.org"),
        notify: if r.is_multiple_of(2) { Notify::default() } else { Notify::SUCCESS.with(Notify::DELAY) },
        orcpt: (r.is_multiple_of(3)).then(|| format!("rfc822;r{r}@old.example")),
    };
    Mail {
        begin: Begin {
            received: stamp(1_700_000_000_000 + number),
            sender: format!("s{number}@example.com"),
            helo: "client.example".into(),
            client: Some("192.0.2.1:2525".parse().unwrap()),
            body: Body::EightBitMime,
            smtputf8: false,
            tls: false,
            ret: Some(Ret::Headers),
            envid: Some(format!("e{number}")),
        },
        recipients: (0..recipients).map(recipient).collect(),
        body,
    }
}

/// Stores a whole message, in pieces of `piece` bytes. It is not durable before a sync.
pub(crate) fn store(spool: &mut TestSpool, mail: &Mail, piece: usize) -> Result<MessageId, Error> {
    let mut incoming = spool.begin(&mail.begin, &mail.recipients, None)?;
    for bytes in mail.body.chunks(piece) {
        if let Err(error) = spool.write(&mut incoming, bytes) {
            spool.abort(incoming);
            return Err(error);
        }
    }
    spool.commit(incoming)
}

/// Reads a message back whole.
pub(crate) fn read(spool: &mut TestSpool, id: MessageId) -> Result<Mail, Error> {
    let mut message = spool.open(id)?;
    let envelope = message.envelope()?;
    let mut body = Vec::new();
    while let Some(chunk) = message.next_chunk()? {
        body.extend_from_slice(chunk);
    }
    Ok(Mail { begin: envelope.begin, recipients: envelope.recipients, body })
}

pub(crate) fn fate(first: u16, count: u16, fate: Fate) -> Status {
    Status { first, count, fate, attempts: 1, reply_code: 250, at: stamp(1_700_000_000_000) }
}

pub(crate) fn delivered(spool: &mut TestSpool, id: MessageId) {
    let recipients = spool.summary(id).unwrap().recipients;
    spool.set_status(id, &fate(0, recipients, Fate::Delivered)).unwrap();
}

/// Housekeeping until there is nothing more to do.
pub(crate) fn tidy(spool: &mut TestSpool) {
    for _ in 0..10_000 {
        if spool.step(stamp(1_700_000_000_000)).unwrap() == Step::Idle {
            return;
        }
    }
    panic!("housekeeping does not come to an end");
}

/// What was acknowledged, by id: the mail and, for each recipient, whether it was said to be delivered.
pub(crate) type Promises = BTreeMap<MessageId, (Mail, Vec<bool>)>;

/// Checks that a spool keeps its promises: everything acknowledged is there as it was, or is finished with.
///
/// `maybe` holds what was under way: each may be there, whole, or not at all.
pub(crate) fn check(
    spool: &mut TestSpool,
    promises: &Promises,
    maybe: &[(MessageId, Mail)],
) -> Result<(), String> {
    for (id, (mail, done)) in promises {
        let all_done = done.iter().all(|d| *d);
        let Some(summary) = spool.summary(*id) else {
            if all_done {
                continue;
            }
            return Err(format!("message {id} is lost"));
        };
        let fates = spool.fates(*id).unwrap();
        for (first, count, fate) in fates {
            for recipient in first..first + count {
                if done[usize::from(recipient)] && !fate.is_final() {
                    return Err(format!(
                        "message {id} would be sent again to recipient {recipient}: {fate:?}"
                    ));
                }
            }
        }
        if summary.open_recipients == 0 {
            continue;
        }
        match read(spool, *id) {
            Ok(seen) if seen == *mail => {}
            Ok(_) => return Err(format!("message {id} was altered")),
            Err(error) => return Err(format!("message {id}: {error}")),
        }
    }
    let known: Vec<MessageId> = spool.queue(MessageId(0)).map(|summary| summary.id).collect();
    for id in known {
        if promises.contains_key(&id) {
            continue;
        }
        let Some((_, mail)) = maybe.iter().find(|(m, _)| *m == id) else {
            return Err(format!("message {id} came from nowhere"));
        };
        match read(spool, id) {
            Ok(seen) if seen == *mail => {}
            Ok(_) => return Err(format!("message {id}, not acknowledged, is there in part")),
            Err(error) => return Err(format!("message {id}, not acknowledged, is there broken: {error}")),
        }
    }
    Ok(())
}
