//! The disk of a box as a power cut would have left it, at any moment of what was recorded.
//!
//! What was answered before a flush began is on the disk when the flush has ended, and a write with FUA when it has been
//! answered. All else that had been asked for by the moment of the cut is in doubt: the cut lets each such write be there,
//! be missing, or be there in some of its sectors. A sector is never torn.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use penstock_peers::random::Random;

use crate::nbd::{Recording, Write};

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// What a cut does to the writes in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of them are missing.
    Drops,
    /// All of them are there.
    Keeps,
    /// Each meets a fate of its own, drawn from this seed.
    Draws(u64),
}

/// What happens to a write in doubt.
enum Fate {
    Missing,
    Whole,
    /// Only these sectors.
    Torn(Vec<bool>),
}

/// A disk image that goes along a recording. Between two cuts it holds what is on the disk for sure.
pub struct Replay<'r> {
    recording: &'r Recording,
    file: File,
    path: PathBuf,
    /// How many writes from the first on are on the image for good.
    settled: usize,
    /// How many flushes have ended.
    flushed: usize,
    /// What was answered before this is durable.
    durable_until: Option<Instant>,
    now: Option<Instant>,
}

impl<'r> Replay<'r> {
    /// Begins with a blank disk, in a file.
    pub fn new(recording: &'r Recording, path: &Path, size_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
        file.set_len(size_bytes)?;
        Ok(Self {
            recording,
            file,
            path: path.to_owned(),
            settled: 0,
            flushed: 0,
            durable_until: None,
            now: None,
        })
    }

    /// Goes on to a moment, which is not before the one it has come to.
    pub fn advance(&mut self, to: Instant) -> io::Result<()> {
        assert!(self.now.is_none_or(|now| now <= to), "a replay does not go back");
        self.now = Some(to);
        let flushes = self.recording.flushes[self.flushed..].iter();
        for flush in flushes.take_while(|flush| flush.ended.is_some_and(|ended| ended <= to)) {
            self.durable_until = Some(flush.began);
            self.flushed += 1;
        }
        while let Some(write) = self.recording.writes.get(self.settled).filter(|write| self.is_durable(write))
        {
            self.file.write_all_at(&write.bytes, write.at)?;
            self.settled += 1;
        }
        Ok(())
    }

    fn is_durable(&self, write: &Write) -> bool {
        let Some(ended) = write.ended else { return false };
        self.durable_until.is_some_and(|until| ended <= until)
            || write.through && self.now.is_some_and(|now| ended <= now)
    }

    /// The writes that were asked for and may not be on the image, in their order.
    fn recent(&self) -> &'r [Write] {
        let rest = &self.recording.writes[self.settled..];
        &rest[..rest.partition_point(|write| self.now.is_some_and(|now| write.began <= now))]
    }

    /// How many flushes have ended.
    pub fn flushes(&self) -> usize {
        self.flushed
    }

    /// How many writes are in doubt.
    pub fn in_doubt(&self) -> usize {
        self.recent().iter().filter(|write| !self.is_durable(write)).count()
    }

    /// Cuts the power at the moment it has come to, lets the disk be looked at, and takes the cut back.
    pub fn cut<T>(&self, cut: Cut, look: impl FnOnce(&Path) -> T) -> io::Result<T> {
        let mut fates = Fates::of(cut);
        let mut before = Vec::new();
        for write in self.recent() {
            let fate = if self.is_durable(write) { Fate::Whole } else { fates.next(write) };
            for (at, bytes) in pieces(write, &fate) {
                let mut old = vec![0; bytes.len()];
                self.file.read_exact_at(&mut old, at)?;
                before.push((at, old));
                self.file.write_all_at(bytes, at)?;
            }
        }
        let seen = look(&self.path);
        for (at, old) in before.iter().rev() {
            self.file.write_all_at(old, *at)?;
        }
        Ok(seen)
    }
}

/// What is there of a write.
fn pieces<'w>(write: &'w Write, fate: &Fate) -> Vec<(u64, &'w [u8])> {
    match fate {
        Fate::Missing => Vec::new(),
        Fate::Whole => vec![(write.at, &*write.bytes)],
        Fate::Torn(sectors) => {
            let places = (write.at..).step_by(SECTOR_BYTES);
            let all = places.zip(write.bytes.chunks(SECTOR_BYTES));
            all.zip(sectors).filter(|(_, there)| **there).map(|(piece, _)| piece).collect()
        }
    }
}

/// Draws what happens to each write.
struct Fates {
    cut: Cut,
    random: Random,
    /// How many of sixteen are whole; much differs between a disk that has written nearly all and one that has not begun.
    whole_of_16: u64,
}

