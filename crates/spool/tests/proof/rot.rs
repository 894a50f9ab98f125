//! Class B: the medium is not what it says.
//!
//! A workload runs and is cut at some operation; on what that left, one or two things go wrong, before the mount or in
//! the operations after it, and the log works on, is stopped, mounted and looked at again. What may be lost is what the
//! faults touched, by [`Owners`]; each loss must be told of; altered bytes are never given out; what cannot be read is
//! never erased; and the box never stops: when a write fails, the log is mounted anew as the daemon does and goes on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use penstock_flash::sim::{Fault, Rng, Sim, Story};
use penstock_flash::{Erase, Geometry, Medium};
use penstock_spool::{Error, Fate, MessageId, Spool};

use crate::common::{GEOMETRIES, formatted};
use crate::ledger::{self, Ledger, Look, Wrong};
use crate::owners::{About, Owners, Touched, Touches, Watched};
use crate::replay::{Class, Line, mix};
use crate::tally::{Failure, Kind, Tally};
use crate::workload::{Act, Connect, Script, Trouble, World};

/// How what was lost is called in the tally where nothing can tell of it: it was the last that was written before a stop,
/// and nothing that was written and made durable after it says that it had to be there.
const UNNOTICED: &str = "lost with the last write";

/// Cases from one workload.
const CASES_A_WORKLOAD: u64 = 400;
/// Acts after the fault.
const ACTS: u32 = 50;
/// How often a log may stop and be mounted anew in one case before it counts as stopped for good.
const RESTARTS_MAX: u32 = 12;

/// What can go wrong in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Flip,
    TwoFlips,
    Stuck,
    Unreadable,
    /// Both headers of a segment cannot be read.
    Headless,
    Misdirect,
    FailRead,
    FailProgram,
    FailSync,
    FailErase,
    IgnoreProgram,
    IgnoreErase,
    Endurance,
}

impl What {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Flip,
        Self::TwoFlips,
        Self::Stuck,
        Self::Unreadable,
        Self::Headless,
        Self::Misdirect,
        Self::FailRead,
        Self::FailProgram,
        Self::FailSync,
        Self::FailErase,
        Self::IgnoreProgram,
        Self::IgnoreErase,
        Self::Endurance,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Flip => "rot: a flipped bit",
            Self::TwoFlips => "rot: two flipped bits",
            Self::Stuck => "rot: a stuck bit",
            Self::Unreadable => "rot: an unreadable range",
            Self::Headless => "rot: both headers unreadable",
            Self::Misdirect => "rot: a misdirected program",
            Self::FailRead => "rot: failing reads",
            Self::FailProgram => "rot: a failing program",
            Self::FailSync => "rot: a failing sync",
            Self::FailErase => "rot: a failing erase",
            Self::IgnoreProgram => "rot: a program silently ignored",
            Self::IgnoreErase => "rot: an erase silently ignored",
            Self::Endurance => "rot: segments worn out",
        }
    }

    /// Why it is left out on a medium.
    fn exception(self, geometry: &Geometry) -> Option<&'static str> {
        let is_block = geometry.erase == Erase::Logical;
        Exception::ALL.iter().find(|known| is_block && known.what.contains(&self)).map(|known| known.why)
    }
}

/// What the log does not withstand on block media: such cases are left out. They are printed.
struct Exception {
    what: &'static [What],
    why: &'static str,
}

impl Exception {
    const ALL: &'static [Self] = &[Self {
        what: &[What::Endurance],
        why: "on block media, segments that fail for ever: a device that has no spare blocks left is replaced",
    }];
}

/// The exceptions as they are printed with the verdict.
pub(crate) fn print_exceptions() {
    for exception in Exception::ALL {
        println!("left out: {:?} {}", exception.what, exception.why);
    }
}

