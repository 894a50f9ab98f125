//! The word that stops a boot.

/// What has to be typed, alone on a line.
pub const RESCUE_WORD: &str = "rescue";

/// Listens for the word while the box starts.
///
/// Noise on a line has stopped many a boot that any key stops. Here a whole line has to be the word and nothing else: another
/// character makes it another line, up to the next end of one. What no key sends is noise and was not typed, so that a cable
/// that was just plugged in does not cost the one try that there is time for; neither were spaces around the word and what
/// was wiped out with the backspace key. One line of noise in 10^14 is the word.
#[derive(Clone, Debug, Default)]
pub struct RescueWord {
    /// So many letters of the word have come.
    letters: usize,
    /// So many characters behind them are too much.
    wrong: usize,
}

impl RescueWord {
    /// Nothing has been typed.
    pub const fn new() -> Self {
        Self { letters: 0, wrong: 0 }
    }

    /// Takes a byte. Whether the word is complete with it, which it is with the end of its line.
    pub fn feed(&mut self, byte: u8) -> bool {
        let word = RESCUE_WORD.as_bytes();
        match byte {
            b'\r' | b'\n' => {
                let is_complete = self.letters == word.len() && self.wrong == 0;
                *self = Self::new();
                return is_complete;
            }
            0x08 | 0x7f if self.wrong > 0 => self.wrong -= 1,
            0x08 | 0x7f => self.letters = self.letters.saturating_sub(1),
            b' ' if self.wrong == 0 && (self.letters == 0 || self.letters == word.len()) => {}
            _ if self.wrong == 0 && word.get(self.letters) == Some(&byte) => self.letters += 1,
            b' '..=b'~' => self.wrong = self.wrong.saturating_add(1),
            _ => {}
        }
        false
    }
}