impl Fates {
    fn of(cut: Cut) -> Self {
        let mut random = Random::seeded(if let Cut::Draws(seed) = cut { seed } else { 0 });
        let whole_of_16 = [2, 8, 14][random.within(0..3) as usize];
        Self { cut, random, whole_of_16 }
    }

    fn next(&mut self, write: &Write) -> Fate {
        let random = &mut self.random;
        match self.cut {
            Cut::Drops => Fate::Missing,
            Cut::Keeps => Fate::Whole,
            Cut::Draws(_) if random.within(0..16) < self.whole_of_16 => Fate::Whole,
            Cut::Draws(_) if random.within(0..2) == 0 => Fate::Missing,
            Cut::Draws(_) => {
                let sectors = write.bytes.len().div_ceil(SECTOR_BYTES);
                if random.within(0..2) == 0 {
                    // As far as it had come.
                    let there = random.within(0..sectors as u64 + 1) as usize;
                    Fate::Torn((0..sectors).map(|sector| sector < there).collect())
                } else {
                    Fate::Torn((0..sectors).map(|_| random.within(0..2) == 0).collect())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use penstock_peers::scratch::Scratch;

    use super::*;
    use crate::nbd::Flush;

    const SIZE_BYTES: usize = 4096;

    /// A recording on a disk of eight sectors: each write fills some of them with its number.
    struct Story {
        zero: Instant,
        recording: Recording,
    }

    impl Story {
        fn at(&self, ms: u64) -> Instant {
            self.zero + Duration::from_millis(ms)
        }

        fn write(
            &mut self,
            sector: u64,
            sectors: usize,
            fill: u8,
            began: u64,
            ended: Option<u64>,
            through: bool,
        ) {
            let (began, ended) = (self.at(began), ended.map(|ms| self.at(ms)));
            let bytes = vec![fill; sectors * SECTOR_BYTES].into();
            self.recording.writes.push(Write { at: sector * 512, bytes, through, began, ended });
        }

        fn flush(&mut self, began: u64, ended: Option<u64>) {
            let (began, ended) = (self.at(began), ended.map(|ms| self.at(ms)));
            self.recording.flushes.push(Flush { began, ended });
        }

        /// The first byte of each sector after a cut at this moment.
        fn sectors(&self, ms: u64, cut: Cut) -> Vec<u8> {
            let scratch = Scratch::new("replay");
            let mut replay = Replay::new(&self.recording, &scratch.join("disk"), SIZE_BYTES as u64).unwrap();
            replay.advance(self.at(ms)).unwrap();
            let sure = std::fs::read(scratch.join("disk")).unwrap();
            let seen = replay.cut(cut, |path| std::fs::read(path).unwrap()).unwrap();
            assert_eq!(std::fs::read(scratch.join("disk")).unwrap(), sure, "a cut is taken back");
            seen.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect()
        }
    }

    fn story() -> Story {
        Story { zero: Instant::now(), recording: Recording::default() }
    }

    #[test]
    fn what_a_flush_covers_is_there_once_it_has_ended_and_not_before() {
        let mut story = story();
        story.write(0, 1, 1, 1, Some(2), false);
        story.write(1, 1, 2, 3, Some(5), false); // Still under way when the flush begins.
        story.flush(4, Some(6));
        assert_eq!(story.sectors(5, Cut::Drops)[..2], [0, 0]);
        assert_eq!(story.sectors(6, Cut::Drops)[..2], [1, 0]);
        assert_eq!(story.sectors(6, Cut::Keeps)[..2], [1, 2]);
        assert_eq!(story.sectors(0, Cut::Keeps)[..2], [0, 0], "what was not asked for is not there");
    }

    #[test]
    fn what_is_written_through_is_there_and_says_nothing_of_others() {
        let mut story = story();
        story.write(0, 2, 1, 1, Some(2), false);
        story.write(1, 1, 2, 3, Some(4), true);
        story.write(2, 1, 3, 5, None, true);
        assert_eq!(story.sectors(9, Cut::Drops)[..3], [0, 2, 0]);
        assert_eq!(story.sectors(9, Cut::Keeps)[..3], [1, 2, 3], "the later of two writes wins");
    }

    #[test]
    fn what_is_in_doubt_is_there_missing_or_torn_between_sectors() {
        let mut story = story();
        story.write(0, 8, 1, 1, Some(2), false);
        let seen: Vec<_> = (0..100).map(|seed| story.sectors(3, Cut::Draws(seed))).collect();
        assert!(seen.contains(&vec![0; 8]) && seen.contains(&vec![1; 8]));
        let torn = |sectors: &Vec<u8>| sectors.contains(&0) && sectors.contains(&1);
        assert!(seen.iter().any(torn));
        assert_eq!(story.sectors(3, Cut::Draws(7)), story.sectors(3, Cut::Draws(7)), "a seed repeats");
    }
}
