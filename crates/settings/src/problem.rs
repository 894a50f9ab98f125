//! What is wrong with a settings file, told so that the reader can mend it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::FILE_BYTES_MAX;

/// How many problems are told at once; the rest is counted.
pub const PROBLEMS_MAX: usize = 100;

/// What kind of problem it is. The strings are stable: scripts and pages may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `PS-C01`: the file is longer than [`FILE_BYTES_MAX`](crate::FILE_BYTES_MAX).
    FileTooLong,
    /// `PS-C02`: this is not TOML.
    Syntax,
    /// `PS-C03`: a key, a table or a list entry stands twice.
    Duplicate,
    /// `PS-C04`: no such key or section.
    Unknown,
    /// `PS-C05`: a number where a text belongs, or the like.
    WrongType,
    /// `PS-C06`: the right type, but it does not mean anything here.
    BadValue,
    /// `PS-C07`: a number, duration, size, text or list beyond its bounds.
    OutOfRange,
    /// `PS-C08`: a key that has no sensible default is not set.
    Missing,
    /// `PS-C09`: two settings cannot both hold.
    Contradiction,
}

impl Code {
    /// The stable string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FileTooLong => "PS-C01",
            Self::Syntax => "PS-C02",
            Self::Duplicate => "PS-C03",
            Self::Unknown => "PS-C04",
            Self::WrongType => "PS-C05",
            Self::BadValue => "PS-C06",
            Self::OutOfRange => "PS-C07",
            Self::Missing => "PS-C08",
            Self::Contradiction => "PS-C09",
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1; `None` where the problem is that something is not there.
    pub line: Option<u32>,
    /// The key as a dotted path (`listen.size_max`), the section where there is no key, empty for the whole file.
    pub key: String,
    /// What kind of problem it is.
    pub code: Code,
    /// What is wrong and what would be right, one sentence.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ", self.code.as_str())?;
        if let Some(line) = self.line {
            write!(out, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.reason)
    }
}

/// Everything that is wrong with a file, in the order of its lines, what is missing last. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(crate) fn new(mut list: Vec<Problem>, more: usize) -> Self {
        list.sort_by_key(|problem| problem.line.unwrap_or(u32::MAX));
        Self { list, more }
    }

    pub(crate) fn file_too_long(len_bytes: usize) -> Self {
        let reason = format!("the file has {len_bytes} bytes: must be at most {FILE_BYTES_MAX}");
        Self::new([Problem { line: None, key: String::new(), code: Code::FileTooLong, reason }].into(), 0)
    }

    /// The problems, [`PROBLEMS_MAX`] at most.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many more there are than [`iter`](Problems::iter) gives.
    pub fn more(&self) -> usize {
        self.more
    }
}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        if self.more > 0 {
            write!(out, "\n… and {} more", self.more)?;
        }
        Ok(())
    }
}

impl core::error::Error for Problems {}
