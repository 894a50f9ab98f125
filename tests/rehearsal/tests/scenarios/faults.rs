//! Messages and mailboxes that the server minds, in the midst of others.

use penstock_exchange::units::{DAY, HOUR, MINUTE, SECOND};
use penstock_rehearsal::{Act, Judgement, Mail};

use crate::common::{blind, deliveries_ms, mail, play, play_to_mailboxes, quarantine, world};

/// When the last message is in its mailbox, if the server minds none.
fn last_delivery_ms(mail: Vec<Mail>) -> u64 {
    let mut world = world("");
    play_to_mailboxes(&mut world, &mut blind(mail), DAY);
    deliveries_ms(&world).pop().unwrap()
}

#[test]
fn one_message_that_kills_every_session_ends_in_quarantine_and_ten_thousand_pass() {
    let undisturbed_ms = last_delivery_ms(mail(10_000, 0));
    let mut world = world("poison X-Mark: poison");
    let mut mail = mail(10_000, 0);
    mail[17].mark = Some("poison".into());
    let mut appliance = blind(mail);
    let judgement = play(&mut world, &mut appliance, DAY);
    let expected =
        Judgement { recipients: 10_000, in_mailbox: 9_999, quarantined: 1, ..Judgement::default() };
    assert_eq!(judgement, expected);
    let quarantine = quarantine(&appliance);
    assert!(matches!(quarantine[..], [(17, why)] if why.contains("others passed")), "{quarantine:?}");
    let last_ms = deliveries_ms(&world).pop().unwrap();
    assert!(last_ms < undisturbed_ms + 5 * MINUTE, "it held up the others: {last_ms}, {undisturbed_ms}");
}

#[test]
fn a_mailbox_that_bears_one_message_a_minute_gets_them_all_and_holds_up_nobody() {
    let undisturbed_ms = last_delivery_ms(mail(2000, 0));
    let mut world = world("throttle ann@example.com 1");
    let mut mail = mail(2000, 0);
    for n in 0..20 {
        mail[n * 90].to = vec!["ann@example.com".into()];
    }
    let mut appliance = blind(mail);
    play_to_mailboxes(&mut world, &mut appliance, 7 * DAY);
    let others = world.server.deliveries().iter().filter(|delivery| delivery.mailbox != "ann@example.com");
    let last_ms = others.map(|delivery| delivery.delivered_ms).max().unwrap();
    assert!(last_ms < undisturbed_ms + 5 * MINUTE, "{last_ms}, {undisturbed_ms}");
}

#[test]
fn spam_that_the_server_refuses_by_the_thousand_is_held_with_its_reason_and_the_rest_passes() {
    let mut world = world("spam casino\ntarpit 0s");
    let mut mail = mail(3000, SECOND);
    for mail in mail.iter_mut().step_by(3) {
        mail.mark = Some("casino".into());
    }
    let mut appliance = blind(mail);
    let judgement = play(&mut world, &mut appliance, DAY);
    let expected =
        Judgement { recipients: 3000, in_mailbox: 2000, quarantined: 1000, ..Judgement::default() };
    assert_eq!(judgement, expected);
    assert!(quarantine(&appliance).iter().all(|(_, why)| why.starts_with("550 5.7.1 ")));
}

#[test]
fn spam_and_mail_for_nobody_are_refused_while_their_clients_wait_and_the_operator_sees_none_of_it() {
    for face in ["frontend", "direct"] {
        let mut world = world(&format!("face {face}\nspam casino\nfilter on\nunknown nobody@example.com"));
        let mut mail: Vec<_> = mail(3000, SECOND).into_iter().map(Mail::awaited).collect();
        for (n, mail) in mail.iter_mut().enumerate() {
            match n % 3 {
                1 => mail.mark = Some("casino".into()),
                2 if n % 2 == 0 => mail.to = vec!["nobody@example.com".into()],
                _ => {}
            }
        }
        let mut appliance = blind(mail);
        let judgement = play(&mut world, &mut appliance, DAY);
        let expected = Judgement { recipients: 3000, in_mailbox: 1500, told: 1500, ..Judgement::default() };
        assert_eq!(judgement, expected, "{face}");
    }
}

#[test]
fn one_unknown_recipient_spoils_the_message_for_nobody_else() {
    let mut world = world("filter on\nunknown nobody@example.com");
    let to = ["ann", "nobody", "cid"].map(|name| format!("{name}@example.com")).to_vec();
    let mail = (0..100).map(|n| Mail { to: to.clone(), ..Mail::numbered(n, "") }).collect();
    let mut appliance = blind(mail);
    let judgement = play(&mut world, &mut appliance, DAY);
    let expected = Judgement { recipients: 300, in_mailbox: 200, quarantined: 100, ..Judgement::default() };
    assert_eq!(judgement, expected);
}

#[test]
fn replies_that_are_lost_double_at_most_their_own_messages() {
    let mut world = world("at 30s lose-replies 50");
    let mut appliance = blind(mail(2000, 0));
    let judgement = play(&mut world, &mut appliance, DAY);
    assert_eq!(judgement.in_mailbox + judgement.quarantined, 2000);
    assert!((1..=50).contains(&judgement.doubled), "{judgement:?}");
}

#[test]
fn what_the_operator_gives_back_is_delivered_once_the_cause_is_gone() {
    let mut world = world("unknown new@example.com\nfilter on\nat 2h known new@example.com");
    let mail = (0..50).map(|n| Mail::numbered(n, "new@example.com")).collect();
    let mut appliance = blind(mail).with_acts([(3 * HOUR, Act::GiveBack)]);
    assert_eq!(play(&mut world, &mut appliance, HOUR).quarantined, 50);
    world.run_until(3 * HOUR - SECOND);
    play_to_mailboxes(&mut world, &mut appliance, 4 * HOUR);
}
