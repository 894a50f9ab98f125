//! A bundle comes whole or not at all, whatever the line does to it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use std::collections::VecDeque;

use crc::{CRC_16_XMODEM, Crc};
use penstock_console::{BLOCK_BYTES, Fault, Receiver, What};
use proptest::prelude::*;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

fn block(number: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![if data.len() == 1024 { 0x02 } else { 0x01 }, number, !number];
    bytes.extend(data);
    bytes.extend(CRC.checksum(data).to_be_bytes());
    bytes
}

fn file(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A receiver, its clock, and what it said and got.
struct End {
    receiver: Receiver,
    now_ms: u64,
    said: Vec<u8>,
    got: Vec<u8>,
    ended: Option<What>,
}

impl End {
    fn new(bytes_max: u64) -> Self {
        Self {
            receiver: Receiver::new(bytes_max, 0),
            now_ms: 0,
            said: Vec::new(),
            got: Vec::new(),
            ended: None,
        }
    }

    fn take(&mut self, step: penstock_console::Step) {
        self.said.extend(step.send.bytes());
        match step.what {
            What::Pending => {}
            What::Block => {
                self.got.extend(self.receiver.block());
                let step = self.receiver.taken(self.now_ms);
                self.said.extend(step.send.bytes());
            }
            ended => {
                assert_eq!(self.ended, None, "it ends once");
                self.ended = Some(ended);
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            let step = self.receiver.feed(*byte, self.now_ms);
            self.take(step);
        }
        std::mem::take(&mut self.said)
    }

    fn wait(&mut self, ms: u64) -> Vec<u8> {
        let until_ms = self.now_ms + ms;
        while self.now_ms < until_ms {
            self.now_ms += 50;
            let step = self.receiver.poll(self.now_ms);
            self.take(step);
        }
        std::mem::take(&mut self.said)
    }
}

#[test]
fn a_file_in_blocks_of_both_sizes_comes_as_it_was() {
    let sent = file(1024 + 128 + 1024);
    let mut end = End::new(64 * 1024);
    assert_eq!(end.wait(100), b"C");
    assert_eq!(end.feed(&block(1, &sent[..1024])), b"\x06");
    assert_eq!(end.feed(&block(2, &sent[1024..1152])), b"\x06");
    assert_eq!(end.feed(&block(3, &sent[1152..])), b"\x06");
    assert_eq!(end.feed(b"\x04"), b"\x15", "the end has to be said twice");
    assert_eq!(end.ended, None);
    assert_eq!(end.feed(b"\x04"), b"\x06");
    assert_eq!((end.ended, end.got), (Some(What::Finished), sent));
}

#[test]
fn block_numbers_begin_again_after_255() {
    let sent = file(600 * 128);
    let mut end = End::new(sent.len() as u64);
    end.wait(100);
    for (number, data) in (1_u32..).zip(sent.chunks(128)) {
        assert_eq!(end.feed(&block(number as u8, data)), b"\x06");
    }
    end.feed(b"\x04\x04");
    assert_eq!((end.ended, end.got), (Some(What::Finished), sent));
}

#[test]
fn a_block_that_comes_twice_counts_once() {
    let sent = file(256);
    let mut end = End::new(1024);
    end.wait(100);
    for (number, data) in (1..).zip(sent.chunks(128)) {
        for _ in 0..3 {
            assert_eq!(end.feed(&block(number, data)), b"\x06");
        }
    }
    end.feed(b"\x04\x04");
    assert_eq!((end.ended, end.got), (Some(What::Finished), sent));
}

#[test]
fn every_flipped_bit_of_a_block_is_noticed_and_the_block_asked_for_again() {
    let sent = file(128);
    let whole = block(1, &sent);
    let second = block(2, &sent);
    for bit in 8..second.len() * 8 {
        let mut end = End::new(1024);
        end.wait(100);
        end.feed(&whole);
        let mut damaged = second.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(end.feed(&damaged), b"", "bit {bit}");
        assert_eq!(end.wait(600), b"\x15", "bit {bit}: asked for again when the line is quiet");
        assert_eq!(end.feed(&second), b"\x06");
        assert_eq!(end.got.len(), 256);
    }
}

#[test]
fn a_lost_byte_costs_a_second_and_a_lost_block_ten() {
    let sent = file(256);
    let mut end = End::new(1024);
    end.wait(100);
    end.feed(&block(1, &sent[..128]));
    end.feed(&block(2, &sent[128..])[..100]);
    assert_eq!(end.wait(900), b"");
    assert_eq!(end.wait(200), b"\x15");
    assert_eq!(end.wait(9_000), b"");
    assert_eq!(end.wait(1_100), b"\x15");
    assert_eq!(end.feed(&block(2, &sent[128..])), b"\x06");
    end.feed(b"\x04\x04");
    assert_eq!((end.ended, end.got), (Some(What::Finished), sent));
}

#[test]
fn what_was_missed_altogether_ends_the_transfer() {
    let sent = file(128);
    let mut end = End::new(1024);
    end.wait(100);
    end.feed(&block(1, &sent));
    let said = end.feed(&block(3, &sent));
    assert!(said.starts_with(b"\x18\x18"), "the sender is told");
    end.wait(1_000);
    assert_eq!(end.ended, Some(What::Failed(Fault::OutOfStep)));
}

#[test]
fn nobody_who_sends_and_somebody_who_stops_are_told_apart() {
    let mut end = End::new(1024);
    let said = end.wait(59_000);
    assert_eq!(said, [b'C'; 20], "asked for a minute");
    end.wait(3_000);
    assert_eq!(end.ended, Some(What::Failed(Fault::NoSender)));

    let mut end = End::new(1024);
    end.wait(100);
    end.feed(&block(1, &file(128)));
    end.wait(120_000);
    assert_eq!(end.ended, Some(What::Failed(Fault::TooManyErrors)));
}

#[test]
fn a_sender_and_a_person_can_give_up() {
    for begun in [false, true] {
        let mut end = End::new(1024);
        end.wait(100);
        if begun {
            end.feed(&block(1, &file(128)));
        }
        end.feed(b"\x18");
        end.feed(b"x");
        end.feed(b"\x18");
        end.wait(500);
        assert_eq!(end.ended, None, "one alone is noise");
        end.feed(b"\x18\x18");
        end.wait(1_000);
        assert_eq!(end.ended, Some(What::Failed(Fault::Cancelled)));
    }
    // In the middle of a block as well, where one could take it for data.
    let mut end = End::new(1024);
    end.wait(100);
    end.feed(&block(1, &file(128))[..77]);
    end.feed(b"\x18\x18\x18\x18\x18\x18\x18\x18\x08\x08");
    end.wait(2_000);
    assert_eq!(end.ended, Some(What::Failed(Fault::Cancelled)));

    let mut end = End::new(1024);
    end.wait(100);
    end.feed(b"\x03\x03");
    end.wait(1_000);
    assert_eq!(end.ended, Some(What::Failed(Fault::Cancelled)));
}

#[test]
fn nothing_is_taken_beyond_its_place() {
    let mut end = End::new(2048);
    end.wait(100);
    end.feed(&block(1, &file(1024)));
    end.feed(&block(2, &file(1024)));
    assert!(end.feed(&block(3, &file(128))).starts_with(b"\x18\x18"));
    end.wait(1_000);
    assert_eq!((end.ended, end.got.len()), (Some(What::Failed(Fault::TooLong)), 2048));

    // YMODEM says it before anything is sent.
    let mut end = End::new(2048);
    end.wait(100);
    let mut announced = b"bundle\x002049 0 0".to_vec();
    announced.resize(128, 0);
    assert!(end.feed(&block(0, &announced)).starts_with(b"\x18\x18"));
    end.wait(1_000);
    assert_eq!(end.ended, Some(What::Failed(Fault::TooLong)));
}

#[test]
fn ymodem_gives_the_file_without_what_fills_it_up() {
    let sent = file(1500);
    let mut end = End::new(2048);
    end.wait(100);
    let mut announced = b"system.bundle\x001500 14523456 100644".to_vec();
    announced.resize(128, 0);
    assert_eq!(end.feed(&block(0, &announced)), b"\x06C");
    assert_eq!(end.feed(&block(0, &announced)), b"\x06C", "the answer was lost");
    let mut padded = sent.clone();
    padded.resize(2048, 0x1a);
    end.feed(&block(1, &padded[..1024]));
    end.feed(&block(2, &padded[1024..]));
    assert_eq!(end.feed(b"\x04"), b"\x15");
    assert_eq!(end.feed(b"\x04"), b"\x06C");
    assert_eq!(end.ended, None, "the batch has an end as well");
    assert_eq!(end.feed(&block(0, &[0; 128])), b"\x06");
    assert_eq!((end.ended, end.got), (Some(What::Finished), sent));
}

#[test]
fn a_batch_that_ends_too_early_is_not_taken_for_whole_and_one_that_never_ends_is() {
    for (bytes_sent, comes_to) in [(1024, What::Failed(Fault::Short)), (2048, What::Finished)] {
        let mut end = End::new(2048);
        end.wait(100);
        let mut announced = b"x\x002048".to_vec();
        announced.resize(128, 0);
        end.feed(&block(0, &announced));
        for (number, data) in (1..).zip(file(bytes_sent).chunks(1024)) {
            end.feed(&block(number, data));
        }
        end.feed(b"\x04\x04");
        end.wait(20_000);
        assert_eq!(end.ended, Some(comes_to));
    }
}

#[test]
fn a_block_that_cannot_be_taken_stops_the_sender() {
    let mut receiver = Receiver::new(1024, 0);
    let mut what = What::Pending;
    for byte in block(1, &file(128)) {
        what = receiver.feed(byte, 0).what;
    }
    assert_eq!(what, What::Block);
    assert_eq!(receiver.block(), file(128));
    assert!(receiver.refused().send.starts_with("\x18\x18"));
    assert_eq!(receiver.poll(1_000_000).what, What::Pending);
}

#[test]
fn flash_that_is_slow_makes_nobody_hurry() {
    let mut receiver = Receiver::new(1024, 0);
    for byte in block(1, &file(128)) {
        let _ = receiver.feed(byte, 0);
    }
    let step = receiver.poll(60_000);
    assert_eq!((step.send, step.what), ("", What::Pending));
    assert_eq!(receiver.taken(60_000).send, "\x06");
    assert_eq!(receiver.poll(69_000).send, "");
    assert_eq!(receiver.poll(70_000).send, "\x15");
}

/// What the line does to a byte on its way.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Fine,
    Lost,
    Flipped(u8),
    Twice,
    Noise(u8),
}

fn luck(percent: u32) -> impl Strategy<Value = Luck> {
    prop_oneof![
        (10_000 - percent) => Just(Luck::Fine),
        percent / 4 + 1 => Just(Luck::Lost),
        percent / 4 + 1 => (0_u8..8).prop_map(Luck::Flipped),
        percent / 4 + 1 => Just(Luck::Twice),
        percent / 4 + 1 => any::<u8>().prop_map(Luck::Noise),
    ]
}

/// A sender as the description of the protocol has it: a block, again when it is asked for, the next when it is acknowledged.
struct Sender {
    blocks: Vec<Vec<u8>>,
    at: usize,
    sent_ms: u64,
    resent: u32,
    gave_up: bool,
    done: bool,
}

impl Sender {
    fn next(&mut self, heard: &mut VecDeque<u8>, now_ms: u64) -> Vec<u8> {
        while let Some(byte) = heard.pop_front() {
            match byte {
                0x06 if self.sent_ms > 0 => {
                    self.at += 1;
                    self.resent = 0;
                    if self.at > self.blocks.len() {
                        self.done = true;
                        return Vec::new();
                    }
                    // What was said to the block before is not an answer to the next.
                    heard.clear();
                    return self.send(now_ms);
                }
                0x15 => {
                    heard.clear();
                    return self.send(now_ms);
                }
                b'C' if self.at == 0 => {
                    heard.clear();
                    return self.send(now_ms);
                }
                0x18 if heard.front() == Some(&0x18) => self.gave_up = true,
                _ => {}
            }
        }
        if self.sent_ms > 0 && now_ms > self.sent_ms + 15_000 { self.send(now_ms) } else { Vec::new() }
    }

    fn send(&mut self, now_ms: u64) -> Vec<u8> {
        self.resent += 1;
        self.gave_up |= self.resent > 20;
        self.sent_ms = now_ms;
        self.blocks.get(self.at).cloned().unwrap_or_else(|| vec![0x04])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// On a line that loses, damages, repeats and invents bytes in both directions, what is taken is always a beginning of what
    /// was sent; and when the receiver says that all is here, all is.
    #[test]
    fn what_is_taken_is_what_was_sent(
        blocks in 1_usize..12,
        long in any::<bool>(),
        lucks in proptest::collection::vec(luck(20), 4_000),
        answers in proptest::collection::vec(luck(400), 200),
    ) {
        let size = if long { BLOCK_BYTES } else { 128 };
        let sent = file(blocks * size);
        let numbered = (1_u32..).zip(sent.chunks(size)).map(|(number, data)| block(number as u8, data));
        let mut sender =
            Sender { blocks: numbered.collect(), at: 0, sent_ms: 0, resent: 0, gave_up: false, done: false };
        let (mut lucks, mut answers) = (lucks.iter().cycle(), answers.iter().cycle());
        let mut end = End::new(sent.len() as u64);
        let mut heard = VecDeque::new();
        // An hour is enough for both to give up.
        while end.now_ms < 3_600_000 && end.ended.is_none() {
            for byte in end.wait(50) {
                heard.extend(passed(byte, *answers.next().unwrap()));
            }
            if sender.gave_up || sender.done {
                continue;
            }
            let bytes = sender.next(&mut heard, end.now_ms);
            let bytes: Vec<u8> = bytes.iter().flat_map(|byte| passed(*byte, *lucks.next().unwrap())).collect();
            for byte in end.feed(&bytes) {
                heard.extend(passed(byte, *answers.next().unwrap()));
            }
        }
        prop_assert!(end.ended.is_some(), "it goes on for ever");
        prop_assert!(sent.starts_with(&end.got), "what was taken was not sent");
        if end.ended == Some(What::Finished) {
            prop_assert_eq!(&end.got, &sent);
        }
        if let Some(What::Failed(fault)) = end.ended {
            prop_assert!(fault != Fault::TooLong && fault != Fault::Short, "{fault:?}");
        }
    }

    /// Nothing that is sent, be it noise, makes it take more than it may, or go on for ever.
    #[test]
    fn noise_is_never_a_bundle_that_is_too_long(bytes in proptest::collection::vec(
        prop_oneof![4 => any::<u8>(), 1 => proptest::sample::select(vec![0x01_u8, 0x02, 0x04, 0x18, 0x00])], 0..3_000,
    )) {
        let mut end = End::new(256);
        end.wait(100);
        for piece in bytes.chunks(100) {
            end.feed(piece);
            end.wait(300);
        }
        prop_assert!(end.got.len() <= 256);
        end.wait(600_000);
        prop_assert!(end.ended.is_some());
    }
}

/// What arrives of a byte.
fn passed(byte: u8, luck: Luck) -> Vec<u8> {
    match luck {
        Luck::Fine => vec![byte],
        Luck::Lost => vec![],
        Luck::Flipped(bit) => vec![byte ^ (1 << bit)],
        Luck::Twice => vec![byte, byte],
        Luck::Noise(noise) => vec![noise, byte],
    }
}
