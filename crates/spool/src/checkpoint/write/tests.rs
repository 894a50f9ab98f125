use alloc::vec;

use penstock_flash::{Erase, Geometry};

use super::*;

fn layout(unit_bytes: u32, segment_bytes: u32) -> Layout {
    Layout::of(&Geometry { segments: 32, segment_bytes, unit_bytes, erase: Erase::Physical }).unwrap()
}

#[test]
fn items_are_packed_into_as_few_payloads_as_hold_them_whole() {
    let mut packer = Packer { items: Vec::new(), ends: Vec::new(), max: 10 };
    // Each takes its length and one byte.
    for len in [3, 4, 2, 6, 20, 0] {
        packer.push(&vec![7u8; len]);
    }
    let (items, ends) = packer.finish();
    assert_eq!(items.len(), 3 + 4 + 2 + 6 + 20 + 6);
    // 4 and 5; 3 and 7, which is all there may be; what is longer than a payload alone; the rest.
    assert_eq!(ends, [9, 19, 40, 41]);
    let place = (0, 0);
    let mut writing = Writing { items, ends, segments: Vec::new(), segments_wanted: 0, done: 0, place };
    let payloads: Vec<usize> = (0..4).map(|frame| writing.payload(frame).len()).collect();
    assert_eq!(payloads, [9, 10, 21, 1]);
    assert_eq!(writing.payload(2)[0], 20);
    let is_done = |done: usize| {
        writing.done = done;
        writing.is_done()
    };
    assert_eq!([0, 4, 5].map(is_done), [false, false, true], "the first frame is not among them");
}

#[test]
fn so_many_segments_are_opened_as_the_frames_take() {
    let layout = layout(16, 4096);
    let whole = payload_bytes_max(&layout);
    assert_eq!(span_bytes(&layout, whole), layout.data_bytes(), "the longest frame fills a segment");
    let count = |sizes: &[usize], head_bytes: usize| {
        let ends: Vec<usize> = sizes
            .iter()
            .scan(0, |end, size| {
                *end += size;
                Some(*end)
            })
            .collect();
        Writing::count_segments(&layout, &ends, head_bytes)
    };
    assert_eq!(count(&[100], 100), 1);
    assert_eq!(count(&[whole], 100), 2, "there is no room behind the first frame");
    assert_eq!(count(&[whole, whole, whole], whole), 4);
    // Two frames that fill a segment to the last unit, and one more.
    let half = (layout.data_bytes() / 2) as usize - frame::HEADER_BYTES;
    assert_eq!(count(&[half], half), 1);
    assert_eq!(count(&[half, half], half), 2);
    assert_eq!(count(&[half, half, half], half), 2);
    assert_eq!(count(&[half + 1], half), 2);
}

#[test]
fn the_first_frame_names_hundreds_of_segments_in_the_smallest_one() {
    for count in [1, 2, 50, 200] {
        let segments = vec![Opened { segment: u32::MAX, sequence: u64::MAX }; count];
        let head = postcard::to_allocvec(&Item::Head { frames: u32::MAX, segments }).unwrap();
        assert!(head.len() <= head_bytes_max(count), "{} bytes for {count}", head.len());
    }
    assert!(head_bytes_max(200) <= payload_bytes_max(&layout(16, 4096)));
}
