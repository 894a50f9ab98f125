//! Mail that has hops of its own.

use penstock_release::{
    Config, Decision, Error, Event, Evidence, Fate, HopConfig, HopId, HopSet, Message, Mode, Now, Outcome,
    Phase, Release, Reply, State, Stillness, WAYS_MAX, WayId, WaySet,
};

use crate::world::{HOUR, MINUTE, SECOND, config, message};

/// All other mail, and its hop.
const REST: WayId = WayId(0);
const MAIN: HopId = HopId(0);
/// The mail of a domain, say, and its hop.
const SALES: WayId = WayId(1);
const BRANCH: HopId = HopId(1);

fn now(mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: None }
}

fn two_ways() -> Config {
    let hop = |name: &str| HopConfig { name: name.into(), priority: 0, weight: 1, probes: 0 };
    let ways = [MAIN, BRANCH].map(|hop| HopSet::of([hop])).to_vec();
    Config { hops: vec![hop("main"), hop("branch")], ways, ..config() }
}

const GONE: Evidence<'_> = Evidence { phase: Phase::Connect, event: Event::Lost, accepted: 0 };

/// Release with two servers, each for mail of its own; those that are well.
fn releasing(well: &[HopId]) -> Release {
    let mut release = Release::new(two_ways(), None, Mode::Auto, now(0)).unwrap();
    for hop in [MAIN, BRANCH] {
        assert_eq!(release.next(now(0)), Decision::Probe { hop });
        release.probed(hop, (!well.contains(&hop)).then_some(GONE), now(0));
    }
    release
}

fn of(id: u64, ways: &[WayId]) -> Message {
    Message { ways: WaySet::of(ways.iter().copied()), ..message(id) }
}

/// What goes at a moment, to which hop; probes fail.
fn sent(release: &mut Release, at_ms: u64) -> Option<(u64, HopId)> {
    loop {
        match release.next(now(at_ms)) {
            Decision::Send { message, hop, .. } => return Some((message, hop)),
            Decision::Probe { hop } => {
                release.probed(hop, Some(GONE), now(at_ms));
            }
            Decision::Wait { .. } => return None,
            other => panic!("{other:?}"),
        }
    }
}

fn heal(release: &mut Release, hop: HopId, at_ms: u64) {
    while let Decision::Probe { hop: probed } = release.next(now(at_ms)) {
        release.probed(probed, None, now(at_ms));
        if probed == hop {
            return;
        }
    }
    panic!("it is not probed");
}

const DONE: Outcome<'_> = Outcome::Done { delivered: true };

#[test]
fn mail_with_a_hop_of_its_own_goes_there_and_holds_up_no_other_while_that_is_away() {
    let mut release = releasing(&[MAIN]);
    (1..=3).for_each(|id| release.offer(of(id, &[SALES])));
    release.offer(of(4, &[REST]));
    assert_eq!(sent(&mut release, SECOND), Some((4, MAIN)));
    release.finished(4, DONE, now(SECOND));
    assert_eq!(sent(&mut release, 2 * SECOND), None, "the main server is none of theirs");
    let still = release.stillness(now(2 * SECOND));
    assert!(matches!(still, Some(Stillness::NextHop { hop: BRANCH, state: State::Down, .. })), "{still:?}");
    heal(&mut release, BRANCH, HOUR);
    for n in 0..3 {
        let at_ms = HOUR + n * SECOND;
        assert_eq!(sent(&mut release, at_ms), Some((n + 1, BRANCH)));
        release.finished(n + 1, DONE, now(at_ms));
    }
    assert_eq!(release.stillness(now(HOUR + MINUTE)), Some(Stillness::Empty));
}

#[test]
fn ways_take_turns() {
    let mut release = releasing(&[MAIN, BRANCH]);
    (1..=4).for_each(|id| release.offer(of(id, &[REST])));
    (5..=8).for_each(|id| release.offer(of(id, &[SALES])));
    let mut order = Vec::new();
    for n in 0..8 {
        let at_ms = (n + 1) * SECOND;
        let (id, hop) = sent(&mut release, at_ms).unwrap();
        assert_eq!(hop, if id < 5 { MAIN } else { BRANCH });
        release.finished(id, DONE, now(at_ms));
        order.push(id);
    }
    assert_eq!(order, [1, 5, 2, 6, 3, 7, 4, 8]);
}

#[test]
fn a_message_to_recipients_of_two_ways_goes_on_both_one_after_the_other() {
    let mut release = releasing(&[MAIN, BRANCH]);
    release.offer(of(1, &[REST, SALES]));
    assert_eq!(sent(&mut release, SECOND), Some((1, MAIN)));
    assert_eq!(release.way_of(1), Some(REST));
    assert!(release.addressed(of(1, &[SALES])), "the others have it");
    assert_eq!(release.finished(1, Outcome::Elsewhere { delivered: true }, now(SECOND)), Some(Fate::Kept));
    assert_eq!(sent(&mut release, 2 * SECOND), Some((1, BRANCH)));
    assert_eq!(release.finished(1, DONE, now(2 * SECOND)), Some(Fate::Done));
}

