//! The header of a message that is on a volume, as far as reports and replays need it.

use crate::storage::Source;

/// As much of a message is looked through for the end of its header, in bytes; Exchange takes headers of 256 KB.
const HEADER_BYTES_MAX: usize = 256 * 1024;

/// The header of a message, or as much of it as is looked at.
#[derive(Debug, Default)]
pub(crate) struct Header(Vec<u8>);

/// Reads the header of a message that is at its beginning.
///
/// # Errors
/// As [`Source::next_chunk`].
pub(crate) async fn read(source: &mut Source) -> Result<Header, penstock_spool::Error> {
    let mut bytes = Vec::new();
    while bytes.len() < HEADER_BYTES_MAX
        && let Some(chunk) = source.next_chunk().await?
    {
        bytes.extend_from_slice(&chunk);
        if end(&bytes).is_some() {
            break;
        }
    }
    Ok(Header::of(bytes))
}

/// Where the header ends, its empty line not among it.
fn end(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(0);
    }
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 2)
}

impl Header {
    /// Of a message that begins so.
    pub(crate) fn of(mut bytes: Vec<u8>) -> Self {
        let end = end(&bytes).unwrap_or(bytes.len()).min(HEADER_BYTES_MAX);
        bytes.truncate(end);
        Self(bytes)
    }

    /// All of it; lines end in CR LF.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first field of that name, whatever its case, on one line (RFC 5322 §2.2.3).
    pub(crate) fn field(&self, name: &str) -> Option<Vec<u8>> {
        let mut lines =
            self.0.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let value = lines.by_ref().find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let found = line[..colon].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes());
            found.then(|| line[colon + 1..].trim_ascii().to_vec())
        });
        let mut value = value?;
        for more in lines.take_while(|line| line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'))) {
            value.push(b' ');
            value.extend_from_slice(more.trim_ascii());
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_in_the_header_only_and_unfolded() {
        let header = Header::of(
            b"Received: a\r\n\tSubject: not this\r\nSUBJECT : first\r\n  second\r\n\tthird\r\nTo: x\r\n\r\nCc: body\r\n".to_vec(),
        );
        assert_eq!(header.field("subject").as_deref(), Some(&b"first second third"[..]));
        assert_eq!(header.field("cc"), None);
        assert!(header.bytes().ends_with(b"To: x\r\n"));
    }

    #[test]
    fn a_message_without_header_or_without_end_of_it_has_what_there_is() {
        assert_eq!(Header::of(b"\r\nSubject: body\r\n".to_vec()).bytes(), b"");
        assert_eq!(Header::of(b"Subject: all".to_vec()).field("Subject").as_deref(), Some(&b"all"[..]));
        assert_eq!(Header::of(vec![b'x'; 2 * HEADER_BYTES_MAX]).bytes().len(), HEADER_BYTES_MAX);
    }
}
