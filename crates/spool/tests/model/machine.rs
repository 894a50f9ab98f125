//! A spool on a simulated medium, driven act by act beside the model.

use std::collections::BTreeSet;

use penstock_flash::sim::{Fault, Rng, Sim};
use penstock_spool::proof::frames::{self, FrameAt};
use penstock_spool::{Error, Event, Fate, Incoming, MessageId, Step};
use proptest_state_machine::StateMachineTest;

use crate::acts::{Act, Defect, Plan, Plans};
use crate::common::{GEOMETRIES, Mail, TestSpool, fate, formatted, mail, mount, stamp};
use crate::ledger::Ledger;

/// Numbers of kinds of frames, as in `FORMAT.md`.
const SEGMENT_HEADER: u8 = 1;
const BEGIN: u8 = 2;
const COMMIT: u8 = 6;
const STATUS: u8 = 7;

/// After each unclean stop, segments that were open are left and others opened. The segments kept back for status make
/// up for so many stops in a row; beyond, housekeeping must have had its turn.
const RESTLESS_BOOTS_MAX: u32 = 2;
const RESERVE_SEGMENTS: u32 = 4;

/// The machine, with defects of class B or without.
pub(crate) struct Machine<const CLASS_B: bool> {
    name: &'static str,
    sim: Sim,
    /// `None` only while it is mounted anew.
    spool: Option<TestSpool>,
    ledger: Ledger,
    sessions: Vec<(Incoming, Mail)>,
    /// Makes each message, value and event different from all others.
    number: u64,
    /// The headers of segments, each by segment and offset, that a defect struck.
    headers_struck: BTreeSet<(u32, u32)>,
    /// How often it was mounted since housekeeping last came to its end.
    restless_boots: u32,
    /// What the next power cut leaves behind.
    seed: u64,
}

impl<const CLASS_B: bool> StateMachineTest for Machine<CLASS_B> {
    type SystemUnderTest = Self;
    type Reference = Plans<CLASS_B>;

    fn init_test(plan: &Plan) -> Self {
        let (name, geometry) = GEOMETRIES[plan.shape];
        let sim = formatted(geometry);
        let spool = Some(mount(sim.medium()).unwrap());
        let mut machine = Self {
            name,
            sim,
            spool,
            ledger: Ledger::default(),
            sessions: Vec::new(),
            number: 0,
            headers_struck: BTreeSet::new(),
            restless_boots: 0,
            seed: 0,
        };
        if CLASS_B {
            // A volume of a single segment is gone with its header.
            machine.store(1, 100);
            machine.sync();
        }
        machine
    }

    fn apply(mut machine: Self, _: &Plan, act: Act) -> Self {
        machine.step(&act);
        machine
    }

    fn teardown(mut machine: Self, _: Plan) {
        machine.power_on();
        machine.sync();
        machine.restart();
    }
}

impl<const CLASS_B: bool> Machine<CLASS_B> {
    /// Does something, starts anew where that ended in a stop, and checks.
    fn step(&mut self, act: &Act) {
        self.act(act);
        if self.sim.is_cut() {
            self.power_on();
        } else if self.spool().info().read_only {
            // What a service does when a write failed: it starts anew.
            assert!(CLASS_B, "{}: nothing failed and the spool is read-only", self.name);
            self.restart();
        }
        let Self { ledger, spool: Some(spool), .. } = self else { unreachable!() };
        ledger.check(spool, false);
        assert!(
            CLASS_B || self.sim.counters().violations == 0,
            "a unit was programmed twice or without an erase"
        );
    }

    fn spool(&mut self) -> &mut TestSpool {
        let Some(spool) = &mut self.spool else { unreachable!("it is mounted but while it is mounted anew") };
        spool
    }

