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
    let mut packer = Packer { items: Vec::new(), ends: Vec::new(), max: 10 };
    [20, 0].iter().for_each(|len| packer.push(&vec![7u8; *len]));
    assert_eq!(packer.finish().1, [21, 22], "no payload is empty");
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

mod when {
    use super::*;
    use crate::reclaim::tests::{NOR, SimSpool, seal, spool};
    use crate::spool::MountOptions;

    fn wants(spool: &mut SimSpool, opened: u64, written: u64, intervals: u64) -> bool {
        spool.checkpointer.taken_at_sequence = spool.log.next_sequence - opened;
        spool.log.counters.programmed_bytes = 1_000_000;
        spool.checkpointer.taken_at_bytes = 1_000_000 - written;
        spool.wants_checkpoint(intervals)
    }

    fn taken_once() -> SimSpool {
        let mut spool = spool(NOR, MountOptions::default());
        spool.put_meta(1, b"key", b"value").unwrap();
        spool.sync().unwrap();
        assert!(spool.wants_checkpoint(1), "there is none yet");
        spool.checkpoint_now().unwrap();
        spool.log.next_sequence = 500;
        spool.checkpointer.size_bytes = 1000;
        spool
    }

    #[test]
    fn a_checkpoint_is_due_when_enough_was_opened_and_written_since() {
        let mut spool = taken_once();
        assert_eq!(spool.checkpointer.interval, 4, "a sixteenth of the segments");
        assert!(wants(&mut spool, 4, 16_000, 1));
        assert!(!wants(&mut spool, 3, 16_000, 1) && !wants(&mut spool, 4, 15_999, 1));
        assert!(wants(&mut spool, 12, 16_000, 3) && !wants(&mut spool, 11, 16_000, 3));
        spool.checkpointer.size_bytes = 2000;
        assert!(!wants(&mut spool, 4, 31_999, 1) && wants(&mut spool, 4, 32_000, 1));
        let interval = |segments| Checkpointer::new(segments, Vec::new(), false, 0).interval;
        assert_eq!([16, 100, 2048].map(interval), [2, 6, 64]);
    }

    #[test]
    fn many_status_segments_make_one_due_if_anything_was_opened_since_it_was_taken() {
        let mut spool = taken_once();
        (0..10).for_each(|n| spool.log.anchors.note_status(40, n));
        assert!(wants(&mut spool, 1, 0, 1));
        assert!(!wants(&mut spool, 0, 0, 1));
    }

    #[test]
    fn what_is_half_given_up_is_no_state_to_go_on_from() {
        let mut spool = taken_once();
        spool.checkpointer.is_wanted = true;
        seal(&mut spool, 10, Purpose::Hot, 30, 0);
        spool.give_up_later(10);
        assert_eq!(spool.step_checkpoint(), Ok(false));
        assert!(spool.checkpointer.writing.is_none() && !spool.is_checkpoint_overdue());
        spool.finish_giving_up().unwrap();
        assert!(matches!(spool.log.segments[10].state, State::Retired { .. }));
        assert_eq!(spool.step_checkpoint(), Ok(true));
        assert!(spool.checkpointer.writing.is_some() && spool.is_checkpoint_overdue());
    }

    #[test]
    fn one_that_is_only_wanted_waits_for_an_idle_time_and_one_that_is_late_does_not() {
        let mut spool = taken_once();
        let mut is_overdue = |is_wanted: bool, opened: u64| {
            spool.checkpointer.is_wanted = is_wanted;
            wants(&mut spool, opened, 16_000, 1);
            spool.is_checkpoint_overdue()
        };
        assert!(!is_overdue(true, 0) && !is_overdue(false, 11) && is_overdue(false, 12));
        assert!(!is_overdue(true, 12), "a mount that got by without may take its time");
        seal(&mut spool, 10, Purpose::Hot, 30, 0);
        spool.give_up_later(10);
        spool.checkpointer.is_wanted = false;
        assert!(wants(&mut spool, 12, 16_000, 3) && !spool.is_checkpoint_overdue(), "half is given up");
    }

