//! One question to a time server and its answer: SNTP, the client's half of RFC 5905 §14.
//!
//! The answer must name our question by the number in its origin timestamp, which is random and tells nobody our time. What
//! a server that is not itself sure of the time says does not count.

use std::time::Duration;

/// The length of a packet without extensions. What comes behind is not looked at.
pub(super) const PACKET_BYTES: usize = 48;
/// From 1900, where NTP begins to count, to 1970, in seconds.
const UNIX_EPOCH_S: u64 = 2_208_988_800;
/// Seconds in an era of NTP, after which it counts from zero: 2036, 2172 …
const ERA_S: u64 = 1 << 32;
/// 2026-01-01 in seconds since 1900: a timestamp below it in the first era belongs to the second.
const FIRST_S: u64 = 1_767_225_600 + UNIX_EPOCH_S;
/// A server farther than this from its own source of time does not count: RFC 5905 (MAXDIST) has 1 s, to which 1 s is
/// added for what lies between it and us.
const DISTANCE_MAX: Duration = Duration::from_secs(2);
/// Stratum 16 is a server that has no time.
const STRATUM_MAX: u8 = 15;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// How far our clock is behind, in nanoseconds.
    pub(super) offset_ns: i128,
    /// How wrong that may be, in nanoseconds.
    pub(super) distance_ns: i128,
}

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is no answer to our question.
    NotOurs,
    /// The server does not know the time, or contradicts itself.
    Unsure,
    /// It asks us to come less often (kiss of death `RATE`).
    TooOften,
    /// It does not want to be asked (any other kiss of death).
    Unwelcome,
}

