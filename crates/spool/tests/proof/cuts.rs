//! Class A: a cut in every operation of every workload, and in every operation of the recovery after it.
//!
//! Each copy that the simulator kept of a workload is powered on in several ways, mounted and checked; then the log
//! works on, as it would, is checked again, stopped, mounted and checked a third time. A recovery is itself a
//! workload: on the smallest geometry each distinct one is cut in every operation too, on the others one in so many;
//! and of these cuts some once more.

use std::collections::HashSet;
use std::rc::Rc;

use penstock_flash::Erase;
use penstock_flash::sim::{SEED_DROP_ALL, SEED_KEEP_ALL, Sim, SimMedium, Story};
use penstock_spool::{MessageId, MountOptions, Spool, Summary};

use crate::common::{GEOMETRIES, buffers, formatted};
use crate::ledger::{Ledger, Look, Wrong};
use crate::replay::{Class, Line, mix};
use crate::tally::{Failure, Kind, Tally};
use crate::workload::{Act, Connect, Script, Trouble, World};

/// The geometry on which every distinct recovery is cut in every operation: that with the smallest unit.
pub(crate) const SMALLEST: usize = 0;
/// On the others one recovery in so many is.
const RECOVERY_SAMPLE: u64 = 600;
/// Of the cuts in recoveries one in so many is followed by cuts in the recovery after it.
const DEPTH_3_SAMPLE: u64 = 4000;

/// What a run of cuts is about.
pub(crate) struct Cuts<'a> {
    geometry: usize,
    script: &'static Script,
    seed: u64,
    tally: &'a mut Tally,
    /// Recoveries that were cut already, by what the medium held.
    known: HashSet<u64>,
    /// Whether all that is come across is printed.
    is_told: bool,
}

/// How cuts in a recovery are called in the tally.
pub(crate) const RECOVERY_CUT: &str = "cut in a recovery";
/// How mounts are called that were done by the checkpoint and without it.
const BOTH_WAYS: &str = "mounted by checkpoint and by scan";
/// How the recoveries are called that were cut everywhere.
const RECOVERIES: &str = "recoveries cut in each operation";

/// A promise broken, before it is known by what line.
struct Broken {
    kind: Kind,
    what: String,
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Self {
        let what = match trouble {
            Trouble::Stopped(error) => format!("the log stopped: {error}"),
            Trouble::Broken(what) => what,
        };
        Self { kind: Kind::Invariant, what }
    }
}

impl Broken {
    fn invariant(what: impl Into<String>) -> Self {
        Self { kind: Kind::Invariant, what: what.into() }
    }

    fn of(wrong: Wrong, when: &str) -> Self {
        let kind = match wrong {
            Wrong::Lost(_) | Wrong::Unreadable(..) => Kind::Lost,
            Wrong::Altered(_) | Wrong::Stranger(_) => Kind::Half,
            _ => Kind::Invariant,
        };
        Self { kind, what: format!("{when}: {wrong:?}") }
    }
}

/// How a power-on seed is told of.
fn way_of(seed: u64) -> &'static str {
    match seed {
        SEED_DROP_ALL => "cut, un-synced dropped",
        SEED_KEEP_ALL => "cut, un-synced kept",
        _ => "cut, un-synced kept, dropped or torn",
    }
}

/// The seeds with which a cut is powered on.
fn seeds_of(workload: u64, cut: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |n| if n < 2 { n } else { 2 + (mix(workload, mix(cut, n)) >> 8) })
}

/// A workload with a copy of the medium for each of its operations.
fn run_workload(geometry: usize, script: &'static Script, seed: u64) -> Result<(Ledger, Vec<Sim>), Broken> {
    let sim = Rc::new(formatted(GEOMETRIES[geometry].1));
    let mut world = World::mount(Rc::clone(&sim), connect(), script, Ledger::default(), seed)
        .map_err(|error| Broken::invariant(format!("a new volume: {error}")))?;
    world.warm_up()?;
    sim.branch_everywhere();
    world.run()?;
    if sim.counters().violations > 0 {
        return Err(Broken::invariant("a unit was programmed twice or without an erase"));
    }
    Ok((world.stop(), sim.take_branches()))
}

fn connect() -> Connect<SimMedium> {
    Rc::new(Sim::medium)
}

impl<'a> Cuts<'a> {
    pub(crate) fn new(geometry: usize, script: &'static Script, seed: u64, tally: &'a mut Tally) -> Self {
        Self { geometry, script, seed, tally, known: HashSet::new(), is_told: false }
    }

    /// All cuts of the workload, each powered on in `power_ons` ways. Ends with the first broken promise.
    pub(crate) fn run(&mut self, power_ons: u64) {
        let (ledger, branches) = match run_workload(self.geometry, self.script, self.seed) {
            Ok(done) => done,
            Err(broken) => return self.fail(broken, &Story::default()),
        };
        for branch in branches {
            for seed in seeds_of(self.seed, branch.operations() - 1, power_ons) {
                if !self.survive(&ledger, &branch, seed, 1) {
                    return;
                }
            }
        }
    }

