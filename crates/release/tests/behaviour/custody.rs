//! Stories of servers that are not themselves, and of senders who would have them look so.

use penstock_release::{
    Cause, Change, Config, Fate, Greeting, HopConfig, HopId, Mode, Phase, Release, Saved, State, Stillness,
};
use proptest::prelude::*;

use crate::world::{Answer, CANARY_MS, DAY, HOUR, MINUTE, SECOND, UNIX_START_MS, World, config};

const EXTENSIONS: &str = "SIZE PIPELINING DSN ENHANCEDSTATUSCODES 8BITMIME";
const BEFORE: Greeting<'_> =
    Greeting { banner: "mail.site.example ready", extensions: EXTENSIONS, certificate: b"" };
const REBUILT: Greeting<'_> = Greeting { banner: "WIN-4711 ready", ..BEFORE };

const DENIED: Answer = Answer::Says(Phase::Rcpt, 550, "5.7.54 SMTP; Unable to relay recipient");

fn with_probes(probes: u16) -> Config {
    Config {
        hops: vec![HopConfig { name: "exchange".into(), priority: 0, weight: 1, probes }],
        messages_per_minute_max: Some(60),
        ..config()
    }
}

/// A server that shows another face from this moment on.
fn rebuilt_at(at_ms: u64, probes: u16) -> World {
    let mut world = World::with(with_probes(probes), None, |_, _, _| Answer::Takes);
    world.face = Some(Box::new(move |now| if now < at_ms { BEFORE } else { REBUILT }));
    world
}

fn cause(world: &World) -> Option<Cause> {
    world.release.hops(world.now()).next().unwrap().cause
}

#[test]
fn a_server_that_is_met_for_the_first_time_is_taken_as_it_is() {
    let mut world = rebuilt_at(0, 0);
    world.offer(1..=10);
    world.run_until(MINUTE);
    assert_eq!(world.delivered_ids().len(), 10);
}

#[test]
fn after_a_change_of_face_nothing_goes_until_the_operator_has_confirmed_it() {
    let at = 30 * SECOND;
    let mut world = rebuilt_at(at, 0);
    world.offer(1..=100);
    world.run_until(DAY);
    assert!(world.delivered.iter().all(|(ms, _)| *ms < at), "not even the message that met the new face");
    let gone = world.delivered.len();
    assert!((25..35).contains(&gone) && world.set_aside.is_empty());
    let status = world.release.hops(world.now()).next().unwrap();
    assert_eq!((status.state, status.cause), (State::Unproven, Some(Cause::Fingerprint(Change::Name))));
    let still = world.release.stillness(world.now()).unwrap().to_string();
    assert!(still.contains("another name than before") && still.contains("`penstock confirm`"), "{still}");
    assert!(still.contains(status.advice.unwrap()));

    assert!(world.confirm() && !world.confirm(), "one press");
    world.run_until(DAY + 5 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 100, "and that face is known from now on");
    assert_eq!((world.state(), cause(&world)), (State::Healthy, None));
}

#[test]
fn three_canaries_that_arrive_are_proof_and_the_mail_follows_the_third() {
    let at = 30 * SECOND;
    let mut world = rebuilt_at(at, 1);
    world.offer(1..=100);
    world.run_until(10 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 100);
    let since: Vec<_> = world.canaries.iter().filter(|it| it.at_ms >= at).map(|it| it.at_ms).collect();
    assert!(since[1] - since[0] >= 10 * SECOND && since[2] - since[1] >= 10 * SECOND, "{since:?}");
    let proved = since[2] + CANARY_MS;
    assert!(world.delivered.iter().all(|(ms, _)| *ms < at || *ms >= proved));
    assert!(world.delivered.iter().any(|(ms, _)| *ms < proved + 5 * SECOND), "and at once");
}

