//! What finding space again costs, in counts: bytes written, erases, steps.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod common;

use std::collections::VecDeque;

use common::*;
use penstock_flash::sim::{Fault, Rng, Sim};
use penstock_flash::{Erase, Geometry};
use penstock_spool::{Buffers, Error, Event, Fate, MessageId, MountOptions, STEP_BYTES, Spool, Step};

const DISK: Geometry = geometry(512, 128 * 1024, 96, Erase::Logical);
const NOR: Geometry = geometry(16, 16 * 1024, 64, Erase::Physical);

/// The chunk by which a step may pass its bound, and the groups, proofs and summaries around it.
const STEP_SLACK_BYTES: u64 = 128 * 1024;

/// Mail that comes and goes, and what it cost.
struct Site {
    sim: Sim,
    spool: TestSpool,
    rng: Rng,
    number: u64,
    waiting: VecDeque<MessageId>,
    taken_bytes: u64,
    now_ms: u64,
}

impl Site {
    fn new(geometry: Geometry, options: MountOptions) -> Self {
        let sim = formatted(geometry);
        // Room for a checkpoint of more than they ever hold would be a large part of so small a volume.
        let options = MountOptions { messages_max: 10_000, ..options };
        let buffers = Buffers { hot: vec![0; 128 * 1024], moved: vec![0; 64 * 1024], status: vec![0; 8192] };
        let spool = Spool::mount(sim.medium(), buffers, options).unwrap();
        let (rng, waiting) = (Rng::new(5), VecDeque::new());
        Self { sim, spool, rng, number: 0, waiting, taken_bytes: 0, now_ms: 1_700_000_000_000 }
    }

    /// Takes a message of up to `body_bytes_max`, which is not durable yet.
    fn take(&mut self, body_bytes_max: u64) -> MessageId {
        self.number += 1;
        let body_bytes = 1 + self.rng.below(body_bytes_max);
        let mut mail = mail(self.number, 1, body_bytes as usize);
        mail.begin.received = stamp(self.now_ms);
        let id = store(&mut self.spool, &mail, 4096).unwrap();
        self.taken_bytes += body_bytes;
        self.waiting.push_back(id);
        id
    }

    /// Housekeeping until there is nothing left to do, each step within its bounds.
    fn tidy(&mut self) {
        for _ in 0..100_000 {
            let (counters, reads) = (self.spool.counters(), self.sim.counters().read_bytes);
            let step = self.spool.step(stamp(self.now_ms)).unwrap();
            let programmed = self.spool.counters().programmed_bytes - counters.programmed_bytes;
            let read = self.sim.counters().read_bytes - reads;
            let bound = STEP_BYTES as u64 + STEP_SLACK_BYTES;
            assert!(programmed <= bound, "a step programmed {programmed} bytes");
            assert!(read <= 2 * bound, "a step read {read} bytes");
            if step == Step::Idle {
                return;
            }
        }
        panic!("housekeeping does not come to an end");
    }

    /// Lets mail come and go, in groups of five, until as much was taken as the medium holds `turnovers` times.
    /// `leaves` picks whose turn it is to be delivered, or `None` if it is to stay for ever.
    fn flow(
        &mut self,
        turnovers: u64,
        live_bytes: u64,
        leaves: impl Fn(&mut Rng, &mut VecDeque<MessageId>) -> Option<MessageId>,
    ) {
        let until = self.taken_bytes + turnovers * self.sim.geometry().capacity_bytes();
        while self.taken_bytes < until {
            for _ in 0..5 {
                self.take(u64::from(self.sim.geometry().segment_bytes) * 3 / 4);
            }
            self.spool.sync().unwrap();
            while self.spool.info().live_bytes > live_bytes && self.waiting.len() > 5 {
                for _ in 0..5 {
                    if let Some(id) = leaves(&mut self.rng, &mut self.waiting) {
                        delivered(&mut self.spool, id);
                    }
                }
                self.spool.sync().unwrap();
                self.tidy();
            }
            self.tidy();
        }
    }