    /// Does one scenario again and tells what it comes across.
    pub(crate) fn replay(&mut self, story: &Story) {
        self.is_told = true;
        let cuts: Vec<u64> = story.faults().map(|(at, _)| at).collect();
        let stops: Vec<(u64, u64)> = cuts.into_iter().zip(story.seeds()).collect();
        let (mut ledger, mut branches) = match run_workload(self.geometry, self.script, self.seed) {
            Ok(done) => done,
            Err(broken) => return self.fail(broken, story),
        };
        for (cut, seed) in stops {
            let Some(branch) = branches.into_iter().find(|branch| branch.operations() == cut + 1) else {
                println!("there is no operation {cut} in this story");
                return;
            };
            println!("cut in operation {cut}, power on with seed {seed}");
            let sim = Rc::new(branch);
            sim.power_on(seed);
            sim.branch_everywhere();
            match self.recover(&sim, ledger.as_of(cut), mix(cut, seed)) {
                Ok(recovered) => (ledger, branches) = (recovered, sim.take_branches()),
                Err(broken) => return self.fail(broken, story),
            }
        }
        println!("all promises were kept");
    }

    fn fail(&mut self, broken: Broken, story: &Story) {
        let (geometry, _) = GEOMETRIES[self.geometry];
        let replay = Line { class: Class::Cuts, geometry, script: self.script.name, seed: self.seed, story }
            .to_string();
        self.tally.failures.push(Failure { kind: broken.kind, what: broken.what, replay });
    }

