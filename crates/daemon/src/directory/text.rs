//! Bytes of a file as lines of text: UTF-8, with or without a mark at its head, or UTF-16 with one, as Windows
//! PowerShell writes it.

/// The longest line, in bytes of UTF-8. A recipient with thousands of addresses stays below.
pub(super) const LINE_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is neither UTF-8, nor UTF-16 in a file that begins with its mark.
    NotText,
    /// It is longer than [`LINE_BYTES_MAX`].
    TooLong,
}

/// A line without its end, and its number from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) number: u64,
    pub(super) text: Result<&'a str, Wrong>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { little_endian: bool },
}

/// Takes bytes in pieces of any size and gives lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Known once the first bytes are there.
    encoding: Option<Encoding>,
    /// Bytes that are no character yet: at the head of the file, and half of one in UTF-16.
    rest: Vec<u8>,
    /// The first half of a character that takes two units of UTF-16.
    high: Option<u16>,
    line: Vec<u8>,
    is_broken: bool,
    is_too_long: bool,
    number: u64,
}

impl Lines {
    /// Takes more of the file.
    pub(super) fn push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Line<'_>)) {
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None => {
                // The longest mark has three bytes.
                let (head, left) = bytes.split_at(bytes.len().min(3 - self.rest.len()));
                self.rest.extend_from_slice(head);
                if self.rest.len() < 3 {
                    return;
                }
                bytes = left;
                self.begin(each)
            }
        };
        self.take(encoding, bytes, each);
    }

    /// The file has ended.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        if self.encoding.is_none() {
            self.begin(each);
        }
        self.is_broken |= self.high.take().is_some() || !self.rest.is_empty();
        if self.is_broken || self.is_too_long || !self.line.is_empty() {
            self.end_line(each);
        }
    }

    /// Sees from the first bytes how the file is written.
    fn begin(&mut self, each: &mut impl FnMut(Line<'_>)) -> Encoding {
        let head = std::mem::take(&mut self.rest);
        let (encoding, mark_len) = match head.as_slice() {
            [0xEF, 0xBB, 0xBF, ..] => (Encoding::Utf8, 3),
            [0xFF, 0xFE, ..] => (Encoding::Utf16 { little_endian: true }, 2),
            [0xFE, 0xFF, ..] => (Encoding::Utf16 { little_endian: false }, 2),
            _ => (Encoding::Utf8, 0),
        };
        self.encoding = Some(encoding);
        self.take(encoding, head.get(mark_len..).unwrap_or_default(), each);
        encoding
    }

    fn take(&mut self, encoding: Encoding, mut bytes: &[u8], each: &mut impl FnMut(Line<'_>)) {
        match encoding {
            Encoding::Utf8 => {
                while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                    let (line, left) = bytes.split_at(end);
                    self.add(line);
                    self.end_line(each);
                    bytes = left.get(1..).unwrap_or_default();
                }
                self.add(bytes);
            }
            Encoding::Utf16 { little_endian } => {
                for byte in bytes {
                    match self.rest.pop() {
                        None => self.rest.push(*byte),
                        Some(first) if little_endian => self.unit(u16::from_le_bytes([first, *byte]), each),
                        Some(first) => self.unit(u16::from_be_bytes([first, *byte]), each),
                    }
                }
            }
        }
    }

    fn unit(&mut self, unit: u16, each: &mut impl FnMut(Line<'_>)) {
        if unit == u16::from(b'\n') {
            self.is_broken |= self.high.take().is_some();
            return self.end_line(each);
        }
        let is_high = (0xD800..0xDC00).contains(&unit);
        let units = match self.high.take() {
            None if is_high => {
                self.high = Some(unit);
                return;
            }
            None => [Some(unit), None],
            high => [high, Some(unit)],
        };
        for c in char::decode_utf16(units.into_iter().flatten()) {
            let mut bytes = [0; 4];
            match c {
                Ok(c) => self.add(c.encode_utf8(&mut bytes).as_bytes()),
                Err(_) => self.is_broken = true,
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            self.is_too_long = true;
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(Line<'_>)) {
        self.number += 1;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let text = match str::from_utf8(line) {
            _ if self.is_too_long => Err(Wrong::TooLong),
            // A zero byte stands in UTF-16 that has lost its mark, and in no text.
            Ok(text) if !self.is_broken && !text.contains('\0') => Ok(text),
            _ => Err(Wrong::NotText),
        };
        each(Line { number: self.number, text });
        self.line.clear();
        (self.is_broken, self.is_too_long) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a file that comes in pieces of that size.
    fn lines(file: &[u8], piece_bytes: usize) -> Vec<Result<String, Wrong>> {
        let mut found = Vec::new();
        let mut each = |line: Line<'_>| {
            found.push(line.text.map(ToOwned::to_owned));
            assert_eq!(line.number, found.len() as u64);
        };
        let mut lines = Lines::default();
        file.chunks(piece_bytes).for_each(|piece| lines.push(piece, &mut each));
        lines.finish(&mut each);
        found
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(to_bytes).collect()
    }

    #[test]
    fn lines_are_the_same_in_every_encoding_and_however_they_come() {
        let text = "one\r\n\nthrée 𝄞\nlast";
        let files = [
            text.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            utf16(text, u16::to_le_bytes),
            utf16(text, u16::to_be_bytes),
        ];
        for file in files {
            for piece_bytes in [1, 2, 3, 5, file.len()] {
                let found: Vec<_> = lines(&file, piece_bytes).into_iter().map(Result::unwrap).collect();
                assert_eq!(found, ["one", "", "thrée 𝄞", "last"]);
            }
        }
        assert!(lines(b"", 1).is_empty() && lines(b"\xEF\xBB\xBF", 1).is_empty());
        assert_eq!(lines(b"a", 1), [Ok("a".into())]);
    }

    #[test]
    fn a_line_that_is_no_text_is_told_and_those_after_it_are_read() {
        assert_eq!(
            lines(b"caf\xE9\nnext\na\0b\0", 2),
            [Err(Wrong::NotText), Ok("next".into()), Err(Wrong::NotText)]
        );
        let mut broken = utf16("a\nb", u16::to_le_bytes);
        // Half a character at the end of the first line, half a unit at the end of the file.
        broken.splice(4..4, [0x00, 0xD8]);
        broken.push(b'c');
        assert_eq!(lines(&broken, 3), [Err(Wrong::NotText), Err(Wrong::NotText)]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_long_one() {
        let file = [&vec![b'x'; LINE_BYTES_MAX + 1][..], b"\nnext"].concat();
        assert_eq!(lines(&file, 4096), [Err(Wrong::TooLong), Ok("next".into())]);
        let mut longest = Lines::default();
        longest.push(&file, &mut |_| {});
        assert!(longest.line.capacity() <= 2 * LINE_BYTES_MAX);
    }
}