    fn write_amplification(&mut self, turnovers: u64, flow: impl Fn(&mut Self, u64)) -> f64 {
        // The first turnover brings it into a steady state.
        flow(self, 1);
        let (programmed, taken) = (self.spool.counters().programmed_bytes, self.taken_bytes);
        flow(self, turnovers);
        (self.spool.counters().programmed_bytes - programmed) as f64 / (self.taken_bytes - taken) as f64
    }

    fn check_contract(&self) {
        assert_eq!(self.sim.counters().violations, 0);
    }
}

fn oldest(_: &mut Rng, waiting: &mut VecDeque<MessageId>) -> Option<MessageId> {
    waiting.pop_front()
}

fn any(rng: &mut Rng, waiting: &mut VecDeque<MessageId>) -> Option<MessageId> {
    let any = rng.below(waiting.len() as u64) as usize;
    waiting.swap_remove_back(any)
}

fn oldest_but_one_in_a_hundred(_: &mut Rng, waiting: &mut VecDeque<MessageId>) -> Option<MessageId> {
    waiting.pop_front().filter(|id| id.0 % 100 != 0)
}

#[test]
fn mail_drained_in_order_is_written_once() {
    let mut site = Site::new(DISK, MountOptions::default());
    let amplification = site.write_amplification(5, |site, turnovers| {
        site.flow(turnovers, DISK.capacity_bytes() / 3, oldest);
    });
    println!("in order: {amplification:.3}");
    // All there is beside the bodies: envelopes, ends of groups, headers and summaries of segments, fates.
    assert!(amplification <= 1.1, "{amplification}");
    assert_eq!(site.spool.counters().moved_bytes, 0, "nothing had to be copied");
    site.check_contract();
}

#[test]
fn mail_drained_at_random_from_a_volume_60_percent_full_is_written_twice_at_most() {
    let mut site = Site::new(DISK, MountOptions::default());
    let amplification = site.write_amplification(5, |site, turnovers| {
        site.flow(turnovers, DISK.capacity_bytes() * 6 / 10, any);
    });
    println!("random at 60 %: {amplification:.3}");
    assert!(amplification <= 2.0, "{amplification}");
    site.check_contract();
}

#[test]
fn a_stubborn_hundredth_costs_its_own_bytes_and_pins_nothing() {
    let capacity_bytes = DISK.capacity_bytes();
    let options = MountOptions { kept_bytes_max: capacity_bytes / 4, ..MountOptions::default() };
    let mut site = Site::new(DISK, options);
    let amplification = site.write_amplification(5, |site, turnovers| {
        site.flow(turnovers, capacity_bytes / 8, oldest_but_one_in_a_hundred);
    });
    println!("a stubborn 1 %: {amplification:.3}");
    assert!(amplification <= 1.2, "{amplification}");
    // Deliver what is not stubborn.
    while let Some(id) = site.waiting.pop_front() {
        if id.0 % 100 != 0 {
            delivered(&mut site.spool, id);
        }
    }
    site.spool.sync().unwrap();
    site.tidy();
    let info = site.spool.info();
    assert!(info.live_bytes > 0 && info.live_bytes < capacity_bytes / 8, "{} live", info.live_bytes);
    assert!(info.kept_bytes <= options.kept_bytes_max, "{} kept", info.kept_bytes);
    // What is free by the count is free indeed.
    while site.spool.info().free_bytes() > 64 * 1024 {
        site.take(16 * 1024);
        site.spool.sync().unwrap();
    }
    site.check_contract();
}

#[test]
fn stubborn_mail_keeps_none_beside_it_from_going_by_age() {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let options = MountOptions { kept_age_max_ms: 7 * DAY_MS, ..MountOptions::default() };
    let mut site = Site::new(DISK, options);
    let mut stubborn = Vec::new();
    // A third of the volume, and in each segment something that is not delivered.
    for _ in 0..100 {
        stubborn.push(site.take(1024));
        for _ in 0..3 {
            let id = site.take(24 * 1024);
            site.spool.sync().unwrap();
            delivered(&mut site.spool, id);
        }
        site.spool.sync().unwrap();
        site.tidy();
    }
    let (kept, moved) = (site.spool.info().kept_messages, site.spool.counters().moved_bytes);
    assert_eq!((kept, moved), (300, 0));
    site.now_ms += 8 * DAY_MS;
    site.tidy();
    let kept = site.spool.info().kept_messages;
    assert!(kept <= 10, "only what shares the open segment may stay, and {kept} did");
    assert!(site.spool.counters().moved_bytes < 400 * 1024, "little had to be moved");
    for id in stubborn {
        assert!(read(&mut site.spool, id).is_ok(), "message {id} is lost");
    }
    site.check_contract();
}