#[test]
fn canaries_that_do_not_arrive_are_no_proof_and_each_mailbox_has_to_have_one() {
    let at = 30 * SECOND;
    let mounted = 6 * HOUR;
    let mut world = rebuilt_at(at, 2);
    // The second database is not there for hours.
    world.arrives = Box::new(move |probe, now| now < at || probe == 0 || now >= mounted);
    world.offer(1..=100);
    world.run_until(mounted);
    assert!(world.delivered.iter().all(|(ms, _)| *ms < at));
    let status = world.release.hops(world.now()).next().unwrap();
    assert!(status.canaries_arrived.unwrap().0 >= 3, "of one of them");
    world.run_until(mounted + 5 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 100);
}

#[test]
fn a_restart_while_it_has_to_prove_itself_changes_nothing() {
    let mut world = rebuilt_at(30 * SECOND, 0);
    world.offer(1..=100);
    world.run_until(HOUR);
    assert!(world.release.take_changed());
    let saved = Saved::from_bytes(&world.release.saved().to_bytes()).unwrap();
    for shown in [REBUILT, BEFORE] {
        let mut world = World::with(config(), Some(&saved), |_, _, _| Answer::Takes);
        world.face = Some(Box::new(move |_| shown));
        world.offer(1..=100);
        world.run_until(HOUR);
        assert_eq!((world.state(), world.sends_since(0)), (State::Unproven, 0), "{shown:?}");
        assert_eq!(cause(&world), Some(Cause::Fingerprint(Change::Name)));
        assert!(world.confirm());
        world.run_until(HOUR + 5 * MINUTE);
        assert_eq!(world.delivered_ids().len(), 100);
    }
}

#[test]
fn a_change_of_face_is_noticed_over_a_restart_and_over_an_outage() {
    let mut world = rebuilt_at(DAY, 0);
    world.run_until(MINUTE);
    let saved = world.release.saved();
    let mut world =
        World::with(
            config(),
            Some(&saved),
            |_, _, now| {
                if now < HOUR { Answer::Gone } else { Answer::Takes }
            },
        );
    world.face = Some(Box::new(|_| REBUILT));
    world.offer(1..=10);
    world.run_until(2 * HOUR);
    assert_eq!((world.state(), world.sends_since(0)), (State::Unproven, 0));
    assert_eq!(world.states, [State::Untried, State::Down, State::Unproven]);
}

#[test]
fn a_server_that_comes_and_goes_begins_its_proof_anew_each_time() {
    let at = 30 * SECOND;
    let settled = 2 * HOUR;
    let mut world = World::with(with_probes(1), None, move |_, _, now| {
        let flaps = (at..settled).contains(&now) && now / (15 * SECOND) % 2 == 1;
        if flaps { Answer::Gone } else { Answer::Takes }
    });
    world.face = Some(Box::new(move |now| if now < at { BEFORE } else { REBUILT }));
    world.offer(1..=200);
    world.run_until(settled);
    assert!(world.delivered.iter().all(|(ms, _)| *ms < at));
    assert!(world.states.iter().filter(|state| **state == State::Down).count() > 100);
    world.run_until(settled + 5 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 200);
}

#[test]
fn who_answers_after_more_than_a_day_has_to_prove_itself() {
    for (away, trusted, proof) in
        [(23 * HOUR, true, false), (25 * HOUR, true, true), (25 * HOUR, false, true)]
    {
        let mut world = World::new(move |_, _, now| if now < away { Answer::Gone } else { Answer::Takes });
        world.clock_trusted = trusted;
        world.offer(1..=10);
        world.run_until(away + 5 * MINUTE);
        assert_eq!(world.state() == State::Unproven, proof, "{away} {trusted}");
        assert_eq!(cause(&world), proof.then_some(Cause::LongDown));
        assert_eq!(world.delivered_ids().len(), if proof { 0 } else { 10 });
    }
}

