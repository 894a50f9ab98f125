//! What the spool promises when nothing goes wrong, and when space runs out.

mod common;

use common::*;
use penstock_flash::{Erase, Geometry};
use penstock_spool::{Error, Event, Fate, MessageId, MountOptions, Spool, Stamp, Step, format};

#[test]
fn what_is_synced_is_there_after_a_clean_stop_byte_for_byte() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mails: Vec<Mail> = (0..8).map(|n| mail(n, 1 + n as u16 % 4, 40 * n as usize)).collect();
        let ids: Vec<MessageId> = mails.iter().map(|m| store(&mut spool, m, 100).unwrap()).collect();
        assert_eq!(spool.queue(MessageId(0)).count(), 0, "{name}: nothing is there before the sync");
        spool.sync().unwrap();
        spool.close().unwrap();

        let mut spool = mount(sim.medium()).unwrap();
        assert!(spool.mount_report().clean, "{name}");
        for (id, mail) in ids.iter().zip(&mails) {
            assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}");
        }
    }
}

#[test]
fn numbers_that_are_passed_over_are_never_given_out_and_never_come_back() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let first = store(&mut spool, &mail(1, 1, 40), 100).unwrap();
        spool.skip_ids(MessageId(5000));
        spool.skip_ids(MessageId(10));
        assert_eq!(spool.next_id(), MessageId(5000), "{name}: only ever up");
        let second = store(&mut spool, &mail(2, 1, 40), 100).unwrap();
        assert_eq!((first, second), (MessageId(1), MessageId(5000)), "{name}");
        spool.sync().unwrap();
        // No clean stop.
        drop(spool);
        let mut spool = mount(sim.medium()).unwrap();
        assert!(spool.next_id() > second, "{name}");
        assert_eq!(read(&mut spool, second).unwrap(), mail(2, 1, 40), "{name}");
        spool.skip_ids(MessageId(u64::MAX));
        let last = store(&mut spool, &mail(3, 1, 40), 100).unwrap();
        let after = store(&mut spool, &mail(4, 1, 40), 100).unwrap();
        assert!(after > last && after < MessageId(1 << 63), "{name}: there is no end to them");
        spool.sync().unwrap();
    }
}

#[test]
fn sessions_interleave_and_none_gets_a_byte_of_another() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mails: Vec<Mail> = (0..5).map(|n| mail(n, 2, 2000 + 100 * n as usize)).collect();
        let mut open: Vec<_> =
            mails.iter().map(|m| spool.begin(&m.begin, &m.recipients, Some(2500)).unwrap()).collect();
        for piece in 0..25 {
            for (mail, incoming) in mails.iter().zip(&mut open) {
                if let Some(bytes) = mail.body.chunks(100).nth(piece) {
                    spool.write(incoming, bytes).unwrap();
                }
            }
            spool.sync().unwrap();
        }
        let ids: Vec<MessageId> = open.into_iter().map(|incoming| spool.commit(incoming).unwrap()).collect();
        spool.sync().unwrap();
        for (id, mail) in ids.iter().zip(&mails) {
            assert_eq!(read(&mut spool, *id).unwrap(), *mail, "{name}");
        }
    }
}

#[test]
fn a_message_larger_than_many_segments_passes_through() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let large = mail(1, 3, geometry.segment_bytes as usize * 8);
        let id = store(&mut spool, &large, 1500).unwrap();
        spool.sync().unwrap();
        assert_eq!(read(&mut spool, id).unwrap(), large, "{name}");
        let mut spool = mount(spool.into_medium()).unwrap();
        assert_eq!(read(&mut spool, id).unwrap(), large, "{name}: after a crash");
        delivered(&mut spool, id);
        spool.sync().unwrap();
        assert_eq!(spool.info().live_bytes, 0);
    }
}