#[test]
fn mail_that_came_before_the_clock_was_right_is_kept_as_long_as_any_other() {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    /// A chip without a battery begins in 1999.
    const WRONG_MS: u64 = 925_000_000_000;
    for stop in ["none", "clean", "unclean"] {
        let options = MountOptions { kept_age_max_ms: 7 * DAY_MS, ..MountOptions::default() };
        let mut site = Site::new(DISK, options);
        let deliver = |site: &mut Site, at: penstock_spool::Stamp, count: u64| {
            let mut ids = Vec::new();
            for number in 0..count {
                let mut mail = mail(number, 1, 24 * 1024);
                mail.begin.received = at;
                let id = store(&mut site.spool, &mail, 4096).unwrap();
                site.spool.sync().unwrap();
                delivered(&mut site.spool, id);
                site.spool.sync().unwrap();
                ids.push(id);
            }
            ids
        };
        let wrong = penstock_spool::Stamp { trusted: false, ..stamp(WRONG_MS) };
        let early = deliver(&mut site, wrong, 30);
        let kept = |site: &Site| early.iter().filter(|id| site.spool.summary(**id).is_some()).count();
        if stop != "none" {
            let medium = site.sim.medium();
            let buffers =
                || Buffers { hot: vec![0; 128 * 1024], moved: vec![0; 64 * 1024], status: vec![0; 8192] };
            let other = std::mem::replace(&mut site.spool, Spool::mount(medium, buffers(), options).unwrap());
            if stop == "clean" {
                other.close().unwrap();
            }
            let options = MountOptions { messages_max: 10_000, ..options };
            site.spool = Spool::mount(site.sim.medium(), buffers(), options).unwrap();
        }
        // The clock is set, and it is 25 years later.
        site.tidy();
        assert_eq!(kept(&site), 30, "stop: {stop}");
        // For as long as nothing tells when it came, it stays.
        site.now_ms += 30 * DAY_MS;
        site.tidy();
        assert_eq!(kept(&site), 30, "stop: {stop}");
        let now = stamp(site.now_ms);
        deliver(&mut site, now, 30);
        site.now_ms += 6 * DAY_MS;
        site.tidy();
        assert_eq!(kept(&site), 30, "stop: {stop}");
        site.now_ms += 2 * DAY_MS;
        site.tidy();
        assert!(kept(&site) < 8, "what stood in segments that are full has gone; stop: {stop}");
        site.check_contract();
    }
}

#[test]
fn a_large_message_is_moved_in_bounded_steps() {
    const HOUR_MS: u64 = 3600 * 1000;
    let geometry = geometry(4096, 8 << 20, 16, Erase::Logical);
    let options = MountOptions { kept_age_max_ms: HOUR_MS, ..MountOptions::default() };
    let mut site = Site::new(geometry, options);
    let mut large = mail(1, 3, 1 << 20);
    large.begin.received = stamp(site.now_ms);
    let id = store(&mut site.spool, &large, 65536).unwrap();
    // What stands beside it is delivered, so that it alone keeps the segment.
    for _ in 0..60 {
        let other = site.take(512 * 1024);
        site.spool.sync().unwrap();
        delivered(&mut site.spool, other);
    }
    site.spool.sync().unwrap();
    site.tidy();
    assert_eq!(site.spool.counters().moved_bytes, 0);
    site.now_ms += 2 * HOUR_MS;
    site.tidy();
    assert!(site.spool.counters().moved_bytes > 1 << 20, "it was not moved");
    assert_eq!(read(&mut site.spool, id).unwrap(), large);
    site.check_contract();
}

