//! A server that was rebuilt and is not itself yet.

use penstock_exchange::units::{DAY, HOUR, MINUTE, SECOND};
use penstock_rehearsal::drain::Insight;
use penstock_rehearsal::{Act, Appliance, Mail};
use penstock_release::State;

use crate::common::{blind, mail, play, play_to_mailboxes, world};

#[test]
fn a_server_that_forgot_its_domains_for_a_day_costs_nobody_a_message() {
    for state in ["unconfigured", "unconfigured 5.7.1", "unconfigured 530", "inactive", "inactive mail"] {
        let mut world = world(&format!("at 1h state {state}\nat 1d state ok"));
        // The operator has repaired it, and says so; where he has to.
        let mut appliance = blind(mail(3000, MINUTE / 2)).with_acts([(DAY + HOUR, Act::Confirm)]);
        play_to_mailboxes(&mut world, &mut appliance, 3 * DAY);
        let troubles = [State::Unconfigured, State::Inactive];
        assert!(appliance.states().iter().any(|(_, state)| troubles.contains(state)), "{state}");
    }
}

#[test]
fn a_message_that_failed_before_is_not_set_aside_for_what_a_server_says_that_forgot_its_domains() {
    let mut world = world("poison killer\nat 4m poison off\nat 4m state unconfigured\nat 6h state ok");
    let mut mail = mail(200, 10 * SECOND);
    mail[0].mark = Some("killer".into());
    let mut appliance = blind(mail).with_acts([(7 * HOUR, Act::Confirm)]);
    play_to_mailboxes(&mut world, &mut appliance, DAY);
}

#[test]
fn an_empty_directory_behind_250_gets_no_backlog_before_canaries_arrive() {
    let mut world = world(
        "at 1h state down\nat 3h identity new.example.com\nat 3h directory empty\nat 3h state ok\nat 12h directory full",
    );
    let mut appliance = Appliance::new(Insight::Canaries.knowledge(), mail(2000, MINUTE / 2));
    play_to_mailboxes(&mut world, &mut appliance, 3 * DAY);
}

#[test]
fn one_of_three_databases_that_is_gone_for_six_days_costs_nobody_a_message() {
    let mut world = world("at 1h state down\nat 3h dismount DB2\nat 3h state ok\nat 6d mount DB2");
    let mut appliance = Appliance::new(Insight::Canaries.knowledge(), mail(6000, MINUTE));
    let judgement = play(&mut world, &mut appliance, 10 * DAY);
    eprintln!(
        "DEBUG {:?} {:?} canaries {}",
        appliance.debug(world.now_ms()),
        appliance.states(),
        appliance.canaries_arrived()
    );
    // What was on its way before anybody could know is all that may come back to its senders.
    assert!(judgement.reported <= 60, "{judgement:?}");
    assert_eq!(judgement.in_mailbox + judgement.reported, 6000, "{judgement:?}");
    // The others did not wait for it.
    let at_home = world.server.deliveries().iter().filter(|delivery| delivery.database != "DB2");
    let late = at_home.filter(|delivery| delivery.delivered_ms > delivery.accepted_ms + HOUR).count();
    assert_eq!(late, 0);
}

#[test]
fn a_database_that_is_back_has_its_mail_although_the_box_lost_power_and_nobody_else_writes() {
    // Found at random: it was gone for some hours, and messages were rare.
    let mut world = world("at 0ms dismount DB2\nat 16773938ms mount DB2");
    let mut letters = vec![
        Mail::numbered(0, "user4@example.com").at_ms(16_773_858),
        Mail::numbered(1, "user14@example.com").at_ms(172_213_146),
        Mail::numbered(2, "user2@example.com").at_ms(32_776_272),
    ];
    letters.extend((1..24).map(|n| Mail::numbered(2 + n, "user0@example.com").at_ms(3 * DAY + n * HOUR / 2)));
    let cuts = [(12_971_496, 491_488), (54_895_056, 530_484), (205_754_978, 385_355)];
    let cuts = cuts.map(|(at_ms, away_ms)| (at_ms, Act::PowerCut { away_ms }));
    let mut appliance = Appliance::new(Insight::Canaries.knowledge(), letters).with_acts(cuts);
    play_to_mailboxes(&mut world, &mut appliance, 6 * DAY);
}