/// The class B cases of one workload.
pub(crate) struct Rot<'a> {
    geometry: usize,
    script: &'static Script,
    seed: u64,
    tally: &'a mut Tally,
    is_told: bool,
    /// Also what the log does not withstand yet.
    pub(crate) strictly: bool,
}

/// A medium as a cut left it, with what was promised and whose bytes are where.
struct Point {
    sim: Sim,
    cut: u64,
    owners: Owners,
}

/// How a case ended.
struct Broken(Kind, String);

impl Broken {
    fn of(kind: Kind, what: String) -> Self {
        Self(kind, what)
    }
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Stopped(error) => {
                Self::of(Kind::Invariant, format!("the log stopped for good: {error}"))
            }
            Trouble::Broken(what) => Self::of(Kind::Invariant, what),
        }
    }
}

impl<'a> Rot<'a> {
    pub(crate) fn new(geometry: usize, script: &'static Script, seed: u64, tally: &'a mut Tally) -> Self {
        Self { geometry, script, seed, tally, is_told: false, strictly: false }
    }

    /// Runs the cases of this workload. Ends with the first broken promise.
    pub(crate) fn run(&mut self, cases: u64) {
        let (ledger, points) = match self.points() {
            Ok(done) => done,
            Err(Broken(kind, what)) => return self.fail(kind, what, 0, &Story::default()),
        };
        for case in 0..cases.min(CASES_A_WORKLOAD) {
            if !self.case(&ledger, &points, case) {
                return;
            }
        }
    }

    pub(crate) fn replay(&mut self, case: u64) {
        (self.is_told, self.strictly) = (true, true);
        match self.points() {
            Ok((ledger, points)) => drop(self.case(&ledger, &points, case)),
            Err(Broken(kind, what)) => self.fail(kind, what, case, &Story::default()),
        }
    }

    fn fail(&mut self, kind: Kind, what: String, case: u64, story: &Story) {
        let (geometry, _) = GEOMETRIES[self.geometry];
        let class = Class::Rot(case);
        let replay = Line { class, geometry, script: self.script.name, seed: self.seed, story }.to_string();
        self.tally.failures.push(Failure { kind, what, replay });
    }

    /// The workload, as cuts in some of its operations leave it.
    fn points(&self) -> Result<(Ledger, Vec<Point>), Broken> {
        let (_, geometry) = GEOMETRIES[self.geometry];
        let sim = Rc::new(formatted(geometry));
        let owners = Rc::new(RefCell::new(Owners::new(&geometry)));
        let mut world =
            World::mount(Rc::clone(&sim), connect(&sim, &owners), self.script, Ledger::default(), self.seed)
                .map_err(|error| Broken::of(Kind::Invariant, format!("a new volume: {error}")))?;
        world.warm_up()?;
        sim.branch_everywhere();
        let mut points = Vec::new();
        world.run_observed(|world| {
            // The last operation of each act, whose frames are known by now.
            if let Some(cut) = world.sim.take_branches().pop() {
                let owners = owners.borrow().clone();
                points.push(Point { cut: cut.operations() - 1, sim: cut, owners });
            }
        })?;
        Ok((world.stop(), points))
    }

