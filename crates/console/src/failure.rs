//! Why a command was not done.

use core::fmt::{self, Write as _};

use heapless::String;

/// The longest text of a failure, in bytes; what is longer is cut. It is one line, and returned by value: who has more to say
/// writes it into the answer before.
pub const FAILURE_TEXT_BYTES_MAX: usize = 96;

/// Why a command was not done: the last line of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: &'static str,
    text: String<FAILURE_TEXT_BYTES_MAX>,
}

impl Failure {
    /// Of a stable code and what it came to. Errors that begin with their own code are taken as they are: it is said once.
    pub fn new(code: &'static str, text: impl fmt::Display) -> Self {
        let mut cut = Cut::default();
        // What does not fit is left out.
        let _ = write!(cut, "{text}");
        let mut text = String::new();
        let whole =
            cut.0.strip_prefix(code).map_or(cut.0.as_str(), |rest| rest.trim_start_matches([':', ' ']));
        let _ = text.push_str(whole);
        Self { code, text }
    }

    /// The code.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// What it came to.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

impl core::error::Error for Failure {}

/// Takes what fits.
#[derive(Default)]
struct Cut(String<FAILURE_TEXT_BYTES_MAX>);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One character after the other, so that none is cut in two; and it is one line.
        let line = text.chars().map(|character| if character.is_control() { ' ' } else { character });
        line.into_iter().try_for_each(|character| self.0.push(character).map_err(|_| fmt::Error))
    }
}

/// What the consoles below Linux say themselves. The first is userland's as well.
pub(crate) mod codes {
    /// No such command, or not with such arguments.
    pub(crate) const NOT_UNDERSTOOD: &str = "PS-K001";
    /// The command exists at another level.
    pub(crate) const ELSEWHERE: &str = "PS-K020";
    /// The line is too long.
    pub(crate) const TOO_LONG: &str = "PS-K021";
    /// There was noise on the line.
    pub(crate) const NOISE: &str = "PS-K022";
    /// What had to be typed back was not.
    pub(crate) const NOT_TYPED_BACK: &str = "PS-K023";
    /// That partition is not shown.
    pub(crate) const NOT_SHOWN: &str = "PS-K024";
    /// Nobody typed the rest.
    pub(crate) const IDLE: &str = "PS-K025";
}
