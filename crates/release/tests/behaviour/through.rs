//! When a client waits for the verdict on its message, and when a refusal can be told it.

use penstock_release::{
    Config, Counters, Greeting, HopConfig, HopId, Message, Mode, NotThrough, Phase, State, WaySet,
};

use crate::world::{Answer, DAY, HOUR, MINUTE, SECOND, World, config, message};

/// How long a client would wait.
const WAIT_MS: u64 = 30 * SECOND;

fn through(world: &mut World) -> Result<(), NotThrough> {
    let now = world.now();
    world.release.through(WaySet::default(), WAIT_MS, now)
}

/// A world whose server has taken a message and takes more.
fn well(servers: impl FnMut(HopId, Option<u64>, u64) -> Answer + 'static) -> World {
    let mut world = World::new(servers);
    world.offer([1]);
    world.run_until(SECOND);
    assert_eq!((world.delivered_ids(), through(&mut world)), (vec![1], Ok(())));
    world
}

#[test]
fn a_client_waits_from_the_first_message_on_that_the_server_has_taken() {
    let mut world = World::new(|_, _, _| Answer::Takes);
    assert_eq!(through(&mut world), Err(NotThrough::NextHop(State::Untried)));
    world.run_until(SECOND);
    assert_eq!((world.state(), through(&mut world)), (State::Healthy, Err(NotThrough::Untested)));
    world.offer([1]);
    world.run_until(2 * SECOND);
    assert_eq!(through(&mut world), Ok(()));
}

#[test]
fn nobody_waits_while_the_operator_holds_mail() {
    let mut world = well(|_, _, _| Answer::Takes);
    for mode in [Mode::Hold { until_unix_ms: None }, Mode::Stop] {
        world.set_mode(mode);
        assert_eq!(through(&mut world), Err(NotThrough::Held));
    }
    world.set_mode(Mode::Auto);
    assert_eq!(through(&mut world), Ok(()));
}

#[test]
fn nobody_waits_for_a_server_that_is_not_well_nor_before_it_has_taken_a_message_again() {
    for (answer, state) in [
        (Answer::Gone, State::Down),
        (Answer::Says(Phase::EndOfData, 452, "4.3.1 Insufficient system resources"), State::Pressure),
        (Answer::Says(Phase::Mail, 421, "4.3.2 Service not active"), State::Inactive),
        (Answer::Says(Phase::Mail, 530, "5.7.1 Client was not authenticated"), State::Unconfigured),
    ] {
        let mut world = well(move |_, _, now| match now {
            now if (MINUTE..HOUR).contains(&now) => answer,
            _ => Answer::Takes,
        });
        world.run_until(MINUTE);
        world.offer([2]);
        world.run_until(2 * MINUTE);
        assert_eq!(world.state(), state, "{answer:?}");
        let why = through(&mut world).unwrap_err();
        assert!(why == NotThrough::NextHop(state) && why.ends_waits(), "{answer:?}: {why}");
        world.run_until(HOUR + 2 * MINUTE);
        if world.release.confirm(HopId(0), world.now()) {
            world.run_until(HOUR + 4 * MINUTE);
        }
        // The message that had waited has told.
        assert_eq!((world.delivered_ids(), through(&mut world)), (vec![1, 2], Ok(())), "{answer:?}");
    }
}

#[test]
fn nobody_waits_for_a_server_that_fails_message_after_message() {
    let mut world = well(|_, message, _| match message {
        Some(1) | None => Answer::Takes,
        Some(_) => Answer::Says(Phase::EndOfData, 451, "4.4.0 Message failed to be made redundant"),
    });
    world.offer(2..=3);
    world.run_until(2 * SECOND);
    assert_eq!(through(&mut world), Ok(()), "two may have their own reasons");
    world.offer([4]);
    world.run_until(3 * SECOND);
    let why = through(&mut world).unwrap_err();
    assert!(why == NotThrough::Doubt && why.ends_waits());
}

#[test]
fn nobody_waits_while_the_server_asks_for_less() {
    let mut world = well(|_, message, _| match message {
        Some(2) => Answer::Says(Phase::Mail, 421, "4.4.2 Message submission rate has exceeded the limit"),
        _ => Answer::Takes,
    });
    world.offer([2]);
    world.run_until(2 * SECOND);
    assert_eq!(through(&mut world), Err(NotThrough::AskedForLess));
}

