//! In which order mail goes: fresh mail and backlog, mailboxes among each other, priorities, and what is spared or held.

use penstock_release::{
    Config, Decision, Event, Evidence, Fate, Message, Mode, Now, Outcome, Phase, Priority, Release, Reply,
    Saved, Stillness,
};

use crate::world::{Answer, HOUR, MINUTE, SECOND, World, config, find_well, message};

/// Messages to one mailbox.
fn to(mailbox: u32, ids: impl Iterator<Item = u64>) -> impl Iterator<Item = Message> {
    ids.map(move |id| Message { mailbox, ..message(id) })
}

/// A server that is away until `from_ms`, with `backlog` offered meanwhile.
fn away_until(from_ms: u64, backlog: impl Iterator<Item = Message>) -> World {
    let mut world = World::new(move |_, _, now| if now < from_ms { Answer::Gone } else { Answer::Takes });
    world.run_until(MINUTE);
    backlog.for_each(|message| world.release.offer(message));
    world
}

/// When each of these was delivered.
fn delivered_at(world: &World, id: u64) -> u64 {
    world.delivered.iter().find(|(_, delivered)| *delivered == id).unwrap().0
}

fn position(world: &World, id: u64) -> usize {
    world.attempts.iter().filter_map(|it| it.message).position(|attempt| attempt == id).unwrap()
}

#[test]
fn fresh_mail_waits_for_its_turn_and_not_for_the_backlog() {
    let mut world = away_until(HOUR, (0..6_000).map(message));
    world.run_until(HOUR + MINUTE);
    for id in 10_000..10_020 {
        let offered_ms = world.now_ms;
        world.release.offer(message(id));
        world.run_until(offered_ms + 10 * SECOND);
        // Ten messages go in a second: it goes as the second one at the latest.
        let waited_ms = delivered_at(&world, id) - offered_ms;
        assert!(waited_ms <= 250, "{id} waited for {waited_ms} ms");
    }
    let now = world.now();
    assert!(world.release.progress(now).messages > 1_000, "the backlog is not over yet");
}

#[test]
fn however_much_fresh_mail_comes_the_backlog_has_half_of_the_turns() {
    let mut world = away_until(HOUR, (0..6_000).map(message));
    world.run_until(HOUR + MINUTE);
    let before = world.attempts.len();
    (10_000..12_000).for_each(|id| world.release.offer(message(id)));
    world.run_until(HOUR + 2 * MINUTE);
    let sent: Vec<_> = world.attempts[before..].iter().filter_map(|it| it.message).collect();
    let backlog = sent.iter().filter(|id| **id < 10_000).count();
    assert!(sent.len() > 500 && backlog.abs_diff(sent.len() / 2) <= 1, "{backlog} of {}", sent.len());
}

#[test]
fn what_came_during_an_outage_or_a_hold_is_backlog_and_a_hiccup_makes_none() {
    // Held: what came first goes first, in spite of what came later.
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.run_until(SECOND);
    world.set_mode(Mode::Hold { until_unix_ms: None });
    world.offer(1..=100);
    world.run_until(MINUTE);
    world.set_mode(Mode::Auto);
    world.offer([1_000]);
    world.run_until(2 * MINUTE);
    assert!(position(&world, 1_000) <= 1);

    // A sender whom the server refuses at MAIL makes it look inactive for a round trip.
    let mut world = away_until(HOUR, (1..=1_000).map(message));
    world.run_until(HOUR + 20 * SECOND);
    world.servers = Box::new(|_, message, _| match message {
        Some(5_000) => Answer::Says(Phase::Mail, 451, "4.1.8 Sender's domain does not resolve"),
        _ => Answer::Takes,
    });
    world.offer([5_000, 5_001, 5_002]);
    world.run_until(HOUR + 22 * SECOND);
    assert!(world.delivered_ids().ends_with(&[5_001, 5_002]), "they went before the backlog was over");
    assert!(world.delivered.len() < 1_000);
}