#[test]
fn recipients_of_one_way_do_not_wait_for_those_of_another_whose_server_is_away_or_puts_them_off() {
    // Away when the message comes.
    let mut release = releasing(&[BRANCH]);
    release.offer(of(1, &[REST, SALES]));
    assert_eq!(sent(&mut release, SECOND), Some((1, BRANCH)));
    release.addressed(of(1, &[REST]));
    release.finished(1, Outcome::Elsewhere { delivered: true }, now(SECOND));
    assert_eq!(sent(&mut release, MINUTE), None);
    heal(&mut release, MAIN, HOUR);
    assert_eq!(sent(&mut release, HOUR), Some((1, MAIN)));

    // Away from a later moment on.
    let mut release = releasing(&[MAIN, BRANCH]);
    (1..=2).for_each(|id| release.offer(of(id, &[REST, SALES])));
    assert_eq!(sent(&mut release, SECOND), Some((1, MAIN)));
    release.addressed(of(1, &[REST, SALES]));
    release.finished(1, Outcome::Open { evidence: GONE, delivered: false }, now(SECOND));
    for id in 1..=2 {
        let at_ms = (1 + id) * SECOND;
        assert_eq!(sent(&mut release, at_ms), Some((id, BRANCH)));
        release.addressed(of(id, &[REST]));
        release.finished(id, Outcome::Elsewhere { delivered: true }, now(at_ms));
    }

    // Put off: they take turns, each after its wait.
    let mut release = releasing(&[MAIN, BRANCH]);
    release.offer(of(1, &[REST, SALES]));
    let event = Event::Reply(Reply::new(450, "4.2.1 busy"));
    let busy = Evidence { phase: Phase::Rcpt, event, accepted: 0 };
    let mut hops = Vec::new();
    for n in 0..4 {
        let at_ms = SECOND + n * 2 * HOUR;
        let (id, hop) = sent(&mut release, at_ms).unwrap();
        hops.push(hop);
        release.addressed(of(id, &[REST, SALES]));
        let fate = release.finished(id, Outcome::Open { evidence: busy, delivered: false }, now(at_ms));
        assert!(matches!(fate, Some(Fate::Waits { .. })), "{fate:?}");
        assert_eq!(sent(&mut release, at_ms + SECOND), None);
    }
    assert_eq!(hops, [MAIN, BRANCH, MAIN, BRANCH]);
}

#[test]
fn a_message_whose_recipients_are_held_on_both_ways_lies_aside_until_one_is_free() {
    let mut release = releasing(&[MAIN, BRANCH]);
    release.offer(of(1, &[REST, SALES]));
    [3, 4].into_iter().for_each(|route| release.hold_route(route));
    for (at_ms, hop, route) in [(SECOND, MAIN, 3), (2 * SECOND, BRANCH, 4)] {
        assert_eq!(sent(&mut release, at_ms), Some((1, hop)));
        release.addressed(of(1, &[REST, SALES]));
        release.finished(1, Outcome::Parked { route, delivered: false }, now(at_ms));
    }
    assert_eq!((sent(&mut release, HOUR), release.stillness(now(HOUR))), (None, Some(Stillness::Parked)));
    release.free_route(4);
    assert_eq!(sent(&mut release, HOUR + SECOND), Some((1, BRANCH)));
}

#[test]
fn whose_way_is_not_known_is_found_out_when_it_is_read_or_tried() {
    let mut release = releasing(&[MAIN, BRANCH]);
    (1..=2).for_each(|id| release.recover(message(id), 0, 0));
    assert!(release.addressed(Message { mailbox: 7, ..of(2, &[SALES]) }));
    assert_eq!(sent(&mut release, SECOND), Some((1, MAIN)));
    release.addressed(of(1, &[SALES]));
    release.finished(1, Outcome::Elsewhere { delivered: false }, now(SECOND));
    let mut hops = Vec::new();
    for n in 0..2 {
        let (id, hop) = sent(&mut release, (2 + n) * SECOND).unwrap();
        release.finished(id, DONE, now((2 + n) * SECOND));
        hops.push(hop);
    }
    assert_eq!(hops, [BRANCH, BRANCH]);
}

#[test]
fn ways_without_a_hop_are_refused() {
    let with =
        |ways: Vec<HopSet>| Release::new(Config { ways, ..two_ways() }, None, Mode::Auto, now(0)).err();
    assert_eq!(with(vec![HopSet::ALL]), None);
    for ways in [vec![], vec![HopSet::ALL; WAYS_MAX + 1], vec![HopSet::of([HopId(2)])]] {
        assert_eq!(with(ways), Some(Error::Ways));
    }
}
