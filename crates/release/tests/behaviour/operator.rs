//! What the operator is promised: modes, restarts, figures, and a hand on single messages.

use penstock_release::{
    Config, Decision, Fate, HopConfig, HopId, Mode, Now, Outcome, Phase, Release, Removed, Saved, SetAside,
    State, Stillness,
};

use crate::world::{Answer, DAY, HOUR, MINUTE, SECOND, UNIX_START_MS, World, config, message};

#[test]
fn hold_lets_nothing_go_and_stop_not_even_a_probe() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.offer(1..=10);
    world.set_mode(Mode::Hold { until_unix_ms: None });
    world.run_until(DAY);
    assert_eq!(world.sends_since(0), 0);
    assert_eq!(world.attempts.len(), 1, "the probe tells the operator how the server is");
    assert_eq!(world.release.stillness(world.now()), Some(Stillness::Held { until_unix_ms: None }));
    world.set_mode(Mode::Auto);
    world.run_until(DAY + MINUTE);
    assert_eq!(world.delivered_ids().len(), 10);

    let mut world = World::new(|_, _, _| Answer::Takes);
    world.offer(1..=10);
    world.set_mode(Mode::Stop);
    world.run_until(DAY);
    assert!(world.attempts.is_empty());
    assert_eq!(world.release.stillness(world.now()), Some(Stillness::Stopped));
}

#[test]
fn a_hold_with_an_end_ends_by_a_trusted_clock_only() {
    for trusted in [true, false] {
        let mut world = World::new(|_, _, _| Answer::Takes);
        world.clock_trusted = trusted;
        world.offer(1..=10);
        world.set_mode(Mode::Hold { until_unix_ms: Some(UNIX_START_MS + 6 * HOUR) });
        world.run_until(6 * HOUR - 1);
        assert_eq!(world.sends_since(0), 0);
        world.run_until(6 * HOUR + MINUTE);
        assert_eq!(world.delivered_ids().len(), if trusted { 10 } else { 0 });
    }
}

#[test]
fn drain_ends_every_wait_and_no_verdict() {
    let mut world = World::new(|_, message, now| match message {
        Some(id) if id % 2 == 0 && now < 2 * HOUR => Answer::Says(Phase::Rcpt, 450, "4.2.1 Mailbox busy"),
        Some(1) => Answer::Says(Phase::EndOfData, 452, "4.3.1 Insufficient system resources"),
        _ => Answer::Takes,
    });
    world.offer(2..=21);
    world.run_until(2 * HOUR + SECOND);
    assert!(world.delivered_ids().len() < 20);
    world.set_mode(Mode::Drain);
    world.run_until(2 * HOUR + MINUTE);
    assert_eq!(world.delivered_ids().len(), 20);
    world.offer([1]);
    world.run_until(2 * HOUR + 2 * MINUTE);
    let before = world.attempts.len();
    world.run_until(2 * HOUR + 3 * MINUTE);
    assert!(world.attempts.len() - before <= 1, "back pressure holds in drain as ever");
}

#[test]
fn in_drain_a_message_waits_no_longer_than_the_first_step() {
    let mut world = World::new(|_, message, _| match message {
        Some(_) => Answer::Says(Phase::Rcpt, 450, "4.2.1 Mailbox busy"),
        None => Answer::Takes,
    });
    world.set_mode(Mode::Drain);
    world.offer([1]);
    world.run_until(HOUR);
    assert!(world.attempts_at(1).len() >= 45);
}

#[test]
fn old_mail_is_set_aside_by_a_trusted_clock_only() {
    for trusted in [true, false] {
        let mut world = World::new(|_, _, _| Answer::Gone);
        world.offer(1..=3);
        world.clock_trusted = trusted;
        world.run_until(31 * DAY);
        let aside = if trusted {
            vec![(1, SetAside::Expired), (2, SetAside::Expired), (3, SetAside::Expired)]
        } else {
            vec![]
        };
        assert_eq!(world.set_aside, aside);
    }
}