#[test]
fn each_recipient_has_a_fate_that_survives() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let id = store(&mut spool, &mail(1, 5, 300), 300).unwrap();
        spool.sync().unwrap();
        spool.set_status(id, &fate(0, 2, Fate::Delivered)).unwrap();
        spool.set_status(id, &fate(4, 1, Fate::Held)).unwrap();
        spool.sync().unwrap();
        let expected = vec![(0, 2, Fate::Delivered), (2, 2, Fate::Queued), (4, 1, Fate::Held)];
        assert_eq!(spool.fates(id).unwrap(), expected);
        let mut spool = mount(spool.into_medium()).unwrap();
        assert_eq!(spool.fates(id).unwrap(), expected, "{name}: after a crash");
        assert_eq!(spool.set_status(id, &fate(0, 1, Fate::Queued)), Err(Error::AlreadyFinal(id)));
        let spool = mount(spool.close().unwrap()).unwrap();
        assert_eq!(spool.fates(id).unwrap(), expected, "{name}: after a clean stop");
        assert_eq!(spool.summary(id).unwrap().open_recipients, 3);
    }
}

#[test]
fn state_and_events_survive_and_the_newest_value_counts() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        for value in 0..20u8 {
            spool.put_meta(1, b"mode", &[value; 10]).unwrap();
            let text = format!("event {value}");
            let event = Event { at: stamp(u64::from(value)), code: 7, message: None, text };
            spool.record_event(&event).unwrap();
            spool.sync().unwrap();
        }
        spool.put_meta(2, b"mode", b"other").unwrap();
        spool.put_meta(1, b"gone", b"x").unwrap();
        spool.put_meta(1, b"gone", b"").unwrap();
        spool.sync().unwrap();
        for round in ["after a crash", "after a clean stop"] {
            let medium = if round == "after a crash" { spool.into_medium() } else { spool.close().unwrap() };
            spool = mount(medium).unwrap();
            assert_eq!(spool.meta(1, b"mode"), Some(&[19; 10][..]), "{name} {round}");
            assert_eq!(spool.meta(1, b"gone"), None);
            assert_eq!(spool.metas(2).collect::<Vec<_>>(), [(&b"mode"[..], &b"other"[..])]);
            let texts: Vec<String> = spool.events().map(|event| event.text).collect();
            let expected: Vec<String> = (0..20).map(|n| format!("event {n}")).collect();
            assert_eq!(texts, expected, "{name} {round}");
        }
    }
}

#[test]
fn a_full_volume_refuses_mail_and_takes_it_again_when_some_was_delivered() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mut promises = Promises::new();
        let mut number = 0;
        for round in 0..6 {
            let refused = loop {
                number += 1;
                let mail = mail(number, 1, 700);
                let stored = store_declared(&mut spool, &mail).and_then(|id| spool.sync().map(|()| id));
                match stored {
                    Ok(id) => promises.insert(id, (mail, vec![false])),
                    Err(error) => break error,
                };
            };
            assert_eq!(refused, Error::Full, "{name}");
            // Every third stays, the rest goes: space must be found between what stays.
            for (id, (_, done)) in promises.iter_mut() {
                if !done[0] && (round == 5 || id.0 % 3 != 0) {
                    spool.set_status(*id, &fate(0, 1, Fate::Delivered)).unwrap();
                    spool.sync().unwrap();
                    done[0] = true;
                }
            }
            check(&mut spool, &promises, &[]).unwrap();
            tidy(&mut spool);
            check(&mut spool, &promises, &[]).unwrap();
            spool = mount(if round % 2 == 0 { spool.into_medium() } else { spool.close().unwrap() }).unwrap();
            check(&mut spool, &promises, &[]).unwrap();
        }
        assert_eq!(spool.info().live_bytes, 0, "{name}");
        assert!(number > 60, "{name}: {number} messages in all is too few to have reused anything");
        assert_eq!(sim.counters().violations, 0, "{name}");
    }
}

