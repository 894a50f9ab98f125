//! One backlog, from one sender into one server, and what came of it.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::backlog::{self, Mail};
use super::report::{Row, count_of};
use super::scenario::Scenario;
use super::site::{Place, Seen, Site, bystander_address};
use super::spool::{Kind, Spool};
use super::trickle::{Trickle, percentile_s};

/// How often it is looked at what has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often that is told.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// A drain is given up when nothing of the backlog has arrived for longer than any sender's longest back-off, 4000 s
/// with Postfix …
const QUIET_MAX_MS: u64 = 5_000_000;
/// … or when it takes that and so many times what it could.
const TIMES_MAX: f64 = 20.0;
/// How long mail that came meanwhile is waited for after the backlog.
const AFTERWARDS_MAX_MS: u64 = 900_000;
/// How long an idle server is watched, in s, after so long in which sender and server get to know each other.
const IDLE_S: u64 = 60;
const WARM_UP_S: u64 = 20;
/// Full pace is this share of what server and sender could do, over this long, in s.
const FULL_PACE: f64 = 0.9;
const PACE_WINDOW_S: u64 = 10;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Question {
    /// What the server is capable of.
    pub scenario: Scenario,
    /// Who sends.
    pub kind: Kind,
    /// The length of the backlog.
    pub messages: u32,
    /// How fast time runs.
    pub speed: u32,
    /// Further commands for the model.
    pub more: String,
}

/// How long a message takes when nothing else is going on: the 99th percentile, in s.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Somebody else's.
    pub bystander_p99_s: Option<f64>,
    /// One that comes through the sender.
    pub fresh_p99_s: Option<f64>,
}

/// Measures sender and server at rest.
pub fn idle(question: &Question, tell: &impl Fn(&str)) -> Idle {
    tell("at rest");
    let Question { scenario, kind, speed, .. } = *question;
    let place = Place::free();
    let mut spool = Spool::start(kind, place, speed, 64 * 1024 * 1024);
    spool.prepare();
    let commands = scenario.at_ease() + &kind.site_commands();
    let site = Site::start(place, speed, &commands, spool.reports_to());
    spool.let_go();
    let (bystander, fresh) = trickles(&spool, place, &site, speed);
    let enough = || bystander.submitted().min(fresh.submitted()) as u64 >= WARM_UP_S + IDLE_S;
    wait_while(&site, AFTERWARDS_MAX_MS, || !enough());
    let ended_ms = site.now_ms();
    let (seen, _) = wait_for(&site, &[&bystander, &fresh], ended_ms, Vec::new(), 0);
    let now_ms = site.now_ms();
    let warm_ms = WARM_UP_S * 1000;
    let p99 = |trickle: &Trickle| percentile_s(&trickle.waits_ms(&seen, warm_ms..ended_ms, now_ms), 99);
    Idle { bystander_p99_s: p99(&bystander), fresh_p99_s: p99(&fresh) }
}

