//! As much of BER as LDAP has (RFC 4511 §5.1): definite lengths, tags of one byte.

/// The universal types that are needed.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0A;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// What is no BER, or none that LDAP allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends a value with its tag and length.
pub(super) fn put(into: &mut Vec<u8>, tag: u8, content: &[u8]) {
    into.push(tag);
    let len = content.len();
    if len < 0x80 {
        into.push(len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let used = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &bytes[first..]);
        into.push(0x80 | used.len() as u8);
        into.extend_from_slice(used);
    }
    into.extend_from_slice(content);
}

/// Appends a number, as INTEGER or ENUMERATED.
pub(super) fn put_number(into: &mut Vec<u8>, tag: u8, number: u32) {
    let bytes = number.to_be_bytes();
    let mut used = &bytes[..];
    while let [0, rest @ ..] = used
        && rest.first().is_some_and(|next| *next < 0x80)
    {
        used = rest;
    }
    if used.first().is_some_and(|first| *first >= 0x80) {
        put(into, tag, &[&[0], used].concat());
    } else {
        put(into, tag, used);
    }
}

/// The length of a value with tag and length, if enough of it is there to tell.
pub(super) fn whole_len(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let [_, first, rest @ ..] = bytes else { return Ok(None) };
    if *first < 0x80 {
        return Ok(Some(2 + usize::from(*first)));
    }
    let count = usize::from(*first & 0x7F);
    // None is the indefinite form, and four are more than is ever taken.
    if !(1..=4).contains(&count) {
        return Err(Malformed);
    }
    let Some(digits) = rest.get(..count) else { return Ok(None) };
    let len = digits.iter().fold(0u64, |len, digit| len << 8 | u64::from(*digit));
    let len = usize::try_from(len).map_err(|_| Malformed)?;
    len.checked_add(2 + count).map(Some).ok_or(Malformed)
}

/// Values, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a>(pub(super) &'a [u8]);

impl<'a> Values<'a> {
    /// The next value: its tag and its content. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let Some(tag) = self.0.first() else { return Ok(None) };
        let len = whole_len(self.0)?.ok_or(Malformed)?;
        let (value, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        let digits =
            value.get(1).map_or(0, |first| if *first < 0x80 { 0 } else { usize::from(first & 0x7F) });
        self.0 = rest;
        value.get(2 + digits..).map(|content| Some((*tag, content))).ok_or(Malformed)
    }

    /// The content of the next value, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((found, content)) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// The next value as a number that is not negative.
    pub(super) fn number(&mut self, tag: u8) -> Result<u32, Malformed> {
        match self.expect(tag)? {
            [first, ..] if *first >= 0x80 => Err(Malformed),
            [] => Err(Malformed),
            [0, digits @ ..] | digits if digits.len() <= 4 => {
                Ok(digits.iter().fold(0, |number, digit| number << 8 | u32::from(*digit)))
            }
            _ => Err(Malformed),
        }
    }

    /// The next value as text; what is no UTF-8 is made visible.
    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.expect(OCTETS)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_and_numbers_are_as_short_as_they_can_be() {
        let number = |number| {
            let mut bytes = Vec::new();
            put_number(&mut bytes, INTEGER, number);
            bytes
        };
        assert_eq!(number(0), [2, 1, 0]);
        assert_eq!(number(127), [2, 1, 127]);
        assert_eq!(number(128), [2, 2, 0, 128]);
        assert_eq!(number(u32::MAX), [2, 5, 0, 255, 255, 255, 255]);
        let mut long = Vec::new();
        put(&mut long, OCTETS, &[7; 300]);
        assert_eq!(long[..4], [4, 0x82, 1, 44]);
        assert_eq!(whole_len(&long), Ok(Some(304)));
    }

    #[test]
    fn what_is_no_ber_is_refused() {
        assert_eq!(whole_len(&[0x30]), Ok(None));
        assert_eq!(whole_len(&[0x30, 0x82, 1]), Ok(None));
        assert_eq!(whole_len(&[0x30, 0x80]), Err(Malformed), "indefinite");
        assert_eq!(whole_len(&[0x30, 0x85, 0, 0, 0, 0, 1]), Err(Malformed));
        assert_eq!(Values(&[4, 3, 1]).next(), Err(Malformed));
        assert_eq!(Values(&[2, 1, 0x80]).number(INTEGER), Err(Malformed), "negative");
        assert_eq!(Values(&[2, 0]).number(INTEGER), Err(Malformed));
        assert_eq!(Values(&[]).next(), Ok(None));
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_again(numbers in prop::collection::vec(any::<u32>(), 0..8), text in ".{0,400}") {
            let mut bytes = Vec::new();
            for number in &numbers {
                put_number(&mut bytes, ENUMERATED, *number);
            }
            put(&mut bytes, OCTETS, text.as_bytes());
            let mut values = Values(&bytes);
            for number in numbers {
                prop_assert_eq!(values.number(ENUMERATED), Ok(number));
            }
            prop_assert_eq!(values.text(), Ok(text));
            prop_assert_eq!(values.next(), Ok(None));
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut values = Values(&bytes);
            let mut count = 0;
            while let Ok(Some(_)) = values.next() {
                count += 1;
            }
            prop_assert!(count <= bytes.len());
        }
    }
}
