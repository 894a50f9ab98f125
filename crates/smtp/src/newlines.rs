//! Sees bare CR and bare LF in a message that comes in chunks, where no dot-stuffing has to be undone.

use memchr::memchr2;

/// Reads a message in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct NewlineWatch {
    after_cr: bool,
    bare: bool,
}

impl NewlineWatch {
    /// Reads the next piece of the message.
    pub(crate) fn read(&mut self, text: &[u8]) {
        let mut rest = text;
        if self.after_cr
            && let Some((first, behind)) = rest.split_first()
        {
            self.after_cr = false;
            if *first == b'\n' {
                rest = behind;
            } else {
                self.bare = true;
            }
        }
        while !self.bare
            && let Some(at) = memchr2(b'\r', b'\n', rest)
        {
            match (rest.get(at), rest.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => rest = rest.get(at + 2..).unwrap_or_default(),
                (Some(b'\r'), None) => {
                    self.after_cr = true;
                    return;
                }
                _ => self.bare = true,
            }
        }
    }

    /// Whether a CR without LF, or a LF without CR, was seen so far. A CR at the very end counts once the message has
    /// ended.
    pub(crate) const fn has_bare(&self, ended: bool) -> bool {
        self.bare || (ended && self.after_cr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_newlines_are_seen_however_the_text_is_cut() {
        for (text, so_far, ended) in [
            (&b""[..], false, false),
            (b"a\r\n\r\nb", false, false),
            (b"a\nb", true, true),
            (b"\n", true, true),
            (b"a\rb", true, true),
            (b"a\r\r\n", true, true),
            (b"a\n\r\n", true, true),
            (b"a\r", false, true),
        ] {
            for piece_len in 1..=text.len().max(1) {
                let mut watch = NewlineWatch::default();
                text.chunks(piece_len).for_each(|piece| watch.read(piece));
                let seen = (watch.has_bare(false), watch.has_bare(true));
                assert_eq!(seen, (so_far, ended), "{} in pieces of {piece_len}", text.escape_ascii());
            }
        }
    }
}
