//! What release promises, told as stories of servers that fail and return.

use crate::world::{Answer, DAY, HOUR, MINUTE, SECOND, UNIX_START_MS, World, config};
use penstock_release::{
    Config, Decision, Fate, HopConfig, HopId, Message, Mode, Now, Outcome, Phase, Release, Removed, Saved,
    SetAside, State, Stillness,
};

#[test]
fn mail_to_a_healthy_server_goes_at_once_and_in_order() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.offer(1..=20);
    world.run_until(10 * SECOND);
    assert_eq!(world.delivered_ids(), (1..=20).collect::<Vec<_>>());
    assert!(world.delivered.is_sorted());
    assert_eq!(world.attempts[0].message, None, "a server nobody has spoken to is probed first");
    assert_eq!(world.release.stillness(world.now()), Some(Stillness::Empty));
}

#[test]
fn an_outage_of_hours_costs_no_attempt_and_ends_within_one_probe() {
    let back = 7 * HOUR + 3;
    let mut world = World::new(move |_, _, now| if now < back { Answer::Gone } else { Answer::Takes });
    world.offer(1..=1_000);
    world.run_until(back);
    assert_eq!(world.sends_since(0), 0, "no message is spent on a server that is down");
    world.run_until(back + 15 * SECOND + 200);
    assert!(!world.delivered.is_empty(), "release begins within one probe interval");
    world.run_until(back + 3 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 1_000);
}

#[test]
fn a_short_outage_is_probed_every_five_seconds() {
    let mut world = World::new(|_, _, _| Answer::Gone);
    world.run_until(10 * MINUTE);
    let gaps: Vec<_> = world.attempts.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
    assert!(gaps.iter().all(|gap| *gap <= 5 * SECOND + 50), "{gaps:?}");
    world.run_until(HOUR);
    let last = world.attempts.last().unwrap().at_ms - world.attempts[world.attempts.len() - 2].at_ms;
    assert!((15 * SECOND..15 * SECOND + 50).contains(&last), "then every 15: {last}");
}

#[test]
fn a_server_that_dies_in_mid_transfer_owes_no_message_a_wait() {
    let (dies, back) = (5 * SECOND, 2 * HOUR);
    let mut world = World::new(move |_, message, now| match message {
        _ if now < dies || now >= back => Answer::Takes,
        Some(_) if now < dies + SECOND => Answer::Cuts(Phase::EndOfData),
        _ => Answer::Gone,
    });
    world.offer(1..=500);
    world.run_until(back);
    let cut = world.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Waits { .. })).count();
    assert!(cut > 0, "some were cut");
    world.run_until(back + 2 * MINUTE);
    assert_eq!(world.delivered_ids(), (1..=500).collect::<Vec<_>>());
}

#[test]
fn what_fails_by_itself_waits_by_the_schedule_and_holds_up_nobody() {
    let mut world = World::new(|_, message, _| match message {
        Some(1) => Answer::Says(Phase::Rcpt, 451, "4.7.1 Greylisted"),
        _ => Answer::Takes,
    });
    world.offer(1..=10);
    world.run_until(DAY);
    assert_eq!(world.delivered_ids(), (2..=10).collect::<Vec<_>>());
    assert!(world.delivered.iter().all(|(at, _)| *at < 10 * SECOND));
    let gaps: Vec<_> = world.attempts_at(1).windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (n, gap) in gaps.iter().enumerate() {
        let step = [1, 5, 15, 30, 60][n.min(4)] * MINUTE;
        let allowed = step - step / 5..=step + step / 5 + 2 * SECOND;
        assert!(allowed.contains(gap), "wait {n} of {step} was {gap}");
    }
    assert!(gaps.len() > 20, "hourly for as long as it takes: a 4xx is no poison");
    assert!(world.set_aside.is_empty());
}

#[test]
fn mail_that_failed_together_does_not_return_together() {
    let mut world = World::new(|_, message, now| match message {
        Some(_) if now < 30 * SECOND => Answer::Says(Phase::EndOfData, 451, "4.7.0 Try later"),
        _ => Answer::Takes,
    });
    world.offer(1..=2);
    world.run_until(5 * MINUTE);
    assert_ne!(world.attempts_at(1)[1], world.attempts_at(2)[1]);
}

