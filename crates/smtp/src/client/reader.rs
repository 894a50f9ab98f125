//! Replies out of a stream of bytes, however it is cut into pieces and whoever sends it.

use heapless::Vec;
use memchr::memchr;

use crate::bounds::{FOREIGN_LINE_BYTES_MAX, FOREIGN_LINES_MAX, REPLY_LINE_BYTES_MAX};
use crate::error::Error;
use crate::reply::{Reply, ReplyBuf};

/// How far a reply has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All input was consumed, and there is no whole line.
    Incomplete,
    /// A line, and there will be more: [`ReplyReader::line_text`].
    Line,
    /// The last line: [`ReplyReader::reply`].
    Last,
}

/// Collects replies. Unlike the server's reader it takes a bare LF for the end of a line: nothing can be smuggled to
/// a client, which only ever reads what it asked for.
#[derive(Debug)]
pub(super) struct ReplyReader {
    /// The head of the line; of a whole one without its ending.
    line: Vec<u8, REPLY_LINE_BYTES_MAX>,
    /// What the line has, kept or not.
    line_bytes: usize,
    lines: u32,
    reply: ReplyBuf,
    /// What the last call gave, because the next one makes room for what follows.
    read: Read,
}

impl ReplyReader {
    pub(super) const fn new() -> Self {
        Self { line: Vec::new(), line_bytes: 0, lines: 0, reply: ReplyBuf::new(), read: Read::Incomplete }
    }

    /// The reply that has ended.
    pub(super) fn reply(&self) -> Reply<'_> {
        self.reply.as_reply()
    }

    /// How many lines of the reply have come.
    pub(super) fn lines(&self) -> u32 {
        self.lines
    }

    /// What follows the code in the line that has ended.
    pub(super) fn line_text(&self) -> &[u8] {
        self.line.get(4..).unwrap_or_default()
    }

    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Read, Error> {
        if self.read == Read::Last {
            self.reply.clear();
            self.lines = 0;
        }
        if self.read != Read::Incomplete {
            self.line.clear();
            self.line_bytes = 0;
        }
        let lf = memchr(b'\n', input);
        let (part, rest) =
            input.split_at_checked(lf.map_or(input.len(), |lf| lf + 1)).unwrap_or((input, &[]));
        *input = rest;
        self.line_bytes += part.len();
        if self.line_bytes > FOREIGN_LINE_BYTES_MAX {
            return Err(Error::ReplyTooLong);
        }
        let room = self.line.capacity() - self.line.len();
        let fits = self.line.extend_from_slice(part.get(..room).unwrap_or(part)).is_ok();
        debug_assert!(fits);
        self.read = if lf.is_some() { self.end_line()? } else { Read::Incomplete };
        Ok(self.read)
    }

    fn end_line(&mut self) -> Result<Read, Error> {
        for ending in [b'\n', b'\r'] {
            if self.line.last() == Some(&ending) {
                self.line.pop();
            }
        }
        self.lines += 1;
        if self.lines > FOREIGN_LINES_MAX {
            return Err(Error::ReplyTooLong);
        }
        let (code, last) = match self.line.as_slice() {
            [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
                let code = [a, b, c].into_iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
                match rest.first() {
                    None | Some(b' ') => (code, true),
                    Some(b'-') => (code, false),
                    Some(_) => return Err(Error::NotAReply),
                }
            }
            _ => return Err(Error::NotAReply),
        };
        self.reply.push_line(code, self.line.get(4..).unwrap_or_default());
        Ok(if last { Read::Last } else { Read::Line })
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    /// The replies in `input` when it comes in pieces of `piece_len` bytes, and the error that ends them.
    fn read(input: &[u8], piece_len: usize) -> (Vec<String>, Option<Error>) {
        let mut reader = ReplyReader::new();
        let mut replies = Vec::new();
        for mut piece in input.chunks(piece_len) {
            loop {
                match reader.next(&mut piece) {
                    Ok(Read::Incomplete) => break,
                    Ok(Read::Line) => {}
                    Ok(Read::Last) => replies.push(reader.reply().to_string()),
                    Err(error) => return (replies, Some(error)),
                }
            }
        }
        (replies, None)
    }

    fn assert_read(input: &[u8], replies: &[&str], error: Option<Error>) {
        for piece_len in [1, 2, 3, 7, 1000, usize::MAX] {
            let (came, ended) = read(input, piece_len);
            assert_eq!(
                (came.iter().map(String::as_str).collect::<Vec<_>>(), ended),
                (replies.to_vec(), error)
            );
        }
    }

    #[test]
    fn replies_of_one_and_many_lines_are_read() {
        assert_read(
            b"250 2.1.0 ok\r\n250-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n354\r\n220-\r\n220 \n",
            &["250 2.1.0 ok", "550 5.1.1 5.1.1 a b c", "354 ", "220 "],
            None,
        );
    }

    #[test]
    fn what_is_no_reply_is_told() {
        for input in
            ["\r\n", "25\r\n", "25x ok\r\n", "250_ok\r\n", "150 ok\r\n", "600 ok\r\n", "HTTP/1.1 400\r\n"]
        {
            assert_read(input.as_bytes(), &[], Some(Error::NotAReply));
        }
    }

    #[test]
    fn a_server_cannot_make_us_keep_or_read_without_end() {
        let mut long = std::vec![b'x'; FOREIGN_LINE_BYTES_MAX - 2];
        long[..4].copy_from_slice(b"250 ");
        let kept = std::format!("250 {}", "x".repeat(REPLY_LINE_BYTES_MAX - 4));
        assert_read(&[&long[..], b"\r\n"].concat(), &[&kept], None);
        assert_read(&[&long[..], b"x\r\n"].concat(), &[], Some(Error::ReplyTooLong));
        let endless = "250-x\r\n".repeat(FOREIGN_LINES_MAX as usize);
        assert_read(endless.as_bytes(), &[], None);
        assert_read((endless + "250 x\r\n").as_bytes(), &[], Some(Error::ReplyTooLong));
    }
}
