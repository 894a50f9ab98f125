//! What the rescue takes is on the volume, byte for byte, and it takes nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use penstock_rescue::smoltcp::time::Duration;
use penstock_rescue::smoltcp::wire::IpAddress;
use penstock_rescue::{RECIPIENTS_MAX, WallClock};
use support::client::{Client, Mail, Raw};
use support::wire::Weather;
use support::{DISK, FRONT, NOR, World, assert_all_there, formatted, settings, start, world};

const KIB: usize = 1024;

#[test]
fn a_message_is_taken_onto_the_disk_and_told_of_in_the_ledger() {
    let (disk, nor) = (formatted(DISK), formatted(NOR));
    let mut world = world(Some(&disk), Some(&nor), Weather::FAIR, 1);
    let mail = Mail::new(1, 500);
    let client = world.client([mail.clone()]);
    world.run_clients(Duration::from_secs(10));
    let (_, reply) = &world.of_client(client).answered[0];
    assert_eq!(reply.code, 250, "{reply:?}");
    world.stop();
    let found = support::found(disk.medium());
    assert_all_there(&found, &[mail]);
    let [found] = found.as_slice() else { panic!("one message") };
    assert_eq!(
        found.trace,
        format!(
            "Received: from client.example ([192.0.2.100])\r\n\tby mx.example.org (Penstock rescue) with ESMTP id d-{}\r\n\
             \tfor <somebody1@example.org>;\r\n\tSun, 22 Nov 2026 03:19:40 +0000\r\n",
            found.id
        )
    );
    assert_eq!(found.events, ["taken by the rescue, in plain text; no system ran: both slots are bad"]);
    assert!(support::found(nor.medium()).is_empty());
}

/// Eight clients at once, one of them with 5 MiB, over a network that loses a tenth of all frames.
#[test]
fn mail_of_all_sizes_comes_through_a_bad_network_byte_for_byte() {
    for seed in 1..=3 {
        let (disk, nor) = (formatted(DISK), formatted(NOR));
        let mut world = world(Some(&disk), Some(&nor), Weather::FOUL, seed);
        let mut mails = Vec::new();
        let sizes = [0, 1, 300, 4 * KIB - 1, 4 * KIB, 4 * KIB + 1, 17 * KIB, 64 * KIB, 200 * KIB];
        for client in 0..8 {
            let of_client: Vec<Mail> = sizes
                .iter()
                .enumerate()
                .map(|(n, size)| Mail::new(100 * (client + 1) + n as u64, *size))
                .collect();
            mails.extend(of_client.iter().cloned());
            world.client(of_client);
        }
        let large = Mail::new(1, 5 << 20);
        mails.push(large.clone());
        world.client([large]);
        let began = world.now;
        world.run_clients(Duration::from_secs(3600));
        println!(
            "seed {seed}: {} messages in {} of simulated time, {:?} frames from the clients (sent, lost), {} syncs",
            mails.len(),
            world.now - began,
            world.end.sent(),
            world.rescue.status().counters.syncs
        );
        for (mail, reply) in world.clients().flat_map(|client| &client.answered) {
            assert_eq!(reply.code, 250, "{}: {reply:?}", mail.sender);
        }
        world.stop();
        let found = support::found(disk.medium());
        assert_eq!(found.len(), mails.len(), "seed {seed}");
        assert_all_there(&found, &mails);
    }
}

#[test]
fn clients_that_come_at_once_share_syncs() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    for n in 0..16 {
        world.client((0..10).map(|mail| Mail::new(100 * n + mail, 2000)));
    }
    world.run_clients(Duration::from_secs(60));
    let counters = world.rescue.status().counters;
    assert_eq!(counters.messages, 160);
    println!("{} syncs for {} messages", counters.syncs, counters.messages);
    assert!(counters.syncs <= 80, "{} syncs for {} messages", counters.syncs, counters.messages);
    let mails = world.acknowledged();
    world.stop();
    assert_all_there(&support::found(disk.medium()), &mails);
}

#[test]
fn mail_is_taken_by_ipv6_too() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let handle = world.connect_to(IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2), 16 * KIB);
    let mail = Mail::new(1, 500);
    world.add_client(handle, Client::new([mail.clone()]));
    world.run_clients(Duration::from_secs(10));
    world.stop();
    let found = support::found(disk.medium());
    assert_all_there(&found, &[mail]);
    assert!(found[0].trace.contains("([IPv6:2001:db8::64])"), "{}", found[0].trace);
}

#[test]
fn all_recipients_are_kept_and_those_beyond_a_hundred_are_to_come_again() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let recipients = (0..RECIPIENTS_MAX).map(|n| format!("r{n}@example.org")).collect();
    let mail = Mail { recipients, ..Mail::new(1, 500) };
    let one_more =
        Mail { recipients: vec!["x@example.org".into(); RECIPIENTS_MAX as usize + 1], ..Mail::new(2, 500) };
    let client = world.client([mail.clone(), one_more]);
    world.run_clients(Duration::from_secs(10));
    let codes: Vec<u16> = world.of_client(client).answered.iter().map(|(_, reply)| reply.code).collect();
    assert_eq!(codes, [250, 452]);
    world.stop();
    assert_all_there(&support::found(disk.medium()), &[mail]);
}