#[test]
fn a_mailbox_that_is_flooded_keeps_no_other_waiting() {
    let flood = to(1, 0..3_000);
    let others = (2..12).flat_map(|mailbox| {
        let first = 10_000 + u64::from(mailbox) * 10;
        to(mailbox, first..first + 2)
    });
    let mut world = away_until(HOUR, flood.chain(others));
    world.run_until(HOUR + MINUTE);
    let sent: Vec<_> = world.attempts.iter().filter_map(|it| it.message).collect();
    // Eleven mailboxes, two rounds.
    assert_eq!(sent[..22].iter().filter(|id| **id >= 10_000).count(), 20, "{:?}", &sent[..22]);
    let of_flood: Vec<_> = sent.into_iter().filter(|id| *id < 10_000).collect();
    assert!(of_flood.len() > 100 && of_flood.is_sorted(), "within the mailbox the oldest goes first");
}

#[test]
fn the_operator_says_which_mailboxes_come_first_and_which_last() {
    let of = |priority, ids: std::ops::Range<u64>| ids.map(move |id| Message { priority, ..message(id) });
    let backlog = of(Priority::Last, 0..200)
        .chain(of(Priority::Normal, 1_000..1_200))
        .chain(of(Priority::First, 2_000..2_020));
    let mut world = away_until(HOUR, backlog);
    world.run_until(HOUR + 10 * MINUTE);
    assert!((2_000..2_020).all(|id| position(&world, id) < 25), "the first are not kept");
    let last_normal = position(&world, 1_199);
    let early = (0..200).filter(|id| position(&world, *id) < last_normal).count();
    assert!((12..=20).contains(&early), "of the last, one in 16 goes all the same: {early}");
}

#[test]
fn a_mailbox_that_the_server_wants_spared_gets_its_mail_slowly_and_the_others_do_not_notice() {
    let mut last_ms = None;
    let mut world = World::new(move |_, message, now| match message {
        // One message in 30 s, the rest is too much.
        Some(1..=10) if last_ms.is_some_and(|last| now < last + 30 * SECOND) => Answer::Says(
            Phase::EndOfData,
            432,
            "4.3.2 STOREDRV.Storage; mailbox server thread limit exceeded",
        ),
        Some(1..=10) => {
            last_ms = Some(now);
            Answer::Takes
        }
        _ => Answer::Takes,
    });
    to(7, 1..11).chain(to(8, 100..200)).for_each(|message| world.release.offer(message));
    world.run_until(20 * SECOND);
    assert_eq!(world.delivered_ids().iter().filter(|id| **id >= 100).count(), 100);
    world.run_until(HOUR);
    assert_eq!(world.delivered_ids().len(), 110);
    assert!(world.set_aside.is_empty(), "it is no harm");
    assert!(!world.fates.iter().any(|(_, fate)| matches!(fate, Fate::Waits { .. })), "and no attempt");
    let mut attempts: Vec<_> =
        world.attempts.iter().filter(|it| matches!(it.message, Some(1..=10))).collect();
    attempts.retain(|it| it.at_ms > 2 * SECOND); // the first few were on their way together
    assert!(attempts.len() <= 40, "{} attempts for 10 messages", attempts.len());
}

fn now(mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: None }
}

/// Release with a server that was found to be well.
fn releasing() -> Release {
    let mut release = Release::new(config(), None, Mode::Auto, now(0)).unwrap();
    find_well(&mut release, now(0));
    release
}