#[test]
fn nobody_waits_behind_more_mail_than_goes_in_time() {
    // Ten a second.
    let mut world = well(|_, _, _| Answer::Takes);
    for id in 2..=250 {
        assert_eq!(through(&mut world), Ok(()), "{id}");
        world.offer([id]);
    }
    world.offer(251..=400);
    let Err(NotThrough::Queue { for_ms }) = through(&mut world) else { panic!() };
    assert!((39 * SECOND..42 * SECOND).contains(&for_ms), "{for_ms}");
    assert!(!NotThrough::Queue { for_ms }.ends_waits(), "who waits already keeps his place");
    world.run_until(15 * SECOND);
    assert_eq!(through(&mut world), Ok(()), "what is left goes in time");
}

#[test]
fn the_backlog_of_an_outage_takes_every_second_turn_and_lets_clients_wait() {
    let config = Config { messages_per_minute_max: Some(6_000), ..config() };
    let mut world =
        World::with(config, None, |_, _, now| if now < HOUR { Answer::Gone } else { Answer::Takes });
    world.offer(1..=5_000);
    world.run_until(HOUR + MINUTE / 2);
    assert_eq!(world.state(), State::Healthy);
    assert_eq!(through(&mut world), Ok(()), "fresh mail waits for one message of the backlog");
    let from = world.now_ms;
    world.offer([9_000]);
    world.run_until(from + SECOND);
    assert!(world.delivered.iter().any(|(_, id)| *id == 9_000));
}

#[test]
fn nobody_waits_while_as_much_lies_inside_the_server_as_it_bears() {
    let config = Config { messages_per_minute_max: None, ..config() };
    let mut world = World::with(config, None, |_, _, _| Answer::Takes);
    let count = |world: &mut World, submission, submitted_total| {
        let counters = Counters {
            submission: Some(submission),
            submitted_total: Some(submitted_total),
            ..Counters::default()
        };
        let now = world.now();
        world.release.counted(HopId(0), &counters, now);
    };
    world.offer([1]);
    world.run_until(SECOND);
    count(&mut world, 0, 1);
    assert_eq!(through(&mut world), Ok(()));
    count(&mut world, 500, 501);
    let why = through(&mut world).unwrap_err();
    assert!(why == NotThrough::Window && !why.ends_waits());
}

#[test]
fn a_refusal_of_a_server_that_is_well_is_told() {
    for refusal in [
        (550, "5.1.1 User unknown", false),
        (550, "5.7.1 Message rejected by a rule", false),
        (552, "5.2.2 Mailbox full", true),
    ] {
        let mut world =
            well(|_, message, _| if message == Some(2) { Answer::Refuses } else { Answer::Takes });
        world.refusal = refusal;
        world.offer([2]);
        world.run_until(2 * SECOND);
        assert_eq!((&world.refused[..], &world.told[..]), (&[2][..], &[2][..]), "{refusal:?}");
        assert_eq!(world.state(), State::Healthy);
    }
}

#[test]
fn what_may_be_the_servers_own_fault_is_not_told() {
    for refusal in [
        (550, "5.1.1 User unknown", true),
        (554, "5.3.0 Other or undefined mail system status", false),
        (554, "5.4.6 Hop count exceeded - possible mail loop", false),
        (550, "5.7.57 Client was not authenticated to send anonymous mail", false),
    ] {
        let mut world =
            well(|_, message, _| if message == Some(2) { Answer::Refuses } else { Answer::Takes });
        world.refusal = refusal;
        world.offer([2]);
        world.run_until(2 * SECOND);
        assert_eq!((&world.refused[..], &world.told[..]), (&[2][..], &[][..]), "{refusal:?}");
    }
}

/// Before it has shown that it takes mail it may refuse all: who is told of that?
#[test]
fn a_server_that_has_refused_all_since_it_came_back_has_none_of_it_told() {
    let mut world = well(|_, _, now| match now {
        now if now < MINUTE => Answer::Takes,
        now if now < HOUR => Answer::Gone,
        _ => Answer::Refuses,
    });
    world.run_until(MINUTE);
    world.offer([2]);
    world.run_until(2 * HOUR);
    assert_eq!((world.state(), &world.refused[..]), (State::Healthy, &[2][..]));
    world.offer(3..=20);
    world.run_until(2 * HOUR + MINUTE);
    assert_eq!((world.refused.len(), &world.told[..]), (19, &[][..]));
}