    /// What came of a call. A full volume is part of life; other errors are the power's, or a defect's.
    fn came<T>(&self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(Error::Full) => None,
            Err(error) => {
                assert!(CLASS_B || self.sim.is_cut(), "{}: {error}", self.name);
                None
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Begin { recipients, declared } => self.begin(recipients, declared.map(u64::from)),
            Act::Write { session, bytes } => self.write(session, usize::from(bytes)),
            Act::Commit { session } => self.commit(session),
            Act::Abort { session } => {
                if let Some((incoming, _)) = self.take_session(session) {
                    self.spool().abort(incoming);
                }
            }
            Act::Store { messages, recipients, bytes, sync_each } => {
                for _ in 0..messages {
                    self.store(recipients, usize::from(bytes));
                    if sync_each {
                        self.sync();
                    }
                }
                self.sync();
            }
            Act::Sync => self.sync(),
            Act::Fate { message, first, count, fate } => self.set_fate(message, first, count, fate),
            Act::Replay { message, first, count } => self.replay(message, first, count),
            Act::Deliver { messages, sync_each } => {
                for _ in 0..messages {
                    self.set_fate(0, 0, u16::MAX, Fate::Delivered);
                    if sync_each {
                        self.sync();
                    }
                }
                self.sync();
            }
            Act::PutMeta { key, bytes, value } => self.put_meta(key, &vec![value; usize::from(bytes)]),
            Act::Event { about, text_bytes } => self.record_event(about, usize::from(text_bytes)),
            Act::Step { times } => {
                for _ in 0..times {
                    let done = self.spool().step(stamp(1_700_000_000_000));
                    if self.came(done) == Some(Step::Idle)
                        && self.spool().info().segments.1 > RESERVE_SEGMENTS
                    {
                        self.restless_boots = 0;
                    }
                }
            }
            Act::Read { message } => {
                if let Some(id) = self.pick(message) {
                    self.read(id);
                }
            }
            Act::Close => self.close(),
            Act::Crash => self.restart(),
            Act::PowerCut { seed } => {
                self.seed = seed;
                self.power_on();
            }
            Act::CutAfter { operations, seed } => {
                self.sim.cut_after(u64::from(operations));
                self.seed = seed;
            }
            Act::Break(defect) => self.break_medium(defect),
        }
    }

    fn next_mail(&mut self, recipients: u16, bytes: usize) -> Mail {
        self.number += 1;
        mail(self.number, recipients, bytes)
    }

    fn begin(&mut self, recipients: u16, declared: Option<u64>) {
        let mail = self.next_mail(recipients, 0);
        let begun = self.spool().begin(&mail.begin, &mail.recipients, declared);
        if let Some(incoming) = self.came(begun) {
            self.ledger.begun(incoming.id());
            self.sessions.push((incoming, mail));
        }
    }

    fn take_session(&mut self, session: usize) -> Option<(Incoming, Mail)> {
        let open = self.sessions.len();
        (open > 0).then(|| self.sessions.swap_remove(session % open))
    }

    fn write(&mut self, session: usize, bytes: usize) {
        let Some((mut incoming, mut mail)) = self.take_session(session) else { return };
        let mut piece = vec![0; bytes];
        Rng::new(incoming.id().0 ^ mail.body.len() as u64).fill(&mut piece);
        let written = self.spool().write(&mut incoming, &piece);
        match self.came(written) {
            Some(()) => {
                mail.body.extend_from_slice(&piece);
                self.sessions.push((incoming, mail));
            }
            None => self.spool().abort(incoming),
        }
    }

    fn commit(&mut self, session: usize) {
        if let Some((incoming, mail)) = self.take_session(session) {
            self.commit_this(incoming, mail);
        }
    }

    fn commit_this(&mut self, incoming: Incoming, mail: Mail) {
        let id = incoming.id();
        match self.spool().commit(incoming) {
            // It is not there, and must never be.
            Err(Error::Full) => {}
            done => {
                self.ledger.committed(id, mail);
                self.came(done);
            }
        }
    }

    fn store(&mut self, recipients: u16, bytes: usize) {
        let mail = self.next_mail(recipients, bytes);
        let begun = self.spool().begin(&mail.begin, &mail.recipients, Some(bytes as u64));
        let Some(mut incoming) = self.came(begun) else { return };
        self.ledger.begun(incoming.id());
        let written = self.spool().write(&mut incoming, &mail.body);
        match self.came(written) {
            Some(()) => self.commit_this(incoming, mail),
            None => self.spool().abort(incoming),
        }
    }

    fn sync(&mut self) {
        let done = self.spool().sync();
        if self.came(done).is_some() {
            let Self { ledger, spool: Some(spool), .. } = self else { unreachable!() };
            ledger.synced(spool);
        }
    }

    /// A message that waits for delivery, by position.
    fn pick(&mut self, message: usize) -> Option<MessageId> {
        let queued: Vec<MessageId> = self.spool().queue(MessageId(0)).map(|summary| summary.id).collect();
        (!queued.is_empty()).then(|| queued[message % queued.len()])
    }

