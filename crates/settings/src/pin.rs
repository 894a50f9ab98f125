//! A pin: the SHA-256 by which a certificate, or its key, is known.

use alloc::string::{String, ToString};
use core::fmt;

use crate::value::{Refusal, Text};

/// SHA-256 of a certificate or of its public key (the DER of SubjectPublicKeyInfo).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl fmt::Display for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl Text for Pin {
    type Limits = ();
    const EXAMPLE: &'static str = "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";

    fn allowed((): &()) -> String {
        "a SHA-256 in hexadecimal, with colons or without".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        if text.len() == 40 || text.len() == 59 {
            return Err(Refusal::Because(
                "this is a SHA-1, as Windows shows as the thumbprint; take the SHA-256",
            ));
        }
        let mut digits = text.chars().filter(|it| !matches!(it, ':' | ' ')).map(|it| it.to_digit(16));
        let mut pin = [0; 32];
        for byte in &mut pin {
            let mut next = || digits.next().flatten().ok_or(Refusal::Bad);
            *byte = (next()? << 4 | next()?) as u8;
        }
        if digits.next().is_some() { Err(Refusal::Bad) } else { Ok(Self(pin)) }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_as_tools_print_it() {
        let pin = |text: &str| Pin::from_text(text, &()).ok();
        let plain = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let read = pin(plain).unwrap();
        assert_eq!(read.to_string(), plain);
        let with_colons: alloc::vec::Vec<_> =
            plain.as_bytes().chunks(2).map(|two| core::str::from_utf8(two).unwrap().to_uppercase()).collect();
        assert_eq!(pin(&with_colons.join(":")), Some(read));
        for text in ["", "9f", &plain[1..], &alloc::format!("{plain}00"), &plain.replace('9', "g")] {
            assert_eq!(pin(text), None, "{text:?}");
        }
    }
}
