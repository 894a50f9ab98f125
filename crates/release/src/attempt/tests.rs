use alloc::vec;

use super::*;
use crate::reply::{Phase, Reply};
use crate::transaction::AfterEnvelope;

/// Plays a transaction: what is said to MAIL, to each recipient by its number, and to the message.
fn play<'a>(
    attempt: &mut MessageAttempt,
    recipients_max: usize,
    mail: &'a str,
    recipient: impl Fn(u16) -> &'a str,
    end: &'a str,
) -> (Vec<u16>, Settled) {
    let batch = attempt.begin(recipients_max).to_vec();
    let mut transaction = Transaction::new(batch.len());
    transaction.mail_answered(reply(mail));
    while let Some(n) = transaction.to_name() {
        transaction.named();
        let found = transaction.heard(Phase::Rcpt, reply(recipient(batch[n])));
        if let Some(end) = transaction.recipient_answered(n, found) {
            let settled = attempt.settle(transaction, end);
            return (batch, settled);
        }
    }
    let end = match transaction.after_envelope().expect("nothing is owed") {
        AfterEnvelope::Data => End::Message(transaction.heard(Phase::EndOfData, reply(end))),
        AfterEnvelope::Leave(end) => end,
    };
    let settled = attempt.settle(transaction, end);
    (batch, settled)
}

fn reply(line: &str) -> Reply<'_> {
    let (code, text) = line.split_once(' ').unwrap();
    Reply::new(code.parse().unwrap(), text)
}

/// Who was delivered and who was refused.
fn fates(settled: &Settled) -> Vec<(Vec<u16>, bool)> {
    settled.fates.iter().map(|fated| (fated.recipients.clone(), fated.delivered)).collect()
}

const OK: &str = "250 2.0.0 Ok";

#[test]
fn recipients_go_in_transactions_of_what_one_may_have() {
    let mut attempt = MessageAttempt::new(0..5);
    for (expected, more) in [(vec![0, 1], true), (vec![2, 3], true), (vec![4], false)] {
        let (batch, settled) = play(&mut attempt, 2, OK, |_| OK, OK);
        assert_eq!((&batch, attempt.has_next()), (&expected, more));
        assert_eq!((fates(&settled), settled.goes_on), (vec![(expected, true)], true));
    }
    assert_eq!(attempt.outcome(), Outcome::Done { delivered: true });
    assert!(attempt.begin(2).is_empty());
}

#[test]
fn one_recipient_that_is_refused_or_put_off_costs_the_others_nothing() {
    let mut attempt = MessageAttempt::new(0..3);
    let said = |n| ["550 5.1.1 unknown", "450 4.2.1 busy", OK][usize::from(n)];
    let (_, settled) = play(&mut attempt, 9, OK, said, OK);
    assert_eq!(fates(&settled), [(vec![0], false), (vec![2], true)]);
    assert_eq!(attempt.open(), [1]);
    assert!(
        matches!(attempt.outcome(), Outcome::Open { delivered: true, evidence } if evidence.phase == Phase::Rcpt)
    );
}

#[test]
fn too_many_recipients_go_in_the_next_transaction() {
    let mut attempt = MessageAttempt::new(0..3);
    let said = |n| if n < 2 { OK } else { "452 4.5.3 Too many recipients" };
    let (_, settled) = play(&mut attempt, 9, OK, said, OK);
    assert_eq!(fates(&settled), [(vec![0, 1], true)]);
    let (batch, settled) = play(&mut attempt, 9, OK, |_| OK, OK);
    assert_eq!((batch, fates(&settled)), (vec![2], vec![(vec![2], true)]));
}

#[test]
fn what_one_recipient_may_have_spoilt_is_offered_to_each_alone() {
    let mut attempt = MessageAttempt::new(0..3);
    let (_, settled) = play(&mut attempt, 9, OK, |_| OK, "550 5.1.1 User unknown");
    assert_eq!((fates(&settled), settled.goes_on), (vec![], true));
    for n in 0..3 {
        let verdict = if n == 1 { "550 5.1.1 User unknown" } else { OK };
        let (batch, settled) = play(&mut attempt, 9, OK, |_| OK, verdict);
        assert_eq!((batch, fates(&settled)), (vec![n], vec![(vec![n], n != 1)]));
    }
    assert_eq!(attempt.outcome(), Outcome::Done { delivered: true });
}