    fn set_fate(&mut self, message: usize, first: u16, count: u16, to: Fate) {
        let Some(id) = self.pick(message) else { return };
        let recipients = self.spool().summary(id).unwrap().recipients;
        let first = first % recipients;
        let count = count.min(recipients - first);
        let before: Vec<Fate> = self
            .spool()
            .fates(id)
            .unwrap()
            .into_iter()
            .flat_map(|(_, n, fate)| vec![fate; n.into()])
            .collect();
        let is_final =
            before[usize::from(first)..usize::from(first + count)].iter().any(|fate| fate.is_final());
        match self.spool().set_status(id, &fate(first, count, to)) {
            Err(Error::AlreadyFinal(_)) => {
                assert!(is_final && !to.is_final(), "{id}: {to:?} after {before:?}");
            }
            Err(Error::Full) => {
                let excused = self.ledger.is_wild || self.restless_boots > RESTLESS_BOOTS_MAX;
                assert!(excused, "{}: no room to record a fate", self.name);
            }
            done => {
                assert!(!is_final || to.is_final(), "a final fate of {id} was taken back");
                self.ledger.noted(id, first, count, to);
                self.came(done);
            }
        }
    }

    fn replay(&mut self, message: usize, first: u16, count: u16) {
        let all: Vec<_> = self.spool().replayable(MessageId(0)).collect();
        let Some(summary) = all.get(message % all.len().max(1)) else { return };
        let (id, first) = (summary.id, first % summary.recipients);
        let count = count.min(summary.recipients - first);
        let before: Vec<Fate> = self
            .spool()
            .fates(id)
            .unwrap()
            .into_iter()
            .flat_map(|(_, n, fate)| vec![fate; n.into()])
            .collect();
        let run = usize::from(first)..usize::from(first + count);
        let is_delivered = before[run].iter().all(|fate| *fate == Fate::Delivered);
        match self.spool().replay(id, first, count, stamp(1_700_000_000_000)) {
            Err(Error::NotDelivered(_)) => assert!(!is_delivered, "{id}: {before:?}"),
            // It was being given up, or there is no room.
            Err(Error::NoSuchMessage(_) | Error::Damaged(_) | Error::Full) => {}
            done => {
                assert!(is_delivered || done.is_err(), "{id}: {before:?} was set back");
                self.ledger.noted(id, first, count, Fate::Queued);
                self.came(done);
            }
        }
    }

    fn put_meta(&mut self, key: u8, value: &[u8]) {
        let put = self.spool().put_meta(1, &[key], value);
        if put != Err(Error::Full) {
            self.ledger.put(key, value.to_vec());
            self.came(put);
        }
    }

    fn record_event(&mut self, about: Option<usize>, text_bytes: usize) {
        self.number += 1;
        let message = about.and_then(|message| self.pick(message));
        let code = self.number as u16;
        let event =
            Event { at: stamp(1_700_000_000_000), code, message, text: "x".repeat(text_bytes.min(512)) };
        let recorded = self.spool().record_event(&event);
        if recorded != Err(Error::Full) {
            self.ledger.recorded(event);
            self.came(recorded);
        }
    }

    fn read(&mut self, id: MessageId) {
        let Self { ledger, spool: Some(spool), .. } = self else { unreachable!() };
        ledger.read(spool, id);
    }

    fn close(&mut self) {
        // Who wrote nothing leaves behind what the stop before it did.
        let wrote = self.spool().counters().programmed_bytes > 0;
        let Some(spool) = self.spool.take() else { unreachable!() };
        match spool.close().map(mount) {
            Ok(Ok(spool)) => {
                let clean = spool.mount_report().clean;
                assert!(clean || !wrote || CLASS_B, "{}: closed, and not clean", self.name);
                self.spool = Some(spool);
                self.mounted();
                // What is there after a clean stop is durable.
                self.sync();
            }
            Ok(Err(error)) | Err(error) => {
                assert!(CLASS_B || self.sim.is_cut() || error == Error::Full, "{}: {error}", self.name);
                self.power_on();
            }
        }
    }

    /// The program stops as it is, and starts anew.
    fn restart(&mut self) {
        let Some(spool) = self.spool.take() else { unreachable!() };
        match mount(spool.into_medium()) {
            Ok(spool) => {
                self.spool = Some(spool);
                self.mounted();
            }
            Err(_) => self.power_on(),
        }
    }

