//! Workloads that lead the log into every state it can be in, each the same for the same seed.
//!
//! A [`Script`] says how often a workload does what; a [`World`] is a log with its medium, the mail that is on its way,
//! and the [`Ledger`] of what was promised. A workload first ages the volume, so that segments are used again, and then
//! acts while the simulator keeps a copy of the medium for a cut in each operation.

use std::collections::BTreeSet;
use std::rc::Rc;

use penstock_flash::Medium;
use penstock_flash::sim::{Rng, Sim, SimReader};
use penstock_spool::proof::Branch;
use penstock_spool::{Error, Fate, Incoming, Message, MessageId, MountOptions, Spool, Status, Step};

use crate::common::{Mail, buffers, mail, stamp};
use crate::ledger::{self, Ledger, Look, Wrong};

/// Something that a workload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Begins a message.
    Begin,
    /// Sends the next piece of one that is on its way, and commits it when that was the last.
    Write,
    /// Gives up one that is on its way.
    Abort,
    Sync,
    /// Marks a message delivered: mostly the oldest, so that space comes back in order.
    Deliver,
    /// Marks any message delivered, so that segments are left half full.
    DeliverAny,
    /// Gives a run of recipients of some message a fate.
    Partial,
    /// One step of housekeeping.
    Step,
    /// Housekeeping until it finds nothing, as far as that is soon.
    Tidy,
    /// Puts state.
    Put,
    /// Records an event, perhaps of a message.
    Tell,
    /// Stores a whole message.
    Store,
    /// Stores mail until there is no room.
    Fill,
    /// Marks most messages delivered.
    Drain,
    /// Opens a message and reads a part, or lets go of the one that is open.
    Lease,
    /// Stops cleanly and mounts again.
    Close,
    /// Stops without a word and mounts again, while the power stays on.
    Crash,
}

/// A kind of workload.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    /// Acts before cuts are kept, to age the volume.
    warm_up: u32,
    acts: u32,
    acts_by_weight: &'static [(Act, u32)],
    /// Sizes of bodies, in bytes; one of them is drawn.
    sizes: &'static [usize],
    /// Beside those, bodies of so many times a segment.
    segments: &'static [usize],
    recipients_max: u16,
    open_max: usize,
    /// The longest piece of a body that is written at once, in bytes.
    piece_max: u64,
    kept_bytes_max: u64,
}

use Act::*;

pub(crate) const SCRIPTS: &[Script] = &[
    Script {
        name: "mixed",
        warm_up: 0,
        acts: 420,
        acts_by_weight: &[
            (Begin, 4),
            (Write, 5),
            (Abort, 1),
            (Sync, 3),
            (Deliver, 3),
            (DeliverAny, 1),
            (Step, 1),
            (Put, 1),
            (Tell, 1),
        ],
        sizes: &[0, 60, 300, 900, 2600],
        segments: &[],
        recipients_max: 3,
        open_max: 4,
        piece_max: 4000,
        kept_bytes_max: u64::MAX,
    },
    Script {
        name: "stream",
        warm_up: 40,
        acts: 160,
        acts_by_weight: &[
            (Begin, 3),
            (Write, 14),
            (Sync, 2),
            (Deliver, 3),
            (Step, 2),
            (Abort, 1),
            (Crash, 1),
        ],
        sizes: &[200],
        segments: &[2, 4],
        recipients_max: 2,
        open_max: 2,
        piece_max: 3000,
        kept_bytes_max: u64::MAX,
    },
    Script {
        name: "sessions",
        warm_up: 0,
        acts: 420,
        acts_by_weight: &[(Begin, 4), (Write, 16), (Sync, 4), (Deliver, 3), (Step, 1)],
        sizes: &[40, 500, 1500, 3000],
        segments: &[],
        recipients_max: 2,
        open_max: 8,
        piece_max: 400,
        kept_bytes_max: u64::MAX,
    },
    Script {
        name: "fates",
        warm_up: 250,
        acts: 320,
        acts_by_weight: &[
            (Begin, 2),
            (Write, 2),
            (Sync, 6),
            (Partial, 8),
            (Deliver, 1),
            (Step, 3),
            (Put, 3),
            (Tell, 1),
        ],
        sizes: &[30, 100],
        segments: &[],
        recipients_max: 9,
        open_max: 2,
        piece_max: 200,
        kept_bytes_max: u64::MAX,
    },
    Script {
        name: "reclaim",
        warm_up: 400,
        acts: 320,
        acts_by_weight: &[(Begin, 3), (Write, 3), (Sync, 3), (DeliverAny, 3), (Step, 4), (Lease, 1)],
        sizes: &[100, 400, 1200],
        segments: &[1],
        recipients_max: 2,
        open_max: 2,
        piece_max: 4000,
        kept_bytes_max: u64::MAX,
    },
    Script {
        name: "kept",
        warm_up: 300,
        acts: 260,
        acts_by_weight: &[(Begin, 3), (Write, 4), (Sync, 3), (Deliver, 4), (Tidy, 1), (Step, 1)],
        sizes: &[200, 900],
        segments: &[],
        recipients_max: 2,
        open_max: 2,
        piece_max: 4000,
        kept_bytes_max: 12_000,
    },
    Script {
        name: "full",
        warm_up: 60,
        acts: 70,
        acts_by_weight: &[
            (Fill, 2),
            (Drain, 1),
            (DeliverAny, 6),
            (Sync, 4),
            (Step, 6),
            (Partial, 3),
            (Put, 2),
        ],
        sizes: &[400, 1400, 2600],
        segments: &[],
        recipients_max: 2,
        open_max: 3,
        piece_max: 4000,
        kept_bytes_max: u64::MAX,
    },
    Script {
        name: "stops",
        warm_up: 120,
        acts: 260,
        acts_by_weight: &[
            (Begin, 4),
            (Write, 5),
            (Sync, 3),
            (Deliver, 2),
            (DeliverAny, 1),
            (Partial, 1),
            (Step, 3),
            (Put, 1),
            (Tell, 1),
            (Close, 1),
            (Crash, 2),
        ],
        sizes: &[50, 700],
        segments: &[1],
        recipients_max: 3,
        open_max: 3,
        piece_max: 1500,
        kept_bytes_max: u64::MAX,
    },
];