#[test]
fn a_server_that_refuses_two_who_are_known_to_be_there_is_believed_of_nobody_for_ten_minutes() {
    let mut world = well(|_, message, _| match message {
        Some(1 | 100..) => Answer::Takes,
        _ => Answer::Refuses,
    });
    world.source = |message| message;
    world.refusal = (550, "5.1.1 User unknown", true);
    world.offer([2]);
    world.run_until(2 * SECOND);
    world.refusal.2 = false;
    world.offer([3]);
    world.run_until(3 * SECOND);
    assert_eq!(world.told, [3], "one may have left the site");
    world.refusal.2 = true;
    world.offer([4]);
    world.run_until(4 * SECOND);
    world.refusal.2 = false;
    world.offer([5]);
    world.run_until(5 * SECOND);
    assert_eq!(world.told, [3], "two may be a directory that is lost");
    world.refusal = (550, "5.7.1 Message rejected by a rule", false);
    world.offer([6]);
    world.run_until(6 * SECOND);
    assert_eq!(world.told, [3, 6], "which has nothing to do with spam");
    world.refusal = (550, "5.1.1 User unknown", false);
    world.run_until(11 * MINUTE);
    world.offer([7]);
    world.run_until(11 * MINUTE + SECOND);
    assert_eq!(world.told, [3, 6, 7]);
}

/// After hours it may have been restored, and its directory not yet in whole. Of spam that tells nothing.
#[test]
fn a_server_that_was_away_for_hours_is_believed_of_no_recipient_for_a_day() {
    for (away_ms, believed) in [(20 * MINUTE, true), (3 * HOUR, false)] {
        let back_ms = MINUTE + away_ms;
        let mut world = well(move |_, message, now| match message {
            _ if (MINUTE..back_ms).contains(&now) => Answer::Gone,
            None | Some(1..10) => Answer::Takes,
            Some(_) => Answer::Refuses,
        });
        world.run_until(MINUTE);
        world.offer([2]);
        world.run_until(back_ms + MINUTE);
        assert_eq!(world.delivered_ids(), [1, 2]);
        world.offer([10]);
        world.run_until(back_ms + 2 * MINUTE);
        assert_eq!(world.told.contains(&10), believed, "{away_ms}");
        world.refusal = (550, "5.7.1 Message rejected by a rule", false);
        world.offer([11]);
        world.run_until(back_ms + 3 * MINUTE);
        assert!(world.told.contains(&11));
        world.refusal = (550, "5.1.1 User unknown", false);
        world.run_until(back_ms + DAY + MINUTE);
        world.offer([12]);
        world.run_until(back_ms + DAY + 2 * MINUTE);
        assert!(world.told.contains(&12));
    }
}

/// A rebuilt server: what it says of the message that met it is not told, nor of any before it has proved itself.
#[test]
fn a_server_with_another_face_has_nothing_told() {
    let extensions = "SIZE PIPELINING";
    let mut world = well(|_, _, now| if now < MINUTE { Answer::Takes } else { Answer::Refuses });
    world.face = Some(Box::new(move |now| {
        let banner = if now < MINUTE { "mail.site.example" } else { "WIN-4711" };
        Greeting { banner, extensions, certificate: &[] }
    }));
    world.offer([2]);
    world.run_until(MINUTE);
    world.offer([3]);
    world.run_until(2 * MINUTE);
    assert!(world.told.is_empty() && world.state() == State::Unproven, "{:?}", world.told);
    assert_eq!(through(&mut world), Err(NotThrough::NextHop(State::Unproven)));
}

#[test]
fn a_message_that_is_not_in_flight_has_no_verdict() {
    let mut world = well(|_, _, _| Answer::Takes);
    let now = world.now();
    assert!(!world.release.can_tell(7, &[], now));
    world.release.offer(Message { size_bytes: 1, ..message(7) });
    assert!(!world.release.can_tell(7, &[], now));
}

/// Hops that are not first in line do not count while one is that takes mail.
#[test]
fn the_hop_that_would_have_the_message_decides() {
    let hop = |name: &str, priority| HopConfig { name: name.into(), priority, weight: 1, probes: 0 };
    let config = Config { hops: vec![hop("first", 0), hop("second", 1)], ..config() };
    let mut world = World::with(config, None, |hop, _, now| match (hop, now) {
        (HopId(0), now) if now >= MINUTE => Answer::Gone,
        _ => Answer::Takes,
    });
    world.offer([1]);
    world.run_until(SECOND);
    assert_eq!(through(&mut world), Ok(()));
    world.run_until(MINUTE);
    world.offer([2]);
    world.run_until(2 * MINUTE);
    assert_eq!(world.delivered_ids(), [1, 2]);
    assert_eq!(through(&mut world), Ok(()), "the second has taken one by now");
}