    #[test]
    fn a_stop_takes_a_checkpoint_if_anything_was_written_since_the_mount() {
        let mut spool = taken_once();
        let first = spool.checkpointer.current.clone();
        spool.checkpoint_now().unwrap();
        assert_ne!(spool.checkpointer.current, first);
        let current = spool.checkpointer.current.clone();
        spool.log.counters.groups = 0;
        spool.checkpoint_now().unwrap();
        assert_eq!(spool.checkpointer.current, current);
        spool.log.anchors.drop_checkpoint();
        spool.checkpoint_now().unwrap();
        assert_ne!(spool.checkpointer.current, current, "the root names none");
    }

    #[test]
    fn a_stale_checkpoint_goes_and_the_one_that_counts_stays() {
        let mut spool = taken_once();
        let current = spool.checkpointer.current.clone();
        assert!(!current.is_empty());
        assert_eq!(spool.retire_stale_checkpoint(), Ok(false));
        seal(&mut spool, 10, Purpose::Hot, 30, 0);
        seal(&mut spool, 11, Purpose::Checkpoint, 31, 0).is_unreadable = true;
        assert_eq!(spool.retire_stale_checkpoint(), Ok(false));
        seal(&mut spool, 12, Purpose::Checkpoint, 32, 0);
        assert_eq!(spool.retire_stale_checkpoint(), Ok(true));
        assert!(matches!(spool.log.segments[12].state, State::Retired { .. }));
        assert!(current.iter().all(|life| spool.log.segments[life.segment as usize].state == State::Sealed));
    }

    #[test]
    fn a_checkpoint_that_was_given_up_is_needed_no_more_and_another_is_wanted() {
        let mut spool = taken_once();
        let first = spool.checkpointer.current[0].segment;
        assert!(spool.checkpointer.needs(first) && !spool.wants_checkpoint(1));
        spool.checkpointer.lose();
        assert!(!spool.checkpointer.needs(first) && spool.wants_checkpoint(1));
    }

    /// A volume that knows of so many messages.
    fn with_messages(geometry: Geometry, count: u64) -> SimSpool {
        let mut spool = spool(geometry, MountOptions::default());
        let commit = crate::record::Place { segment: 9, offset: 64 };
        (1..=count)
            .for_each(|id| spool.index.insert(crate::index::Entry::new(id << 20, commit, 100, 1), &[]));
        spool
    }

    #[test]
    fn a_step_programs_a_piece_of_a_checkpoint() {
        let mut spool = with_messages(Geometry { segment_bytes: 1 << 20, ..NOR }, 40_000);
        spool.begin_checkpoint().unwrap();
        let (mut steps, mut most) = (0, 0);
        while spool.checkpointer.writing.is_some() {
            let before = spool.log.counters.programmed_bytes;
            assert_eq!(spool.step_checkpoint(), Ok(true));
            most = most.max(spool.log.counters.programmed_bytes - before);
            steps += 1;
        }
        assert!(steps >= 3 && spool.log.anchors.has_checkpoint());
        // A frame more, and what opening a segment or naming the checkpoint takes.
        assert!(most <= (STEP_BYTES + 64 * 1024 + 4096) as u64, "{most} bytes in a step");
        assert!(most >= STEP_BYTES as u64, "{most} bytes in a step");
    }

    #[test]
    fn a_checkpoint_that_one_frame_cannot_name_is_not_taken() {
        let mut spool = with_messages(Geometry { segments: 1024, segment_bytes: 4096, ..NOR }, 100_000);
        spool.begin_checkpoint().unwrap();
        assert!(spool.checkpointer.writing.is_none() && !spool.log.anchors.has_checkpoint());
    }

    #[test]
    fn a_frame_may_end_where_its_segment_does() {
        let mut spool = new_spool_with_segment_10();
        let layout = spool.log.layout;
        let span = span_bytes(&layout, 1000);
        let mut writing = Writing {
            items: vec![7; 1000],
            ends: vec![1000],
            segments: vec![Opened { segment: 10, sequence: 30 }],
            segments_wanted: 1,
            done: 1,
            place: (0, layout.data_end() - span),
        };
        assert_eq!(write_frame(&mut spool.log, &mut writing), Ok(span as usize));
        assert_eq!((writing.place, writing.done), ((0, layout.data_end()), 2));
    }

    fn new_spool_with_segment_10() -> SimSpool {
        let mut spool = spool(NOR, MountOptions::default());
        seal(&mut spool, 10, Purpose::Checkpoint, 30, 0);
        spool
    }
}
