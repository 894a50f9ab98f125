//! No power cut loses what was acknowledged, sends again what is known delivered, or leaves half a message.
//!
//! A scripted workload runs once; the simulator keeps a copy of the medium for a cut in each of its operations. Each
//! copy is powered on in several ways and must keep what had been promised by then, work on, and keep it again.

#![allow(
    unsafe_code,
    unused_qualifications,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is the verdict, and it says what it did"
)]

mod common;

use std::collections::BTreeMap;

use common::*;
use penstock_flash::sim::{Fault, Rng, SEED_DROP_ALL, SEED_KEEP_ALL, Sim};
use penstock_spool::{Error, Event, Incoming, MessageId};

/// What happened to a message, each by the number of the medium's operations when it was so.
#[derive(Clone, Debug)]
struct Story {
    mail: Mail,
    acknowledged: Option<u64>,
    /// Its delivery was noted, perhaps not yet durably.
    noted: Option<u64>,
    delivered: Option<u64>,
}

/// A workload that remembers what it was promised.
struct Workload {
    rng: Rng,
    number: u64,
    stories: BTreeMap<MessageId, Story>,
    meta: Vec<(u64, u8)>,
    open: Vec<(Incoming, Mail, usize)>,
    committed: Vec<MessageId>,
    noted: Vec<MessageId>,
    meta_put: Option<u8>,
}

impl Workload {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            number: 0,
            stories: BTreeMap::new(),
            meta: Vec::new(),
            open: Vec::new(),
            committed: Vec::new(),
            noted: Vec::new(),
            meta_put: None,
        }
    }

    /// One random act. Running out of space is part of life.
    fn act(&mut self, sim: &Sim, spool: &mut TestSpool) -> Result<(), Error> {
        let done = match self.rng.below(16) {
            0..=3 => self.begin(spool),
            4..=7 => self.write(sim, spool),
            8..=10 => self.sync(sim, spool),
            11..=13 => self.deliver(sim, spool),
            14 => spool.step(stamp(0)).map(|_| ()),
            _ => self.note(spool),
        };
        match done {
            Err(Error::Full) => Ok(()),
            done => done,
        }
    }

    fn begin(&mut self, spool: &mut TestSpool) -> Result<(), Error> {
        if self.open.len() >= 4 {
            return Ok(());
        }
        self.number += 1;
        let size = [0, 60, 300, 900, 2600, 9000][self.rng.below(6) as usize];
        let mail = mail(self.number, 1 + self.rng.below(3) as u16, size);
        let incoming = spool.begin(&mail.begin, &mail.recipients, Some(size as u64))?;
        self.open.push((incoming, mail, 0));
        Ok(())
    }

    fn write(&mut self, _: &Sim, spool: &mut TestSpool) -> Result<(), Error> {
        if self.open.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.open.len() as u64) as usize;
        let (mut incoming, mail, mut written) = self.open.swap_remove(at);
        if self.rng.one_in(12) {
            spool.abort(incoming);
            return Ok(());
        }
        let piece = (mail.body.len() - written).min(1 + self.rng.below(4000) as usize);
        if let Err(error) = spool.write(&mut incoming, &mail.body[written..written + piece]) {
            spool.abort(incoming);
            return Err(error);
        }
        written += piece;
        if written < mail.body.len() {
            self.open.push((incoming, mail, written));
            return Ok(());
        }
        let id = incoming.id();
        self.stories.insert(id, Story { mail, acknowledged: None, noted: None, delivered: None });
        spool.commit(incoming)?;
        self.committed.push(id);
        Ok(())
    }

    fn sync(&mut self, sim: &Sim, spool: &mut TestSpool) -> Result<(), Error> {
        spool.sync()?;
        let now = sim.operations();
        for id in self.committed.drain(..) {
            self.stories.get_mut(&id).unwrap().acknowledged = Some(now);
        }
        for id in self.noted.drain(..) {
            self.stories.get_mut(&id).unwrap().delivered = Some(now);
        }
        if let Some(value) = self.meta_put.take() {
            self.meta.push((now, value));
        }
        Ok(())
    }

    fn deliver(&mut self, sim: &Sim, spool: &mut TestSpool) -> Result<(), Error> {
        let queued: Vec<MessageId> = spool.queue(MessageId(0)).map(|summary| summary.id).collect();
        if queued.is_empty() {
            return Ok(());
        }
        // The oldest mostly; now and then a younger one, so that segments are left half full.
        let at = if self.rng.one_in(3) { self.rng.below(queued.len() as u64) as usize } else { 0 };
        let id = queued[at];
        let recipients = spool.summary(id).unwrap().recipients;
        self.stories.get_mut(&id).unwrap().noted.get_or_insert(sim.operations());
        spool.set_status(id, &fate(0, recipients, penstock_spool::Fate::Delivered))?;
        self.noted.push(id);
        Ok(())
    }

    fn note(&mut self, spool: &mut TestSpool) -> Result<(), Error> {
        let value = self.rng.next_u64() as u8;
        spool.put_meta(1, b"state", &[value])?;
        self.meta_put = Some(value);
        let text = format!("state is now {value}");
        spool.record_event(&Event { at: stamp(self.number), code: 1, message: None, text })
    }

    /// What was promised before the medium's operation `cut`, and what was under way.
    ///
    /// Bits that a cut left on the brink may read right at the mount and wrong later, so until the spool has written
    /// something a message that was not acknowledged may turn out to be broken; `settled` says that it has.
    fn check(&self, spool: &mut TestSpool, cut: u64, settled: bool) -> Result<(), String> {
        let before = |when: Option<u64>| when.is_some_and(|when| when <= cut);
        for (id, story) in &self.stories {
            let present = spool.summary(*id);
            let open = present.is_some_and(|summary| summary.open_recipients > 0);
            if open && before(story.delivered) {
                return Err(format!("message {id} would be sent again"));
            }
            if open {
                match read(spool, *id) {
                    Ok(mail) if mail == story.mail => {}
                    Ok(_) => return Err(format!("message {id} was altered")),
                    Err(Error::Damaged(_)) if !settled && !before(story.acknowledged) => {}
                    Err(error) => return Err(format!("message {id} cannot be read: {error}")),
                }
            } else if before(story.acknowledged) && !before(story.noted) {
                return Err(format!("message {id} is lost"));
            }
        }
        let stranger = spool.queue(MessageId(0)).find(|summary| !self.stories.contains_key(&summary.id));
        if let Some(summary) = stranger {
            return Err(format!("message {} came from nowhere", summary.id));
        }
        let value = self.meta.iter().rev().find(|(when, _)| *when <= cut).map(|(_, value)| *value);
        let seen = spool.meta(1, b"state").map(|value| value[0]);
        if value.is_some() && seen.is_none() {
            return Err("state is lost".into());
        }
        Ok(())
    }
}