    /// One case. Whether all promises were kept.
    fn case(&mut self, ledger: &Ledger, points: &[Point], case: u64) -> bool {
        let mut rng = Rng::new(mix(self.seed, case));
        let what = What::ALL[(case % What::ALL.len() as u64) as usize];
        let (name, geometry) = GEOMETRIES[self.geometry];
        if what.exception(&geometry).is_some() && !self.strictly || points.is_empty() {
            return true;
        }
        self.tally.count(name, what.name());
        let point = &points[rng.below(points.len() as u64) as usize];
        let sim = Rc::new(point.sim.clone());
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.strike(&sim, &ledger.as_of(point.cut), point, what, &mut rng)
        }));
        self.tally.note_branches();
        match done {
            Ok(Ok(())) => true,
            Ok(Err(Broken(kind, text))) => {
                self.fail(kind, format!("{}: {text}", what.name()), case, &sim.story());
                false
            }
            Err(_) => {
                self.fail(Kind::Invariant, format!("{}: a panic", what.name()), case, &sim.story());
                false
            }
        }
    }

    fn strike(
        &mut self,
        sim: &Rc<Sim>,
        ledger: &Ledger,
        point: &Point,
        what: What,
        rng: &mut Rng,
    ) -> Result<(), Broken> {
        let owners = Rc::new(RefCell::new(point.owners.clone()));
        owners.borrow_mut().begin_case(point.cut);
        sim.power_on(rng.next_u64());
        let faults = faults(what, sim, &owners.borrow(), rng);
        for (at, fault) in &faults {
            owners.borrow_mut().expect(*at, *fault);
            sim.inject_at(*at, *fault);
        }
        let seed = rng.next_u64();
        let mut told = Told::default();
        let mut world = self.mount(sim, &owners, ledger, seed)?;
        if let [(_, Fault::Flip { segment, offset, .. })] = faults[..]
            && offset < headers_bytes(&sim.geometry())
            && world.left_alone.contains(&segment)
        {
            let what = format!("a flip in one copy of its header costs segment {segment}");
            return Err(Broken::of(Kind::Invariant, what));
        }
        self.judge(&mut world, &owners, &mut told, "after the mount", false)?;
        let mut restarts = 0;
        for n in 0..ACTS {
            let act = if n % 10 == 9 { world.perform(Act::Sync) } else { world.act() };
            self.go_on(&mut world, act, &mut restarts)?;
        }
        let synced = world.perform(Act::Sync);
        self.go_on(&mut world, synced, &mut restarts)?;
        self.judge(&mut world, &owners, &mut told, "after work went on", true)?;
        let ledger = world.stop();
        if rng.one_in(2) {
            sim.power_on(rng.next_u64());
        }
        let mut world = self.mount(sim, &owners, &ledger, seed)?;
        let Cost { hit, reported } =
            self.judge(&mut world, &owners, &mut told, "after a second mount", true)?;
        self.tally.hit += hit;
        self.tally.reported += reported;
        Ok(())
    }

    /// Mounts, as often as the daemon would.
    fn mount(
        &self,
        sim: &Rc<Sim>,
        owners: &Rc<RefCell<Owners>>,
        ledger: &Ledger,
        seed: u64,
    ) -> Result<World<Watched>, Broken> {
        let mut tries = 0;
        let mut world = loop {
            match World::mount(Rc::clone(sim), connect(sim, owners), self.script, ledger.clone(), seed) {
                Ok(world) => break world,
                Err(Error::Write(_)) if tries < RESTARTS_MAX => tries += 1,
                Err(error) => return Err(Broken::of(Kind::Invariant, format!("no mount: {error}"))),
            }
        };
        world.is_told = self.is_told;
        if self.is_told {
            let (report, left_alone) = (world.spool()?.mount_report(), &world.left_alone);
            println!("mounted: {report:?}, left alone {left_alone:?}");
            world.spool()?.inside().iter().for_each(|line| println!("         {line}"));
        }
        Ok(world)
    }

    /// Mounts anew if the log has stopped.
    fn go_on(
        &self,
        world: &mut World<Watched>,
        mut done: Result<(), Trouble>,
        restarts: &mut u32,
    ) -> Result<(), Broken> {
        while let Err(Trouble::Stopped(error)) = &done {
            if !matches!(error, Error::Write(_) | Error::ReadOnly) {
                return Err(Broken::of(Kind::Invariant, format!("an act fails: {error}")));
            }
            *restarts += 1;
            if *restarts > RESTARTS_MAX {
                return Err(Broken::of(
                    Kind::Invariant,
                    format!("the log does not get going again: {error}"),
                ));
            }
            if self.is_told {
                println!("the log stopped: {error}");
            }
            done = world.restart();
        }
        Ok(done?)
    }

    /// Whether what is wrong is what the faults touched, is told of, and has not been erased.
    fn judge(
        &mut self,
        world: &mut World<Watched>,
        owners: &Rc<RefCell<Owners>>,
        told: &mut Told,
        when: &str,
        settled: bool,
    ) -> Result<Cost, Broken> {
        let wrongs = world.wrongs(Look { settled, bodies: true, closely: false });
        let owners = owners.borrow();
        if self.is_told {
            println!("{when}: {wrongs:?}, touched {:?}", owners.touched);
        }
        told.segments.extend(&world.left_alone);
        let mut cost = Cost::default();
        for wrong in wrongs {
            let is_finished = |id| world.ledger.story(id).is_some_and(ledger::Story::is_finished);
            let touches = permitted(&wrong, &owners.touched, is_finished)
                .map_err(|kind| Broken::of(kind, format!("{when}: {wrong:?}, which nothing touched")))?;
            // Where nothing says that something had to be there, a read that fails still tells of the place.
            let fails_to_read = touches.went_unnoticed && world.spool()?.mount_report().damaged_frames > 0;
            if told.tells_of(&wrong, touches, world.spool()?) || fails_to_read {
                cost.hit += 1;
                cost.reported += 1;
            } else if touches.went_unnoticed {
                let (name, _) = GEOMETRIES[self.geometry];
                self.tally.count(name, UNNOTICED);
            } else {
                return Err(Broken::of(
                    Kind::Invariant,
                    format!("{when}: {wrong:?}, and nothing tells of it"),
                ));
            }
            let story = wrong.message().and_then(|id| world.ledger.story(id).map(|story| (id, story)));
            let Some((id, story)) = story else { continue };
            let is_gone = matches!(wrong, Wrong::Lost(_) | Wrong::Unreadable(..));
            if is_gone && !touches.went_unnoticed && !story.is_finished() && owners.erased.contains(&id.0) {
                return Err(Broken::of(
                    Kind::Lost,
                    format!("{when}: {wrong:?}, and where it stood was erased"),
                ));
            }
        }
        Ok(cost)
    }
}