/// The question with this number.
pub(super) fn question(number: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    // No leap warning, version 4, a client.
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Reads the answer to the question with this number. `sent_ns` and `received_ns` are our clock, in Unix nanoseconds.
pub(super) fn answer(packet: &[u8], number: u64, sent_ns: i128, received_ns: i128) -> Result<Sample, Flaw> {
    let packet: &[u8; PACKET_BYTES] = packet.first_chunk().ok_or(Flaw::NotOurs)?;
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let double = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    let (leap, version, mode) = (packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7);
    if mode != 4 || !(3..=4).contains(&version) || double(24) != number {
        return Err(Flaw::NotOurs);
    }
    let stratum = packet[1];
    if stratum == 0 {
        return Err(if &packet[12..16] == b"RATE" { Flaw::TooOften } else { Flaw::Unwelcome });
    }
    let (received, sent) = (double(32), double(40));
    if leap == 3 || stratum > STRATUM_MAX || received == 0 || sent == 0 {
        return Err(Flaw::Unsure);
    }
    let (there_ns, back_ns) = (unix_ns(received), unix_ns(sent));
    let delay_ns = (received_ns - sent_ns) - (back_ns - there_ns);
    let root_ns = short_ns(word(4)) / 2 + short_ns(word(8));
    let distance_ns = delay_ns.max(0) / 2 + root_ns;
    // The server's own time runs forward, and no faster than ours.
    let tolerance_ns = 10_000_000;
    if back_ns < there_ns || delay_ns < -tolerance_ns || distance_ns > DISTANCE_MAX.as_nanos() as i128 {
        return Err(Flaw::Unsure);
    }
    Ok(Sample { offset_ns: ((there_ns - sent_ns) + (back_ns - received_ns)) / 2, distance_ns })
}

/// A timestamp of 32 bits of seconds and 32 of their fraction, in Unix nanoseconds.
fn unix_ns(timestamp: u64) -> i128 {
    let (seconds, fraction) = (timestamp >> 32, timestamp & 0xFFFF_FFFF);
    let seconds = if seconds < FIRST_S % ERA_S { seconds + ERA_S } else { seconds };
    let seconds = i128::from(seconds) - i128::from(UNIX_EPOCH_S);
    seconds * 1_000_000_000 + i128::from((fraction * 1_000_000_000) >> 32)
}

/// A duration of 16 bits of seconds and 16 of their fraction, in nanoseconds.
fn short_ns(duration: u32) -> i128 {
    i128::from((u64::from(duration) * 1_000_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i128 = 1_000_000_000;
    /// 2026-11-22 03:19:40 UTC.
    const NOW: i128 = 1_795_317_580 * S;

    /// An answer by a server that has this time at both its moments.
    fn packet(number: u64, there_ns: i128, back_ns: i128) -> [u8; PACKET_BYTES] {
        let timestamp = |ns: i128| {
            let seconds = (ns / S) as u64 + UNIX_EPOCH_S;
            ((seconds << 32) | (((ns % S) << 32) as u64 / S as u64)).to_be_bytes()
        };
        let mut packet = question(0);
        packet[0] = 4 << 3 | 4;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&number.to_be_bytes());
        packet[32..40].copy_from_slice(&timestamp(there_ns));
        packet[40..48].copy_from_slice(&timestamp(back_ns));
        packet
    }

    #[test]
    fn how_far_the_clock_is_off_is_told_to_half_of_what_the_way_took() {
        let off = 3 * 365 * 86_400 * S;
        let good = packet(7, NOW + off + S / 10, NOW + off + S / 10 + S / 100);
        let sample = answer(&good, 7, NOW, NOW + S / 5 + S / 100).unwrap();
        assert!((sample.offset_ns - off).abs() < 1000, "{sample:?}");
        assert!((sample.distance_ns - S / 10).abs() < 1000, "{sample:?}");
    }

    #[test]
    fn the_era_after_2036_is_understood() {
        let then = 2_500_000_000 * S;
        let sample = answer(&packet(7, then, then), 7, NOW, NOW).unwrap();
        assert_eq!(sample.offset_ns / S, 2_500_000_000 - 1_795_317_580);
    }

    #[test]
    fn what_is_no_answer_to_our_question_does_not_count() {
        let good = packet(7, NOW, NOW);
        assert!(answer(&good, 7, NOW, NOW).is_ok());
        assert_eq!(answer(&good, 8, NOW, NOW), Err(Flaw::NotOurs), "another number");
        assert_eq!(answer(&good[..47], 7, NOW, NOW), Err(Flaw::NotOurs), "too short");
        for (byte, value) in [(0, 4 << 3 | 3), (0, 4 << 3 | 5), (0, 2 << 3 | 4), (24, 1)] {
            let mut wrong = good;
            wrong[byte] = value;
            assert_eq!(answer(&wrong, 7, NOW, NOW), Err(Flaw::NotOurs), "{byte}: {value}");
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_time_does_not_count() {
        let unsure = |change: &dyn Fn(&mut [u8; PACKET_BYTES])| {
            let mut packet = packet(7, NOW, NOW);
            change(&mut packet);
            assert_eq!(answer(&packet, 7, NOW, NOW), Err(Flaw::Unsure));
        };
        unsure(&|packet| packet[0] |= 3 << 6);
        unsure(&|packet| packet[1] = 16);
        unsure(&|packet| packet[32..40].fill(0));
        unsure(&|packet| packet[40..48].fill(0));
        unsure(&|packet| packet[4..8].copy_from_slice(&[0, 5, 0, 0]));
        unsure(&|packet| packet[8..12].copy_from_slice(&[0, 3, 0, 0]));
        assert_eq!(answer(&packet(7, NOW, NOW - S), 7, NOW, NOW), Err(Flaw::Unsure), "its time runs back");
        assert_eq!(
            answer(&packet(7, NOW, NOW + S), 7, NOW, NOW),
            Err(Flaw::Unsure),
            "it took longer than it took"
        );
        assert_eq!(answer(&packet(7, NOW, NOW), 7, NOW, NOW + 9 * S), Err(Flaw::Unsure), "too far away");
    }

    #[test]
    fn a_kiss_of_death_is_understood() {
        for (word, flaw) in
            [(b"RATE", Flaw::TooOften), (b"DENY", Flaw::Unwelcome), (b"XXXX", Flaw::Unwelcome)]
        {
            let mut packet = packet(7, NOW, NOW);
            packet[1] = 0;
            packet[12..16].copy_from_slice(word);
            assert_eq!(answer(&packet, 7, NOW, NOW), Err(flaw));
            assert_eq!(
                answer(&packet, 8, NOW, NOW),
                Err(Flaw::NotOurs),
                "and cannot be forged by who sees nothing"
            );
        }
    }

    #[test]
    fn nothing_that_comes_stops_the_box() {
        // Each byte of an answer with each of some values, and our clock at its extremes.
        for at in 0..PACKET_BYTES {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut packet = packet(7, NOW, NOW);
                packet[at] = value;
                for ours in [0, NOW, i128::from(i64::MAX)] {
                    let _ = answer(&packet, 7, ours, ours);
                }
            }
        }
    }
}