#[test]
fn mode_and_trouble_outlive_a_restart() {
    let mut world = World::new(|_, _, _| Answer::Says(Phase::Rcpt, 550, "5.7.54 Unable to relay"));
    world.offer(1..=5);
    world.run_until(HOUR);
    world.set_mode(Mode::Hold { until_unix_ms: None });
    assert!(world.release.take_changed() && !world.release.take_changed());
    let bytes = world.release.saved().to_bytes();

    let saved = Saved::from_bytes(&bytes).unwrap();
    let mut world = World::with(config(), Some(&saved), |_, _, _| Answer::Takes);
    assert_eq!(world.release.mode(), Mode::Hold { until_unix_ms: None });
    let status = world.release.hops(world.now()).next().unwrap();
    assert_eq!(status.state, State::Unconfigured);
    assert!(status.last_reply.unwrap().as_str().starts_with("550 5.7.54"));
    // What waited through the trouble goes with the proof that it is over.
    for id in 1..=5 {
        world.release.recover(message(id), 2, 4 * MINUTE);
    }
    world.run_until(10 * SECOND);
    assert_eq!(world.sends_since(0), 0, "it is still on hold");
    world.set_mode(Mode::Auto);
    world.run_until(20 * SECOND);
    assert_eq!((world.state(), world.sends_since(0)), (State::Unproven, 0), "it has to prove itself");
    assert!(world.confirm());
    world.run_until(30 * SECOND);
    assert_eq!(world.delivered_ids(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_server_that_was_healthy_before_a_restart_is_asked_before_it_gets_mail() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.run_until(SECOND);
    let saved = world.release.saved();
    let mut world = World::with(config(), Some(&saved), |_, _, _| Answer::Gone);
    world.offer([1]);
    world.run_until(HOUR);
    assert_eq!(world.sends_since(0), 0);
}

#[test]
fn after_a_restart_a_message_waits_for_the_rest_of_its_time() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.release.recover(message(1), 3, 10 * MINUTE);
    world.release.recover(message(2), 0, 0);
    world.run_until(9 * MINUTE);
    assert_eq!(world.delivered_ids(), [2]);
    world.run_until(11 * MINUTE);
    assert_eq!(world.delivered_ids(), [1, 2]);
}

#[test]
fn a_message_in_flight_cannot_be_removed_and_a_waiting_one_can() {
    let now = Now { mono_ms: 0, unix_ms: None };
    let mut release = Release::new(config(), None, Mode::Auto, now).unwrap();
    (1..=2).for_each(|id| release.offer(message(id)));
    assert_eq!(release.next(now), Decision::Probe { hop: HopId(0) });
    release.probed(HopId(0), None, now);
    assert!(matches!(release.next(now), Decision::Send { message: 1, .. }));
    assert_eq!(release.remove(1), Removed::InFlight);
    assert_eq!((release.remove(2), release.remove(2)), (Removed::Yes, Removed::Unknown));
    assert_eq!(release.finished(1, Outcome::NotTried, now), Some(Fate::Kept));
    assert_eq!(release.finished(1, Outcome::NotTried, now), None, "it is no longer in flight");
    assert_eq!(release.remove(1), Removed::Yes);
}

#[test]
fn the_operator_sends_one_message_before_its_time() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.release.recover(message(1), 3, 10 * MINUTE);
    world.run_until(SECOND);
    assert!(world.delivered.is_empty() && !world.release.hasten(99) && world.release.hasten(1));
    world.run_until(2 * SECOND);
    assert_eq!(world.delivered_ids(), [1]);
}

#[test]
fn progress_says_what_is_left_and_until_when() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.offer(1..=6_000);
    world.run_until(5 * MINUTE);
    let progress = world.release.progress(world.now());
    assert_eq!(progress.messages as usize + world.delivered.len(), 6_000);
    assert_eq!(progress.bytes, progress.messages * 4_096);
    let (least, most) = progress.done_in_s.unwrap();
    assert!(least >= 280 && most <= 360, "about 3,000 at 600 a minute: {least} to {most} s");
    assert_eq!(world.release.stillness(world.now()), None);
}

#[test]
fn a_configuration_that_means_nothing_is_refused() {
    let now = Now { mono_ms: 0, unix_ms: None };
    for config in [
        Config { hops: vec![], ..config() },
        Config { hops: vec![HopConfig { weight: 0, ..config().hops[0].clone() }], ..config() },
        Config { hops: vec![config().hops[0].clone(), config().hops[0].clone()], ..config() },
        Config { connections_max: 0, ..config() },
        Config { messages_per_minute_max: Some(0), ..config() },
        Config { retry_schedule_ms: vec![], ..config() },
        Config { retry_jitter_percent: 101, ..config() },
    ] {
        assert!(Release::new(config, None, Mode::Auto, now).is_err());
    }
}