    /// The power comes back, and perhaps fails again at once.
    fn power_on(&mut self) {
        self.spool = None;
        // Each cut that waits may strike a recovery.
        for attempt in 0..20 {
            match mount(self.sim.power_on(self.seed.wrapping_add(attempt))) {
                Ok(spool) => {
                    self.spool = Some(spool);
                    return self.mounted();
                }
                Err(error) => assert!(
                    self.sim.is_cut() || CLASS_B,
                    "{}: no mount: {error}; {}",
                    self.name,
                    self.sim.story()
                ),
            }
        }
        panic!("{}: no mount however often the power came back; {}", self.name, self.sim.story());
    }

    fn mounted(&mut self) {
        self.restless_boots += 1;
        self.ledger.remounted();
        let stale = std::mem::take(&mut self.sessions);
        let Self { ledger, spool: Some(spool), .. } = self else { unreachable!() };
        for (mut incoming, _) in stale {
            let written = spool.write(&mut incoming, b"x");
            assert!(written == Err(Error::Stale) || CLASS_B, "{}: {written:?}", self.name);
            spool.abort(incoming);
        }
        ledger.check(spool, true);
        ledger.read_all(spool);
    }

    /// Lets something break, where it can be told what it strikes.
    fn break_medium(&mut self, defect: Defect) {
        let geometry = self.sim.geometry();
        let frames = frames::find(&self.sim.image(), &geometry);
        // Blank cells are left alone: what a defect there does shows only once they are programmed.
        let pick = |place: u16| frames[(frames.len() * usize::from(place)) >> 16];
        let within = |frame: &FrameAt, fine: u16| {
            frame.offset + ((frame.frame_bytes() * usize::from(fine)) >> 16) as u32
        };
        let fault = match defect {
            Defect::Flip { place, fine, bit } => {
                let frame = pick(place);
                self.strike(&frame);
                Fault::Flip { segment: frame.segment, offset: within(&frame, fine), mask: 1 << bit }
            }
            Defect::Unreadable { place, fine, bytes } => {
                let frame = pick(place);
                // A medium gives up whole units.
                let unit = geometry.unit_bytes.max(16);
                let offset = within(&frame, fine) / unit * unit;
                let last = offset + u32::from(bytes);
                let mut end = offset;
                for frame in frames.iter().filter(|f| f.segment == frame.segment && f.offset < last) {
                    end = end.max(frame.offset + frame.frame_bytes() as u32);
                }
                let end = end.min(last).next_multiple_of(unit);
                for frame in frames.iter().filter(|f| f.segment == frame.segment && f.offset < end) {
                    if frame.offset + frame.frame_bytes() as u32 > offset {
                        self.strike(frame);
                    }
                }
                Fault::Unreadable { segment: frame.segment, offset, len_bytes: end - offset }
            }
            Defect::Stuck { place, fine, bit, ones } => {
                let frame = pick(place);
                Fault::Stuck { segment: frame.segment, offset: within(&frame, fine), mask: 1 << bit, ones }
            }
            Defect::Misdirect { place } => {
                let frame = pick(place);
                let unit = geometry.unit_bytes;
                Fault::Misdirect { segment: frame.segment, offset: frame.offset - frame.offset % unit }
            }
            Defect::FailRead => Fault::FailRead { code: 5 },
            Defect::FailProgram => Fault::FailProgram { code: 5 },
            Defect::FailSync => Fault::FailSync { code: 5 },
            Defect::FailErase => Fault::FailErase { code: 5 },
            Defect::IgnoreProgram => Fault::IgnoreProgram,
            Defect::IgnoreErase => Fault::IgnoreErase,
        };
        if !matches!(defect, Defect::Flip { .. } | Defect::Unreadable { .. }) {
            self.ledger.is_wild = true;
        }
        self.sim.inject(fault);
    }

    /// Notes what a defect in a frame may cost.
    fn strike(&mut self, frame: &FrameAt) {
        match frame.kind {
            // It is there twice. Without both, what is written into that segment later is lost as well.
            SEGMENT_HEADER => {
                self.headers_struck.insert((frame.segment, frame.offset));
                let struck = self.headers_struck.iter().filter(|(segment, _)| *segment == frame.segment);
                self.ledger.is_wild |= struck.count() > 1;
            }
            BEGIN..=COMMIT => self.ledger.touch(MessageId(frame.msg_id)),
            // Without the word that it was delivered a message waits again, and what was kept of it may be gone.
            STATUS => {
                self.ledger.touch(MessageId(frame.msg_id));
                self.ledger.may_revert = true;
            }
            _ => self.ledger.may_revert = true,
        }
    }
}