fn store_declared(spool: &mut TestSpool, mail: &Mail) -> Result<MessageId, Error> {
    let mut incoming = spool.begin(&mail.begin, &mail.recipients, Some(mail.body.len() as u64))?;
    if let Err(error) = spool.write(&mut incoming, &mail.body) {
        spool.abort(incoming);
        return Err(error);
    }
    spool.commit(incoming)
}

#[test]
fn a_hundred_open_transactions_that_declared_nothing_leave_room_on_a_box() {
    let geometry = Geometry { segments: 64, segment_bytes: 4 << 20, unit_bytes: 4096, erase: Erase::Logical };
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mail = mail(1, 1, 1000);
    let open: Vec<_> = (0..100).map(|_| spool.begin(&mail.begin, &mail.recipients, None).unwrap()).collect();
    let id = store(&mut spool, &mail, 1000).unwrap();
    spool.sync().unwrap();
    assert_eq!(read(&mut spool, id).unwrap(), mail);
    open.into_iter().for_each(|incoming| spool.abort(incoming));
    assert_eq!(spool.info().reserved_bytes, 0);
}

#[test]
fn what_is_being_read_is_not_erased() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let mail = mail(1, 1, 900);
        let id = store(&mut spool, &mail, 900).unwrap();
        spool.sync().unwrap();
        let mut reading = spool.open(id).unwrap();
        delivered(&mut spool, id);
        spool.sync().unwrap();
        // Enough to go around the volume a few times.
        let mut number = 100;
        for _ in 0..(geometry.capacity_bytes() / 512) {
            number += 1;
            let other = common::mail(number, 1, 700);
            let id = store_declared(&mut spool, &other).unwrap();
            spool.sync().unwrap();
            delivered(&mut spool, id);
            tidy(&mut spool);
        }
        let mut body = Vec::new();
        while let Some(chunk) = reading.next_chunk().unwrap() {
            body.extend_from_slice(chunk);
        }
        assert_eq!(body, mail.body, "{name}");
        assert!(spool.counters().erases > u64::from(geometry.segments), "{name}: the volume was not reused");
        assert_eq!(sim.counters().violations, 0, "{name}");
    }
}

#[test]
fn kept_mail_stays_until_its_room_is_needed_and_then_goes_oldest_first() {
    let (_, geometry) = GEOMETRIES[4];
    let sim = formatted(geometry);
    let mut spool = mount(sim.medium()).unwrap();
    let mut ids = Vec::new();
    for number in 0..400 {
        let id = store(&mut spool, &mail(number, 1, 700), 700).unwrap();
        spool.sync().unwrap();
        delivered(&mut spool, id);
        ids.push(id);
        while spool.step(stamp(0)).unwrap() != Step::Idle {}
    }
    let kept: Vec<MessageId> = spool.kept(MessageId(0)).map(|summary| summary.id).collect();
    assert!(kept.len() > 20, "only {} kept", kept.len());
    assert_eq!(kept, ids[ids.len() - kept.len()..], "the newest are kept");
    for id in &kept {
        assert!(read(&mut spool, *id).is_ok(), "kept mail can be read");
    }
}

#[test]
fn kept_mail_goes_by_age_only_when_the_clock_can_be_trusted() {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let (_, geometry) = GEOMETRIES[4];
    let sim = formatted(geometry);
    let options = MountOptions { kept_age_max_ms: 7 * DAY_MS, ..MountOptions::default() };
    let mut spool = Spool::mount(sim.medium(), buffers(), options).unwrap();
    for number in 0..20 {
        let id = store(&mut spool, &mail(number, 1, 700), 700).unwrap();
        spool.sync().unwrap();
        delivered(&mut spool, id);
        spool.sync().unwrap();
    }
    let kept = |spool: &TestSpool| spool.kept(MessageId(0)).count();
    let all = kept(&spool);
    let received = mail(0, 1, 0).begin.received;
    let later =
        |days: u64, trusted: bool| Stamp { unix_ms: received.unix_ms + days * DAY_MS, trusted, ..received };
    for (days, trusted, message) in [(6, true, "too early"), (1000, false, "by a clock that may be wrong")] {
        while spool.step(later(days, trusted)).unwrap() != Step::Idle {}
        assert_eq!(kept(&spool), all, "{message}");
    }
    while spool.step(later(8, true)).unwrap() != Step::Idle {}
    assert!(kept(&spool) < all / 2, "what stands in segments that are full has gone");
}

