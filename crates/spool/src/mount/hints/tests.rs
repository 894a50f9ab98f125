use super::*;
use crate::reclaim::tests::{NOR, spool};
use crate::spool::MountOptions;

#[test]
fn a_segment_with_the_header_of_another_life_is_missing_and_none_is_read_twice() {
    let spool = spool(NOR, MountOptions::default());
    let (log, count) = (&spool.log, NOR.segments);
    let volume =
        Volume { reader: log.reader.clone(), layout: log.layout, geometry: log.geometry, id: log.volume() };
    let mut wanted = Wanted {
        volume: &volume,
        keep: Keep::Everything,
        surveys: Vec::new(),
        missing: Vec::new(),
        synced_group: 0,
        msg_id_floor: 0,
        landmarks: Landmarks::new(count),
    };
    let sequence = volume.header(0).unwrap().sequence;
    let mut add = |segment: u32, sequence: u64| {
        wanted.add(Opened { segment, sequence }, log.layout.data_start());
        (wanted.surveys.len(), wanted.missing.len())
    };
    assert_eq!(add(count, sequence), (0, 0), "there is no such segment");
    assert_eq!(add(0, sequence + 1), (0, 1));
    assert_eq!(add(0, sequence), (1, 1));
    assert_eq!(add(0, sequence), (1, 1));
    assert_eq!(add(20, sequence), (1, 2), "it has none");
}