/// Drains one backlog. `tell` hears how far it is.
pub fn measure(question: &Question, idle: Idle, tell: &(impl Fn(&str) + Sync)) -> Row {
    let Question { scenario, kind, messages, speed, .. } = *question;
    let place = Place::free();
    let mut awaited = Awaited::all(messages);
    let mut spool = Spool::start(kind, place, speed, awaited.len_bytes);
    backlog::submit(spool.address(), messages, &|so_far| {
        if so_far % 2000 == 0 {
            tell(&format!("{so_far} of {messages} queued"));
        }
    });
    spool.prepare();
    let commands = format!("{}{}{}", scenario.commands(messages), kind.site_commands(), question.more);
    let site = Site::start(place, speed, &commands, spool.reports_to());
    spool.let_go();
    let (began, cpu_before) = (Instant::now(), spool.cpu_s());
    let (bystander, fresh) = trickles(&spool, place, &site, speed);

    let could_s = match kind.ceiling() {
        Some(ceiling) => scenario.ceiling_s(messages, ceiling),
        None => scenario.ideal_s(messages),
    };
    let limit_ms = (could_s * TIMES_MAX * 1000.0) as u64 + QUIET_MAX_MS;
    let (mut seen, mut count, mut last_ms) = (Vec::new(), 0, 0);
    let mut told = Instant::now();
    while !awaited.copies.is_empty() {
        sleep(LOOK_EVERY);
        let (new, all) = site.seen_after(count);
        count = all;
        for copy in &new {
            if copy.kind == "backlog" {
                awaited.arrived(copy);
                last_ms = copy.delivered_ms;
            }
        }
        seen.extend(new);
        let now_ms = site.now_ms();
        if now_ms > limit_ms || now_ms > last_ms + QUIET_MAX_MS {
            break;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tell(&format!("{} copies to come; {}", awaited.copies.len(), site.status_line()));
        }
    }
    let (summary, bystander_put_off) = (site.summary(), bystander.put_off());
    let used_s = spool.cpu_s().zip(cpu_before).map(|(after, before)| after - before);
    let cpu_share = used_s.map(|used_s| used_s / began.elapsed().as_secs_f64());
    let left = awaited.messages();
    let (lost, unfinished) = if left == 0 {
        (0, 0)
    } else {
        let there = spool.queued().min(left);
        (left - there, there)
    };
    let ended_ms = site.now_ms();
    tell("the mail that came meanwhile");
    let (seen, _) = wait_for(&site, &[&bystander, &fresh], ended_ms, seen, count);
    let now_ms = site.now_ms();
    // What came before the first message went is backlog, as far as the sender can know.
    let first = seen.iter().find(|seen| seen.kind == "backlog");
    let first_ms = first.map_or(0, |seen| seen.accepted_ms);
    Row {
        question: question.clone(),
        idle,
        drained_s: (left == 0).then_some(last_ms as f64 / 1000.0),
        bystander_ms: bystander.waits_ms(&seen, 0..ended_ms, now_ms),
        fresh_ms: fresh.waits_ms(&seen, first_ms..ended_ms, now_ms),
        recovery_s: recovery_s(question, &seen),
        bystander_put_off,
        lost,
        unfinished,
        duplicates: awaited.again + count_of(&summary, "duplicates_suppressed"),
        summary,
        cpu_share,
    }
}

fn trickles(spool: &Spool, place: Place, site: &Site, speed: u32) -> (Trickle, Trickle) {
    let bystander = Trickle::start("bystander", place.smtp, Some(bystander_address()), site, speed);
    let fresh = Trickle::start("fresh", spool.address(), None, site, speed);
    (bystander, fresh)
}

/// Waits while something holds, up to so long of the model's time.
fn wait_while(site: &Site, at_most_ms: u64, holds: impl Fn() -> bool) {
    let until_ms = site.now_ms() + at_most_ms;
    while holds() && site.now_ms() < until_ms {
        sleep(LOOK_EVERY);
    }
}

/// Waits until what was submitted before a moment has arrived. Returns all that was seen, and how much that is.
fn wait_for(
    site: &Site,
    trickles: &[&Trickle],
    before_ms: u64,
    mut seen: Vec<Seen>,
    mut count: usize,
) -> (Vec<Seen>, usize) {
    trickles.iter().for_each(|trickle| trickle.finish());
    let until_ms = site.now_ms() + AFTERWARDS_MAX_MS;
    loop {
        let (new, all) = site.seen_after(count);
        count = all;
        seen.extend(new);
        let is_complete = trickles.iter().all(|trickle| trickle.has_all(&seen, before_ms));
        if is_complete || site.now_ms() > until_ms {
            return (seen, count);
        }
        sleep(LOOK_EVERY);
    }
}

/// What has not arrived yet.
struct Awaited {
    copies: HashSet<(u32, String)>,
    again: u64,
    len_bytes: u64,
}

