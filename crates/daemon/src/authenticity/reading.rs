//! Reads a message for its judgement, in pieces of any size and in bounded memory: the header section is kept, of the body only
//! the hashes that its signatures speak of.

use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{HashAlgorithm, HashContext as _, HashImpl, Sha1, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;

/// The longest header section that is looked at, in bytes. Exchange takes 256 KB; what has more than this is no mail that a
/// person wrote.
const HEADER_BYTES_MAX: usize = 128 * 1024;
/// The signatures of a message that are looked at, the topmost, and those that cannot be read. Mail through two lists and a
/// provider has four.
const SIGNATURES_MAX: usize = 8;
/// Names of header fields in a signature; one with more is not looked at. Each is searched for in the whole header.
const NAMES_MAX: usize = 100;

/// What a signature's hash of the body is made with.
type Recipe = (Canonicalization, HashAlgorithm);
type Sha1Hasher = BodyHasher<<Sha1 as HashImpl>::Context>;
type Sha256Hasher = BodyHasher<<Sha256 as HashImpl>::Context>;

enum Hasher {
    Sha1(Sha1Hasher),
    Sha256(Sha256Hasher),
}

impl Hasher {
    fn new((canonicalization, algorithm): Recipe) -> Self {
        match algorithm {
            HashAlgorithm::Sha1 => Self::Sha1(BodyHasher::new(Sha1::hasher(), canonicalization, 0)),
            HashAlgorithm::Sha256 => Self::Sha256(BodyHasher::new(Sha256::hasher(), canonicalization, 0)),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.write(bytes),
            Self::Sha256(hasher) => hasher.write(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        let output = match self {
            Self::Sha1(hasher) => hasher.finish().0.complete(),
            Self::Sha256(hasher) => hasher.finish().0.complete(),
        };
        output.as_ref().to_vec()
    }
}

/// Reads one message.
#[derive(Default)]
pub(super) struct Reader {
    header: Vec<u8>,
    /// From the end of the header section on; at most one for each way to make a hash, of which there are four.
    body: Option<Vec<(Recipe, Hasher)>>,
    too_long: bool,
}

/// A message as far as its judgement needs it.
pub(super) struct Message {
    header: Vec<u8>,
    hashes: Vec<(Recipe, Vec<u8>)>,
}

impl Reader {
    /// The next piece of the message.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        if self.body.is_none() {
            let before = self.header.len();
            let room = HEADER_BYTES_MAX - before;
            self.header.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            // An empty line that the piece before began ends here, too.
            let searched = before.saturating_sub(3);
            let Some(end) = header_end(&self.header, searched) else {
                self.too_long |= bytes.len() > room;
                return;
            };
            self.header.truncate(end);
            self.begin_body();
            bytes = bytes.get(end - before..).unwrap_or_default();
        }
        for (_, hasher) in self.body.iter_mut().flatten() {
            hasher.write(bytes);
        }
    }

    fn begin_body(&mut self) {
        let mut hashers: Vec<(Recipe, Hasher)> = Vec::new();
        if let Some(parsed) = parse(&self.header) {
            for header in &parsed.dkim_headers {
                let recipe = (header.header.cb, HashAlgorithm::from(header.header.a));
                if !hashers.iter().any(|(there, _)| *there == recipe) {
                    hashers.push((recipe, Hasher::new(recipe)));
                }
            }
        }
        self.body = Some(hashers);
    }

    /// The end of the message.
    ///
    /// # Errors
    /// Why it cannot be judged.
    pub(super) fn finish(mut self) -> Result<Message, String> {
        if self.body.is_none() {
            if self.too_long {
                return Err(format!("its header is longer than {HEADER_BYTES_MAX} bytes"));
            }
            self.begin_body();
        }
        let hashes =
            self.body.into_iter().flatten().map(|(recipe, hasher)| (recipe, hasher.finish())).collect();
        Ok(Message { header: self.header, hashes })
    }
}

/// Where the header section ends, its empty line among it; what is before `searched` was searched.
fn header_end(bytes: &[u8], searched: usize) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    let from = bytes.get(searched..)?;
    from.windows(4).position(|four| four == b"\r\n\r\n").map(|at| searched + at + 4)
}

/// The header section, with the signatures that are looked at.
fn parse(header: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let mut parsed = AuthenticatedMessage::parse(header)?;
    parsed.dkim_headers.retain(|signature| signature.header.h.len() <= NAMES_MAX);
    parsed.dkim_headers.truncate(SIGNATURES_MAX);
    parsed.errors.truncate(SIGNATURES_MAX);
    Some(parsed)
}

impl Message {
    /// The header with the hashes of the body. `None` if there is no header at all.
    pub(super) fn parsed(&self) -> Option<AuthenticatedMessage<'_>> {
        let mut parsed = parse(&self.header)?;
        parsed.body_hashes.clear();
        for ((canonicalization, algorithm), hash) in &self.hashes {
            // A signature over part of the body (l=) is an error to the parser: it lets anybody append.
            parsed.body_hashes.push((*canonicalization, *algorithm, 0, hash.clone()));
        }
        Some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const SIGNED: &str = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.com; s=a; h=from; bh=AAAA; b=AAAA\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=simple/relaxed; d=example.com; s=a; h=from; bh=AAAA; b=AAAA\r\n\
         DKIM-Signature: v=1; a=rsa-sha1; c=relaxed/relaxed; d=example.com; s=a; h=from; bh=AAAA; b=AAAA\r\n\
         From: a@example.com\r\n";

    fn read(message: &[u8], piece_len: usize) -> Result<Message, String> {
        let mut reader = Reader::default();
        message.chunks(piece_len).for_each(|piece| reader.push(piece));
        reader.finish()
    }

    proptest! {
        #[test]
        fn the_hashes_are_those_of_the_whole_body_however_it_comes(
            parts in vec(select(&["\r\n", " ", "\t", "text", ".", "\r\n\r\n"][..]), 0..30),
            piece_len in 1_usize..40,
        ) {
            let body = parts.concat();
            let message = format!("{SIGNED}\r\n{body}");
            let whole = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
            let read = read(message.as_bytes(), piece_len).unwrap();
            prop_assert_eq!(read.parsed().unwrap().body_hashes, whole.body_hashes);
        }

        #[test]
        fn no_header_is_held_against_us(bytes in vec(any::<u8>(), 0..400), piece_len in 1_usize..40) {
            let message = [SIGNED.as_bytes(), &bytes].concat();
            let read = read(&message, piece_len).unwrap();
            prop_assert!(read.parsed().is_some());
        }
    }

    #[test]
    fn a_header_without_end_and_signatures_without_number_are_bounded() {
        let endless = "X: y\r\n".repeat(HEADER_BYTES_MAX);
        assert!(read(endless.as_bytes(), 1000).is_err_and(|why| why.contains("header")));
        let many = format!("{}\r\nbody\r\n", SIGNED.repeat(50));
        let read_all = read(many.as_bytes(), usize::MAX).unwrap();
        assert_eq!(read_all.parsed().unwrap().dkim_headers.len(), SIGNATURES_MAX);
        let names = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=a; h=from{}; bh=AAAA; b=AAAA\r\nFrom: a@a.example\r\n\r\n",
            ":to".repeat(200)
        );
        assert_eq!(read(names.as_bytes(), 7).unwrap().parsed().unwrap().dkim_headers.len(), 0);
    }
}
