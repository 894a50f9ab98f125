//! How much mail lies inside a server whose capacity the box does not know: a server that takes everything at once and
//! works it off in order.

use std::collections::VecDeque;

use penstock_release::{
    CanaryOutcome, Config, Counters, Decision, HopConfig, HopId, Message, Mode, Outcome, Release, route,
};

use crate::world::{SECOND, config, message, now_at};

const STEP_MS: u64 = 10;
/// How long a transaction takes.
const TRANSACTION_MS: u64 = 30;
/// How long a report needs to come back.
const REPORT_MS: u64 = 400;
const READING_MS: u64 = 2 * SECOND;

/// What the box is told beyond replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knows {
    Nothing,
    Canaries,
    Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Message(u64),
    Canary(u64),
}

/// What a drain came to.
#[derive(Debug)]
pub(crate) struct Drain {
    /// When the last message was out of the server.
    done_ms: u64,
    queue_max: usize,
    /// How long the messages lay inside, in order of size.
    waits_ms: Vec<u64>,
    canaries: u64,
    /// How many messages it was given in each second.
    given: Vec<usize>,
    /// How many lay inside in each second.
    pub(crate) inside: Vec<usize>,
}

impl Drain {
    fn wait_p99_ms(&self) -> u64 {
        self.waits_ms[self.waits_ms.len() * 99 / 100]
    }
}

/// Drains a backlog into a server that does `per_s(t)` messages a second.
pub(crate) fn drain(knows: Knows, messages: u64, per_s: impl Fn(u64) -> f64) -> Drain {
    let hop = HopConfig { probes: u16::from(knows == Knows::Canaries), ..config().hops[0].clone() };
    let config = Config { hops: vec![hop], messages_per_minute_max: None, ..config() };
    let mut release = Release::new(config, None, Mode::Auto, now_at(0)).unwrap();
    for id in 0..messages {
        release.offer(Message { size_bytes: 20_000, ..message(id) });
    }
    let hop = HopId(0);
    let mut going: VecDeque<(u64, Option<Item>)> = VecDeque::new();
    let mut inside: VecDeque<(u64, Item)> = VecDeque::new();
    let mut reports: VecDeque<(u64, u64)> = VecDeque::new();
    let (mut work, mut done, mut submitted) = (0.0, 0u64, 0u64);
    let mut out = Drain {
        done_ms: 0,
        queue_max: 0,
        waits_ms: Vec::new(),
        canaries: 0,
        given: Vec::new(),
        inside: Vec::new(),
    };
    let mut now_ms = 0;
    while (out.waits_ms.len() as u64) < messages {
        let now = now_at(now_ms);
        if now_ms % SECOND == 0 {
            out.given.push(0);
            out.inside.push(inside.len());
        }
        work += per_s(now_ms) * STEP_MS as f64 / 1_000.0;
        while work >= 1.0 && !inside.is_empty() {
            work -= 1.0;
            done += 1;
            match inside.pop_front() {
                Some((since_ms, Item::Message(_))) => out.waits_ms.push(now_ms - since_ms),
                Some((_, Item::Canary(id))) => reports.push_back((now_ms + REPORT_MS, id)),
                None => {}
            }
        }
        work = f64::min(work, 1.0);
        while let Some((_, id)) = reports.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            release.canary_arrived(id, now);
        }
        if knows == Knows::Counters && now_ms % READING_MS == 0 {
            let queued = inside.len() as u64;
            let counters = Counters {
                submission: Some(queued),
                submitted_total: Some(submitted),
                completed_total: Some(done),
                ..Counters::default()
            };
            release.counted(hop, &counters, now);
        }
        while let Some((_, item)) = going.pop_front_if(|(at_ms, _)| *at_ms <= now_ms) {
            let Some(item) = item else {
                release.probed(hop, None, now);
                continue;
            };
            inside.push_back((now_ms, item));
            submitted += 1;
            match item {
                Item::Message(id) => {
                    if let Some(given) = out.given.last_mut() {
                        *given += 1;
                    }
                    release.finished(id, Outcome::Done { delivered: true }, now);
                }
                Item::Canary(id) => release.canary_ended(id, CanaryOutcome::Taken, now),
            }
        }
        loop {
            let item = match release.next(now) {
                Decision::Send { message, .. } => Some(Item::Message(message)),
                Decision::Canary { canary, .. } => {
                    out.canaries += 1;
                    Some(Item::Canary(canary))
                }
                Decision::Probe { .. } => None,
                Decision::SetAside { .. } | Decision::Ask { .. } => {
                    panic!("nothing is wrong with any message")
                }
                Decision::Wait { .. } => break,
            };
            going.push_back((now_ms + TRANSACTION_MS, item));
        }
        out.queue_max = out.queue_max.max(inside.len());
        now_ms += STEP_MS;
        assert!(now_ms < 100_000 * SECOND, "it never ends: {} of {messages}", out.waits_ms.len());
    }
    out.done_ms = now_ms;
    out.waits_ms.sort_unstable();
    out
}

/// Messages a second of a server, as time goes on.
pub(crate) type Capacity = fn(u64) -> f64;

fn slow(_: u64) -> f64 {
    2.0
}

pub(crate) fn steady(_: u64) -> f64 {
    20.0
}

fn fast(_: u64) -> f64 {
    100.0
}

/// 10 to 30 within each minute.
pub(crate) fn varying(ms: u64) -> f64 {
    20.0 + 10.0 * (ms as f64 / 60_000.0 * core::f64::consts::TAU).sin()
}

/// A quarter of what it was, from one moment to the next.
pub(crate) fn dropping(ms: u64) -> f64 {
    if ms < 150 * SECOND { 80.0 } else { 20.0 }
}