#[test]
fn a_message_that_kills_every_session_is_set_aside_and_the_others_pass() {
    let mut world = World::new(|_, message, _| match message {
        Some(1) => Answer::Cuts(Phase::EndOfData),
        _ => Answer::Takes,
    });
    world.offer(1..=100);
    world.run_until(30 * SECOND);
    assert_eq!(world.delivered_ids(), (2..=100).collect::<Vec<_>>());
    for id in 101..200 {
        world.offer([id]);
        world.run_until(world.now_ms + 20 * SECOND);
    }
    assert_eq!(world.set_aside, [(1, SetAside::Poison)]);
    assert_eq!(world.attempts_at(1).len(), 3);
    assert_eq!(world.delivered_ids().len(), 198);
}

#[test]
fn a_message_is_no_poison_while_nothing_else_passes() {
    let mut world = World::new(|_, message, now| match message {
        Some(_) if now < 5 * HOUR => Answer::Cuts(Phase::EndOfData),
        _ => Answer::Takes,
    });
    world.offer(1..=5);
    world.run_until(6 * HOUR);
    assert_eq!(world.set_aside, []);
    assert_eq!(world.delivered_ids(), [1, 2, 3, 4, 5]);
}

#[test]
fn back_pressure_pauses_the_destination_and_one_message_a_minute_asks() {
    let (full, free) = (2 * SECOND, 2 * HOUR);
    let mut world = World::new(move |_, message, now| match message {
        Some(_) if (full..free).contains(&now) => {
            Answer::Says(Phase::EndOfData, 452, "4.3.1 Insufficient system resources (UsedDiskSpace[C:])")
        }
        _ => Answer::Takes,
    });
    world.offer(1..=1_000);
    world.run_until(HOUR);
    let status = world.release.hops(world.now()).next().unwrap();
    assert_eq!(status.state, State::Pressure);
    assert!(
        status.last_reply.unwrap().as_str().contains("UsedDiskSpace"),
        "the operator sees which resource"
    );
    let during = world.sends_since(10 * SECOND);
    assert!((58..=60).contains(&during), "one a minute: {during}");
    world.run_until(free + 5 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 1_000);
    assert!(world.set_aside.is_empty());
}

#[test]
fn after_a_recovery_one_connection_asks_before_more_follow() {
    let mut world = World::new(|_, _, now| if now < MINUTE { Answer::Gone } else { Answer::Takes });
    world.offer(1..=100);
    world.run_until(2 * MINUTE);
    let first: Vec<_> = world.attempts.iter().filter(|it| it.message.is_some()).take(2).collect();
    assert!(first[1].at_ms - first[0].at_ms >= 40, "the second begins when the first has passed");
}

