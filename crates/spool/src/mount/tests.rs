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
