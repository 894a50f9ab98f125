//! A server that is away, or wavers.

use penstock_exchange::units::{DAY, HOUR, MINUTE, SECOND};
use penstock_rehearsal::Act;
use penstock_release::{Mode, State};

use crate::common::{blind, deliveries_ms, mail, play, play_to_mailboxes, world};

#[test]
fn a_week_of_outage_costs_no_message_an_attempt_and_ends_within_seconds() {
    let mut world = world("at 1h state down\nat 7d state ok");
    // After more than a day it may be another server: the operator looks, and says that it is not.
    let confirmed_ms = 7 * DAY + 10 * MINUTE;
    let mut appliance = blind(mail(7 * 24 * 12, 5 * MINUTE)).with_acts([(confirmed_ms, Act::Confirm)]);
    play_to_mailboxes(&mut world, &mut appliance, 8 * DAY);
    assert!(appliance.held().iter().filter(|held| held.attempts > 1).count() <= 1);
    let first_after = deliveries_ms(&world).into_iter().find(|at_ms| *at_ms > HOUR + MINUTE).unwrap();
    assert!((confirmed_ms..confirmed_ms + 20 * SECOND).contains(&first_after), "{first_after}");
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_costs_nothing_but_time() {
    let mut world = world("at 10m state blackhole\nat 6h state ok");
    let mut appliance = blind(mail(1000, 30 * SECOND));
    play_to_mailboxes(&mut world, &mut appliance, DAY);
    assert!(appliance.states().iter().any(|(_, state)| *state == State::Down));
    // Those that were in flight may have to wait once more; nobody else.
    assert!(appliance.held().iter().filter(|held| held.attempts > 2).count() <= 5);
}

#[test]
fn a_server_that_flaps_around_its_disk_threshold_gets_all_mail_in_the_end() {
    let mut world = world("disk wave 75 92 4m\nat 1d disk ok");
    let mut appliance = blind(mail(5000, 10 * SECOND));
    play_to_mailboxes(&mut world, &mut appliance, 2 * DAY);
    assert!(world.server.summary()["excursions_medium"].as_u64() > Some(100));
}

#[test]
fn a_server_that_restarts_every_hour_gets_each_message_once_but_for_those_in_doubt() {
    let restarts: String = (1..24).map(|hour| format!("at {hour}h restart 90s\n")).collect();
    let mut world = world(&restarts);
    let mut appliance = blind(mail(20_000, 4 * SECOND));
    let judgement = play(&mut world, &mut appliance, 2 * DAY);
    assert_eq!(judgement.in_mailbox, 20_000);
    assert!(judgement.doubled <= 23, "{}", judgement.doubled);
}

#[test]
fn a_power_cut_in_mid_drain_repeats_at_most_a_message_for_each_open_session() {
    let mut world = world("commit 500ms");
    let cuts = (1..=20).map(|n| (n * 20 * SECOND + n * 37, Act::PowerCut { away_ms: 5 * SECOND }));
    let mut appliance = blind(mail(3000, 0)).with_acts(cuts);
    let judgement = play(&mut world, &mut appliance, DAY);
    assert_eq!(judgement.in_mailbox, 3000);
    let in_doubt: u32 = appliance.held().iter().map(|held| held.in_doubt).sum();
    assert!(in_doubt > 0, "no cut met a session at its final dot: this would prove nothing");
    assert!(in_doubt <= 20 * 5 && judgement.doubled <= in_doubt as usize, "{in_doubt}, {judgement:?}");
}

#[test]
fn the_state_of_an_outage_outlives_a_power_cut() {
    let mut world = world("state down\nat 20h state ok");
    let cuts = (1..10).map(|n| (n * 2 * HOUR, Act::PowerCut { away_ms: MINUTE }));
    let mut appliance = blind(mail(500, MINUTE)).with_acts(cuts);
    play_to_mailboxes(&mut world, &mut appliance, 2 * DAY);
    assert_eq!(appliance.states().last().unwrap().1, State::Healthy);
}

#[test]
fn nothing_goes_while_the_operator_holds_it_whatever_else_happens() {
    let mut world = world("at 1h state down\nat 2h state ok");
    let acts = [
        (0, Act::Mode(Mode::Hold { until_unix_ms: None })),
        (3 * HOUR, Act::PowerCut { away_ms: MINUTE }),
        (5 * HOUR, Act::Mode(Mode::Auto)),
    ];
    let mut appliance = blind(mail(500, MINUTE / 2)).with_acts(acts);
    play_to_mailboxes(&mut world, &mut appliance, DAY);
    assert!(deliveries_ms(&world).into_iter().all(|at_ms| at_ms >= 5 * HOUR));
}