#[test]
fn only_what_any_exchange_can_take_is_offered() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let client = world.client([]);
    world.run_clients(Duration::from_secs(10));
    assert_eq!(
        world.of_client(client).extensions,
        [
            "mx.example.org",
            "PIPELINING",
            "SIZE 37748736",
            "8BITMIME",
            "LIMITS RCPTMAX=100",
            "ENHANCEDSTATUSCODES"
        ]
    );
}

#[test]
fn nothing_is_relayed_and_everybody_in_the_sites_domains_is_taken() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let to = |recipient: &str| Mail { recipients: vec![recipient.into()], ..Mail::new(7, 100) };
    let ours = ["nobody.knows@example.org", "x@EXAMPLE.org", "x@sub.example.org", "Postmaster"];
    let foreign = [
        "x@example.com",
        "x@example.org.example.com",
        "x@[192.0.2.25]",
        "x@notexample.org",
        "x%example.com@example.net",
    ];
    let client = world.client(ours.iter().chain(&foreign).map(|recipient| to(recipient)));
    world.run_clients(Duration::from_secs(30));
    for (mail, reply) in &world.of_client(client).answered {
        if ours.contains(&mail.recipients[0].as_str()) {
            assert_eq!(reply.code, 250, "{:?}", mail.recipients);
        } else {
            assert_eq!(
                (reply.code, reply.text.as_str()),
                (550, "5.7.1 Relaying denied"),
                "{:?}",
                mail.recipients
            );
        }
    }
    assert_eq!(world.rescue.status().counters.refused_relay, foreign.len() as u64);
    world.stop();
    assert_eq!(support::found(disk.medium()).len(), ours.len());
}

#[test]
fn a_message_that_is_larger_than_the_policy_is_refused_for_good_and_one_in_circles_too() {
    let disk = formatted(DISK);
    let text = settings(&format!("{FRONT}\nsize_max = \"64KiB\""));
    let mut world = World::new(
        start(&text, Some(disk.medium()), Option::<penstock_flash::sim::SimMedium>::None),
        Weather::FAIR,
        1,
    );
    let declared = Mail { declares_size: true, ..Mail::new(1, 65 * KIB) };
    let undeclared = Mail { declares_size: false, ..Mail::new(2, 65 * KIB) };
    let circling = |line: &str, times: usize| {
        let plain = Mail::new(3, 100);
        Mail { body: [line.repeat(times).into_bytes(), plain.body.clone()].concat(), ..plain }
    };
    let through_others = circling("Received: from a.example by b.example; long ago\r\n", 28);
    let through_us = circling("Received: from a.example\r\n\tby mx.example.org (Penstock); long ago\r\n", 4);
    let client = world.client([declared, undeclared, through_others, through_us]);
    world.run_clients(Duration::from_secs(30));
    let codes: Vec<u16> = world.of_client(client).answered.iter().map(|(_, reply)| reply.code).collect();
    assert_eq!(codes, [552, 552, 554, 554]);
    world.stop();
    assert!(support::found(disk.medium()).is_empty());
}

#[test]
fn a_time_that_is_not_trusted_is_marked_in_line_and_ledger() {
    let disk = formatted(DISK);
    let text = settings(FRONT);
    let mut start = start(&text, Some(disk.medium()), Option::<penstock_flash::sim::SimMedium>::None);
    start.clock = WallClock { is_trusted: false, ..start.clock };
    let mut world = World::new(start, Weather::FAIR, 1);
    world.client([Mail::new(1, 100)]);
    world.run_clients(Duration::from_secs(10));
    world.stop();
    let found = support::found(disk.medium());
    assert!(found[0].trace.ends_with("+0000 (clock not trusted)\r\n"), "{}", found[0].trace);
    assert!(found[0].events[0].ends_with("; the clock was not trusted"), "{:?}", found[0].events);
}

#[test]
fn a_field_that_claims_to_be_ours_is_taken_out_and_the_ledger_says_so() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let plain = Mail::new(1, 100);
    let forged = b"Authentication-Results: mx.example.org; spf=pass\r\n".to_vec();
    world.client([Mail { body: [forged, plain.body.clone()].concat(), ..plain.clone() }]);
    world.run_clients(Duration::from_secs(10));
    world.stop();
    let found = support::found(disk.medium());
    assert_all_there(&found, &[plain]);
    assert!(found[0].events[0].ends_with("; Authentication-Results that claimed to be ours taken out: 1"));
}

#[test]
fn a_second_message_cannot_be_smuggled_behind_the_first() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let text = "EHLO a.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";
    let raw = world.raw(Raw::saying(text), 16 * KIB);
    world.run_until(Duration::from_secs(10), |world| world.of_raw(raw).heard().contains("354 "));
    let smuggled = "x\r\n\n.\r\nMAIL FROM:<c@example.com>\r\n\r.\r\n\n.\nQUIT\r\n.\r\n";
    world.of_raw(raw).out.extend(smuggled.as_bytes());
    world.run_until(Duration::from_secs(10), |world| world.of_raw(raw).heard().contains("550 5.6.11"));
    world.stop();
    assert!(support::found(disk.medium()).is_empty());
}