#[test]
fn a_day_without_an_answer_counts_over_a_restart_by_a_trusted_clock_only() {
    for (trusted, after, proof) in [(true, 2 * HOUR, true), (true, 0, false), (false, 2 * HOUR, false)] {
        let mut world = World::new(|_, _, _| Answer::Gone);
        world.run_until(MINUTE);
        let mut saved = world.release.saved();
        // It had been away for 23 hours when the box was started again.
        saved.hops[0].since_unix_ms = Some(UNIX_START_MS - 23 * HOUR);
        let mut world =
            World::with(
                config(),
                Some(&saved),
                move |_, _, now| {
                    if now < after { Answer::Gone } else { Answer::Takes }
                },
            );
        world.clock_trusted = trusted;
        world.offer([1]);
        world.run_until(after + 5 * MINUTE);
        assert_eq!(world.state() == State::Unproven, proof, "{trusted} {after}");
    }
}

#[test]
fn a_server_that_forgot_the_site_is_found_out_by_a_canary_and_no_message_is_spent() {
    let (forgot, repaired) = (30 * SECOND, HOUR);
    let mut world = World::with(with_probes(1), None, move |_, _, now| {
        if (forgot..repaired).contains(&now) { DENIED } else { Answer::Takes }
    });
    world.offer(1..=100);
    world.run_until(repaired);
    assert_eq!(world.state(), State::Unconfigured);
    assert!(world.sends_since(forgot + 2 * SECOND) == 0, "canaries ask, once a minute");
    let asked = world.canaries.iter().filter(|it| it.at_ms > forgot + 2 * SECOND).count();
    assert!((55..=62).contains(&asked), "{asked}");
    world.run_until(repaired + 10 * MINUTE);
    assert_eq!(world.delivered_ids().len(), 100, "and prove that it is over");
    assert!(world.states.contains(&State::Unproven));
}

#[test]
fn under_pressure_a_canary_is_the_trial_and_a_message_if_the_canary_has_trouble_of_its_own() {
    let (full, free) = (30 * SECOND, HOUR);
    for mailbox_is_gone in [false, true] {
        let mut world = World::with(with_probes(1), None, move |_, message, now| match message {
            Some(u64::MAX) if mailbox_is_gone => Answer::Refuses,
            Some(_) if (full..free).contains(&now) => {
                Answer::Says(Phase::EndOfData, 452, "4.3.1 Insufficient system resources")
            }
            _ => Answer::Takes,
        });
        world.offer(1..=100);
        world.run_until(free);
        let spent = world.sends_since(full + 5 * SECOND);
        assert_eq!(spent > 0, mailbox_is_gone, "{spent} messages were spent");
        world.run_until(free + 10 * MINUTE);
        assert_eq!(world.delivered_ids().len(), 100);
        assert!(!world.states.contains(&State::Unproven), "pressure is no reason for doubt");
    }
}