#[test]
fn thousands_of_fates_in_one_status_segment_are_written_anew_in_bounded_steps() {
    let geometry = geometry(512, 256 * 1024, 32, Erase::Logical);
    let mut site = Site::new(geometry, MountOptions::default());
    let mut take = || {
        let id = site.take(64);
        site.spool.sync().unwrap();
        id
    };
    let ids: Vec<MessageId> = (0..2500).map(|_| take()).collect();
    for round in 0..12 {
        // One sync for each fate, so that status segments are mostly air.
        for id in &ids {
            site.spool.set_status(*id, &fate(0, 1, Fate::Deferred)).unwrap();
            site.spool.sync().unwrap();
        }
        site.tidy();
        let medium = site.spool.into_medium();
        site.spool = mount(medium).unwrap();
        for id in &ids {
            assert_eq!(site.spool.fates(*id).unwrap(), [(0, 1, Fate::Deferred)], "round {round}");
        }
    }
    assert!(site.sim.counters().erases > 3 * u64::from(geometry.segments) / 2, "status was never reclaimed");
    site.check_contract();
}

#[test]
fn wear_is_spread_though_much_of_the_mail_never_moves() {
    let spread = |wear_gap_max: u32| {
        let mut site = Site::new(NOR, MountOptions { wear_gap_max, ..MountOptions::default() });
        // A third of the volume is held for weeks.
        while site.spool.info().live_bytes < NOR.capacity_bytes() / 3 {
            site.take(6 * 1024);
            site.spool.sync().unwrap();
        }
        let held: Vec<MessageId> = site.waiting.drain(..).collect();
        let live_bytes = site.spool.info().live_bytes + NOR.capacity_bytes() / 10;
        site.flow(50, live_bytes, oldest);
        for id in held {
            assert!(read(&mut site.spool, id).is_ok(), "message {id} is lost");
        }
        site.check_contract();
        // The first two are anchors, which wear at a pace of their own.
        let counts = &site.sim.erase_counts()[2..];
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        (most - least, site.spool.counters().moved_bytes)
    };
    let (without, _) = spread(u32::MAX);
    let (with, moved_bytes) = spread(16);
    println!("spread {without} without levelling, {with} with; {moved_bytes} bytes moved");
    assert!(without > 40, "the cold segments took part by themselves: {without}");
    // What was emptied to take its part waits for its turn among those that are free.
    assert!(with <= 3 * 16, "{with}");
    assert!(moved_bytes < 10 * NOR.capacity_bytes(), "levelling cost {moved_bytes} bytes");
}

#[test]
fn housekeeping_comes_to_an_end_in_every_state() {
    for (name, geometry) in GEOMETRIES {
        let mut site = Site::new(geometry, MountOptions { wear_gap_max: 4, ..MountOptions::default() });
        let mut open = Vec::new();
        for act in 0..3000 {
            let done = match site.rng.below(12) {
                // A session that takes its time holds segments.
                0 => {
                    let mail = mail(act, 1, 0);
                    site.spool.begin(&mail.begin, &mail.recipients, None).map(|incoming| open.push(incoming))
                }
                1 if open.len() > 2 => site.spool.commit(open.remove(0)).map(drop),
                2 if open.len() > 2 => {
                    site.spool.abort(open.remove(0));
                    Ok(())
                }
                // Envelopes that take more than what they are counted as.
                3 => {
                    let mut mail = mail(act, 20, 10);
                    for recipient in &mut mail.recipients {
                        recipient.address.insert_str(0, &"x".repeat(180));
                    }
                    store(&mut site.spool, &mail, 100).map(|id| site.waiting.push_back(id))
                }
                4 => {
                    let key = [site.rng.below(20) as u8];
                    site.spool.put_meta(1, &key, &vec![act as u8; site.rng.below(50) as usize])
                }
                5..=7 => {
                    let size = site.rng.below(900) as usize;
                    store(&mut site.spool, &mail(act, 2, size), 500).map(|id| site.waiting.push_back(id))
                }
                8 | 9 => {
                    site.spool.sync().unwrap();
                    let id =
                        if site.waiting.is_empty() { None } else { any(&mut site.rng, &mut site.waiting) };
                    if let Some(id) = id.filter(|id| site.spool.summary(*id).is_some()) {
                        delivered(&mut site.spool, id);
                    }
                    Ok(())
                }
                10 => site.spool.sync(),
                _ => {
                    site.tidy();
                    Ok(())
                }
            };
            assert!(matches!(done, Ok(()) | Err(Error::Full)), "{name}, act {act}: {done:?}");
        }
        site.tidy();
        site.check_contract();
    }
}