#[test]
fn what_was_delivered_is_delivered_again_only_if_the_operator_replays_it_and_that_outlives_any_stop() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        let sent = mail(1, 4, 3000);
        let id = store(&mut spool, &sent, 700).unwrap();
        spool.sync().unwrap();
        spool.set_status(id, &fate(0, 3, Fate::Delivered)).unwrap();
        spool.set_status(id, &fate(3, 1, Fate::Removed)).unwrap();
        spool.sync().unwrap();
        let at = stamp(1_700_000_000_000);
        assert_eq!(spool.replay(id, 2, 2, at), Err(Error::NotDelivered(id)), "{name}: one was removed");
        assert_eq!(spool.replay(id, 3, 2, at), Err(Error::NoSuchRecipient(id)));
        let (live, kept) = (spool.info().live_bytes, spool.info().kept_bytes);
        spool.replay(id, 1, 2, at).unwrap();
        spool.sync().unwrap();
        assert_eq!(spool.info().live_bytes + spool.info().kept_bytes, live + kept, "{name}");
        assert_eq!((spool.info().messages, spool.info().kept_messages), (1, 0));
        let expected = [(0, 1, Fate::Delivered), (1, 2, Fate::Queued), (3, 1, Fate::Removed)];
        for clean in [false, true, false] {
            assert_eq!(spool.fates(id).unwrap(), expected, "{name}");
            assert_eq!(spool.queue(MessageId(0)).map(|summary| summary.open_recipients).sum::<u16>(), 2);
            assert_eq!(read(&mut spool, id).unwrap(), sent);
            let medium = if clean { spool.close().unwrap() } else { spool.into_medium() };
            spool = mount(medium).unwrap();
        }
        assert_eq!(
            spool.replay(id, 1, 1, at),
            Err(Error::NotDelivered(id)),
            "{name}: it is on its way already"
        );
        delivered(&mut spool, id);
        spool.sync().unwrap();
        assert_eq!(spool.replayable(MessageId(0)).count(), 1, "{name}: as often as the operator likes");
    }
}

#[test]
fn a_replay_finds_room_at_the_cost_of_other_finished_mail_and_never_of_its_own() {
    let (_, geometry) = GEOMETRIES[4];
    let sim = formatted(geometry);
    let mut spool = Spool::mount(sim.medium(), buffers(), MountOptions::default()).unwrap();
    let mut stored = Vec::new();
    // Until finished mail has begun to make room for new.
    for number in 0.. {
        let mail = mail(number, 1, 700);
        let id = store(&mut spool, &mail, 700).unwrap();
        spool.sync().unwrap();
        delivered(&mut spool, id);
        spool.sync().unwrap();
        while spool.step(mail.begin.received).unwrap() != Step::Idle {}
        stored.push((id, mail));
        if spool.summary(stored[0].0).is_none() {
            break;
        }
    }
    // The oldest first: those that would be the next to go.
    let (mut replayed, at) = (Vec::new(), stamp(1_700_000_000_000));
    loop {
        let next = spool.replayable(MessageId(0)).next();
        let Some(summary) = next else { break };
        match spool.replay(summary.id, 0, summary.recipients, at) {
            Ok(()) => replayed.push(summary.id),
            Err(Error::Full) => break,
            // Its turn to make room had come.
            Err(Error::NoSuchMessage(_) | Error::Damaged(_)) => {}
            Err(error) => panic!("{error}"),
        }
        spool.sync().unwrap();
    }
    assert!(replayed.len() > 20, "{} of {} were there in time", replayed.len(), stored.len());
    let info = spool.info();
    assert!(info.live_bytes <= info.capacity_bytes, "undelivered mail takes no more room than it may");
    let mut spool = mount(spool.into_medium()).unwrap();
    for (id, mail) in stored.iter().filter(|(id, _)| replayed.contains(id)) {
        assert_eq!(&read(&mut spool, *id).unwrap(), mail);
        assert_eq!(spool.fates(*id).unwrap(), [(0, 1, Fate::Queued)]);
    }
}