/// What the faults of a case have cost in the end, and how much of that the log has reported.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    hit: u64,
    reported: u64,
}

/// What the log itself has told of.
#[derive(Debug, Default)]
struct Told {
    /// Segments that it left alone.
    segments: BTreeSet<u32>,
    /// Messages that it refused to give out, or said were torn.
    messages: BTreeSet<MessageId>,
}

impl Told {
    /// Whether the log told of this, be it by the message or by the segment that a touched part of it stood in.
    fn tells_of<M: Medium>(&mut self, wrong: &Wrong, touches: &Touches, spool: &Spool<M, Vec<u8>>) -> bool {
        if let Some(id) = wrong.message() {
            let fates = spool.fates(id);
            let is_torn = fates.is_some_and(|fates| fates.iter().all(|(.., fate)| *fate == Fate::Torn));
            let is_refused = matches!(wrong, Wrong::Unreadable(_, Error::Damaged(_)) | Wrong::Leftover(_));
            if is_torn || is_refused {
                self.messages.insert(id);
            }
            if self.messages.contains(&id) {
                return true;
            }
        }
        touches.segments.iter().any(|segment| self.segments.contains(segment))
    }
}

/// What faults touched of the thing that is wrong; the kind of failure where they may not cost that.
fn permitted<'t>(
    wrong: &Wrong,
    touched: &'t Touched,
    is_finished: impl Fn(MessageId) -> bool,
) -> Result<&'t Touches, Kind> {
    let message = |id: &MessageId| touched.get(&About::Message(id.0));
    let fate = |id: &MessageId| touched.get(&About::Fate(id.0));
    match wrong {
        Wrong::Altered(_) | Wrong::Stranger(_) | Wrong::EventLost(_) | Wrong::EventStranger => {
            Err(Kind::Half)
        }
        // Of finished mail a part may be given up; that shows when the record that it is finished is lost.
        Wrong::Unreadable(id, _) if is_finished(*id) => fate(id).or(message(id)).ok_or(Kind::Lost),
        Wrong::Lost(id) | Wrong::Unreadable(id, _) => message(id).ok_or(Kind::Lost),
        // That it was torn stands in a fate.
        Wrong::SentAgain(id, _) | Wrong::OtherFate(id, ..) | Wrong::Leftover(id) => {
            fate(id).ok_or(Kind::Invariant)
        }
        Wrong::OldState(_) => touched.get(&About::State).ok_or(Kind::Invariant),
    }
}