impl Script {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SCRIPTS.iter().find(|script| script.name == name)
    }

    /// Whether the log is stopped and mounted again in it.
    pub(crate) fn has_stops(&self) -> bool {
        self.acts_by_weight.iter().any(|(act, _)| matches!(act, Close | Crash))
    }

    pub(crate) fn options(&self) -> MountOptions {
        MountOptions { kept_bytes_max: self.kept_bytes_max, ..MountOptions::default() }
    }
}

/// Why a workload did not go on.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// A write failed: the log has to be mounted anew.
    Stopped(Error),
    /// A promise was broken on the spot.
    Broken(String),
}

/// A message on its way.
struct Sending {
    incoming: Incoming,
    mail: Rc<Mail>,
    written: usize,
}

/// How a log gets at the medium of a simulator.
pub(crate) type Connect<M> = Rc<dyn Fn(&Sim) -> M>;

/// A log, its medium, and what was promised.
pub(crate) struct World<M: Medium> {
    pub(crate) sim: Rc<Sim>,
    connect: Connect<M>,
    pub(crate) ledger: Ledger,
    pub(crate) script: &'static Script,
    spool: Option<Spool<M, Vec<u8>>>,
    rng: Rng,
    number: u64,
    sending: Vec<Sending>,
    reading: Option<Message<M::Reader>>,
    in_doubt: bool,
    /// Segments that any mount has left alone, since something in them cannot be read or is missing.
    pub(crate) left_alone: BTreeSet<u32>,
    /// What each mount said is printed.
    pub(crate) is_told: bool,
}

/// Events that a workload records at most: more would be too many for the log to keep.
const EVENTS_MAX: usize = 24;

impl<M: Medium<Reader = SimReader>> World<M> {
    /// Mounts the log on the medium of `sim`, after whatever stop.
    pub(crate) fn mount(
        sim: Rc<Sim>,
        connect: Connect<M>,
        script: &'static Script,
        ledger: Ledger,
        seed: u64,
    ) -> Result<Self, Error> {
        let spool = Spool::mount(connect(&sim), buffers(), script.options())?;
        let rng = Rng::new(seed);
        // Mail of one world does not look like that of another.
        let number = (seed & 0xFFFF_FFFF) << 16;
        let (spool, in_doubt) = (Some(spool), ledger.is_in_doubt());
        let (sending, reading) = (Vec::new(), None);
        let left_alone = spool.iter().flat_map(Spool::unreadable_segments).collect();
        let is_told = false;
        Ok(Self {
            sim,
            connect,
            ledger,
            script,
            spool,
            rng,
            number,
            sending,
            reading,
            in_doubt,
            left_alone,
            is_told,
        })
    }

    /// What is not as it must be.
    pub(crate) fn wrongs(&mut self, look: Look) -> Vec<Wrong> {
        self.spool.as_mut().map_or_else(Vec::new, |spool| self.ledger.wrongs(spool, look))
    }

