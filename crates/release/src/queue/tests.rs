//! What the queue promises, by itself.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ways::WaySet;

extern crate std;

fn job(id: u64) -> Job {
    to(0, id)
}

/// A message of the backlog to a mailbox.
fn to(mailbox: u32, id: u64) -> Job {
    let message = Message {
        id,
        size_bytes: 10,
        accepted_unix_ms: None,
        mailbox,
        priority: Priority::Normal,
        ways: WaySet::default(),
    };
    Job::new(message, 0, false)
}

fn fresh(job: Job) -> Job {
    Job { is_fresh_mail: true, ..job }
}

fn failed(id: u64, failed: Secs) -> Job {
    Job { failed, attempts: 1, ..job(id) }
}

fn queue(jobs: impl IntoIterator<Item = Job>) -> Queue {
    let mut queue = Queue::default();
    jobs.into_iter().for_each(|job| queue.put(job));
    queue
}

/// Takes whatever has its turn.
fn take(queue: &mut Queue, now: Secs) -> Option<Job> {
    let kind = queue.turn(now)?;
    queue.take(kind, now)
}

fn take_all(queue: &mut Queue, now: Secs) -> Vec<u64> {
    core::iter::from_fn(|| take(queue, now)).map(|job| job.id).collect()
}

#[test]
fn mail_goes_oldest_first_and_what_comes_back_untried_has_its_place_again() {
    for mailbox in [0, 7] {
        let mut queue = queue([3, 1, 2].map(|id| to(mailbox, id)));
        let first = take(&mut queue, 1).unwrap();
        queue.put(to(mailbox, 4));
        queue.put_back(first);
        assert_eq!(take_all(&mut queue, 1), [1, 2, 3, 4]);
    }
}

#[test]
fn retries_and_untried_mail_take_turns() {
    let mut queue = queue([10, 11, 12].map(job));
    [1, 2].into_iter().for_each(|id| queue.put_waiting(failed(id, 1), 5));
    assert_eq!(take_all(&mut queue, 5), [1, 10, 2, 11, 12]);
}

#[test]
fn nothing_goes_before_its_time_unless_its_wait_was_not_its_fault() {
    let mut queue = Queue::default();
    queue.put_waiting(failed(1, 10), 500);
    queue.put_waiting(failed(2, 20), 500);
    queue.put_waiting(Job { harms: 2, ..failed(3, 20) }, 500);
    assert_eq!(take(&mut queue, 499), None);
    queue.forgive(15, 30);
    assert_eq!(take_all(&mut queue, 30), [2]);
}

#[test]
fn a_mailbox_with_one_message_does_not_wait_for_one_with_ten_thousand() {
    let flood = (0..10_000).map(|id| to(1, id));
    let mut queue = queue(flood.chain([to(2, 10_000), to(3, 10_001)]));
    let order = take_all(&mut queue, 1);
    assert_eq!(order[..5], [0, 10_000, 10_001, 1, 2]);
}

#[test]
fn a_mailbox_that_comes_and_goes_has_no_more_turns_than_one_that_waits() {
    let mut queue = queue((0..100).map(|id| to(1, id)));
    let taken: Vec<u32> = (100..200)
        .map(|id| {
            queue.put(to(2, id));
            let taken = take(&mut queue, 1).unwrap();
            queue.take_out(|left| left == id); // what did not go this time comes anew
            taken.mailbox
        })
        .collect();
    assert_eq!(taken.iter().filter(|mailbox| **mailbox == 2).count(), 50);
}

/// After a restart nobody knows whose the mail is.
#[test]
fn mail_to_unknown_mailboxes_goes_by_age_among_the_others() {
    let known = [to(1, 2), to(1, 3), to(1, 8), to(2, 5)];
    let mut queue = queue([1, 4, 6, 7, 9].map(job).into_iter().chain(known));
    // Fair between the two would be 2 5 3 8.
    assert_eq!(take_all(&mut queue, 1), [1, 2, 4, 5, 3, 6, 7, 8, 9]);
    // What has been tried has every second turn of theirs, and does not keep the older ones waiting.
    let mut queue = self::queue([5, 6].map(job).into_iter().chain([10, 11].map(|id| to(1, id))));
    queue.put(failed(100, 1));
    assert_eq!(take_all(&mut queue, 1), [100, 5, 6, 10, 11]);
}