/// The bytes at the beginning of a segment that the copies of its header take (FORMAT.md).
fn headers_bytes(geometry: &Geometry) -> u32 {
    2 * 192u32.next_multiple_of(geometry.unit_bytes.max(16))
}

/// The faults of a case, each with its operation.
fn faults(what: What, sim: &Sim, owners: &Owners, rng: &mut Rng) -> Vec<(u64, Fault)> {
    let geometry = sim.geometry();
    let now = sim.operations();
    // Some strike what lies there, others what is written from now on.
    let soon = now + rng.below(60);
    let (segment, range) = owners.place(rng.next_u64(), rng.next_u64()).unwrap_or((0, 0..1));
    let offset = range.start;
    let flip =
        |rng: &mut Rng, segment: u32, offset: u32| Fault::Flip { segment, offset, mask: 1 << rng.below(8) };
    match what {
        What::Flip => vec![(now, flip(rng, segment, offset))],
        What::TwoFlips => {
            let (other, other_range) = owners.place(rng.next_u64(), rng.next_u64()).unwrap_or((0, 0..1));
            vec![(now, flip(rng, segment, offset)), (now, flip(rng, other, other_range.start))]
        }
        What::Stuck => {
            let (mask, ones) = (1 << rng.below(8), rng.one_in(2));
            vec![(now, Fault::Stuck { segment, offset, mask, ones })]
        }
        What::Unreadable => {
            // On a disk a sector, on cells with an ECC a unit, elsewhere what a driver refuses.
            let unit = geometry.unit_bytes.max(16);
            let (offset, len_bytes) = (offset / unit * unit, unit * (1 + rng.below(3) as u32));
            // One of the two headers stays.
            let header_bytes = headers_bytes(&geometry) / 2;
            let end = if offset < header_bytes { header_bytes } else { geometry.segment_bytes };
            let len_bytes = len_bytes.min(end - offset);
            vec![(now, Fault::Unreadable { segment, offset, len_bytes })]
        }
        What::Headless => {
            let len_bytes = headers_bytes(&geometry);
            vec![(now, Fault::Unreadable { segment, offset: 0, len_bytes })]
        }
        What::Misdirect => {
            let unit = geometry.unit_bytes;
            vec![(soon, Fault::Misdirect { segment, offset: offset / unit * unit })]
        }
        What::FailRead => (0..1 + rng.below(3)).map(|n| (now + n, Fault::FailRead { code: 5 })).collect(),
        What::FailProgram => vec![(soon, Fault::FailProgram { code: 5 })],
        What::FailSync => vec![(soon, Fault::FailSync { code: 5 })],
        What::FailErase => vec![(soon, Fault::FailErase { code: 5 })],
        What::IgnoreProgram => vec![(soon, Fault::IgnoreProgram)],
        What::IgnoreErase => vec![(soon, Fault::IgnoreErase)],
        What::Endurance => {
            let most = sim.erase_counts().into_iter().max().unwrap_or(1);
            vec![(now, Fault::Endurance { erases: most })]
        }
    }
}

fn connect(sim: &Rc<Sim>, owners: &Rc<RefCell<Owners>>) -> Connect<Watched> {
    let (sim, owners) = (Rc::clone(sim), Rc::clone(owners));
    Rc::new(move |_| Watched::new(&sim, &owners))
}