    pub(crate) fn spool(&mut self) -> Result<&mut Spool<M, Vec<u8>>, Trouble> {
        self.spool.as_mut().ok_or(Trouble::Stopped(Error::ReadOnly))
    }

    /// Lets go of the log as a crash of the process does. All that the ledger is not sure of is in doubt.
    pub(crate) fn stop(mut self) -> Ledger {
        self.ledger.stopped();
        self.ledger
    }

    /// Stops cleanly.
    pub(crate) fn close(mut self) -> Result<Ledger, Trouble> {
        self.sync()?;
        self.reading = None;
        let spool = self.spool.take().ok_or(Trouble::Stopped(Error::ReadOnly))?;
        spool.close().map_err(Trouble::Stopped)?;
        Ok(self.ledger)
    }

    fn now(&self) -> u64 {
        self.sim.operations()
    }

    /// Ages the volume.
    pub(crate) fn warm_up(&mut self) -> Result<(), Trouble> {
        (0..self.script.warm_up).try_for_each(|_| self.act())
    }

    /// The acts of the script.
    pub(crate) fn run(&mut self) -> Result<(), Trouble> {
        (0..self.script.acts).try_for_each(|_| self.act())
    }

    /// The acts of the script, with a look at the world after each.
    pub(crate) fn run_observed(&mut self, mut look: impl FnMut(&Self)) -> Result<(), Trouble> {
        for _ in 0..self.script.acts {
            self.act()?;
            look(self);
        }
        Ok(())
    }

    /// One act, drawn by weight.
    pub(crate) fn act(&mut self) -> Result<(), Trouble> {
        let acts = self.script.acts_by_weight;
        let total: u32 = acts.iter().map(|(_, weight)| weight).sum();
        let mut draw = self.rng.below(u64::from(total)) as u32;
        let drawn = acts.iter().find(|(_, weight)| {
            let is_it = draw < *weight;
            draw = draw.wrapping_sub(*weight);
            is_it
        });
        drawn.map_or(Ok(()), |(act, _)| self.perform(*act))
    }

    pub(crate) fn perform(&mut self, act: Act) -> Result<(), Trouble> {
        match act {
            Begin => self.begin(),
            Write => self.write(),
            Abort => self.abort(),
            Sync => self.sync(),
            Deliver => self.deliver(false),
            DeliverAny => self.deliver(true),
            Partial => self.partial(),
            Step => self.step().map(drop),
            Tidy => self.tidy(),
            Put => self.put(),
            Tell => self.tell(),
            Store => self.store().map(drop),
            Fill => self.fill(),
            Drain => self.drain(),
            Lease => self.lease(),
            Close => self.remount(true),
            Crash => self.remount(false),
        }
    }

    fn new_mail(&mut self) -> Rc<Mail> {
        self.number += 1;
        let script = self.script;
        let drawn = self.rng.below((script.sizes.len() + script.segments.len()) as u64) as usize;
        let segment_bytes = self.sim.geometry().segment_bytes as usize;
        // On segments of 64 KiB a few of them would be most of the time that all takes.
        let size = script.sizes.get(drawn).copied();
        let size =
            size.unwrap_or_else(|| script.segments[drawn - script.sizes.len()] * segment_bytes.min(8192));
        let recipients = 1 + self.rng.below(u64::from(script.recipients_max)) as u16;
        Rc::new(mail(self.number, recipients, size))
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        if self.sending.len() >= self.script.open_max {
            return Ok(());
        }
        let mail = self.new_mail();
        let declared = (!self.rng.one_in(3)).then_some(mail.body.len() as u64);
        match self.spool()?.begin(&mail.begin, &mail.recipients, declared) {
            Ok(incoming) => {
                if incoming.id() <= self.ledger.last_id() {
                    return Err(Trouble::Broken(format!("the id {} is given twice", incoming.id())));
                }
                self.sending.push(Sending { incoming, mail, written: 0 });
                Ok(())
            }
            Err(error) => unless_full(error),
        }
    }

