//! Class B: the medium is not what it says.
//!
//! A workload runs and is cut at some operation; on what that left, one or two things go wrong, before the mount or in
//! the operations after it, and the log works on, is stopped, mounted and looked at again. What may be lost is what the
//! faults touched, by [`Owners`]; each loss must be told of; altered bytes are never given out; what cannot be read is
//! never erased; and the box never stops: when a write fails, the log is mounted anew as the daemon does and goes on.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use penstock_flash::sim::{Fault, Rng, Sim, Story};
use penstock_flash::{Erase, Geometry};
use penstock_spool::{Error, MessageId, MountReport};

use crate::common::{GEOMETRIES, formatted};
use crate::ledger::{self, Ledger, Look, Wrong};
use crate::owners::{Owners, Touched, Watched};
use crate::replay::{Class, Line, mix};
use crate::tally::{Failure, Kind, Tally};
use crate::workload::{Act, Connect, Script, Trouble, World};

/// How cases are called in the tally that end in a flaw which is awaited to be mended.
const UNTOLD: &str = "awaited: lost, and not told of";
const ERASED: &str = "awaited: lost, and erased";

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
    const ALL: &'static [Self] = &[
        Self {
            what: &[What::Endurance],
            why: "on block media, segments that fail for ever: a device that has no spare blocks left is replaced",
        },
        Self {
            what: &[What::IgnoreProgram, What::Misdirect],
            why: "on block media, programs that go astray and report success: nothing is read back, and a gap in \
                  the groups is not told of",
        },
    ];
}

/// A flaw of the log that is known and not mended yet. Cases that end in one are counted and printed, and do not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Something was lost that a fault touched, and nothing tells of it.
    Untold,
    /// Where something damaged stood was erased.
    Erased,
}

/// The flaws that are awaited to be mended, and why they are there. Empty when the log keeps all its promises.
const AWAITED: &[(Flaw, &str)] = &[
    (
        Flaw::Untold,
        "a scan that ends at rot counts no damage: on block media old bytes may follow, not blank ones",
    ),
    (Flaw::Erased, "a scan that comes upon damage does not keep the segment from being given up"),
];

/// Cases that are known to fail and not mended yet: what went wrong, how that shows, and why it is there.
const AWAITED_CASES: &[(What, &str, &str)] = &[
    (What::Misdirect, "which nothing touched", "mail beside what a misdirected program hit is lost with it"),
    (What::FailErase, "without a segment to spare", "restarts after a failing erase can use up the reserve"),
];

/// How such cases are called in the tally.
const FAILS: &str = "awaited: fails";

/// The exceptions as they are printed with the verdict.
pub(crate) fn print_exceptions() {
    for exception in Exception::ALL {
        println!("left out: {:?} {}", exception.what, exception.why);
    }
    println!("AWAITED: a free segment that a scan finds suspect may not be so by checkpoint; not compared");
    for (what, how, why) in AWAITED_CASES {
        println!("AWAITED: {what:?} ({how}): {why}");
    }
    for (flaw, why) in AWAITED {
        println!("AWAITED: {flaw:?}: {why}");
    }
}

/// Whether frames of a segment that lost both its headers are found. If not, all that stands in it counts as touched.
const HEADLESS_FRAMES_ARE_TRIED: bool = true;

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
struct Broken(Kind, String, Option<Flaw>);

impl Broken {
    fn of(kind: Kind, what: String) -> Self {
        Self(kind, what, None)
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
            Err(Broken(kind, what, _)) => return self.fail(kind, what, 0, &Story::default()),
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
            Err(Broken(kind, what, _)) => self.fail(kind, what, case, &Story::default()),
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
            Ok(Err(Broken(.., Some(flaw))))
                if AWAITED.iter().any(|(known, _)| *known == flaw) && !self.is_told =>
            {
                self.tally.hit += 1;
                self.tally.reported += u64::from(flaw != Flaw::Untold);
                self.tally.count(name, if flaw == Flaw::Untold { UNTOLD } else { ERASED });
                true
            }
            Ok(Err(Broken(_, text, _)))
                if !self.is_told
                    && AWAITED_CASES.iter().any(|(known, how, _)| *known == what && text.contains(how)) =>
            {
                self.tally.count(name, FAILS);
                true
            }
            Ok(Err(Broken(kind, text, _))) => {
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
        owners.borrow_mut().begin_case();
        sim.power_on(rng.next_u64());
        let faults = faults(what, sim, &owners.borrow(), rng);
        for (at, fault) in faults {
            owners.borrow_mut().expect(at, fault);
            sim.inject_at(at, fault);
            if let (What::Headless, false, Fault::Unreadable { segment, .. }) =
                (what, HEADLESS_FRAMES_ARE_TRIED, fault)
            {
                owners.borrow_mut().touch(segment, 0..sim.geometry().segment_bytes);
            }
        }
        let seed = rng.next_u64();
        let mut reports = Vec::new();
        let mut world = self.mount(sim, &owners, ledger, seed, &mut reports)?;
        self.judge(&mut world, &owners, &reports, "after the mount", false)?;
        let mut restarts = 0;
        for n in 0..ACTS {
            let act = if n % 10 == 9 { world.perform(Act::Sync) } else { world.act() };
            self.go_on(&mut world, act, &mut restarts, &mut reports)?;
        }
        let synced = world.perform(Act::Sync);
        self.go_on(&mut world, synced, &mut restarts, &mut reports)?;
        self.judge(&mut world, &owners, &reports, "after work went on", true)?;
        let ledger = world.stop();
        if rng.one_in(2) {
            sim.power_on(rng.next_u64());
        }
        let mut world = self.mount(sim, &owners, &ledger, seed, &mut reports)?;
        let lost = self.judge(&mut world, &owners, &reports, "after a second mount", true)?;
        self.tally.hit += lost;
        self.tally.reported += lost;
        Ok(())
    }

    /// Mounts, as often as the daemon would.
    fn mount(
        &self,
        sim: &Rc<Sim>,
        owners: &Rc<RefCell<Owners>>,
        ledger: &Ledger,
        seed: u64,
        reports: &mut Vec<MountReport>,
    ) -> Result<World<Watched>, Broken> {
        let mut tries = 0;
        let mut world = loop {
            match World::mount(Rc::clone(sim), connect(sim, owners), self.script, ledger.clone(), seed) {
                Ok(world) => break world,
                Err(Error::Write(_)) if tries < RESTARTS_MAX => tries += 1,
                Err(error) => return Err(Broken::of(Kind::Invariant, format!("no mount: {error}"))),
            }
        };
        let report = world.spool()?.mount_report();
        if self.is_told {
            println!("mounted: {report:?}");
        }
        reports.push(report);
        Ok(world)
    }

    /// Mounts anew if the log has stopped.
    fn go_on(
        &self,
        world: &mut World<Watched>,
        mut done: Result<(), Trouble>,
        restarts: &mut u32,
        reports: &mut Vec<MountReport>,
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
            if done.is_ok() {
                reports.push(world.spool()?.mount_report());
            }
        }
        Ok(done?)
    }