/// Tells whose a message is.
fn learn(queue: &mut Queue, id: u64, mailbox: u32, priority: Priority) {
    if let Some(job) = queue.take_unknown(id) {
        queue.put(Job { mailbox, priority, ..job });
    }
}

#[test]
fn what_is_parked_expires_like_other_mail() {
    let mut queue = Queue::default();
    queue.hold_route(3);
    let accepted = |id: u64, accepted_unix_s: u32| Job { accepted_unix_s, ..to(1, id) };
    queue.park(accepted(1, 100), 3);
    queue.park(accepted(2, 200), 3);
    assert_eq!(queue.take_expired(100, 1).map(|job| job.id), None);
    assert_eq!(queue.take_expired(101, 2).map(|job| job.id), Some(1));
    assert_eq!(queue.take_expired(101, 2).map(|job| job.id), None);
    // What comes to lie there is looked at, too, within the same second.
    queue.park(accepted(0, 99), 3);
    assert_eq!(queue.take_expired(101, 2).map(|job| job.id), Some(0));
    assert_eq!((queue.len(), queue.bytes()), (1, 10));
}

#[test]
fn what_is_learnt_later_counts_from_then_on() {
    let mut queue = queue([1, 2, 3, 4, 5, 7].map(job));
    queue.put(failed(6, 1));
    assert_eq!(queue.unknown_from(0, 2), [1, 2]);
    assert_eq!(queue.unknown_from(4, 3), [4, 5, 6]);
    (1..=5).for_each(|id| learn(&mut queue, id, 1, Priority::Normal));
    learn(&mut queue, 6, 2, Priority::Normal);
    learn(&mut queue, 7, 2, Priority::First);
    learn(&mut queue, 99, 2, Priority::Normal);
    assert_eq!((queue.unknown_from(0, 9), queue.len()), (Vec::new(), 7));
    assert_eq!(take_all(&mut queue, 1), [7, 1, 6, 2, 3, 4, 5]);
}

#[test]
fn fresh_mail_waits_for_one_message_of_the_backlog_which_has_half_of_the_turns() {
    let mut queue = queue((0..6).map(|id| to(1, id)));
    assert_eq!(take(&mut queue, 1).map(|job| job.id), Some(0));
    (10..13).for_each(|id| queue.put(fresh(to(2, id))));
    assert_eq!(take_all(&mut queue, 1), [10, 1, 11, 2, 12, 3, 4, 5]);
}

#[test]
fn what_has_piled_up_is_fresh_no_longer() {
    let mut queue = queue([fresh(to(1, 5)), to(1, 1), fresh(job(6))]);
    queue.put_waiting(fresh(failed(7, 1)), 2);
    queue.begin_afresh();
    assert!(!queue.has_due(Kind::Fresh, 9) && queue.has_due(Kind::Backlog, 9));
    assert_eq!(take_all(&mut queue, 9), [1, 5, 7, 6]);
}

#[test]
fn the_first_go_first_and_the_last_last_but_not_never() {
    let of = |priority, ids: core::ops::Range<u64>| ids.map(move |id| Job { priority, ..to(1, id) });
    let all =
        of(Priority::Last, 0..30).chain(of(Priority::Normal, 100..140)).chain(of(Priority::First, 200..240));
    let order: Vec<_> = take_all(&mut queue(all), 1).into_iter().map(|id| id / 100).collect();
    assert!(order[..14].iter().all(|class| *class == 2), "{order:?}");
    for class in 0..2 {
        let turns: Vec<_> = (0..40).filter(|n| order[*n] == class).collect();
        assert!(turns[0] <= 15 && turns[1] - turns[0] <= 16, "{turns:?} of {class}");
    }
    assert_eq!(order[order.len() - 2..], [0, 0]);
}

#[test]
fn a_trial_prefers_what_has_not_been_tried_to_what_may_be_at_fault() {
    let mut queue = queue([to(1, 5)]);
    queue.put(Job { mailbox: 1, ..failed(1, 1) });
    queue.put(failed(2, 1));
    queue.put_waiting(failed(3, 1), 100);
    let order: Vec<_> = core::iter::from_fn(|| queue.take_any(2)).map(|job| job.id).collect();
    assert_eq!(order, [5, 1, 2, 3]);
}