    fn write(&mut self) -> Result<(), Trouble> {
        if self.sending.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.sending.len() as u64) as usize;
        let Sending { mut incoming, mail, written } = self.sending.swap_remove(at);
        let piece = (mail.body.len() - written).min(1 + self.rng.below(self.script.piece_max) as usize);
        let spool = self.spool()?;
        if let Err(error) = spool.write(&mut incoming, &mail.body[written..written + piece]) {
            spool.abort(incoming);
            return unless_full(error);
        }
        let written = written + piece;
        if written < mail.body.len() {
            self.sending.push(Sending { incoming, mail, written });
            return Ok(());
        }
        self.commit(incoming, mail)
    }

    fn commit(&mut self, incoming: Incoming, mail: Rc<Mail>) -> Result<(), Trouble> {
        let (id, now) = (incoming.id(), self.now());
        self.ledger.committing(id, mail, now);
        match self.spool()?.commit(incoming) {
            Ok(_) => Ok(()),
            Err(Error::Full) => {
                self.ledger.not_committed(id);
                Ok(())
            }
            Err(error) => Err(Trouble::Stopped(error)),
        }
    }

    fn abort(&mut self) -> Result<(), Trouble> {
        if let Some(sending) = self.sending.pop() {
            self.spool()?.abort(sending.incoming);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        must_find_room("a sync", self.spool()?.sync())?;
        let now = self.now();
        // What found no room to be written anew may be on the brink still, and stays in doubt.
        if self.in_doubt
            && !Branch::TailNoRoom.was_reached()
            && let Some(spool) = &mut self.spool
        {
            self.ledger.settle(spool, now);
            self.in_doubt = false;
        }
        self.ledger.synced(now);
        if self.free_segments()? > 0 {
            return Ok(());
        }
        // Fates may take the last segment, but then housekeeping must have what makes room.
        self.tidy()?;
        let segments = self.spool()?.facts().segments;
        // A chip of which half has gone bad, with mail in the other half, may refuse, and must not lose.
        if segments.free > 0 || segments.bad >= segments.total / 2 {
            return Ok(());
        }
        Err(Trouble::Broken(format!(
            "acknowledged without a segment to spare, and housekeeping finds none: {segments:?}"
        )))
    }

    fn free_segments(&mut self) -> Result<u32, Trouble> {
        Ok(self.spool()?.info().segments.1)
    }

    fn queued(&mut self) -> Result<Vec<MessageId>, Trouble> {
        Ok(self.spool()?.queue(MessageId(0)).map(|summary| summary.id).collect())
    }

    fn give_fate(&mut self, id: MessageId, first: u16, count: u16, fate: Fate) -> Result<(), Trouble> {
        let now = self.now();
        self.ledger.fate(id, (first, count), fate, now);
        let status = Status { first, count, fate, attempts: 1, reply_code: 250, at: stamp(now) };
        must_find_room("a fate", self.spool()?.set_status(id, &status))
    }

    /// Marks a message delivered: the oldest, or any.
    fn deliver(&mut self, any: bool) -> Result<(), Trouble> {
        let queued = self.queued()?;
        if queued.is_empty() {
            return Ok(());
        }
        let at = if any { self.rng.below(queued.len() as u64) as usize } else { 0 };
        self.deliver_one(queued[at])
    }

    fn deliver_one(&mut self, id: MessageId) -> Result<(), Trouble> {
        let recipients = self.spool()?.summary(id).map_or(1, |summary| summary.recipients);
        self.give_fate(id, 0, recipients, Fate::Delivered)
    }

    fn partial(&mut self) -> Result<(), Trouble> {
        let queued = self.queued()?;
        if queued.is_empty() {
            return Ok(());
        }
        let id = queued[self.rng.below(queued.len() as u64) as usize];
        let fates = [Fate::Deferred, Fate::Held, Fate::Delivered, Fate::Delivered, Fate::Removed];
        let fate = fates[self.rng.below(fates.len() as u64) as usize];
        // A run whose fates are not final yet: nothing final is taken back.
        let runs: Vec<(u16, u16, Fate)> = self.spool()?.fates(id).unwrap_or_default();
        let open: Vec<_> = runs.into_iter().filter(|(.., fate)| !fate.is_final()).collect();
        let (first, count, _) = open[self.rng.below(open.len() as u64) as usize];
        let skipped = self.rng.below(u64::from(count)) as u16;
        let count = 1 + self.rng.below(u64::from(count - skipped)) as u16;
        self.give_fate(id, first + skipped, count, fate)
    }

    fn step(&mut self) -> Result<Step, Trouble> {
        let now = stamp(1_700_000_000_000);
        let done = self.spool()?.step(now);
        done.map_err(|error| match error {
            Error::Write(_) | Error::ReadOnly => Trouble::Stopped(error),
            error => Trouble::Broken(format!("housekeeping says {error}")),
        })
    }

    fn tidy(&mut self) -> Result<(), Trouble> {
        for _ in 0..40 {
            if self.step()? == Step::Idle {
                break;
            }
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), Trouble> {
        let key = self.rng.below(4) as u8;
        let len = 1 + self.rng.below(40) as usize;
        let value = vec![self.rng.next_u64() as u8 | 1; len];
        let now = self.now();
        self.ledger.put(key, value.clone(), now);
        match ledger::put_state(self.spool()?, key, &value) {
            Err(Error::Full) => {
                self.ledger.not_put();
                Ok(())
            }
            done => done.map_err(Trouble::Stopped),
        }
    }

    fn tell(&mut self) -> Result<(), Trouble> {
        if self.ledger.events() >= EVENTS_MAX {
            return Ok(());
        }
        self.number += 1;
        let (number, now) = (self.number, self.now());
        let about = self.rng.one_in(2);
        let message = if about { self.queued()?.first().copied() } else { None };
        self.ledger.tell(number, now);
        match self.spool()?.record_event(&ledger::event(number, message)) {
            Err(Error::Full) => {
                self.ledger.not_told();
                Ok(())
            }
            done => done.map_err(Trouble::Stopped),
        }
    }

    /// Stores a whole message, as a client that declares its size.
    fn store(&mut self) -> Result<bool, Trouble> {
        let mail = self.new_mail();
        let declared = Some(mail.body.len() as u64);
        let spool = self.spool()?;
        let mut incoming = match spool.begin(&mail.begin, &mail.recipients, declared) {
            Ok(incoming) => incoming,
            Err(error) => return unless_full(error).map(|()| false),
        };
        if let Err(error) = spool.write(&mut incoming, &mail.body) {
            spool.abort(incoming);
            return unless_full(error).map(|()| false);
        }
        self.commit(incoming, mail).map(|()| true)
    }

    fn fill(&mut self) -> Result<(), Trouble> {
        // On large segments somebody has announced a large message, or this would take for ever.
        let info = self.spool()?.info();
        let announced = info.free_bytes().saturating_sub(40_000);
        let large = self.new_mail();
        let holder = (announced > 0)
            .then(|| self.spool().map(|s| s.begin(&large.begin, &large.recipients, Some(announced))))
            .transpose()?;
        while self.store()? {
            if self.rng.one_in(3) {
                self.sync()?;
            }
        }
        self.sync()?;
        if let Some(Ok(incoming)) = holder {
            self.spool()?.abort(incoming);
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Trouble> {
        for id in self.queued()? {
            if !self.rng.one_in(4) {
                self.deliver_one(id)?;
                if self.rng.one_in(2) {
                    self.sync()?;
                }
            }
        }
        Ok(())
    }

    fn lease(&mut self) -> Result<(), Trouble> {
        if self.reading.take().is_some() {
            return Ok(());
        }
        if let Some(id) = self.queued()?.first().copied() {
            self.reading = self.spool()?.open(id).ok();
        }
        Ok(())
    }

    fn remount(&mut self, cleanly: bool) -> Result<(), Trouble> {
        self.sending.clear();
        self.reading = None;
        if cleanly {
            self.sync()?;
        }
        let spool = self.spool.take();
        if cleanly {
            spool.map_or(Ok(()), |spool| spool.close().map(drop)).map_err(Trouble::Stopped)?;
        } else {
            drop(spool);
            self.ledger.stopped();
            self.in_doubt = true;
        }
        match Spool::mount((self.connect)(&self.sim), buffers(), self.script.options()) {
            Ok(spool) => {
                if self.is_told {
                    println!("mounted: {:?}, {:?}", spool.mount_report(), spool.facts().segments);
                }
                self.left_alone.extend(spool.unreadable_segments());
                self.spool = Some(spool);
                Ok(())
            }
            Err(error @ Error::Write(_)) => Err(Trouble::Stopped(error)),
            Err(error) => Err(Trouble::Broken(format!("no mount: {error}"))),
        }
    }

    /// What the daemon does when a write has failed: it mounts anew.
    pub(crate) fn restart(&mut self) -> Result<(), Trouble> {
        self.remount(false)
    }
}

/// To be refused for want of room is part of life.
fn unless_full(error: Error) -> Result<(), Trouble> {
    match error {
        Error::Full | Error::TooManyMessages => Ok(()),
        error => Err(Trouble::Stopped(error)),
    }
}

/// What must always find room.
fn must_find_room(what: &str, done: Result<(), Error>) -> Result<(), Trouble> {
    done.map_err(|error| match error {
        Error::Write(_) | Error::ReadOnly => Trouble::Stopped(error),
        error => Trouble::Broken(format!("{what} is refused: {error}")),
    })
}
