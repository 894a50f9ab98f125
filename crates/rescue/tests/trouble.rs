//! When something is not as it should be: no settings, a disk that fails, no room.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use penstock_flash::Geometry;
use penstock_flash::sim::{Fault, Sim, SimMedium};
use penstock_rescue::smoltcp::socket::tcp;
use penstock_rescue::smoltcp::time::Duration;
use penstock_rescue::{Mode, NOR_MESSAGE_BYTES_MAX, VolumeState};
use support::client::{Mail, Raw};
use support::wire::Weather;
use support::{DISK, FRONT, NOR, SimWorld, World, assert_all_there, formatted, settings, start, world};

const KIB: usize = 1024;

/// Asserts that nobody listens, and why not.
fn assert_closed(mut world: SimWorld, code: &str) {
    let raw = world.raw(Raw::default(), 4 * KIB);
    world.run_for(Duration::from_secs(5));
    assert_ne!(world.raw_state(raw), tcp::State::Established, "{code}");
    assert!(world.of_raw(raw).heard.is_empty());
    let status = world.rescue.status();
    let Mode::Refusing(trouble) = status.mode else { panic!("{code}: {status}") };
    assert_eq!(trouble.code(), code);
    assert!(status.to_string().contains(code));
    assert!(world.rescue.is_stopped());
}

#[test]
fn without_valid_settings_nothing_listens_and_the_reason_is_told() {
    let valid = settings(FRONT);
    let no_domains = valid.replace("accepted", "acepted");
    let no_address = valid.replace("addresses = [\"192.0.2.2/24\", \"2001:db8::2/64\"]", "addresses = []");
    let no_address = no_address.replace("gateways = [\"192.0.2.1\"]", "");
    for (text, code) in [
        (None, "PS-E01"),
        (Some(""), "PS-E02"),
        (Some("not = [toml"), "PS-E02"),
        (Some(no_domains.as_str()), "PS-E02"),
        (Some(no_address.as_str()), "PS-E04"),
    ] {
        let disk = formatted(DISK);
        let start = start("", Some(disk.medium()), Option::<SimMedium>::None);
        let world = World::new(penstock_rescue::Start { settings: text, ..start }, Weather::FAIR, 1);
        assert_closed(world, code);
    }
}

#[test]
fn settings_of_a_later_system_do_not_keep_the_rescue_from_taking_mail() {
    let text = settings(&format!("{FRONT}\nnews_of_2030 = true")) + "[quantum]\nlinks = 3\n";
    let disk = formatted(DISK);
    let mut world =
        World::new(start(&text, Some(disk.medium()), Option::<SimMedium>::None), Weather::FAIR, 1);
    let client = world.client([Mail::new(1, 100)]);
    world.run_clients(Duration::from_secs(10));
    assert_eq!(world.of_client(client).answered[0].1.code, 250);
}

#[test]
fn without_a_volume_nothing_listens() {
    assert_closed(world(None, None, Weather::FAIR, 1), "PS-E05");
    let blank = Sim::new(DISK).unwrap();
    assert_closed(world(Some(&blank), None, Weather::FAIR, 1), "PS-E05");
}

#[test]
fn while_nobody_brings_mail_nothing_is_written() {
    let (disk, nor) = (formatted(DISK), formatted(NOR));
    let written = |sim: &Sim| {
        let counters = sim.counters();
        (counters.program_requests, counters.erases, counters.syncs)
    };
    let before = (written(&disk), written(&nor));
    for _ in 0..10 {
        let mut world = world(Some(&disk), Some(&nor), Weather::FAIR, 1);
        world.raw(Raw::saying("EHLO a.example\r\nNOOP\r\nQUIT\r\n"), 4 * KIB);
        world.run_for(Duration::from_secs(10));
        world.stop();
    }
    assert_eq!((written(&disk), written(&nor)), before);
}

#[test]
fn without_a_disk_the_nor_flash_takes_what_is_not_too_large() {
    let nor = formatted(NOR);
    let mut world = world(None, Some(&nor), Weather::FAIR, 1);
    let small = Mail::new(1, 3 << 20);
    let declared = Mail { declares_size: true, ..Mail::new(2, NOR_MESSAGE_BYTES_MAX as usize + KIB) };
    let undeclared = Mail { declares_size: false, ..Mail::new(3, NOR_MESSAGE_BYTES_MAX as usize + 2 * KIB) };
    let client = world.client([small.clone(), declared, undeclared]);
    world.run_clients(Duration::from_secs(600));
    let codes: Vec<u16> = world.of_client(client).answered.iter().map(|(_, reply)| reply.code).collect();
    assert_eq!(codes, [250, 452, 452]);
    world.stop();
    let found = support::found(nor.medium());
    assert_all_there(&found, &[small]);
    assert_eq!(found.len(), 1);
    assert!(found[0].trace.contains("id n-"), "{}", found[0].trace);
}

