use super::survey::tests::survey;
use super::*;

#[test]
fn most_segments_decide_which_volume_it_is() {
    let header = |volume: u8, sequence: u64| {
        let header = survey(4, sequence, Purpose::Hot, &[], None).header;
        Some(SegmentHeader { volume: [volume; 16], ..header })
    };
    let (segments, segment_bytes, unit_bytes) = (32, 4096, 16);
    let erase = penstock_flash::Erase::Physical;
    let geometry = Geometry { segments, segment_bytes, unit_bytes, erase };
    let id = |headers: &[Option<SegmentHeader>]| identify(headers, &geometry).map(|id| id[0]);
    assert_eq!(id(&[header(1, 5), None, header(1, 6), header(2, 90)]), Ok(1));
    assert_eq!(id(&[header(2, 90), header(1, 5), header(1, 6)]), Ok(1));
    assert_eq!(id(&[header(1, 5), header(2, 90)]), Ok(2), "of as many the newer");
    assert_eq!(id(&[None, None]), Err(Error::NotAVolume));
}

#[test]
fn what_is_live_counts_after_a_mount_as_it_counted_before() {
    use crate::reclaim::tests::{NOR, SimSpool, spool, store};
    let geometry = Geometry { segment_bytes: 4096, ..NOR };
    let mut before = spool(geometry, crate::MountOptions::default());
    // Some that go over several segments, and of some only what is known of them is needed.
    let ids: Vec<MessageId> = (0..12).map(|n| store(&mut before, 1 + 60 * (n % 3))).collect();
    for id in &ids[..4] {
        let recipients = before.summary(*id).unwrap().recipients;
        before.set_status(*id, &crate::Status::of_all(recipients, crate::Fate::Delivered)).unwrap();
    }
    before.sync().unwrap();
    let live = |spool: &SimSpool| -> Vec<(u32, u64)> {
        spool.log.segments.iter().map(|row| (row.live, row.live_bytes)).collect()
    };
    let expected = live(&before);
    let buffers = || crate::Buffers {
        hot: alloc::vec![0; 16384],
        moved: alloc::vec![0; 8192],
        status: alloc::vec![0; 8192],
    };
    let medium = before.into_medium();
    let mounted = SimSpool::mount(medium, buffers(), crate::MountOptions::default()).unwrap();
    assert_eq!(live(&mounted), expected);
}

#[test]
fn a_mount_notes_how_far_the_segments_go_that_a_stop_left_open_and_tells_what_is_new() {
    let scanned = |segment: u32, sequence: u64| Survey {
        scan: Some(crate::walk::Scan::new(8)),
        ..survey(segment, sequence, Purpose::Hot, &[], None)
    };
    let mut segments = Ground::bare(8).segments;
    for (segment, row) in segments.iter_mut().enumerate() {
        (row.state, row.sequence) = (State::Sealed, 50 + segment as u64);
    }
    segments[2].last_group = 1000;
    segments[3].last_group = 999;
    segments[4].state = State::Erasable;
    let mut landmarks = Landmarks::new(8);
    (0..7).for_each(|segment| landmarks.add(Landmark { segment, group: 1000 }));
    let surveys = [
        survey(0, 50, Purpose::Hot, &[], None),
        scanned(1, 51),
        scanned(2, 52),
        scanned(3, 53),
        scanned(4, 54),
        // Another life of it counts.
        scanned(5, 54),
        // Nothing names a group of it.
        scanned(7, 57),
    ];
    assert_eq!(note_left_open(&surveys, &landmarks, &mut segments), [1, 3]);
    let noted: Vec<u64> = segments.iter().map(|row| row.last_group).collect();
    assert_eq!(noted, [0, 1000, 1000, 1000, 0, 0, 0, 0]);
    assert!(note_left_open(&surveys, &landmarks, &mut segments).is_empty(), "once");
}
