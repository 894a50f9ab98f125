//! What a server said, kept for the operator: bounded and harmless to print.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How much of a reply's text is kept, in bytes.
pub const REPLY_TEXT_BYTES_MAX: usize = 120;

/// The beginning of a reply, in UTF-8, without control characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReplyText {
    bytes: [u8; REPLY_TEXT_BYTES_MAX],
    len: u8,
}

impl ReplyText {
    /// Takes what fits of what `args` prints. A control character becomes a space.
    pub(crate) fn new(args: fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; REPLY_TEXT_BYTES_MAX], len: 0 };
        // Being full is no error here: the rest is what is left out.
        let _ = fmt::write(&mut text, args);
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only whole characters were put in, so this never falls back.
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Write for ReplyText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let char = if char.is_control() { ' ' } else { char };
            let at = usize::from(self.len);
            let Some(room) = self.bytes.get_mut(at..at + char.len_utf8()) else {
                return Err(fmt::Error);
            };
            char.encode_utf8(room);
            self.len += char.len_utf8() as u8; // at most 4, and at most 120 in all
        }
        Ok(())
    }
}

impl fmt::Debug for ReplyText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl fmt::Display for ReplyText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl Serialize for ReplyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_str().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ReplyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Ok(Self::new(format_args!("{text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reply_is_cut_between_characters_and_obeys_no_terminal() {
        let text = ReplyText::new(format_args!("452 4.3.1 \u{1b}[31m{}", "é".repeat(100)));
        assert!(text.as_str().starts_with("452 4.3.1  [31mé"));
        assert!(text.as_str().len() <= REPLY_TEXT_BYTES_MAX && text.as_str().ends_with('é'));
    }
}