fn sent(release: &mut Release, mono_ms: u64) -> u64 {
    match release.next(now(mono_ms)) {
        Decision::Send { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_restart_a_message_to_a_spared_mailbox_is_not_sent_once_it_is_known_whose_it_is() {
    let mut release = releasing();
    (1..=3).for_each(|id| release.recover(message(id), 0, 0));
    assert_eq!(sent(&mut release, 0), 1);
    assert!(release.addressed(Message { mailbox: 7, ..message(1) }));
    let event = Event::Reply(Reply::new(432, "4.3.2 STOREDRV.Storage"));
    let evidence = Evidence { phase: Phase::Rcpt, event, accepted: 0 };
    let outcome = Outcome::Open { evidence, delivered: false };
    assert_eq!(release.finished(1, outcome, now(50)), Some(Fate::Kept));
    // Another one of it: seen when its envelope is read. It does not come up again before its time.
    assert_eq!(sent(&mut release, 100), 2);
    assert!(!release.addressed(Message { mailbox: 7, ..message(2) }));
    assert_eq!(release.finished(2, Outcome::NotTried, now(100)), Some(Fate::Kept));
    assert_eq!(sent(&mut release, 200), 3);
    assert!(release.addressed(Message { mailbox: 8, ..message(3) }));
    release.finished(3, Outcome::Done { delivered: true }, now(200));
    let Decision::Wait { until_ms: Some(at) } = release.next(now(300)) else { panic!("it waits") };
    assert!((10_050..=12_000).contains(&at), "{at}");
    assert_eq!(sent(&mut release, at), 1);
    assert!(release.addressed(Message { mailbox: 7, ..message(1) }), "it is its turn");
}

#[test]
fn a_mailbox_is_spared_yet_after_a_restart() {
    let mut release = releasing();
    release.offer(Message { mailbox: 7, ..message(1) });
    assert_eq!(sent(&mut release, 0), 1);
    release.take_changed();
    let event = Event::Reply(Reply::new(432, "4.3.2 STOREDRV.Storage"));
    let outcome =
        Outcome::Open { evidence: Evidence { phase: Phase::Rcpt, event, accepted: 0 }, delivered: false };
    release.finished(1, outcome, now(50));
    assert!(release.take_changed());
    let saved = Saved::from_bytes(&release.saved().to_bytes()).unwrap();
    let mut release = Release::new(config(), Some(&saved), Mode::Auto, now(0)).unwrap();
    (1..=2).for_each(|id| release.recover(Message { mailbox: 7, ..message(id) }, 0, 0));
    release.recover(Message { mailbox: 8, ..message(3) }, 0, 0);
    find_well(&mut release, now(0));
    assert_eq!(sent(&mut release, 100), 3, "the others do not notice");
    release.finished(3, Outcome::Done { delivered: true }, now(200));
    let Decision::Wait { until_ms: Some(at) } = release.next(now(300)) else { panic!("it waits") };
    assert!((9_000..=12_000).contains(&at), "{at}");
    assert_eq!(sent(&mut release, at), 1);
}

#[test]
fn what_is_for_held_recipients_lies_aside_and_goes_when_they_are_free() {
    let mut release = releasing();
    (1..=3).for_each(|id| release.offer(message(id)));
    release.hold_route(5);
    // One of them has recipients elsewhere, too: they have their mail.
    for (id, delivered) in [(1, false), (2, true)] {
        assert_eq!(sent(&mut release, id * 100), id);
        let parked = Outcome::Parked { route: 5, delivered };
        assert_eq!(release.finished(id, parked, now(id * 100)), Some(Fate::Kept));
    }
    assert_eq!(sent(&mut release, 300), 3);
    release.finished(3, Outcome::Done { delivered: true }, now(300));
    assert_eq!(release.next(now(400)), Decision::Wait { until_ms: None });
    assert_eq!(release.stillness(now(400)), Some(Stillness::Parked));
    assert_eq!(release.progress(now(400)).messages, 2, "they are still to go");
    // Not by draining, nor by a restart of the server.
    release.set_mode(Mode::Drain, now(500));
    assert_eq!(release.next(now(HOUR)), Decision::Wait { until_ms: None });
    release.free_route(5);
    assert!(!release.is_route_held(5));
    assert_eq!(sent(&mut release, HOUR), 1);
    // Freed while it was on its way: it comes up again at once.
    release.finished(1, Outcome::Parked { route: 5, delivered: false }, now(HOUR));
    assert_eq!(sent(&mut release, HOUR + SECOND), 1);
}

#[test]
fn a_mailbox_is_the_same_in_any_case_and_in_each_box_another() {
    let config = config();
    let mailbox = config.mailbox("Jane.Doe@Example.org");
    assert_eq!(mailbox, config.mailbox("jane.doe@example.ORG"));
    assert_ne!(mailbox, config.mailbox("jane.doe@example.com"));
    assert_ne!(mailbox, Config { seed: 8, ..config }.mailbox("jane.doe@example.org"));
}