    /// Powers a cut medium on and sees that all promises are kept, and then in the recovery's own cuts. Whether they
    /// were.
    fn survive(&mut self, ledger: &Ledger, branch: &Sim, seed: u64, depth: u32) -> bool {
        let (name, _) = GEOMETRIES[self.geometry];
        let cut = branch.operations() - 1;
        let what = match depth {
            1 => way_of(seed),
            2 => RECOVERY_CUT,
            _ => "cut in the recovery from that",
        };
        self.tally.count(name, what);
        let sim = Rc::new(branch.clone());
        sim.power_on(seed);
        let salt = mix(cut, seed);
        let deep = self.goes_deep(&sim, salt, depth);
        if deep {
            sim.branch_everywhere();
        }
        let recovered = self.recover(&sim, ledger.as_of(cut), salt);
        self.tally.note_branches();
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(broken) => {
                self.fail(broken, &sim.story());
                return false;
            }
        };
        if deep {
            self.tally
                .count(name, if depth == 1 { RECOVERIES } else { "recoveries cut, from a cut recovery" });
        }
        sim.take_branches().iter().all(|branch| {
            let drawn = 2 + (mix(salt, branch.operations()) >> 8);
            let seed = if drawn.is_multiple_of(4) { drawn >> 2 & 1 } else { drawn };
            self.survive(&recovered, branch, seed, depth + 1)
        })
    }

    /// Whether a recovery is cut in each of its operations.
    fn goes_deep(&mut self, sim: &Sim, salt: u64, depth: u32) -> bool {
        match depth {
            1 if self.geometry == SMALLEST => self.known.insert(hash(&sim.image())),
            1 => self.works_on(salt) && salt.is_multiple_of(RECOVERY_SAMPLE),
            2 => salt.is_multiple_of(DEPTH_3_SAMPLE),
            _ => false,
        }
    }

    /// Whether the log does more after a mount than to sync. On the smallest geometry always, elsewhere every other time.
    fn works_on(&self, salt: u64) -> bool {
        self.geometry == SMALLEST || salt >> 20 & 1 == 0
    }

    /// The log from power-on to where it has written again, stopped and been mounted once more. Gives the promises as
    /// they stand then.
    fn recover(&mut self, sim: &Rc<Sim>, ledger: Ledger, salt: u64) -> Result<Ledger, Broken> {
        // Bits on the brink need not read alike twice. And after more than one stop a scan may count an empty segment as in
        // use of which the checkpoint knows that it was never opened, and fates as scattered that it knows to be in one place.
        let is_exact = sim.geometry().erase == Erase::Logical || sim.story().seeds().all(|seed| seed < 2);
        let by_scan =
            is_exact && !self.script.has_stops() && sim.story().seeds().count() == 1 && salt >> 24 & 1 == 0;
        let mut world = self.mount(sim, ledger, salt, by_scan)?;
        let close = salt.is_multiple_of(8);
        self.check(&mut world, Look { settled: false, bodies: true, closely: close }, "after the mount")?;
        // The first writes after a recovery are where a wrong belief does harm, whichever they are.
        let first = [Act::Step, Act::Sync, Act::DeliverAny, Act::Begin][(salt >> 8 & 3) as usize];
        self.act(&mut world, first)?;
        if self.works_on(salt) {
            for act in [Act::Store, Act::Sync, Act::Deliver, Act::Sync, Act::Put, Act::Tell] {
                self.act(&mut world, act)?;
            }
            for _ in 0..20 {
                self.act(&mut world, Act::Step)?;
            }
        }
        self.act(&mut world, Act::Sync)?;
        if sim.counters().violations > 0 {
            return Err(Broken::invariant("a unit was programmed twice or without an erase"));
        }
        let look = Look { settled: true, bodies: salt >> 16 & 3 == 0, closely: false };
        self.check(&mut world, look, "after work went on")?;
        let cleanly = salt >> 18 & 1 == 0;
        let ledger = if cleanly { world.close()? } else { world.stop() };
        let mut world = self.mount(sim, ledger, salt, false)?;
        // Where nothing was written there was nothing to stop.
        if cleanly && self.works_on(salt) && !world.spool()?.mount_report().clean {
            return Err(Broken::invariant("a clean stop was not found clean"));
        }
        self.check(&mut world, Look { settled: true, bodies: true, closely: close }, "after a second mount")?;
        if salt >> 19 & 3 == 0 {
            let seen = seen(&mut world)?;
            let mut again = self.mount(sim, world.stop(), salt, false)?;
            if self::seen(&mut again)? != seen {
                return Err(Broken::invariant("a third mount found something else than the second"));
            }
            return Ok(again.stop());
        }
        Ok(world.stop())
    }

    /// Mounts, which writes nothing and never quarantines what a cut has left.
    fn mount(
        &mut self,
        sim: &Rc<Sim>,
        ledger: Ledger,
        salt: u64,
        by_scan: bool,
    ) -> Result<World<SimMedium>, Broken> {
        let before = sim.counters();
        let mut world = World::mount(Rc::clone(sim), connect(), self.script, ledger, salt)
            .map_err(|error| Broken::invariant(format!("no mount: {error}")))?;
        let after = sim.counters();
        if (after.programmed_bytes, after.erases) != (before.programmed_bytes, before.erases) {
            return Err(Broken::invariant("a mount wrote something"));
        }
        let report = world.spool()?.mount_report();
        if self.is_told {
            println!("mounted: {report:?}");
            println!("         {:?}", world.spool()?.info());
            world.spool()?.inside().iter().for_each(|line| println!("         {line}"));
        }
        if by_scan {
            let options = MountOptions { uses_checkpoint: false, ..self.script.options() };
            let twin = (**sim).clone();
            let other = Spool::mount(twin.medium(), buffers(), options)
                .map_err(|error| Broken::invariant(format!("no mount by a scan: {error}")))?;
            self.tally.count(GEOMETRIES[self.geometry].0, BOTH_WAYS);
            // Which free segments are erased once more before use is a precaution, and a scan takes it more often.
            let plain = |lines: Vec<String>| -> Vec<String> {
                lines.into_iter().map(|line| line.replace(", suspect", "")).collect()
            };
            let (hinted, scanned) = (plain(world.spool()?.inside()), plain(other.inside()));
            if hinted != scanned {
                if self.is_told {
                    let only = |these: &[String], those: &[String]| {
                        these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>()
                    };
                    println!("by checkpoint {:#?}", only(&hinted, &scanned));
                    println!("by scan {:#?}", only(&scanned, &hinted));
                }
                return Err(Broken::invariant("the mount by checkpoint found something else than the scan"));
            }
        }
        if report.quarantined_segments > 0 {
            return Err(Broken::invariant("a segment is quarantined though nothing rots"));
        }
        if report.rotten_segments > 0 {
            return Err(Broken::invariant("something durable is missing in a segment though nothing rots"));
        }
        if report.damaged_messages > 0 {
            return Err(Broken { kind: Kind::Lost, what: "a message is damaged though nothing rots".into() });
        }
        Ok(world)
    }

    fn act(&self, world: &mut World<SimMedium>, act: Act) -> Result<(), Broken> {
        let begun = world.sim.operations();
        let done = world.perform(act);
        if self.is_told {
            let wrongs = world.wrongs(Look { settled: false, bodies: false, closely: false });
            println!("  {act:?}, operations {begun}..{}: {wrongs:?}", world.sim.operations());
        }
        Ok(done?)
    }

    fn check(&self, world: &mut World<SimMedium>, look: Look, when: &str) -> Result<(), Broken> {
        let wrongs = world.wrongs(look);
        if self.is_told {
            println!("{when}: {wrongs:?}");
        }
        wrongs.first().map_or(Ok(()), |wrong| Err(Broken::of(*wrong, when)))
    }
}

/// What a mount shows of a volume. Kept mail is left out: of what a cut has torn a part may still be fading.
fn seen(world: &mut World<SimMedium>) -> Result<impl PartialEq + use<>, Trouble> {
    let spool = world.spool()?;
    let queue: Vec<Summary> = spool.queue(MessageId(0)).collect();
    let info = spool.info();
    Ok((queue, info.segments, info.live_bytes, info.boot))
}

fn hash(image: &[u8]) -> u64 {
    image.chunks_exact(8).fold(0, |hash: u64, word| {
        let word = word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    })
}