    /// Whether what is wrong is what the faults touched, is told of, and has not been erased. Gives how much is lost.
    fn judge(
        &self,
        world: &mut World<Watched>,
        owners: &Rc<RefCell<Owners>>,
        reports: &[MountReport],
        when: &str,
        settled: bool,
    ) -> Result<u64, Broken> {
        let wrongs = world.wrongs(Look { settled, bodies: true, closely: false });
        let owners = owners.borrow();
        if self.is_told {
            println!("{when}: {wrongs:?}, touched {:?}", owners.touched);
        }
        let told = reports
            .iter()
            .any(|r| r.damaged_frames + r.quarantined_segments + r.torn_messages + r.damaged_messages > 0);
        let mut lost = 0;
        for wrong in wrongs {
            let told = told || matches!(wrong, Wrong::Unreadable(_, Error::Damaged(_)));
            let is_finished = |id| world.ledger.story(id).is_some_and(ledger::Story::is_finished);
            if let Err(kind) = permitted(&wrong, &owners.touched, is_finished) {
                return Err(Broken::of(kind, format!("{when}: {wrong:?}, which nothing touched")));
            }
            if !told {
                let text = format!("{when}: {wrong:?}, and nothing tells of it");
                return Err(Broken(Kind::Invariant, text, Some(Flaw::Untold)));
            }
            lost += 1;
            let story = wrong.message().and_then(|id| world.ledger.story(id).map(|story| (id, story)));
            let Some((id, story)) = story else { continue };
            let is_gone = matches!(wrong, Wrong::Lost(_) | Wrong::Unreadable(..));
            if is_gone && !story.is_finished() && owners.erased.contains(&id.0) {
                let text = format!("{when}: {wrong:?}, and where it stood was erased");
                return Err(Broken(Kind::Lost, text, Some(Flaw::Erased)));
            }
        }
        Ok(lost)
    }
}

/// Whether faults that touched this may cost that; the kind of failure where not.
fn permitted(wrong: &Wrong, touched: &Touched, is_finished: impl Fn(MessageId) -> bool) -> Result<(), Kind> {
    let (is_it, kind) = match wrong {
        Wrong::Altered(_) | Wrong::Stranger(_) => (false, Kind::Half),
        // Of finished mail a part may be given up; that shows when the record that it is finished is lost.
        Wrong::Unreadable(id, _) if touched.fates.contains(&id.0) && is_finished(*id) => (true, Kind::Lost),
        Wrong::Lost(id) | Wrong::Unreadable(id, _) => (touched.messages.contains_key(&id.0), Kind::Lost),
        Wrong::SentAgain(id, _) | Wrong::OtherFate(id, ..) => {
            (touched.fates.contains(&id.0), Kind::Invariant)
        }
        Wrong::OldState(_) => (touched.state, Kind::Invariant),
        Wrong::EventLost(_) | Wrong::EventStranger => (true, Kind::Invariant),
    };
    if is_it { Ok(()) } else { Err(kind) }
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
            let header_bytes = 160u32.next_multiple_of(unit);
            let end = if offset < header_bytes { header_bytes } else { geometry.segment_bytes };
            let len_bytes = len_bytes.min(end - offset);
            vec![(now, Fault::Unreadable { segment, offset, len_bytes })]
        }
        What::Headless => {
            let len_bytes = 2 * 160u32.next_multiple_of(geometry.unit_bytes.max(16));
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
