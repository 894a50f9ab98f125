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