/// What a run of cuts came to.
#[derive(Default)]
struct Tally {
    cuts: u64,
    recovery_cuts: u64,
    refused: u64,
}

/// Powers a cut medium on and checks it; then works on, stops, and checks again.
fn survive(workload: &Workload, branch: &Sim, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let cut = branch.operations() - 1;
    let sim = branch.clone();
    let told = |what: String, sim: &Sim| format!("{what}; replay: {}", sim.story());
    tally.cuts += 1;
    let twin = sim.clone();
    let mut spool = mount(sim.power_on(seed)).map_err(|error| told(format!("no mount: {error}"), &sim))?;
    {
        let _ = twin.power_on(seed);
        let options = penstock_spool::MountOptions { uses_checkpoint: false, ..Default::default() };
        let other = penstock_spool::Spool::mount(twin.medium(), buffers(), options).unwrap();
        let (a, b) = (spool.inside(), other.inside());
        let exact = seed < 2 || sim.geometry().erase == penstock_flash::Erase::Logical;
        if exact && a != b {
            let only = |these: &[String], those: &[String]| {
                these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>()
            };
            println!("hint {:#?}\nfull {:#?}", only(&a, &b), only(&b, &a));
            return Err(told(format!("differs {:?}", spool.mount_report()), &sim));
        }
        if !spool.mount_report().from_checkpoint {
            tally.refused += 1;
        }
    }
    workload.check(&mut spool, cut, false).map_err(|what| told(what, &sim))?;
    // Work on: the first writes after a recovery are where a wrong belief does harm.
    let deep = cut.is_multiple_of(7);
    if deep {
        sim.branch_everywhere();
    }
    let extra = mail(1_000_000 + seed, 1, 500);
    let id = store(&mut spool, &extra, 500).and_then(|id| spool.sync().map(|()| id));
    if let Err(error @ (Error::Write(_) | Error::ReadOnly)) = id {
        return Err(told(format!("nothing can be written: {error}"), &sim));
    }
    for _ in 0..24 {
        spool.step(stamp(0)).map_err(|error| told(format!("housekeeping: {error}"), &sim))?;
    }
    spool.sync().map_err(|error| told(format!("sync: {error}"), &sim))?;
    if sim.counters().violations > 0 {
        return Err(told("a unit was programmed twice or without an erase".into(), &sim));
    }
    let mut workload_after = workload.with_extra(&id, extra);
    workload_after.check(&mut spool, cut, true).map_err(|what| told(what, &sim))?;
    let medium = if seed.is_multiple_of(2) {
        spool.into_medium()
    } else {
        spool.close().map_err(|e| e.to_string())?
    };
    let mut spool = mount(medium).map_err(|error| told(format!("no second mount: {error}"), &sim))?;
    workload_after
        .check(&mut spool, cut, true)
        .map_err(|what| told(format!("after a second mount, {what}"), &sim))?;
    drop(spool);
    if !deep {
        return Ok(());
    }
    // In the recovery itself any cut may lose the extra message, and nothing else.
    workload_after.forgive_unacknowledged(&id);
    for branch in sim.take_branches() {
        tally.recovery_cuts += 1;
        let sim = branch.clone();
        let mut spool = mount(sim.power_on(seed ^ 0x5555))
            .map_err(|error| told(format!("no mount after a cut in recovery: {error}"), &sim))?;
        workload_after
            .check(&mut spool, cut, false)
            .map_err(|what| told(format!("after a cut in recovery, {what}"), &sim))?;
    }
    Ok(())
}