impl Awaited {
    fn all(messages: u32) -> Self {
        let mut awaited = Self { copies: HashSet::new(), again: 0, len_bytes: 0 };
        for mail in (0..messages).map(Mail::numbered) {
            awaited.len_bytes += mail.len_bytes as u64;
            awaited.copies.extend(mail.to.into_iter().map(|to| (mail.number, to)));
        }
        awaited
    }

    fn arrived(&mut self, seen: &Seen) {
        if !self.copies.remove(&(seen.number, seen.mailbox.clone())) {
            self.again += 1;
        }
    }

    /// Messages of which a copy has not arrived.
    fn messages(&self) -> u64 {
        self.copies.iter().map(|(number, _)| number).collect::<HashSet<_>>().len() as u64
    }
}

/// From the end of the pressure until the sender sends as much as server and sender could, in s.
fn recovery_s(question: &Question, seen: &[Seen]) -> Option<f64> {
    let ended_ms = question.scenario.pressure_ends_ms()?;
    let ceiling_per_s = question.kind.ceiling().map_or(f64::INFINITY, |ceiling| ceiling.per_s);
    let full_per_s = question.scenario.capacity_per_s().min(ceiling_per_s) * FULL_PACE;
    // The copies of one message were accepted together.
    let mut accepted: Vec<(u64, u32)> = seen
        .iter()
        .filter(|seen| seen.kind != "bystander" && seen.accepted_ms >= ended_ms)
        .map(|seen| (seen.accepted_ms, seen.number))
        .collect();
    accepted.sort_unstable();
    accepted.dedup();
    let enough = (full_per_s * PACE_WINDOW_S as f64) as usize;
    let full = accepted.windows(enough.max(1)).find(|window| {
        window
            .first()
            .zip(window.last())
            .is_some_and(|(first, last)| last.0 - first.0 <= PACE_WINDOW_S * 1000)
    })?;
    full.first().map(|(at_ms, _)| (at_ms - ended_ms) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: Kind) -> Question {
        let scenario = Scenario::Disk;
        Question { scenario, kind, messages: 1000, speed: 1, more: String::new() }
    }

    fn seen(number: u32, accepted_ms: u64) -> Seen {
        let (kind, mailbox) = ("backlog".to_owned(), format!("user{number}@example.com"));
        Seen { kind, number, mailbox, accepted_ms, delivered_ms: accepted_ms + 100 }
    }

    #[test]
    fn a_sender_has_recovered_when_it_sends_what_the_server_could_take() {
        // One a second for 30 s after the pressure, then 50 a second.
        let slow = (0..30u32).map(|n| seen(n, 90_000 + u64::from(n) * 1000));
        let fast = (30..1000u32).map(|n| seen(n, 120_000 + u64::from(n - 30) * 20));
        let all: Vec<Seen> = slow.chain(fast).collect();
        let recovery_s = recovery_s(&question(Kind::Postfix), &all).unwrap();
        assert!((28.0..31.0).contains(&recovery_s), "{recovery_s}");
    }

    #[test]
    fn where_there_was_no_pressure_there_is_nothing_to_recover_from() {
        let calm = Question { scenario: Scenario::Steady20, ..question(Kind::Postfix) };
        assert_eq!(recovery_s(&calm, &[seen(0, 0)]), None);
    }

    #[test]
    fn a_message_is_missing_until_all_of_its_mailboxes_have_it_and_what_comes_twice_is_counted() {
        let mut awaited = Awaited::all(200);
        let several = (0..200).map(Mail::numbered).find(|mail| mail.to.len() > 1).unwrap();
        let copy = |to: &String| Seen { mailbox: to.clone(), ..seen(several.number, 0) };
        several.to.iter().skip(1).for_each(|to| awaited.arrived(&copy(to)));
        assert_eq!((awaited.messages(), awaited.again), (200, 0));
        awaited.arrived(&copy(&several.to[0]));
        assert_eq!((awaited.messages(), awaited.again), (199, 0));
        awaited.arrived(&copy(&several.to[0]));
        assert_eq!((awaited.messages(), awaited.again), (199, 1));
    }
}
