use super::super::Work;
use super::super::tests::{NOR, seal, spool, store};
use super::*;
use crate::record::Fate;
use crate::spool::MountOptions;

#[test]
fn that_no_event_could_go_is_remembered_until_one_can() {
    let exempt_after = |crowded: bool, let_an_event_go: bool| {
        let mut spool = spool(NOR, MountOptions::default());
        seal(&mut spool, 10, Purpose::Status, 30, 0).event_bytes = 7000;
        spool.reclaim.events_exempt_bytes = 99;
        spool.begin_rewriting(10);
        let Some(Work::Rewriting(mut work)) = spool.reclaim.work.take() else { panic!("it was begun") };
        // With the events goes the lease on the segment.
        (work.crowded, work.let_an_event_go, work.events) = (crowded, let_an_event_go, None);
        spool.finish_rewriting(&work).unwrap();
        assert!(matches!(spool.log.segments[10].state, State::Retired { .. }));
        spool.reclaim.events_exempt_bytes
    };
    assert_eq!(exempt_after(true, false), 7000);
    assert_eq!(exempt_after(true, true), 0);
    assert_eq!([exempt_after(false, false), exempt_after(false, true)], [0, 0]);
}

#[test]
fn fates_that_were_all_written_anew_are_looked_for_in_one_segment() {
    let mut spool = spool(NOR, MountOptions::default());
    let id = store(&mut spool, 3);
    let one = Status { first: 1, count: 1, ..Status::of_all(1, Fate::Delivered) };
    spool.set_status(id, &one).unwrap();
    // An older record of another recipient, in another segment.
    spool.index.get_mut(id).unwrap().record_status(33, false);
    assert!(spool.index.get(id).unwrap().is_scattered());
    spool.rewrite_fate(id).unwrap();
    let entry = *spool.index.get(id).unwrap();
    assert!(!entry.is_scattered());
    assert_eq!(
        spool.index.runs(&entry),
        [(0, 1, Fate::Queued), (1, 1, Fate::Delivered), (2, 1, Fate::Queued)]
    );
}

#[test]
fn old_and_surplus_events_go_but_not_those_of_mail_that_waits() {
    let mut spool = spool(NOR, MountOptions::default());
    let (waiting, done) = (store(&mut spool, 1), store(&mut spool, 1));
    spool.set_status(done, &Status::of_all(1, Fate::Delivered)).unwrap();
    let age_max_ms = 90 * 24 * 3600 * 1000;
    let at = |unix_ms: u64, trusted: bool| Stamp { unix_ms, boot: 1, trusted };
    let keeps = |message: Option<MessageId>, crowded: bool, now: Stamp| {
        spool.keeps(&Event { at: at(1000, true), code: 1, message, text: "x".into() }, crowded, now)
    };
    for message in [None, Some(done), Some(MessageId(999))] {
        assert!(keeps(message, false, at(1000 + age_max_ms, true)));
        assert!(!keeps(message, false, at(1001 + age_max_ms, true)), "it is too old");
        assert!(keeps(message, false, at(1001 + age_max_ms, false)), "nobody knows");
        assert!(!keeps(message, true, at(1000, true)), "there are too many");
    }
    assert!(keeps(Some(waiting), true, at(1001 + age_max_ms, true)));
}

#[test]
fn segments_that_writing_anew_opens_are_counted_against_it() {
    let geometry = penstock_flash::Geometry { segment_bytes: 4096, ..NOR };
    let mut spool = spool(geometry, MountOptions::default());
    spool.put_meta(1, b"key", &[7; 900]).unwrap();
    seal(&mut spool, 10, Purpose::Status, 30, 0);
    // As if it held the word on all of them, which takes more than a segment.
    spool.log.segments.iter_mut().skip(11).for_each(|row| row.recorded_in = Some(10));
    spool.begin_rewriting(10);
    let before = spool.log.opened[Purpose::Status as usize];
    while spool.reclaim.work.is_some() {
        spool.go_on(Stamp::default()).unwrap();
    }
    let opened = spool.log.opened[Purpose::Status as usize] - before;
    assert!(opened > 0);
    assert_eq!((spool.reclaim.rewrites.opened, spool.reclaim.moves.opened), (opened, 0));
}