#[test]
fn a_mailbox_that_is_to_be_spared_has_its_mail_one_by_one_and_the_others_go_on() {
    let mut queue = queue((0..6).map(|id| to(1, id)).chain((10..13).map(|id| to(2, id))));
    let refused = take(&mut queue, 100).unwrap();
    queue.ended(&refused, End::Throttled, 100);
    queue.put_back(refused);
    assert_eq!(take_all(&mut queue, 100), [10, 11, 12]);
    assert_eq!(queue.next_due(), Some(111));
    queue.put(to(1, 6));
    assert_eq!((take(&mut queue, 110), queue.len()), (None, 7));
    // Its turn: nothing else of it goes meanwhile, however long that takes.
    let first = take(&mut queue, 111).unwrap();
    assert!(first.id == 0 && !queue.spares(1, 0) && queue.spares(1, 1));
    assert_eq!((take(&mut queue, 500), queue.next_due()), (None, None));
    // It is still so: twice the time. It got through: half of it, until the mailbox is as any other.
    queue.ended(&first, End::Throttled, 500);
    queue.put_back(first);
    assert_eq!(queue.next_due(), Some(521));
    let times: Vec<_> = [521, 532, 538, 541, 543]
        .into_iter()
        .map(|now| {
            assert_eq!(take(&mut queue, now - 1), None);
            let job = take(&mut queue, now).unwrap();
            queue.ended(&job, End::Delivered, now);
            job.id
        })
        .collect();
    assert_eq!((times, take_all(&mut queue, 543)), ([0, 1, 2, 3, 4].into(), [5, 6].into()));
}

#[test]
fn messages_that_were_on_their_way_when_a_mailbox_was_throttled_count_once() {
    let mut queue = queue((0..5).map(|id| to(1, id)));
    let flying: Vec<_> = core::iter::from_fn(|| take(&mut queue, 1)).collect();
    for job in flying {
        queue.ended(&job, End::Throttled, 1);
        queue.put_back(job);
    }
    assert_eq!((queue.next_due(), queue.len()), (Some(12), 5));
}

#[test]
fn of_too_many_throttled_mailboxes_one_is_let_go() {
    let mut queue = Queue::default();
    for mailbox in 1..=300 {
        queue.put(to(mailbox, u64::from(mailbox)));
        let job = take(&mut queue, mailbox).unwrap();
        queue.ended(&job, End::Throttled, mailbox);
        queue.put_back(job);
        queue.take_out(|id| id < u64::from(mailbox).saturating_sub(256)); // it went at once
    }
    assert!(queue.len() <= 257);
    assert!(!queue.spares(44, 0) && queue.spares(45, 0) && queue.spares(300, 0));
}

#[test]
fn what_is_parked_lies_aside_until_its_route_is_free() {
    let mut queue = queue([1, 2, 3].map(|id| to(1, id)));
    queue.hold_route(4);
    for _ in 0..2 {
        let job = take(&mut queue, 1).unwrap();
        queue.park(job, 4);
    }
    assert_eq!((take_all(&mut queue, 1), queue.len(), queue.bytes()), ([3].into(), 2, 20));
    assert_eq!((queue.next_due(), queue.has_any(1)), (None, false));
    queue.end_waits(1);
    queue.take_out(|id| id == 1);
    assert_eq!(take(&mut queue, 1), None);
    queue.free_route(4);
    let job = take(&mut queue, 1).unwrap();
    assert_eq!({ job.id }, 2);
    // The route was freed while a message was on its way: it is not forgotten.
    queue.park(job, 4);
    assert_eq!(take_all(&mut queue, 1), [2]);
}

