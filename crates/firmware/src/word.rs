//! Listening for one word on the serial line while the box boots.
//!
//! A line that is open catches noise, so that no single character stops a boot: it takes the whole word, and the end of
//! the line behind it.

/// What stops the boot and takes the box to the rescue.
pub const RESCUE: &[u8] = b"rescue";

/// How much of the word has come.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    word: &'static [u8],
    heard: usize,
}

impl Listener {
    /// Listens for a word.
    pub const fn new(word: &'static [u8]) -> Self {
        Self { word, heard: 0 }
    }

    /// The next character that came. Whether the word is complete with it.
    pub fn hear(&mut self, byte: u8) -> bool {
        if self.heard == self.word.len() && matches!(byte, b'\r' | b'\n') {
            self.heard = 0;
            return true;
        }
        // No prefix of the word stands within it, so that what does not go on begins anew.
        let goes_on = self.word.get(self.heard) == Some(&byte);
        self.heard = if goes_on { self.heard + 1 } else { usize::from(self.word.first() == Some(&byte)) };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hears(line: &[u8]) -> bool {
        let mut listener = Listener::new(RESCUE);
        // Not `any`: what follows the word is heard too.
        line.iter().fold(false, |heard, byte| listener.hear(*byte) | heard)
    }

    #[test]
    fn only_the_word_stops_a_boot() {
        for line in
            [&b"rescue\r"[..], b"rescue\n", b"\xFF\x00rescue\r\n", b"rescrescue\r", b"no\rrescue\rand more"]
        {
            assert!(hears(line), "{line:?}");
        }
        for line in [&b"rescue"[..], b"\r\n\r\n", b"rescued\r", b"res cue\r", b"rescue \r", b"rrr\r"] {
            assert!(!hears(line), "{line:?}");
        }
    }
}