/// How long a server of that capacity needs for so many, at best.
fn ideal_ms(messages: u64, capacity: Capacity) -> u64 {
    let (mut left, mut ms) = (messages as f64, 0);
    while left > 0.0 {
        left -= capacity(ms) * STEP_MS as f64 / 1_000.0;
        ms += STEP_MS;
    }
    ms
}

/// Backlogs of some minutes, and the longest that mail may lie inside.
const SERVERS: [(&str, Capacity, u64); 5] = [
    ("slow", slow, 15 * SECOND),
    ("steady", steady, 10 * SECOND),
    ("fast", fast, 10 * SECOND),
    ("varying", varying, 12 * SECOND),
    ("dropping", dropping, 20 * SECOND),
];

#[test]
fn a_backlog_takes_little_longer_than_the_server_needs_and_never_floods_it() {
    for (knows, percent_max) in [(Knows::Canaries, 115), (Knows::Counters, 105)] {
        for (name, capacity, wait_p99_max_ms) in SERVERS {
            let messages = 300 * capacity(0) as u64;
            let drain = drain(knows, messages, capacity);
            let percent = drain.done_ms * 100 / ideal_ms(messages, capacity);
            let (p99_ms, queue_max) = (drain.wait_p99_ms(), drain.queue_max);
            println!("{knows:?} {name}: {percent} %, {p99_ms} ms inside, {queue_max} at most");
            assert!(percent <= percent_max, "{knows:?} {name}: {percent} % of the time that it needs");
            assert!(p99_ms <= wait_p99_max_ms, "{knows:?} {name}: {p99_ms} ms inside");
            assert!(queue_max <= 1_500, "{knows:?} {name}: {queue_max} inside");
        }
    }
}

#[test]
fn canaries_are_a_small_part_of_what_a_server_does() {
    for (name, capacity, _) in SERVERS {
        let messages = 300 * capacity(0) as u64;
        let canaries = drain(Knows::Canaries, messages, capacity).canaries;
        assert!(canaries <= messages / 6, "{name}: {canaries} canaries for {messages} messages");
    }
}

#[test]
fn who_knows_nothing_gives_600_a_minute_and_1500_of_a_backlog_in_ten_minutes() {
    let lengths = drain(Knows::Nothing, 4_000, |_| 1_000.0).given;
    let within = |from: usize, seconds: usize| lengths.iter().skip(from).take(seconds).sum::<usize>();
    for from in 0..lengths.len() {
        assert!(within(from, 60) <= 601, "{} in the minute from second {from}", within(from, 60));
        assert!(within(from, 590) <= 1_500, "{} in ten minutes from second {from}", within(from, 590));
    }
}

/// Lets a hop work for so long, with a message every so often. Reports come back from those of its probe mailboxes that
/// `come_home` names. The canaries that stayed out, and how many messages were delivered.
fn work(
    release: &mut Release,
    (from_ms, until_ms, every_ms): (u64, u64, u64),
    come_home: impl Fn(u16) -> bool,
) -> (Vec<u64>, usize) {
    let (mut out, mut delivered) = (Vec::new(), 0);
    for now_ms in (from_ms..until_ms).step_by(every_ms as usize) {
        let now = now_at(now_ms);
        release.offer(message(now_ms));
        loop {
            match release.next(now) {
                Decision::Send { message, .. } => {
                    release.finished(message, Outcome::Done { delivered: true }, now);
                    delivered += 1;
                }
                Decision::Canary { canary, probe, .. } => {
                    release.canary_ended(canary, CanaryOutcome::Taken, now);
                    if come_home(probe) {
                        release.canary_arrived(canary, now_at(now_ms + REPORT_MS));
                    } else {
                        out.push(canary);
                    }
                }
                Decision::Probe { hop } => release.probed(hop, None, now),
                Decision::SetAside { .. } | Decision::Ask { .. } => {
                    panic!("nothing is wrong with any message")
                }
                Decision::Wait { .. } => break,
            }
        }
    }
    (out, delivered)
}

#[test]
fn a_database_whose_canaries_stay_out_has_its_mail_held_alone_over_a_restart_until_one_comes() {
    let hop = HopConfig { probes: 2, ..config().hops[0].clone() };
    let config = Config { hops: vec![hop], ..config() };
    let mut release = Release::new(config.clone(), None, Mode::Auto, now_at(0)).unwrap();
    let held = |release: &Release| [0, 1].map(|probe| release.is_route_held(route(HopId(0), probe)));

    work(&mut release, (0, 200 * SECOND, SECOND), |probe| probe == 0);
    assert_eq!(held(&release), [false, false]);
    let (out, _) = work(&mut release, (200 * SECOND, 1_000 * SECOND, SECOND), |probe| probe == 0);
    assert_eq!(held(&release), [false, true]);

    let mut again = Release::new(config, Some(&release.saved()), Mode::Auto, now_at(0)).unwrap();
    work(&mut again, (0, 10 * SECOND, SECOND), |probe| probe == 0);
    assert_eq!(held(&again), [false, true]);

    release.canary_arrived(*out.last().unwrap(), now_at(1_000 * SECOND));
    release.next(now_at(1_000 * SECOND));
    assert_eq!(held(&release), [false, false]);
}

#[test]
fn canaries_whose_reports_have_no_way_back_become_rare_and_hold_up_no_mail() {
    let config = Config { hops: vec![HopConfig { probes: 1, ..config().hops[0].clone() }], ..config() };
    let mut release = Release::new(config, None, Mode::Auto, now_at(0)).unwrap();
    let (out, delivered) = work(&mut release, (0, 24 * 3_600 * SECOND, 10 * SECOND), |_| false);
    let canaries = out.len();
    assert!(canaries < 200, "{canaries} in a day");
    assert!(delivered > 8_000, "{delivered} of 8,640");
}