#[test]
fn what_is_damaged_is_never_written_again_as_whole() {
    const HOUR_MS: u64 = 3600 * 1000;
    let options = MountOptions { kept_age_max_ms: HOUR_MS, ..MountOptions::default() };
    let mut site = Site::new(DISK, options);
    let hurt = mail(1, 1, 5000);
    let id = store(&mut site.spool, &hurt, 5000).unwrap();
    site.spool.sync().unwrap();
    let image = site.sim.image();
    let at = image.windows(64).position(|bytes| bytes == &hurt.body[1000..1064]).unwrap();
    let segment_bytes = DISK.segment_bytes as usize;
    let (segment, offset) = ((at / segment_bytes) as u32, (at % segment_bytes) as u32);
    site.sim.inject(Fault::Flip { segment, offset, mask: 0x10 });
    // What stands beside it is delivered and goes by age, so that it would have to be moved.
    for _ in 0..40 {
        let other = site.take(24 * 1024);
        site.spool.sync().unwrap();
        delivered(&mut site.spool, other);
    }
    site.now_ms += 2 * HOUR_MS;
    let mut told = 0;
    loop {
        match site.spool.step(stamp(site.now_ms)).unwrap() {
            Step::Damaged(damaged) => {
                assert_eq!(damaged, id);
                told += 1;
            }
            Step::More => {}
            Step::Idle => break,
        }
    }
    assert_eq!(told, 1, "told of once");
    assert_eq!(read(&mut site.spool, id), Err(Error::Damaged(id)));
    let mut spool = mount(site.spool.into_medium()).unwrap();
    assert_eq!(read(&mut spool, id), Err(Error::Damaged(id)), "and it was not vouched for since");
    assert_eq!(spool.info().segments.2, 0);
}

#[test]
fn the_erased_floor_is_kept_for_who_takes_the_mail_when_this_one_cannot() {
    for geometry in [DISK, NOR] {
        let floor = 12;
        let erased_floor_bytes = u64::from(floor * geometry.segment_bytes);
        let options = MountOptions { erased_floor_bytes, ..MountOptions::default() };
        let without = Site::new(geometry, MountOptions::default()).spool.info().capacity_bytes;
        let mut site = Site::new(geometry, options);
        let capacity_bytes = site.spool.info().capacity_bytes;
        assert!(capacity_bytes + erased_floor_bytes / 2 < without, "it is not mail's");
        for round in 0..4 {
            let refused = loop {
                site.number += 1;
                let mail = mail(site.number, 1, 3000);
                match store(&mut site.spool, &mail, 3000) {
                    Ok(id) => site.waiting.push_back(id),
                    Err(error) => break error,
                }
                site.spool.sync().unwrap();
                let (_, free, _) = site.spool.info().segments;
                assert!(free >= floor, "mail took the floor: {free} segments are left");
            };
            assert_eq!(refused, Error::Full);
            while site.waiting.len() > 20 {
                let id = any(&mut site.rng, &mut site.waiting).unwrap();
                delivered(&mut site.spool, id);
                site.spool.sync().unwrap();
            }
            site.tidy();
            let (_, free, _) = site.spool.info().segments;
            assert!(free >= floor, "round {round}: {free} segments are erased");
        }
        // Who comes later with a floor finds it, once housekeeping was there.
        let mut spool = mount(site.spool.into_medium()).unwrap();
        let mut number = 1_000_000;
        while store(&mut spool, &mail(number, 1, 3000), 3000).is_ok() {
            number += 1;
            spool.sync().unwrap();
        }
        let ids: Vec<MessageId> = spool.queue(MessageId(0)).map(|mail| mail.id).collect();
        for id in ids.into_iter().skip(20) {
            delivered(&mut spool, id);
            spool.sync().unwrap();
        }
        site.spool = Spool::mount(spool.into_medium(), buffers(), options).unwrap();
        site.spool.sync().unwrap();
        site.tidy();
        let (_, free, _) = site.spool.info().segments;
        assert!(free >= floor, "{free} segments are erased");
        site.check_contract();
    }
}