#[test]
fn a_server_that_forgot_the_site_holds_everything_and_loses_nothing() {
    let repaired = 3 * DAY;
    for reply in [
        (Phase::Rcpt, 550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
        (Phase::Mail, 530, "5.7.1 Client was not authenticated"),
        (Phase::Banner, 554, "No SMTP service here"),
        (Phase::Ehlo, 421, "4.3.2 Service not available"),
        (Phase::EndOfData, 421, "4.3.2 Service not active"),
    ] {
        let mut world =
            World::new(
                move |_, _, now| {
                    if now < repaired { Answer::Says(reply.0, reply.1, reply.2) } else { Answer::Takes }
                },
            );
        world.offer(1..=300);
        world.run_until(DAY);
        let state = world.release.hops(world.now()).next().unwrap();
        assert!(state.advice.is_some() && state.state != State::Healthy, "{reply:?}: {state:?}");
        let per_hour = world.sends_since(DAY - HOUR);
        assert!(per_hour <= 61, "{reply:?}: {per_hour} messages an hour are spent on asking");
        world.run_until(repaired + 5 * MINUTE);
        assert_eq!(world.delivered_ids().len(), 300, "{reply:?}");
        assert!(world.set_aside.is_empty() && world.refused.is_empty(), "{reply:?}");
    }
}

#[test]
fn a_sender_whom_the_server_refuses_cannot_stop_the_others() {
    for (phase, code, text) in [
        (Phase::Mail, 550, "5.7.1 Sender denied"),
        (Phase::Mail, 554, "5.1.0 Sender denied"),
        (Phase::Mail, 451, "4.1.8 Domain of sender address does not resolve"),
        (Phase::Rcpt, 550, "5.7.54 Unable to relay"),
        (Phase::EndOfData, 550, "5.3.4 Too large"),
        (Phase::EndOfData, 452, "4.2.2 Mailbox full"),
        (Phase::Data, 421, "4.4.1 Connection timed out"),
    ] {
        // Every second message is of that kind; a probe, with its empty sender, is not.
        let mut world = World::new(move |_, message, _| match message {
            Some(id) if id % 2 == 1 => Answer::Says(phase, code, text),
            _ => Answer::Takes,
        });
        world.offer(1..=100);
        world.run_until(2 * MINUTE);
        let passed = world.delivered_ids();
        assert_eq!(passed, (1..=50).map(|n| 2 * n).collect::<Vec<_>>(), "{code} {text}");
    }
}

#[test]
fn a_server_that_dislikes_empty_senders_gets_its_mail() {
    let mut world = World::new(|_, message, _| match message {
        None => Answer::Says(Phase::Mail, 550, "5.7.1 Empty sender denied"),
        Some(_) => Answer::Takes,
    });
    world.offer(1..=50);
    world.run_until(2 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 50);
}

#[test]
fn a_server_that_has_too_many_connections_is_not_hammered() {
    let busy = (MINUTE, HOUR);
    let mut world = World::new(move |_, _, now| {
        if now < busy.1 && now >= busy.0 || now < SECOND {
            Answer::Says(
                Phase::Banner,
                421,
                "4.3.2 The maximum number of concurrent connections has exceeded a limit",
            )
        } else {
            Answer::Takes
        }
    });
    world.run_until(busy.0);
    world.offer(1..=100);
    world.run_until(busy.1);
    assert!(world.attempts.windows(2).all(|pair| pair[1].at_ms - pair[0].at_ms >= 5 * SECOND));
    assert!(matches!(world.release.stillness(world.now()), Some(Stillness::AskedForLess { .. })));
    world.run_until(busy.1 + 2 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 100);
    assert!(
        world.fates.iter().all(|(_, fate)| !matches!(fate, Fate::Waits { .. })),
        "no message owes a wait"
    );
}

#[test]
fn a_server_that_fails_every_message_without_saying_why_is_asked_before_their_time_comes() {
    let back = 6 * HOUR;
    for messages in [3, 200] {
        let mut world = World::new(move |_, message, now| match message {
            Some(_) if now < back => {
                Answer::Says(Phase::EndOfData, 451, "4.7.0 Temporary server error. PRX2")
            }
            _ => Answer::Takes,
        });
        world.offer(1..=messages);
        world.run_until(back + 18 * MINUTE);
        assert_eq!(world.delivered_ids().len() as u64, messages, "none waits for its hour");
    }
}

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
fn release_keeps_to_its_ceilings_however_much_there_is() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.offer(1..=5_000);
    world.run_until(5 * MINUTE);
    let sends: Vec<_> = world.attempts.iter().filter(|it| it.message.is_some()).map(|it| it.at_ms).collect();
    assert!(sends.windows(2).all(|pair| pair[1] - pair[0] >= 100), "evenly spread");
    assert!(sends.len() >= 2_950, "and used: {}", sends.len());
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
fn mail_refused_for_good_leaves_the_queue_and_stops_nothing() {
    let mut world =
        World::new(
            |_, message, _| {
                if message.is_some_and(|id| id % 3 == 0) { Answer::Refuses } else { Answer::Takes }
            },
        );
    world.offer(1..=30);
    world.run_until(MINUTE);
    assert_eq!((world.delivered_ids().len(), world.refused.len()), (20, 10));
}

#[test]
fn recipients_that_are_still_open_wait_while_the_others_have_their_mail() {
    let mut world = World::new(|_, _, now| if now < 30 * SECOND { Answer::TakesPart } else { Answer::Takes });
    world.offer([1]);
    world.run_until(5 * MINUTE);
    assert_eq!(world.attempts_at(1).len(), 2);
    assert!(matches!(world.fates[0], (1, Fate::Waits { attempts: 1, .. })));
    assert_eq!(world.fates[1], (1, Fate::Done));
}

fn two_hops(first: (u32, u32), second: (u32, u32)) -> Config {
    let hop = |name: &str, (priority, weight)| HopConfig { name: name.into(), priority, weight };
    Config { hops: vec![hop("first", first), hop("second", second)], ..config() }
}

#[test]
fn a_hop_of_lower_rank_stands_in_while_the_first_is_away() {
    let away = MINUTE..2 * HOUR;
    let mut world = World::with(two_hops((0, 1), (10, 1)), None, move |hop, _, now| {
        if hop == HopId(0) && away.contains(&now) { Answer::Gone } else { Answer::Takes }
    });
    for minute in 0..180 {
        world.offer([minute]);
        world.run_until((minute + 1) * MINUTE);
    }
    let by = |hop, from: u64, to: u64| {
        let sends = world.attempts.iter().filter(|it| it.message.is_some() && it.hop == HopId(hop));
        sends.filter(|it| (from..to).contains(&it.at_ms)).count()
    };
    assert_eq!(world.delivered_ids().len(), 180);
    assert_eq!((by(0, 0, MINUTE), by(1, 0, MINUTE)), (1, 0));
    assert_eq!(by(1, 2 * MINUTE, 2 * HOUR), 118);
    assert_eq!((by(0, 2 * HOUR + MINUTE, 3 * HOUR), by(1, 2 * HOUR + MINUTE, 3 * HOUR)), (59, 0));
}

#[test]
fn asking_a_stand_in_that_does_not_know_the_site_delays_nobody() {
    // The stand-in shows what it is while the first hop is away.
    let mut away = true;
    let mut world =
        World::with(two_hops((0, 1), (10, 1)), None, move |hop, message, _| match (hop, message) {
            (HopId(0), None) if core::mem::take(&mut away) => Answer::Gone,
            (HopId(0), _) | (_, None) => Answer::Takes,
            _ => Answer::Says(Phase::Rcpt, 550, "5.7.54 Unable to relay"),
        });
    world.offer([0]);
    world.run_until(5 * MINUTE);
    for id in 1..60 {
        world.offer([id]);
        world.run_until(world.now_ms + MINUTE);
        assert!(
            world.delivered.iter().any(|(at, it)| *it == id && *at < world.now_ms - 58 * SECOND),
            "{id} was late"
        );
    }
    assert!(
        world.attempts.iter().any(|it| it.hop == HopId(1) && it.at_ms > 30 * MINUTE && it.message.is_some())
    );
}

#[test]
fn hops_of_one_rank_share_by_weight() {
    let mut world = World::with(two_hops((0, 3), (0, 1)), None, |_, _, _| Answer::Takes);
    world.offer(1..=400);
    world.run_until(MINUTE);
    let first = world.attempts.iter().filter(|it| it.message.is_some() && it.hop == HopId(0)).count();
    assert!((290..=310).contains(&first), "{first} of 400 for a weight of 3 in 4");
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
        world.release.recover(Message { id, size_bytes: 1, accepted_unix_ms: None }, 2, 4 * MINUTE);
    }
    world.run_until(10 * SECOND);
    assert_eq!(world.sends_since(0), 0, "it is still on hold");
    world.set_mode(Mode::Auto);
    world.run_until(20 * SECOND);
    assert_eq!(world.delivered_ids(), [1, 2, 3, 4, 5]);
}

