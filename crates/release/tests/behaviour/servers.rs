//! Stories of servers that fail and return.

use penstock_release::{
    Config, Decision, Event, Evidence, Fate, HopConfig, HopId, Mode, Now, Outcome, Phase, Release, Reply,
    SetAside, State, Stillness,
};

use crate::world::{Answer, DAY, HOUR, MINUTE, SECOND, World, config, find_well, message};

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
    for id in 1..=144 {
        let offered_ms = world.now_ms;
        world.offer([id]);
        world.run_until(offered_ms + 10 * MINUTE);
        assert!(
            id == 1 || world.delivered.iter().any(|(at, it)| *it == id && *at < offered_ms + 10 * SECOND)
        );
    }
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
    for phase in [Phase::Mail, Phase::Rcpt, Phase::Data, Phase::EndOfData] {
        back_pressure_at(phase);
    }
}

fn back_pressure_at(phase: Phase) {
    let (full, free) = (2 * SECOND, 2 * HOUR);
    let mut world = World::new(move |_, message, now| match message {
        Some(_) if (full..free).contains(&now) => {
            Answer::Says(phase, 452, "4.3.1 Insufficient system resources (UsedDiskSpace[C:])")
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
fn a_trial_that_is_refused_for_good_is_followed_by_another_at_once() {
    let (full, free) = (2 * SECOND, HOUR);
    let mut world = World::new(move |_, message, now| match message {
        Some(_) if (full..free).contains(&now) => {
            Answer::Says(Phase::EndOfData, 452, "4.3.1 Insufficient system resources")
        }
        Some(id) if now >= free && id < 200 => Answer::Refuses,
        _ => Answer::Takes,
    });
    world.offer(1..=300);
    world.run_until(free + 2 * MINUTE);
    assert!(
        world.delivered_ids().contains(&300),
        "what is wrong with some messages says nothing about the server"
    );
}

#[test]
fn after_a_recovery_one_connection_asks_before_more_follow() {
    let config = Config { messages_per_minute_max: Some(60_000), ..config() };
    let (dies, back) = (SECOND, MINUTE);
    let mut world =
        World::with(
            config,
            None,
            move |_, _, now| {
                if (dies..back).contains(&now) { Answer::Gone } else { Answer::Takes }
            },
        );
    world.offer(1..=2_000);
    world.run_until(2 * MINUTE);
    let begun = |from_ms: u64| {
        let sends = world.attempts.iter().filter(|it| it.message.is_some() && it.at_ms >= from_ms);
        sends.map(|it| it.at_ms).collect::<Vec<_>>()
    };
    let before: Vec<_> = begun(dies - 200).into_iter().take(5).collect();
    assert!(before[4] - before[0] < 40, "five connections were in use: {before:?}");
    let after = begun(back);
    assert!(after[1] - after[0] >= 40, "the second message begins when the first has passed");
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
        if reply.1 >= 500 {
            assert_eq!((world.state(), world.delivered_ids().len()), (State::Unproven, 0), "{reply:?}");
            assert!(world.confirm());
            world.run_until(repaired + 10 * MINUTE);
        }
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
    // Without jitter all would be asked about once an hour, together.
    let config = Config { retry_jitter_percent: 0, ..config() };
    for back in (3 * HOUR..4 * HOUR).step_by(10 * MINUTE as usize) {
        let mut world = World::with(config.clone(), None, move |_, message, now| match message {
            Some(_) if now < back => {
                Answer::Says(Phase::EndOfData, 451, "4.7.0 Temporary server error. PRX2")
            }
            _ => Answer::Takes,
        });
        world.offer(1..=3);
        world.run_until(back + 17 * MINUTE);
        assert_eq!(world.delivered_ids(), [1, 2, 3], "none waits for its hour");
    }
}

#[test]
fn two_stubborn_messages_alone_keep_to_the_schedule() {
    let mut world = World::new(|_, message, _| match message {
        Some(_) => Answer::Says(Phase::Rcpt, 452, "4.2.2 Mailbox full"),
        None => Answer::Takes,
    });
    world.offer(1..=2);
    world.run_until(DAY);
    for id in 1..=2 {
        let late = world.attempts_at(id).into_iter().skip_while(|at| *at < 2 * HOUR).collect::<Vec<_>>();
        assert!(
            late.windows(2).all(|pair| pair[1] - pair[0] >= 48 * MINUTE),
            "hourly, and 20 % less at the most"
        );
    }
}

#[test]
fn a_server_that_complains_about_our_rate_costs_no_attempt_and_has_a_minute() {
    let mut world = World::new(|_, message, now| match message {
        Some(_) if now < MINUTE => Answer::Says(
            Phase::Mail,
            421,
            "4.4.2 Message submission rate for this client has exceeded the limit",
        ),
        _ => Answer::Takes,
    });
    world.offer(1..=10);
    world.run_until(2 * MINUTE);
    assert_eq!(world.fates[0].1, Fate::Kept);
    let sends: Vec<_> = world.attempts.iter().filter(|it| it.message.is_some()).map(|it| it.at_ms).collect();
    assert!(sends[1] - sends[0] >= MINUTE);
    assert_eq!(world.delivered_ids().len(), 10);
}

#[test]
fn a_short_disturbance_makes_no_poison() {
    let config = Config { retry_schedule_ms: vec![10 * SECOND], ..config() };
    let mut world = World::with(config, None, |_, message, _| match message {
        Some(1) => Answer::Cuts(Phase::EndOfData),
        _ => Answer::Takes,
    });
    for id in 1..=100 {
        world.offer([id]);
        world.run_until(id * 5 * SECOND);
        let aside = world.set_aside.len();
        assert!(aside == 0 || world.now_ms >= 6 * MINUTE, "after {} ms", world.now_ms);
    }
    assert_eq!(world.set_aside, [(1, SetAside::Poison)]);
}

/// A release whose hop is healthy with two connections in use, by messages 1 and 2, at 1,000 ms.
fn two_in_flight(config: Config) -> Release {
    let at = |mono_ms| Now { mono_ms, unix_ms: None };
    let mut release = Release::new(config, None, Mode::Auto, at(0)).unwrap();
    (0..=9).for_each(|id| release.offer(message(id)));
    find_well(&mut release, at(0));
    assert!(matches!(release.next(at(0)), Decision::Send { message: 0, .. }));
    release.finished(0, Outcome::Done { delivered: true }, at(0));
    for (n, id) in [1, 2].into_iter().enumerate() {
        let sent = release.next(at(800 + 100 * n as u64));
        assert!(matches!(sent, Decision::Send { message, .. } if message == id));
    }
    release
}

/// What a server says that lacks resources.
fn full() -> Evidence<'static> {
    let reply = Reply::new(452, "4.3.1 Insufficient system resources");
    Evidence { phase: Phase::EndOfData, event: Event::Reply(reply), accepted: 1 }
}

#[test]
fn a_failure_from_before_the_recovery_is_of_yesterday() {
    let at = |mono_ms| Now { mono_ms, unix_ms: None };
    let gone = Evidence { phase: Phase::Connect, event: Event::TimedOut, accepted: 0 };
    let mut release = two_in_flight(config());
    release.finished(1, Outcome::Open { evidence: gone, delivered: false }, at(1_000));
    assert_eq!(release.hops(at(1_000)).next().unwrap().state, State::Down);
    assert_eq!(release.next(at(6_000)), Decision::Probe { hop: HopId(0) });
    release.probed(HopId(0), None, at(6_100));
    release.finished(2, Outcome::Open { evidence: gone, delivered: false }, at(30_000));
    assert_eq!(release.hops(at(30_000)).next().unwrap().state, State::Healthy);
}

#[test]
fn a_success_from_before_the_trouble_proves_nothing_about_now() {
    let at = |mono_ms| Now { mono_ms, unix_ms: None };
    let failed = Outcome::Open { evidence: full(), delivered: false };
    let config = Config { retry_schedule_ms: vec![10 * HOUR], ..config() };
    let mut release = two_in_flight(config);
    assert!(matches!(release.finished(1, failed, at(1_000)), Some(Fate::Waits { .. })));
    release.finished(2, Outcome::Done { delivered: true }, at(5_000));
    assert_eq!(release.hops(at(5_000)).next().unwrap().state, State::Pressure);
    for (now_ms, outcome) in [(70_000, failed), (140_000, Outcome::Done { delivered: true })] {
        let Decision::Send { message, .. } = release.next(at(now_ms)) else { panic!("a trial is due") };
        release.finished(message, outcome, at(now_ms));
    }
    assert_eq!(release.hops(at(140_000)).next().unwrap().state, State::Healthy);
    let Decision::Send { message, .. } = release.next(at(140_100)) else { panic!("mail is due") };
    assert_eq!(message, 1, "the first that failed is forgiven and the oldest");
}

#[test]
fn that_a_server_lacks_resources_counts_before_what_follows_for_the_message_is_written_down() {
    let at = |mono_ms| Now { mono_ms, unix_ms: None };
    let mut told = two_in_flight(config());
    told.finished(2, Outcome::Done { delivered: true }, at(1_000));
    let mut untold = two_in_flight(config());
    untold.finished(2, Outcome::Done { delivered: true }, at(1_000));
    told.warned(1, &full(), at(1_000));
    assert_eq!(told.hops(at(1_000)).next().unwrap().state, State::Pressure);
    assert!(!matches!(told.next(at(1_010)), Decision::Send { .. }), "nobody follows in vain");
    assert!(matches!(untold.next(at(1_010)), Decision::Send { .. }), "else somebody had");
    let trial_at = |release: &Release, now_ms| {
        let hop = release.hops(at(now_ms)).next().unwrap();
        assert_eq!(hop.state, State::Pressure);
        now_ms + hop.next_trial_in_ms.unwrap()
    };
    let before = trial_at(&told, 1_000);
    let failed = Outcome::Open { evidence: full(), delivered: false };
    assert!(matches!(told.finished(1, failed, at(1_050)), Some(Fate::Waits { .. })));
    assert_eq!(trial_at(&told, 1_050), before, "it is said once more and changes nothing");

    // A trial is over when it is written down.
    let Decision::Send { message, .. } = told.next(at(before)) else { panic!("a trial is due") };
    told.warned(message, &full(), at(before + 10));
    assert_eq!(told.hops(at(before + 10)).next().unwrap().next_trial_in_ms, None, "it is under way");
    told.finished(message, Outcome::Done { delivered: true }, at(before + 20));
    assert_eq!(told.hops(at(before + 20)).next().unwrap().state, State::Healthy);
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
    let hop = |name: &str, (priority, weight)| HopConfig { name: name.into(), priority, weight, probes: 0 };
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
            (HopId(0), _) => Answer::Takes,
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
    let asked = world.attempts.iter().filter(|it| it.hop == HopId(1) && it.at_ms > 30 * MINUTE);
    assert!(asked.clone().all(|it| it.message.is_none()), "with probes that name the recipient it refused");
    assert!(asked.count() >= 20);
    assert_eq!(world.release.hops(world.now()).nth(1).unwrap().state, State::Unconfigured);
}

#[test]
fn hops_of_one_rank_share_by_weight() {
    let mut world = World::with(two_hops((0, 3), (0, 1)), None, |_, _, _| Answer::Takes);
    world.offer(1..=400);
    world.run_until(MINUTE);
    let first = world.attempts.iter().filter(|it| it.message.is_some() && it.hop == HopId(0)).count();
    assert!((290..=310).contains(&first), "{first} of 400 for a weight of 3 in 4");
}