/// Records an event about a message, or about none, and syncs it.
fn tell(site: &mut Site, code: u16, message: Option<MessageId>) {
    let event = Event { at: stamp(site.now_ms), code, message, text: "x".repeat(100) };
    site.spool.record_event(&event).unwrap();
    site.spool.sync().unwrap();
}

#[test]
fn the_oldest_events_go_when_there_are_too_many_but_not_those_of_mail_that_waits() {
    for (geometry, share_bytes) in [(NOR, NOR.capacity_bytes() / 16), (DISK, DISK.capacity_bytes() / 16)] {
        let mut site = Site::new(geometry, MountOptions::default());
        let waiting = site.take(1000);
        let gone = site.take(1000);
        site.spool.sync().unwrap();
        for number in 0..20 {
            tell(&mut site, 1, Some(waiting));
            tell(&mut site, 2, Some(gone));
            site.now_ms += number;
        }
        delivered(&mut site.spool, gone);
        site.waiting.clear();
        // Mail comes and goes, so that room is short, and each time there is something to tell of.
        let turns = 3 * share_bytes / 100;
        for turn in 0..turns {
            tell(&mut site, 3, None);
            if turn % 4 == 0 {
                let id = site.take(u64::from(geometry.segment_bytes) / 8);
                site.spool.sync().unwrap();
                delivered(&mut site.spool, id);
                site.tidy();
            }
        }
        site.tidy();
        let mut counts = [0u64; 4];
        let events: Vec<Event> = site.spool.events().collect();
        events.iter().for_each(|event| counts[usize::from(event.code)] += 1);
        println!("{counts:?} of {turns}");
        assert_eq!(counts[1], 20, "the custody of mail that waits is kept");
        assert_eq!(counts[2], 0, "the oldest of the others went");
        assert!(counts[3] < turns * 3 / 4, "{counts:?} of {turns}: there is a bound");
        assert!(counts[3] > share_bytes / 200 / 4, "{counts:?}: and no more go than must");
        assert_eq!(events.last().map(|event| event.at.unix_ms), Some(site.now_ms), "the newest is there");
        site.check_contract();
    }
}

#[test]
fn events_go_by_age_only_when_the_clock_can_be_trusted() {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    // When they happened by a clock that could be trusted, and whether it can be now.
    let cases = [(89, true, true, 10), (91, true, true, 0), (91, true, false, 10), (91, false, true, 10)];
    for (days, then, trusted, expected) in cases {
        let mut site = Site::new(NOR, MountOptions::default());
        for _ in 0..10 {
            let at = penstock_spool::Stamp { trusted: then, ..stamp(site.now_ms) };
            site.spool.record_event(&Event { at, code: 1, message: None, text: "x".repeat(100) }).unwrap();
            site.spool.sync().unwrap();
        }
        site.now_ms += days * DAY_MS;
        // State that changes fills status segments, which are written anew.
        for value in 0..6000u32 {
            site.spool.put_meta(1, b"key", &value.to_le_bytes()).unwrap();
            site.spool.sync().unwrap();
            let now = penstock_spool::Stamp { trusted, ..stamp(site.now_ms) };
            if value % 10 == 0 {
                let id = site.take(4000);
                site.spool.sync().unwrap();
                delivered(&mut site.spool, id);
                while site.spool.step(now).unwrap() != Step::Idle {}
            }
        }
        let events = site.spool.events().filter(|event| event.code == 1).count();
        assert_eq!(events, expected, "after {days} days, trusted {then} and {trusted}");
        site.check_contract();
    }
}

#[test]
fn what_wears_alike_is_not_moved_for_that() {
    let mut site = Site::new(NOR, MountOptions { wear_gap_max: 16, ..MountOptions::default() });
    site.flow(40, NOR.capacity_bytes() / 3, oldest);
    let counts = &site.sim.erase_counts()[2..];
    assert!(*counts.iter().min().unwrap() > 16, "{counts:?}");
    assert_eq!(site.spool.counters().moved_bytes, 0);
    site.check_contract();
}
