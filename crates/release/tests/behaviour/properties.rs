//! What holds whatever servers do and whenever.

use std::collections::BTreeSet;

use crate::world::{Answer, HOUR, MINUTE, SECOND, UNIX_START_MS, World, config};
use penstock_release::{Config, HopConfig, HopId, Mode, Phase};
use proptest::prelude::*;

/// What a server may do, weighted so that mail also passes.
fn answer() -> impl Strategy<Value = Answer> {
    use Phase::{Banner, Data, Ehlo, EndOfData, Mail, Rcpt};
    prop_oneof![
        4 => Just(Answer::Takes),
        2 => Just(Answer::Gone),
        1 => Just(Answer::TakesPart),
        1 => Just(Answer::Refuses),
        2 => prop::sample::select(vec![Banner, Ehlo, Mail, Rcpt, Data, EndOfData]).prop_map(Answer::Cuts),
        4 => (
            prop::sample::select(vec![Banner, Ehlo, Mail, Rcpt, Data, EndOfData]),
            prop::sample::select(vec![
                (421, "4.3.2 Service not available"),
                (421, "4.3.2 Too many concurrent connections"),
                (421, "4.4.2 Message submission rate exceeded"),
                (452, "4.3.1 Insufficient system resources"),
                (451, "4.7.0 Temporary server error"),
                (530, "5.7.1 Not authenticated"),
                (550, "5.7.54 Unable to relay"),
                (554, "Transaction failed"),
                (999, "what?"),
            ]),
        )
            .prop_map(|(phase, (code, text))| Answer::Says(phase, code, text)),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Offer(u64),
    Mode(Mode),
    Servers(Vec<Answer>),
    Run(u64),
    Clock(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..60).prop_map(Step::Offer),
        1 => prop_oneof![
            3 => Just(Mode::Auto),
            1 => Just(Mode::Hold { until_unix_ms: None }),
            1 => (0..5 * HOUR).prop_map(|ms| Mode::Hold { until_unix_ms: Some(UNIX_START_MS + ms) }),
            1 => Just(Mode::Drain),
            1 => Just(Mode::Stop),
        ]
        .prop_map(Step::Mode),
        4 => prop::collection::vec(answer(), 1..6).prop_map(Step::Servers),
        4 => prop_oneof![1..SECOND, SECOND..MINUTE, MINUTE..2 * HOUR].prop_map(Step::Run),
        1 => any::<bool>().prop_map(Step::Clock),
    ]
}

/// A world of two hops that goes through `steps`; its servers give the answers of the last step by turns.
fn play(steps: &[Step], connections_max: u32, messages_per_minute_max: u32) -> (World, u64) {
    let hop = |name: &str, priority| HopConfig { name: name.into(), priority, weight: 1, probes: 0 };
    let config = Config {
        hops: vec![hop("a", 0), hop("b", 1)],
        connections_max,
        messages_per_minute_max: Some(messages_per_minute_max),
        ..config()
    };
    let mut world = World::with(config, None, |_, _, _| Answer::Takes);
    let mut offered = 0;
    for step in steps {
        match step {
            Step::Offer(count) => {
                world.offer(offered..offered + count);
                offered += count;
            }
            Step::Mode(mode) => world.set_mode(*mode),
            Step::Servers(answers) => {
                let mut answers = answers.clone().into_iter().cycle();
                world.servers = Box::new(move |_, _, _| answers.next().unwrap());
            }
            Step::Run(ms) => {
                let (before, mode) = (world.attempts.len(), world.release.mode());
                world.run_until(world.now_ms + ms);
                let mail = world.attempts[before..].iter().filter(|it| it.message.is_some()).count();
                match mode {
                    Mode::Hold { until_unix_ms: None } => assert_eq!(mail, 0, "hold means that nothing goes"),
                    Mode::Stop => assert_eq!(world.attempts.len(), before, "stop means that nothing leaves"),
                    _ => {}
                }
            }
            Step::Clock(trusted) => world.clock_trusted = *trusted,
        }
    }
    (world, offered)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Every message that was offered is at any time in exactly one place: to go, delivered, refused or set aside. That
    /// no message is in flight twice, the world itself checks at each attempt.
    #[test]
    fn no_message_is_lost_or_doubled(steps in prop::collection::vec(step(), 1..40)) {
        let (mut world, offered) = play(&steps, 5, 600);
        let gone: Vec<_> = world.delivered_ids().into_iter()
            .chain(world.refused.iter().copied())
            .chain(world.set_aside.iter().map(|(id, _)| *id))
            .collect();
        let distinct: BTreeSet<_> = gone.iter().collect();
        prop_assert_eq!(distinct.len(), gone.len());
        let now = world.now();
        prop_assert_eq!(world.release.progress(now).messages + gone.len() as u64, offered);
    }

    #[test]
    fn no_window_exceeds_the_ceilings(
        steps in prop::collection::vec(step(), 1..40),
        connections_max in 1u32..6,
        per_minute in 1u32..1_000,
    ) {
        let (world, _) = play(&steps, connections_max, per_minute);
        let sends: Vec<_> = world.attempts.iter().filter(|it| it.message.is_some()).map(|it| it.at_ms).collect();
        for (n, from) in sends.iter().enumerate() {
            let within = sends.partition_point(|at| *at < from + MINUTE) - n;
            prop_assert!(within <= per_minute as usize, "{within} in a minute");
        }
        for (n, attempt) in world.attempts.iter().enumerate() {
            // An attempt takes 40 ms: those that began less than that before are still there.
            let recent = world.attempts[..=n].iter().rev().take_while(|it| attempt.at_ms < it.at_ms + 40);
            let open = recent.filter(|it| it.hop == attempt.hop).count();
            prop_assert!(open <= connections_max as usize, "{open} connections at once");
        }
    }

    /// Whatever went before: when the servers are well, everything that is left goes, with no more help than a press
    /// where a server had been believed that it is not itself.
    #[test]
    fn when_the_servers_are_well_everything_goes(steps in prop::collection::vec(step(), 1..40)) {
        let (mut world, offered) = play(&steps, 5, 600);
        world.servers = Box::new(|_, _, _| Answer::Takes);
        world.set_mode(Mode::Auto);
        let at = world.now_ms;
        world.run_until(at + 15 * MINUTE);
        for hop in [HopId(0), HopId(1)] {
            world.release.confirm(hop, world.now());
        }
        world.run_until(at + 4 * HOUR);
        let now = world.now();
        prop_assert_eq!(world.release.progress(now).messages, 0, "of {} offered", offered);
    }
}