#[test]
fn when_known_recipients_of_several_senders_are_refused_nothing_more_goes() {
    let broken = MINUTE;
    let mut world = World::with(with_probes(0), None, move |_, message, now| match message {
        Some(_) if now >= broken => Answer::Refuses,
        _ => Answer::Takes,
    });
    world.source = |id| id % 10;
    world.refusal = (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", true);
    world.offer(1..=500);
    world.run_until(HOUR);
    assert_eq!((world.state(), cause(&world)), (State::Held, Some(Cause::GoodRefused)));
    assert!(world.refused.len() <= 6, "{} were set aside before that", world.refused.len());
    assert!(matches!(
        world.release.stillness(world.now()),
        Some(Stillness::NextHop { state: State::Held, cause: Some(Cause::GoodRefused), .. })
    ));
    world.servers = Box::new(|_, _, _| Answer::Takes);
    world.run_until(2 * HOUR);
    assert_eq!(world.state(), State::Held, "that it answers is no proof");
    assert!(world.confirm());
    world.run_until(3 * HOUR);
    assert_eq!(world.delivered.len() + world.refused.len(), 500);
}

#[test]
fn a_domain_that_is_refused_while_others_are_taken_has_its_mail_held_alone_until_it_is_taken_again() {
    // Of six messages one is for the domain that the server has lost.
    let is_lost = |id: u64| id.is_multiple_of(6);
    let mended = 2 * HOUR;
    let mut world = World::with(with_probes(0), None, move |_, message, now| match message {
        Some(id) if is_lost(id) && (MINUTE..mended).contains(&now) => Answer::Refuses,
        _ => Answer::Takes,
    });
    world.source = |id| id % 11;
    world.address =
        |id| if id.is_multiple_of(6) { format!("{id}@lost.example") } else { format!("{id}@kept.example") };
    world.refusal = (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", true);
    world.takes_again_ms = mended;
    world.offer(1..=1_200);
    // What the daemon does: mail whose recipients are all held is parked.
    world.parks_domain = Some(|address| address.ends_with("@lost.example"));
    world.run_until(HOUR);
    assert_eq!((world.state(), cause(&world)), (State::Healthy, None), "the others go on");
    let refused = world.refused.len();
    assert!((5..=10).contains(&refused), "{refused} were set aside before that");
    assert!((1..=1_200).filter(|id| !is_lost(*id)).all(|id| world.delivered_ids().contains(&id)));
    let status = world.release.hops(world.now()).next().unwrap();
    assert_eq!((&status.domains[..], status.can_be_confirmed()), (&["lost.example".to_owned()][..], true));
    assert!(world.asked_ms.windows(2).all(|pair| pair[1] - pair[0] >= MINUTE));

    // It is held yet after a restart, and let go by the operator's word too.
    let saved = Saved::from_bytes(&world.release.saved().to_bytes()).unwrap();
    let mut again = Release::new(with_probes(0), Some(&saved), Mode::Auto, world.now()).unwrap();
    let held: Vec<_> = again.held_domains(HopId(0)).map(|(route, _)| route).collect();
    assert!(held.len() == 1 && again.is_route_held(held[0]));
    assert!(again.confirm(HopId(0), world.now()) && !again.is_route_held(held[0]));

    world.run_until(mended + 10 * MINUTE);
    assert_eq!(world.delivered_ids().len() + refused, 1_200);
    assert!(world.release.hops(world.now()).next().unwrap().domains.is_empty());
}

#[test]
fn unknown_recipients_stop_nobody_and_strange_refusals_of_many_senders_do() {
    for (refusal, stops) in [
        ((550, "5.1.1 User unknown", false), false),
        ((550, "5.7.1 Message rejected", true), false),
        ((554, "5.3.0 Internal error", false), true),
    ] {
        let mut world = World::with(with_probes(0), None, |_, message, _| match message {
            Some(id) if id % 2 == 1 => Answer::Refuses,
            _ => Answer::Takes,
        });
        world.source = |id| id / 2 % 10;
        world.refusal = refusal;
        world.offer(1..=200);
        world.run_until(HOUR);
        assert_eq!(world.state() == State::Held, stops, "{refusal:?}");
        assert_eq!(cause(&world), stops.then_some(Cause::ManyRefused));
    }
}

#[test]
fn what_the_server_may_have_taken_is_not_sent_again_for_ten_minutes() {
    let mut lost = Some(1);
    let mut world = World::new(move |_, message, now| match message {
        Some(id) if Some(id) == lost => {
            lost = None;
            Answer::Cuts(Phase::FinalDot)
        }
        // And everything else fails for a while, so that there is something to be forgiven.
        Some(id) if id > 1 && now < 2 * MINUTE => Answer::Says(Phase::EndOfData, 452, "4.3.1 Full"),
        _ => Answer::Takes,
    });
    world.offer(1..=20);
    world.run_until(4 * MINUTE);
    world.set_mode(Mode::Drain);
    world.run_until(HOUR);
    assert_eq!(world.delivered_ids().len(), 20);
    let at = world.attempts_at(1);
    assert!(at.len() == 2 && at[1] - at[0] >= 10 * MINUTE, "{at:?}");
    assert!(matches!(world.fates[0], (1, Fate::Waits { for_ms: 600_000, .. })), "{:?}", world.fates[0]);
}

/// What a server may answer to a sender's message, from MAIL on.
fn answer() -> impl Strategy<Value = Answer> {
    use Phase::{Data, EndOfData, FinalDot, Mail, Rcpt};
    let phases = vec![Mail, Rcpt, Data, EndOfData];
    prop_oneof![
        1 => Just(Answer::Takes),
        2 => Just(Answer::Refuses),
        1 => prop::sample::select(vec![Mail, Rcpt, Data, EndOfData, FinalDot]).prop_map(Answer::Cuts),
        4 => (
            prop::sample::select(phases),
            prop::sample::select(vec![
                (421, "4.3.2 Service not available"),
                (452, "4.3.1 Insufficient system resources"),
                (530, "5.7.1 Not authenticated"),
                (550, "5.7.54 Unable to relay"),
                (550, "5.7.1 Sender denied"),
                (550, "5.1.1 User unknown"),
                (554, "Transaction failed"),
            ]),
        )
            .prop_map(|(phase, (code, text))| Answer::Says(phase, code, text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever one sender sends, and whatever the server says to it: no hold follows, with canaries or without, and
    /// the others have their mail.
    #[test]
    fn no_single_sender_can_trip_it(
        answers in prop::collection::vec(answer(), 1..12),
        refusal in prop::sample::select(vec![(550, "5.1.1 User unknown", true), (554, "5.3.0 Odd", true)]),
        probes in 0u16..3,
        every in 2u64..5,
    ) {
        let mut answers = answers.into_iter().cycle();
        // Messages whose number is no multiple of that are the one sender's; of the others the first comes first.
        let is_others = move |id: u64| id == u64::MAX || id.is_multiple_of(every);
        let mut world = World::with(with_probes(probes), None, move |_, message, _| match message {
            Some(id) if !is_others(id) => answers.next().unwrap(),
            _ => Answer::Takes,
        });
        world.source = if every == 2 { |id| if id % 2 == 0 { id } else { 1 } }
            else if every == 3 { |id| if id % 3 == 0 { id } else { 1 } }
            else { |id| if id % 4 == 0 { id } else { 1 } };
        world.refusal = refusal;
        for id in 0..240 {
            world.offer([id]);
            world.run_until(world.now_ms + 5 * SECOND);
        }
        // Of pressure that messages make up each costs the others some minutes.
        world.run_until(world.now_ms + DAY);
        prop_assert!(!world.states.iter().any(|state| state.is_proving()), "{:?}", world.states);
        let delivered = world.delivered_ids();
        let missing: Vec<_> = (0..240).filter(|id| is_others(*id) && !delivered.contains(id)).collect();
        prop_assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn a_server_that_refuses_the_site_is_tried_with_mail_when_the_operator_says_so_and_held_again_if_it_still_does()
 {
    // The first mail that there ever was is for a domain that the server does not have; all other mail it takes.
    let mut world = World::new(|_, message, _| match message {
        Some(1..=3) | None => DENIED,
        _ => Answer::Takes,
    });
    world.offer(1..=3);
    world.run_until(HOUR);
    world.offer(4..=20);
    world.run_until(2 * HOUR);
    assert_eq!((world.state(), world.delivered.len()), (State::Unconfigured, 0));
    assert!(world.confirm());
    world.run_until(3 * HOUR);
    assert_eq!(world.delivered_ids(), (4..=20).collect::<Vec<_>>());
}

#[test]
fn a_hop_that_nobody_doubts_has_nothing_to_be_confirmed() {
    let mut world = World::new(|_, _, now| if now < MINUTE { Answer::Takes } else { Answer::Gone });
    world.run_until(SECOND);
    assert!(!world.confirm());
    world.offer([1]);
    world.run_until(2 * MINUTE);
    assert!(!world.confirm(), "of a server that is down it would say nothing");
    assert!(!world.release.confirm(HopId(9), world.now()));
}