#[test]
fn what_is_said_of_all_ends_the_attempt_and_leaves_all_open() {
    let pressure = "452 4.3.1 Insufficient system resources";
    for (mail, recipient, end) in [(pressure, OK, OK), (OK, OK, pressure), (OK, "550 5.7.54 relay", OK)] {
        let mut attempt = MessageAttempt::new(0..3);
        let (batch, settled) = play(&mut attempt, 2, mail, |_| recipient, end);
        assert_eq!((batch, fates(&settled)), (vec![0, 1], vec![]));
        assert!(!attempt.has_next(), "{mail}, {recipient}, {end}");
        assert_eq!(attempt.open(), [0, 1, 2]);
        assert!(matches!(attempt.outcome(), Outcome::Open { delivered: false, .. }));
    }
}

#[test]
fn a_sender_that_is_refused_for_good_concerns_all_recipients() {
    let mut attempt = MessageAttempt::new(0..2);
    let (_, settled) = play(&mut attempt, 9, "501 5.1.7 Invalid address", |_| OK, OK);
    assert_eq!(fates(&settled), [(vec![0, 1], false)]);
    assert_eq!(attempt.outcome(), Outcome::Done { delivered: false });
}

#[test]
fn a_session_that_is_cut_leaves_open_who_has_no_fate() {
    let mut attempt = MessageAttempt::new(0..3);
    attempt.begin(2);
    let mut transaction = Transaction::new(2);
    transaction.mail_answered(reply(OK));
    transaction.named();
    let found = transaction.heard(Phase::Rcpt, reply("550 5.1.1 unknown"));
    assert_eq!(transaction.recipient_answered(0, found), None);
    let end = End::Cut(Some(Found::lost(Phase::Rcpt, "gone", 0)));
    assert!(!end.is_cut_at_mail());
    let settled = attempt.settle(transaction, end);
    assert_eq!((fates(&settled), settled.goes_on), (vec![(vec![0], false)], false));
    assert_eq!(attempt.open(), [1, 2]);
    // A cut of our own says nothing of the server.
    attempt.begin(9);
    attempt.settle(Transaction::new(2), End::Cut(None));
    assert_eq!((attempt.outcome(), attempt.open()), (Outcome::NotTried, vec![1, 2]));
}

#[test]
fn a_session_that_had_gone_stale_has_cost_nothing() {
    let mut attempt = MessageAttempt::new(0..3);
    assert_eq!(attempt.begin(2), [0, 1]);
    assert!(End::Cut(Some(Found::lost(Phase::Mail, "closed", 0))).is_cut_at_mail());
    attempt.unbegin();
    assert_eq!(attempt.begin(2), [0, 1]);
}

#[test]
fn recipients_who_have_other_hops_are_left_to_them() {
    let mut attempt = MessageAttempt::new(0..3);
    attempt.hold_back(|number| (number == 1).then_some(Aside::Elsewhere));
    let (batch, _) = play(&mut attempt, 9, OK, |_| OK, OK);
    assert_eq!((batch, attempt.open()), (vec![0, 2], vec![1]));
    assert_eq!(attempt.outcome(), Outcome::Elsewhere { delivered: true });
    // None of them is for this hop.
    let mut attempt = MessageAttempt::new(0..3);
    attempt.hold_back(|_| Some(Aside::Elsewhere));
    assert!(!attempt.has_next());
    assert_eq!(attempt.outcome(), Outcome::Elsewhere { delivered: false });
}