#[test]
fn after_a_restart_a_message_waits_for_the_rest_of_its_time() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    world.release.recover(Message { id: 1, size_bytes: 1, accepted_unix_ms: None }, 3, 10 * MINUTE);
    world.release.recover(Message { id: 2, size_bytes: 1, accepted_unix_ms: None }, 0, 0);
    world.run_until(9 * MINUTE);
    assert_eq!(world.delivered_ids(), [2]);
    world.run_until(11 * MINUTE);
    assert_eq!(world.delivered_ids(), [1, 2]);
}

#[test]
fn a_message_in_flight_cannot_be_removed_and_a_waiting_one_can() {
    let now = Now { mono_ms: 0, unix_ms: None };
    let mut release = Release::new(config(), None, Mode::Auto, now).unwrap();
    (1..=2).for_each(|id| release.offer(Message { id, size_bytes: 1, accepted_unix_ms: None }));
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
    world.release.recover(Message { id: 1, size_bytes: 1, accepted_unix_ms: None }, 3, 10 * MINUTE);
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
        two_hops((0, 0), (0, 1)),
        Config { hops: vec![config().hops[0].clone(), config().hops[0].clone()], ..config() },
        Config { connections_max: 0, ..config() },
        Config { messages_per_minute_max: 0, ..config() },
        Config { retry_schedule_ms: vec![], ..config() },
        Config { retry_jitter_percent: 101, ..config() },
    ] {
        assert!(Release::new(config, None, Mode::Auto, now).is_err());
    }
}