#[test]
fn a_medium_that_is_no_volume_or_another_one_is_refused_and_not_touched() {
    let (_, geometry) = GEOMETRIES[5];
    let sim = penstock_flash::sim::Sim::new(geometry).unwrap();
    assert_eq!(mount(sim.medium()).err(), Some(Error::NotAVolume));
    format(&mut sim.medium(), VOLUME, false, |_, _| {}).unwrap();
    assert_eq!(format(&mut sim.medium(), VOLUME, false, |_, _| {}), Err(Error::AlreadyAVolume));
    let image = sim.image();
    let longer = Geometry { segments: geometry.segments + 1, ..geometry };
    let sim = penstock_flash::sim::Sim::from_image(longer, &image).unwrap();
    assert!(matches!(mount(sim.medium()).err(), Some(Error::GeometryChanged { .. })));
    assert_eq!(sim.image()[..image.len()], image);
}

#[test]
fn a_new_format_forgets_the_volume_before_it() {
    for (name, geometry) in GEOMETRIES {
        let sim = formatted(geometry);
        let mut spool = mount(sim.medium()).unwrap();
        store(&mut spool, &mail(1, 1, 3000), 3000).unwrap();
        spool.sync().unwrap();
        let mut medium = spool.into_medium();
        format(&mut medium, *b"another volume 2", true, |_, _| {}).unwrap();
        let spool = mount(medium).unwrap();
        assert_eq!(spool.info().volume, *b"another volume 2", "{name}");
        assert_eq!(spool.queue(MessageId(0)).count(), 0, "{name}");
        assert_eq!(sim.counters().violations, 0, "{name}");
    }
}

#[test]
fn the_number_of_messages_is_bounded() {
    let (_, geometry) = GEOMETRIES[5];
    let sim = formatted(geometry);
    let options = MountOptions { messages_max: 10, ..MountOptions::default() };
    let mut spool = Spool::mount(sim.medium(), buffers(), options).unwrap();
    let mail = mail(1, 1, 100);
    for _ in 0..10 {
        store_declared(&mut spool, &mail).unwrap();
        spool.sync().unwrap();
    }
    assert_eq!(store_declared(&mut spool, &mail), Err(Error::TooManyMessages));
}

#[test]
fn a_small_message_is_read_with_one_request_and_a_large_one_once() {
    let geometry = Geometry { segments: 16, segment_bytes: 4 << 20, unit_bytes: 4096, erase: Erase::Logical };
    let sim = formatted(geometry);
    let mut buffers = buffers();
    buffers.hot = vec![0; 512 * 1024];
    let mut spool = Spool::mount(sim.medium(), buffers, MountOptions::default()).unwrap();
    for (number, size_bytes) in [(1, 0), (2, 3000), (3, 60_000), (4, 64 * 1024), (5, 1 << 20)] {
        let mail = mail(number, 1, size_bytes);
        let id = store(&mut spool, &mail, 64 * 1024).unwrap();
        spool.sync().unwrap();
        let before = sim.counters();
        assert_eq!(read(&mut spool, id).unwrap(), mail);
        let requests = sim.counters().read_requests - before.read_requests;
        let read_bytes = sim.counters().read_bytes - before.read_bytes;
        if size_bytes <= 60_000 {
            assert_eq!(requests, 1, "{size_bytes} bytes");
        }
        let bound = size_bytes as u64 * 5 / 4 + 8192;
        assert!(read_bytes <= bound, "{read_bytes} bytes read for {size_bytes}, in {requests} requests");
    }
}
