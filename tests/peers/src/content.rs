//! The bytes of a message as seen from one side of an SMTP session: found in the stream, freed of dot-stuffing and
//! reduced to a digest, so that a test can hold hundreds of thousands of messages of any size.

use std::fmt;

use sha2::{Digest, Sha256};

/// Length and digest of a message, without the dot-stuffing and without the final dot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// Length in bytes.
    pub len_bytes: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
}

impl Content {
    /// The content that is these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { len_bytes: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes ", self.len_bytes)?;
        self.sha256[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the reader of a DATA stream is, by what it has just seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Dot,
    DotCr,
    Line,
    Cr,
}

/// Reads what follows a `354` up to CRLF `.` CRLF and nothing else that looks like it (RFC 5321 §4.1.1.4, §4.5.2).
pub struct DataReader {
    at: At,
    plain: Vec<u8>,
}

impl DataReader {
    /// At the start of a message.
    pub fn new() -> Self {
        Self { at: At::LineStart, plain: Vec::new() }
    }

    /// Takes bytes of the stream and hands the content in them to `sink`. Returns how many it took, and whether the
    /// final dot was among them; what comes after it is not touched.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> (usize, bool) {
        self.plain.clear();
        let mut taken = 0;
        let mut ended = false;
        while taken < bytes.len() && !ended {
            // In the middle of a line nothing matters before the next CR.
            if self.at == At::Line {
                let run =
                    bytes[taken..].iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len() - taken);
                self.plain.extend_from_slice(&bytes[taken..taken + run]);
                taken += run;
                if taken == bytes.len() {
                    break;
                }
            }
            let byte = bytes[taken];
            taken += 1;
            self.at = match (self.at, byte) {
                (At::LineStart, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::DotCr, b'\n') => {
                    ended = true;
                    At::LineStart
                }
                // The dot was stuffing after all.
                (At::DotCr, _) => {
                    self.plain.push(b'\r');
                    self.plain.push(byte);
                    if byte == b'\r' { At::Cr } else { At::Line }
                }
                (At::Cr, b'\n') => {
                    self.plain.push(byte);
                    At::LineStart
                }
                (_, b'\r') => {
                    self.plain.push(byte);
                    At::Cr
                }
                (_, _) => {
                    self.plain.push(byte);
                    At::Line
                }
            };
        }
        if !self.plain.is_empty() {
            sink(&self.plain);
        }
        (taken, ended)
    }
}

impl Default for DataReader {
    fn default() -> Self {
        Self::new()
    }
}

/// Digests a message while it streams, after taking the header fields at its top that the servers on its way added.
pub struct Digester {
    hasher: Sha256,
    len_bytes: u64,
    fields_left: usize,
    trace: Vec<u8>,
}

impl Digester {
    /// Takes the first `fields` header fields for trace and digests the rest.
    pub fn after_fields(fields: usize) -> Self {
        Self { hasher: Sha256::new(), len_bytes: 0, fields_left: fields, trace: Vec::new() }
    }

    /// Takes the next bytes of the message.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while self.fields_left > 0 {
            // A field ends where a line begins that does not continue it.
            let Some((first, rest)) = bytes.split_first() else { return };
            if self.trace.ends_with(b"\r\n") && !matches!(first, b' ' | b'\t') {
                self.fields_left -= 1;
                if self.fields_left == 0 {
                    break;
                }
            }
            self.trace.push(*first);
            bytes = rest;
        }
        self.hasher.update(bytes);
        self.len_bytes += bytes.len() as u64;
    }

    /// The fields that were taken off, and what the rest is.
    pub fn finish(self) -> (Vec<u8>, Content) {
        (self.trace, Content { len_bytes: self.len_bytes, sha256: self.hasher.finalize().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read when the stream comes in pieces of `piece` bytes, and what is left over.
    fn read(stream: &[u8], piece: usize) -> (Vec<u8>, bool, usize) {
        let mut reader = DataReader::new();
        let mut content = Vec::new();
        let mut taken = 0;
        for chunk in stream.chunks(piece) {
            let (n, ended) = reader.feed(chunk, |bytes| content.extend_from_slice(bytes));
            taken += n;
            if ended {
                return (content, true, stream.len() - taken);
            }
        }
        (content, false, 0)
    }

    #[test]
    fn the_final_dot_is_found_and_stuffing_removed_however_the_stream_is_cut() {
        let stream = b"Subject: x\r\n\r\n..one\r\n...\r\n.\rno\r\na.\r\n\r\n.\r\nQUIT\r\n";
        for piece in 1..=stream.len() {
            let (content, ended, left) = read(stream, piece);
            assert!(ended);
            assert_eq!(content, b"Subject: x\r\n\r\n.one\r\n..\r\n\rno\r\na.\r\n\r\n");
            assert_eq!(left, b"QUIT\r\n".len());
        }
    }

    #[test]
    fn a_dot_between_bare_line_ends_does_not_end_a_message() {
        for stream in [&b"a\n.\nb"[..], b"a\n.\r\nb", b"a\r\n.\nb", b"a\r.\r\nb", b"a\r\n.\rb"] {
            assert!(!read(stream, 1).1, "{}", stream.escape_ascii());
        }
    }

    #[test]
    fn the_fields_on_top_are_taken_with_their_continuation_lines() {
        let message = b"Received: a\r\n\tb\r\nReceived: c\r\nSubject: x\r\n\r\nbody\r\n";
        for piece in 1..message.len() {
            let mut digester = Digester::after_fields(1);
            message.chunks(piece).for_each(|chunk| digester.update(chunk));
            let (trace, content) = digester.finish();
            assert_eq!(trace, b"Received: a\r\n\tb\r\n");
            assert_eq!(content, Content::of(b"Received: c\r\nSubject: x\r\n\r\nbody\r\n"));
        }
    }
}