#[test]
fn a_million_messages_take_at_most_40_bytes_each_whatever_happened_to_them() {
    const MESSAGES: u64 = 1_000_000;
    let mix = |id: u64| (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
    let priority = |id: u64| [Priority::First, Priority::Normal, Priority::Last][(id % 3) as usize];
    type Make<'a> = &'a dyn Fn(u64) -> Job;
    let made: [(&str, Make<'_>); 3] = [
        ("to unknown mailboxes", &job),
        ("to as many mailboxes", &|id| to(mix(id), id)),
        ("of all sorts", &|id| Job {
            priority: priority(id),
            is_fresh_mail: id % 2 == 0,
            mailbox: mix(id),
            ..failed(id, 1)
        }),
    ];
    for (name, make) in made {
        let mut queue = queue((0..MESSAGES).map(make));
        let bytes = queue.memory_bytes() as u64;
        assert!(bytes <= 40 * MESSAGES, "{name}: {bytes}");
        while take(&mut queue, 1).is_some() {}
        let left = queue.memory_bytes();
        assert!(left <= 6 * 400 * 1_024, "a backlog that has gone leaves its memory: {left}");
    }
    let mut queue = Queue::default();
    (0..MESSAGES).for_each(|id| queue.put_waiting(failed(id, 1), 100));
    assert!(queue.memory_bytes() as u64 <= 40 * MESSAGES, "waiting: {}", queue.memory_bytes());
}

/// What may happen to the queue, with a number that says to what.
#[derive(Clone, Copy, Debug)]
enum Op {
    Put(Job),
    Wait(Job, Secs),
    Time(Secs),
    Remove(u64),
    TakeOut(u64),
    Take,
    Trial,
    Earliest,
    Learn(u64, u32),
    Land(u8),
    Hold(u16),
    Free(u16),
    Afresh,
    Forgive,
    Drain,
}

fn any_job() -> impl Strategy<Value = Job> {
    let priority = prop::sample::select(vec![Priority::First, Priority::Normal, Priority::Last]);
    (0u32..5, priority, any::<bool>()).prop_map(|(mailbox, priority, is_fresh_mail)| Job {
        priority,
        is_fresh_mail,
        ..to(mailbox, 0)
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any_job().prop_map(Op::Put),
        2 => (any_job(), 0u32..40).prop_map(|(job, wait)| Op::Wait(job, wait)),
        2 => (0u32..40).prop_map(Op::Time),
        1 => (0u64..40).prop_map(Op::Remove),
        1 => (0u64..7).prop_map(Op::TakeOut),
        5 => Just(Op::Take),
        1 => Just(Op::Trial),
        1 => Just(Op::Earliest),
        2 => (0u64..40, 0u32..5).prop_map(|(id, mailbox)| Op::Learn(id, mailbox)),
        5 => any::<u8>().prop_map(Op::Land),
        1 => (0u16..3).prop_map(Op::Hold),
        1 => (0u16..3).prop_map(Op::Free),
        1 => Just(Op::Afresh),
        1 => Just(Op::Forgive),
        1 => Just(Op::Drain),
    ]
}

proptest! {
    /// Whatever is put, taken, thrown back, parked, spaced out and removed: each message comes out once, the figures are
    /// right, and in the end everything goes.
    #[test]
    fn each_message_comes_out_once(ops in prop::collection::vec(op(), 1..300)) {
        let mut queue = Queue::default();
        let mut inside = BTreeSet::new();
        let mut flying = Vec::new();
        let (mut now, mut next_id) = (1, 0);
        for op in ops {
            match op {
                Op::Put(job) => {
                    queue.put(Job { id: next_id, ..job });
                    inside.insert(next_id);
                    next_id += 1;
                }
                Op::Wait(job, wait) => {
                    queue.put_waiting(Job { id: next_id, failed: now, attempts: 1, ..job }, now + wait);
                    inside.insert(next_id);
                    next_id += 1;
                }
                Op::Time(passes) => now += passes,
                Op::Remove(id) => prop_assert_eq!(queue.remove(id).is_some(), inside.remove(&id)),
                Op::TakeOut(rest) => {
                    queue.take_out(|id| id % 7 == rest);
                    inside.retain(|id| id % 7 != rest);
                }
                Op::Take | Op::Trial | Op::Earliest => {
                    let due = queue.turn(now).is_some();
                    let (any, waits) = (queue.has_any(now), queue.waiting_len() > 0);
                    let (job, sure) = match op {
                        Op::Take => (take(&mut queue, now), due),
                        Op::Trial => (queue.take_any(now), any),
                        _ => (queue.take_earliest(), waits),
                    };
                    prop_assert_eq!(job.is_some(), sure);
                    if let Some(job) = job {
                        prop_assert!(inside.remove(&Numbered::id(&job)));
                        flying.push(job);
                    }
                }
                Op::Land(how) => {
                    let Some(mut job) = flying.pop() else { continue };
                    let end = [End::Delivered, End::Throttled, End::Other][usize::from(how % 3)];
                    queue.ended(&job, end, now);
                    if end == End::Delivered {
                        continue;
                    }
                    inside.insert(job.id);
                    match how % 4 {
                        _ if end == End::Throttled => queue.put_back(job),
                        0 => queue.put_back(job),
                        1 => queue.park(job, u16::from(how) % 3),
                        _ => {
                            (job.failed, job.attempts) = (now, 1);
                            queue.put_waiting(job, now + u32::from(how));
                        }
                    }
                }
                Op::Learn(id, mailbox) => learn(&mut queue, id, mailbox, Priority::Last),
                Op::Hold(route) => queue.hold_route(route),
                Op::Free(route) => queue.free_route(route),
                Op::Afresh => queue.begin_afresh(),
                Op::Forgive => queue.forgive(now.saturating_sub(20), now),
                Op::Drain => queue.end_waits(now),
            }
            prop_assert_eq!(queue.len(), inside.len());
            prop_assert_eq!(queue.bytes(), 10 * inside.len() as u64);
        }
        for job in flying {
            queue.ended(&job, End::Other, now);
            queue.put_back(job);
            inside.insert(job.id);
        }
        (0..3).for_each(|route| queue.free_route(route));
        for _ in 0..10_000 {
            now += 1;
            while let Some(job) = take(&mut queue, now) {
                prop_assert!(inside.remove(&Numbered::id(&job)));
                queue.ended(&job, End::Delivered, now);
            }
        }
        prop_assert!(inside.is_empty(), "{inside:?} never go");
    }

    /// With mail coming and going: a mailbox that has mail goes without a turn only while each of the others has two,
    /// and within a mailbox the oldest goes first.
    #[test]
    fn no_mailbox_waits_for_more_than_two_turns_of_each_other(
        ops in prop::collection::vec((0u32..5, any::<bool>()), 1..400),
    ) {
        const MAILBOXES: usize = 4;
        let mut queue = Queue::default();
        let mut inside = [(); MAILBOXES].map(|()| BTreeSet::new());
        let mut waits = [0; MAILBOXES];
        for (id, (mailbox, takes)) in (0..).zip(ops) {
            let Some(n) = (mailbox as usize).checked_sub(1) else { continue };
            inside[n].insert(id);
            queue.put(to(mailbox, id));
            if !takes {
                continue;
            }
            let job = take(&mut queue, 1).unwrap();
            let taken = job.mailbox as usize - 1;
            prop_assert_eq!(inside[taken].pop_first(), Some(job.id));
            for n in 0..MAILBOXES {
                waits[n] = if n == taken || inside[n].is_empty() { 0 } else { waits[n] + 1 };
                prop_assert!(waits[n] <= 2 * (MAILBOXES - 1), "mailbox {} waits for {} turns", n + 1, waits[n]);
            }
        }
    }

    /// However much of either comes: a fresh message that is the only one of its priority or better goes within two turns,
    /// the backlog has at least every second one, and a priority that has mail at least one in 16 of its kind.
    #[test]
    fn nobody_starves(ops in prop::collection::vec((any_job(), any::<bool>()), 1..400)) {
        let mut queue = Queue::default();
        let mut inside = BTreeMap::new();
        let (mut without_backlog, mut without_fresh, mut passed_over) = (0, 0, BTreeMap::new());
        for (id, (job, takes)) in (0..).zip(ops) {
            let kind = |job: &Job| (job.is_fresh_mail, job.priority);
            queue.put(Job { id, ..job });
            inside.insert(id, kind(&job));
            if !takes {
                continue;
            }
            let waits = |fresh| inside.values().any(|(is_fresh, _)| *is_fresh == fresh);
            let (has_backlog, has_fresh) = (waits(false), waits(true));
            let waiting: BTreeSet<_> = inside.values().copied().collect();
            let job = take(&mut queue, 1).unwrap();
            inside.remove(&Numbered::id(&job));
            without_backlog = if has_backlog && job.is_fresh_mail { without_backlog + 1 } else { 0 };
            without_fresh = if has_fresh && !job.is_fresh_mail { without_fresh + 1 } else { 0 };
            prop_assert!(without_backlog <= 1 && without_fresh <= 1);
            for class in waiting.into_iter().filter(|(is_fresh, _)| *is_fresh == job.is_fresh_mail) {
                let over = passed_over.entry(class).or_insert(0);
                *over = if class == kind(&job) { 0 } else { *over + 1 };
                prop_assert!(*over < 16, "{class:?}");
            }
        }
    }
}