#[test]
fn recipients_that_are_held_alone_wait_and_the_others_have_their_mail() {
    let mut attempt = MessageAttempt::new(0..3);
    attempt.hold_back(|number| (number == 1).then_some(Aside::Held { route: 7 }));
    let (batch, settled) = play(&mut attempt, 9, OK, |_| OK, OK);
    assert_eq!((batch, fates(&settled)), (vec![0, 2], vec![(vec![0, 2], true)]));
    assert_eq!(attempt.open(), [1]);
    assert_eq!(attempt.outcome(), Outcome::Parked { route: 7, delivered: true });

    // While another waits for its own reason the message waits for that.
    let mut attempt = MessageAttempt::new(0..2);
    attempt.hold_back(|number| (number == 1).then_some(Aside::Held { route: 7 }));
    play(&mut attempt, 9, OK, |_| "450 4.2.1 busy", OK);
    assert!(matches!(attempt.outcome(), Outcome::Open { delivered: false, .. }));
}

#[test]
fn a_refusal_of_what_is_in_a_message_is_everybodys_and_one_of_a_recipient_is_found_out_one_by_one() {
    for (said, whole) in [
        ("550 5.7.1 Message rejected as spam by Content Filtering.", true),
        ("550 5.1.1 User unknown", false),
        ("550 5.2.2 Mailbox full", false),
        ("550 5.7.57 Client was not authenticated", false),
    ] {
        let mut attempt = MessageAttempt::new(0..3);
        let (_, settled) = play(&mut attempt, 10, OK, |_| OK, said);
        assert!(settled.fates.is_empty() && attempt.has_next(), "{said}");
        let numbers = attempt.refusal_of_all().map(|all| all.iter().map(|it| it.0).collect::<Vec<_>>());
        assert_eq!(numbers, whole.then(|| vec![0, 1, 2]), "{said}");
        if whole {
            attempt.refuse_all();
            assert!(!attempt.has_next() && attempt.open().is_empty() && attempt.refused().len() == 3);
            assert_eq!(attempt.outcome(), Outcome::Done { delivered: false });
        } else {
            // The second is the one.
            for number in 0..3 {
                let end = if number == 1 { said } else { OK };
                play(&mut attempt, 10, OK, |_| OK, end);
            }
            assert_eq!((attempt.refusal_of_all(), attempt.refused().len()), (None, 1), "{said}");
        }
    }
}

#[test]
fn everybody_is_refused_only_when_nobody_was_taken_put_off_or_left_out() {
    let refused = "550 5.1.1 User unknown";
    for (of_two, all) in [(refused, true), ("450 4.2.1 Mailbox busy", false), (OK, false)] {
        let mut attempt = MessageAttempt::new(0..3);
        play(&mut attempt, 10, OK, |number| if number == 2 { of_two } else { refused }, OK);
        assert_eq!(attempt.refusal_of_all().is_some(), all, "{of_two}");
    }
    let mut attempt = MessageAttempt::new(0..3);
    attempt.hold_back(|number| (number == 0).then_some(Aside::Held { route: 7 }));
    play(&mut attempt, 10, OK, |_| refused, OK);
    assert_eq!(attempt.refusal_of_all(), None);
}

#[test]
fn the_mail_of_a_domain_that_the_server_has_lost_waits_while_others_go() {
    let denied = "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain";
    let attempt = |route: Option<u16>| {
        let mut attempt = MessageAttempt::new(0..2);
        attempt.begin(10);
        let mut transaction = Transaction::new(2);
        transaction.mail_answered(reply(OK));
        for (n, said) in [OK, denied].into_iter().enumerate() {
            transaction.named();
            let found = transaction.heard(Phase::Rcpt, reply(said));
            let found = if n == 1 { found.of_domain() } else { found };
            assert_eq!(transaction.recipient_answered(n, found), None);
        }
        let end = End::Message(transaction.heard(Phase::EndOfData, reply(OK)));
        assert_eq!(fates(&attempt.settle(transaction, end)), [(vec![0], true)]);
        assert_eq!(attempt.open(), [1]);
        attempt.hold_denied(|_| route);
        assert_eq!(attempt.open(), [1]);
        attempt
    };
    assert_eq!(attempt(Some(7)).outcome(), Outcome::Parked { route: 7, delivered: true });
    // More domains than a server that is itself could have lost.
    let left = attempt(None);
    let Outcome::Open { evidence, delivered: true } = left.outcome() else { panic!("{left:?}") };
    assert_eq!(evidence.verdict(), Verdict::Destination(crate::custody::Trouble::Unconfigured));
}
