//! Takes the bytes of a message: finds its end, counts, and keeps its beginning.

/// What is kept of a message beyond the largest header that is accepted: content is searched for marks there.
const KEPT_BODY_BYTES_MAX: usize = 64 * 1024;

/// Where the reader is in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Line,
    Cr,
    Dot,
    DotCr,
}

/// A message that is being received.
#[derive(Debug)]
pub(crate) struct Body {
    at: At,
    len_bytes: u64,
    kept: Vec<u8>,
    kept_bytes_max: usize,
}

impl Body {
    pub(crate) fn new(header_bytes_max: u64) -> Self {
        let kept_bytes_max = usize::try_from(header_bytes_max).unwrap_or(usize::MAX).min(16 << 20);
        Self {
            at: At::LineStart,
            len_bytes: 0,
            kept: Vec::new(),
            kept_bytes_max: kept_bytes_max + KEPT_BODY_BYTES_MAX,
        }
    }

    /// Takes what follows DATA: says how many bytes it took, and whether CRLF.CRLF was the last of them. Only that ends
    /// a message.
    pub(crate) fn feed(&mut self, input: &[u8]) -> (usize, bool) {
        let mut plain = Vec::with_capacity(input.len());
        let mut taken = input.len();
        let mut ended = false;
        for (index, byte) in input.iter().enumerate() {
            self.at = match (self.at, byte) {
                (At::LineStart, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::DotCr, b'\n') => {
                    taken = index + 1;
                    ended = true;
                    break;
                }
                (At::DotCr, _) => {
                    // The dot was stuffing, and a bare CR stood behind it.
                    plain.push(b'\r');
                    plain.push(*byte);
                    if *byte == b'\r' { At::Cr } else { At::Line }
                }
                (At::Cr, b'\n') => {
                    plain.push(*byte);
                    At::LineStart
                }
                (_, b'\r') => {
                    plain.push(*byte);
                    At::Cr
                }
                _ => {
                    plain.push(*byte);
                    At::Line
                }
            };
        }
        self.append(&plain);
        (taken, ended)
    }

    /// Takes the octets of a BDAT chunk, which mean nothing but themselves.
    pub(crate) fn append(&mut self, plain: &[u8]) {
        self.len_bytes += plain.len() as u64;
        let room = self.kept_bytes_max - self.kept.len();
        self.kept.extend_from_slice(plain.get(..room).unwrap_or(plain));
    }

    /// How long the message is so far.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The beginning of the message.
    pub(crate) fn into_kept(self) -> Vec<u8> {
        self.kept
    }
}

/// Where the header ends, or all of what is kept if its end is not there.
pub(crate) fn header_of(kept: &[u8]) -> &[u8] {
    let mut line_start = 0;
    for (index, _) in kept.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let line = kept.get(line_start..index).unwrap_or_default();
        if line.is_empty() || line == b"\r" {
            return kept.get(..line_start).unwrap_or_default();
        }
        line_start = index + 1;
    }
    kept
}

/// The header fields: names in lower case, values unfolded and trimmed.
pub(crate) fn fields_of(header: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(header);
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if let Some(more) = line.strip_prefix([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                if !value.is_empty() {
                    value.push(' ');
                }
                value.push_str(more.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_and_stuffing_removed_however_the_stream_is_cut() {
        let stream = b"Subject: x\r\n\r\n..one\r\n...\r\n.\rno\r\na.\r\n\n.\nb\r\n.\r\nQUIT\r\n";
        for piece in 1..=stream.len() {
            let mut body = Body::new(1024);
            let mut taken = 0;
            let ended = stream.chunks(piece).any(|chunk| {
                let (n, ended) = body.feed(chunk);
                taken += n;
                ended
            });
            assert!(ended);
            assert_eq!(stream.len() - taken, b"QUIT\r\n".len());
            assert_eq!(body.into_kept(), b"Subject: x\r\n\r\n.one\r\n..\r\n\rno\r\na.\r\n\n.\nb\r\n");
        }
    }

    #[test]
    fn little_of_a_long_message_is_kept_and_all_of_it_counted() {
        let mut body = Body::new(1024);
        for _ in 0..100 {
            body.append(&[b'x'; 100_000]);
        }
        assert_eq!(body.len_bytes(), 10_000_000);
        assert_eq!(body.into_kept().len(), 1024 + KEPT_BODY_BYTES_MAX);
    }

    #[test]
    fn header_fields_are_unfolded() {
        let kept = b"Message-ID:\r\n <a@b>\r\nDate: now\r\n\r\nSubject: no\r\n";
        let fields = fields_of(header_of(kept));
        assert_eq!(fields, [("message-id".into(), "<a@b>".into()), ("date".into(), "now".into())]);
    }
}
