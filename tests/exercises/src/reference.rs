//! The right answers, in the plainest way there is: whole input in memory, one byte after the other.

/// The message at the head of what follows 354: its bytes without the doubled dots, and how much of the input it is with
/// its end. `None`: it has no end. Only CR LF . CR LF is one, or . CR LF at the very beginning.
pub fn message(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut text = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let line_start = at == 0 || input[..at].ends_with(b"\r\n");
        if line_start && input[at..].starts_with(b".\r\n") {
            return Some((text, at + 3));
        }
        if !(line_start && input[at] == b'.') {
            text.push(input[at]);
        }
        at += 1;
    }
    None
}

/// The message that begins with the line of its first BDAT at the head of the input: its bytes, how much of the input that
/// is, and whether the last chunk is all there. Lines between chunks are commands, which end at CR LF and nowhere else.
pub fn chunks(input: &[u8]) -> (Vec<u8>, usize, bool) {
    let mut text = Vec::new();
    let mut at = 0;
    while let Some(end) = input[at..].windows(2).position(|pair| pair == b"\r\n") {
        let line = &input[at..at + end];
        at += end + 2;
        let Some((octets, last)) = chunk(line) else { continue };
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        let here = octets.min(input.len() - at);
        text.extend_from_slice(&input[at..at + here]);
        at += here;
        if last || here < octets {
            return (text, at, here == octets);
        }
    }
    (text, at, false)
}

/// What a BDAT line says: how many octets follow, and whether they are the last ones.
pub fn chunk(line: &[u8]) -> Option<(u64, bool)> {
    let line = core::str::from_utf8(line).ok()?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (verb, octets, last) = match words[..] {
        [verb, octets] => (verb, octets, None),
        [verb, octets, last] => (verb, octets, Some(last)),
        _ => return None,
    };
    let counts = octets.len() <= 20 && octets.bytes().all(|byte| byte.is_ascii_digit());
    let ends = last.is_none_or(|last| last.eq_ignore_ascii_case("LAST"));
    let is_chunk = line.starts_with(verb) && verb.eq_ignore_ascii_case("BDAT") && counts && ends;
    is_chunk.then(|| (octets.parse().unwrap_or(u64::MAX), last.is_some()))
}

/// Whether there is a CR without LF or a LF without CR.
pub fn has_bare_newline(text: &[u8]) -> bool {
    (0..text.len()).any(|at| match text[at] {
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || text[at - 1] != b'\r',
        _ => false,
    })
}

/// The first reply in what a server sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is not all there.
    Incomplete,
    /// This is none.
    Wrong,
    /// It is beyond what is read.
    TooLong,
    /// A whole one.
    Whole {
        /// Its lines: the code of each, and what follows it, enhanced codes included. The last one's code is the reply's.
        lines: Vec<(u16, Vec<u8>)>,
        /// How much of the input it is.
        len: usize,
    },
}

/// Reads a reply. A line ends with LF; a CR before it is part of the end.
pub fn reply(input: &[u8], line_bytes_max: usize, kept_bytes_max: usize, lines_max: usize) -> Reply {
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = input[at..].iter().position(|byte| *byte == b'\n') else {
            return if input.len() - at > line_bytes_max { Reply::TooLong } else { Reply::Incomplete };
        };
        let line = &input[at..=at + end];
        if line.len() > line_bytes_max || lines.len() == lines_max {
            return Reply::TooLong;
        }
        at += end + 1;
        // Of a long line only the head is kept, perhaps without its ending.
        let line = &line[..line.len().min(kept_bytes_max)];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let digits = line.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        if digits < 3 || !(b'2'..=b'5').contains(&line[0]) {
            return Reply::Wrong;
        }
        let code = line[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        lines.push((code, line.get(4..).unwrap_or_default().to_vec()));
        match line.get(3) {
            None | Some(b' ') => return Reply::Whole { lines, len: at },
            Some(b'-') => {}
            Some(_) => return Reply::Wrong,
        }
    }
}

/// Whether all of this is whole reply lines as we may send them: a code, printable ASCII, CR LF, none too long.
pub fn is_whole_replies(output: &[u8], line_bytes_max: usize) -> bool {
    let Some(text) = output.strip_suffix(b"\r\n") else { return output.is_empty() };
    let mut lines = text.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        // All but the last, whose ending is gone, end in CR.
        let line = match (line.strip_suffix(b"\r"), lines.peek()) {
            (Some(line), Some(_)) => line,
            (None, None) => line,
            _ => return false,
        };
        let head = line.len() >= 4
            && (b'2'..=b'5').contains(&line[0])
            && line[1].is_ascii_digit()
            && line[2].is_ascii_digit()
            && matches!(line[3], b' ' | b'-');
        if !head || line.len() + 2 > line_bytes_max || !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_knows_where_a_message_ends() {
        assert_eq!(message(b".\r\nx"), Some((vec![], 3)));
        assert_eq!(message(b"a\r\n..b\r\n.\r\n"), Some((b"a\r\n.b\r\n".to_vec(), 11)));
        assert_eq!(
            message(b"a\n.\nb\r.\rc\r\n.\nd\r\n.\r\n"),
            Some((b"a\n.\nb\r.\rc\r\n\nd\r\n".to_vec(), 19))
        );
        assert_eq!(message(b"a\r\n.\r"), None);
        assert!(has_bare_newline(b"\na") && has_bare_newline(b"a\r") && has_bare_newline(b"\r\r\n"));
        assert!(!has_bare_newline(b"\r\n\r\n"));
    }

    #[test]
    fn the_reference_knows_chunks() {
        let input = b"BDAT 5\r\nBDAT NOOP\r\nbdat 3 last\r\n\r\n.\r\nQUIT\r\n";
        let (text, len, ended) = chunks(input);
        assert_eq!((&text[..], &input[len..], ended), (&b"BDAT \r\n."[..], &b"\r\nQUIT\r\n"[..], true));
        assert_eq!(chunks(b"BDAT 5 LAST\r\nabc"), (b"abc".to_vec(), 16, false));
        for line in [&b"BDAT"[..], b"BDAT x", b"BDAT 1 LAST x", b"BDAT 1 x", b" BDAT 1", b"BDATA 1"] {
            assert_eq!(chunk(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_reference_knows_a_reply() {
        let lines = vec![(550, b"a".to_vec()), (250, Vec::new()), (250, b"b".to_vec())];
        let whole = Reply::Whole { lines, len: 18 };
        assert_eq!(reply(b"550-a\n250-\r\n250 b\nx", 99, 99, 9), whole);
        assert_eq!(reply(b"250-a\r\n", 99, 99, 9), Reply::Incomplete);
        assert_eq!(reply(b"199 a\r\n", 99, 99, 9), Reply::Wrong);
        assert!(is_whole_replies(b"250-a\r\n250 b\r\n", 99));
        for wrong in [
            &b"250 a"[..],
            b"250 a\n",
            b"250 a\r\r\n",
            b"25 a\r\n",
            b"250 a\r\nb\r\n",
            b"250 a\x80\r\n",
            b"\r\n",
        ] {
            assert!(!is_whole_replies(wrong, 99), "{}", wrong.escape_ascii());
        }
    }
}