impl Workload {
    /// This workload's promises with one more message.
    fn with_extra(&self, id: &Result<MessageId, Error>, mail: Mail) -> Self {
        let mut stories = self.stories.clone();
        if let Ok(id) = id {
            stories.insert(*id, Story { mail, acknowledged: Some(0), noted: None, delivered: None });
        }
        Self { stories, meta: self.meta.clone(), ..Self::new(0) }
    }

    fn forgive_unacknowledged(&mut self, id: &Result<MessageId, Error>) {
        if let Ok(id) = id {
            self.stories.get_mut(id).unwrap().acknowledged = None;
        }
    }
}

/// Runs a workload on a fresh volume, with a copy of the medium for a cut in each operation.
fn run(geometry: penstock_flash::Geometry, seed: u64, acts: u32) -> (Workload, Vec<Sim>) {
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut workload = Workload::new(seed);
    sim.branch_everywhere();
    for _ in 0..acts {
        workload.act(&sim, &mut spool).unwrap();
    }
    assert_eq!(sim.counters().violations, 0);
    (workload, sim.take_branches())
}

fn a_power_cut_in_any_operation_loses_nothing(shape: usize) {
    let (name, geometry) = GEOMETRIES[shape];
    let mut tally = Tally::default();
    for workload_seed in 1..=2 {
        let (workload, branches) = run(geometry, workload_seed, 600);
        for branch in &branches {
            let cut = branch.operations();
            for seed in [SEED_DROP_ALL, SEED_KEEP_ALL, 1000 + cut, 2001 + cut] {
                if let Err(what) = survive(&workload, branch, seed, &mut tally) {
                    panic!("{name}, workload {workload_seed}, power on with {seed}: {what}");
                }
            }
        }
    }
    println!(
        "{name}: {} cuts, {} cuts in recovery, {} without checkpoint",
        tally.cuts, tally.recovery_cuts, tally.refused
    );
    assert!(tally.cuts > 2_000 && tally.recovery_cuts > 2_000, "{name}: too few cuts to mean anything");
}

#[test]
fn a_power_cut_on_nor_with_units_of_1_byte_loses_nothing() {
    a_power_cut_in_any_operation_loses_nothing(0);
}

#[test]
fn a_power_cut_on_nor_with_units_of_4_bytes_loses_nothing() {
    a_power_cut_in_any_operation_loses_nothing(1);
}

#[test]
fn a_power_cut_on_nor_with_units_of_8_bytes_loses_nothing() {
    a_power_cut_in_any_operation_loses_nothing(2);
}

#[test]
fn a_power_cut_on_nor_with_units_of_32_bytes_loses_nothing() {
    a_power_cut_in_any_operation_loses_nothing(3);
}

#[test]
fn a_power_cut_on_sectors_of_512_bytes_loses_nothing() {
    a_power_cut_in_any_operation_loses_nothing(4);
}

#[test]
fn a_power_cut_on_sectors_of_4_kib_loses_nothing() {
    a_power_cut_in_any_operation_loses_nothing(5);
}

#[test]
fn the_check_can_fail_without_sync_mail_is_lost() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        sim.inject(Fault::NoSync);
        let mut workload = Workload::new(1);
        sim.branch_everywhere();
        for _ in 0..300 {
            workload.act(&sim, &mut spool).unwrap();
        }
        let mut tally = Tally::default();
        let found = sim
            .take_branches()
            .iter()
            .any(|branch| survive(&workload, branch, SEED_DROP_ALL, &mut tally).is_err());
        assert!(found, "{name}: a medium that never syncs went unnoticed");
    }
}

#[test]
fn many_crashes_in_a_row_use_up_nothing() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let kept = mail(1, 2, 1500);
        let id = store(&mut spool, &kept, 1500).unwrap();
        spool.sync().unwrap();
        let mut medium = spool.into_medium();
        for _ in 0..50 {
            let spool = mount(medium).unwrap();
            medium = spool.into_medium();
        }
        let image = sim.image();
        let mut spool = mount(medium).unwrap();
        assert_eq!(sim.image(), image, "{name}: a mount wrote something");
        let (_, free, _) = spool.info().segments;
        assert!(free >= geometry.segments - 6, "{name}: {free} free");
        // Also where each boot gets as far as taking a message.
        for round in 0..200 {
            let mail = mail(100 + round, 1, 200);
            let stored = store(&mut spool, &mail, 200).unwrap();
            spool.sync().unwrap();
            delivered(&mut spool, stored);
            spool.sync().unwrap();
            tidy(&mut spool);
            spool = mount(spool.into_medium()).unwrap();
        }
        assert_eq!(read(&mut spool, id).unwrap(), kept, "{name}");
    }
}