/// A disk that fails under load, in whatever way: its clients come again, and the NOR flash has their mail.
#[test]
fn when_the_disk_fails_under_load_the_nor_flash_takes_over_and_nothing_that_was_acknowledged_is_missing() {
    for fault in [
        Fault::FailProgram { code: 5 },
        Fault::FailSync { code: 5 },
        // It says that it wrote, and did not: only what is read back tells.
        Fault::IgnoreProgram,
    ] {
        let (disk, nor) = (formatted(DISK), formatted(NOR));
        let mut world = world(Some(&disk), Some(&nor), Weather::FAIR, 1);
        for n in 0..8 {
            world.client((0..12).map(|mail| Mail::new(100 * n + mail, 300 + 900 * mail as usize)));
        }
        world.run_until(Duration::from_secs(60), |world| world.rescue.status().counters.messages >= 20);
        disk.inject(fault);
        world.run_clients(Duration::from_secs(120));
        let status = world.rescue.status();
        assert!(matches!(status.disk.state, VolumeState::Failed(_)), "{fault}: {status}");
        assert_eq!((status.mode, status.nor.state), (Mode::Taking, VolumeState::Well));
        let put_off: Vec<Mail> = world
            .clients()
            .flat_map(|client| &client.answered)
            .filter(|(_, reply)| reply.code != 250)
            .map(|(mail, reply)| {
                assert_eq!((reply.code, &reply.text[..5]), (452, "4.3.1"), "{fault}");
                mail.clone()
            })
            .collect();
        println!("{fault}: {} put off, {status}", put_off.len());
        assert!(put_off.len() <= 8, "at most one a session");
        let again = world.client(put_off);
        world.run_clients(Duration::from_secs(120));
        assert!(world.of_client(again).answered.iter().all(|(_, reply)| reply.code == 250), "{fault}");
        let acknowledged = world.acknowledged();
        assert_eq!(acknowledged.len(), 8 * 12, "{fault}");
        world.stop();
        let (on_disk, on_nor) = (support::found(disk.medium()), support::found(nor.medium()));
        assert!(!on_disk.is_empty() && !on_nor.is_empty(), "{fault}");
        // Numbers go on where the disk had come to, so that the order is that of arrival.
        assert!(on_nor[0].id > on_disk.last().unwrap().id || on_disk.len() > 20, "{fault}");
        for mail in &acknowledged {
            let times = on_disk.iter().chain(&on_nor).filter(|found| found.is(mail)).count();
            // What was in doubt may be on both.
            assert!((1..=2).contains(&times), "{fault}: {times} times the message from {}", mail.sender);
        }
    }
}

#[test]
fn when_the_disk_is_full_the_nor_flash_takes_over_and_when_both_are_mail_is_put_off() {
    let disk = formatted(Geometry { segments: 16, segment_bytes: 128 << 10, ..DISK });
    let nor = formatted(Geometry { segments: 16, segment_bytes: 64 << 10, ..NOR });
    let mut world = world(Some(&disk), Some(&nor), Weather::FAIR, 1);
    let client = world.client((0..180).map(|n| Mail::new(n, 10 * KIB)));
    world.run_clients(Duration::from_secs(600));
    let answered = &world.of_client(client).answered;
    let codes: Vec<u16> = answered.iter().map(|(_, reply)| reply.code).collect();
    let taken = codes.iter().take_while(|code| **code == 250).count();
    assert!(codes[taken..].iter().all(|code| *code == 452), "{codes:?}");
    println!("{taken} taken: {}", world.rescue.status());
    let status = world.rescue.status();
    assert_eq!(
        (status.mode, status.disk.state, status.nor.state),
        (Mode::Taking, VolumeState::Well, VolumeState::Well)
    );
    assert!(status.counters.refused_full > 0);
    let acknowledged = world.acknowledged();
    world.stop();
    let (on_disk, on_nor) = (support::found(disk.medium()), support::found(nor.medium()));
    assert!(on_disk.len() > 20 && on_nor.len() > 10, "{} and {}", on_disk.len(), on_nor.len());
    let all: Vec<_> = on_disk.into_iter().chain(on_nor).collect();
    assert_all_there(&all, &acknowledged);
    assert_eq!(all.len(), acknowledged.len());
}

#[test]
fn who_is_in_the_middle_of_a_message_may_end_it_when_the_rescue_stops() {
    let disk = formatted(DISK);
    let mut world = world(Some(&disk), None, Weather::FAIR, 1);
    let idle = world.raw(Raw::saying("EHLO a.example\r\n"), 4 * KIB);
    let busy = world.raw(
        Raw::saying("EHLO a.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"),
        4 * KIB,
    );
    world.run_for(Duration::from_secs(1));
    world.rescue.stop(world.now);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.rescue.status().mode, Mode::Stopping);
    assert!(world.of_raw(idle).heard().ends_with("421 4.3.2 Service stopping, try again later\r\n"));
    let late = world.raw(Raw::default(), 4 * KIB);
    world.run_for(Duration::from_secs(1));
    assert_ne!(world.raw_state(late), tcp::State::Established);
    world.of_raw(busy).out.extend(b"x\r\n.\r\n");
    world.run_until(Duration::from_secs(20), |world| world.rescue.is_stopped());
    assert!(world.of_raw(busy).heard().contains("250 2.0.0 Message accepted\r\n421 4.3.2"));
    assert_eq!(world.rescue.status().mode, Mode::Stopped);
    world.stop();
    assert_eq!(support::found(disk.medium()).len(), 1);
}
