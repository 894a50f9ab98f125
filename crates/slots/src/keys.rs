//! The keys that a box knows, as they are compiled in: text, since that is what a build can be given.

use ed25519_dalek::VerifyingKey;

use crate::manifest::KEYS;

/// Reads public keys: 64 hexadecimal digits each, commas between. `None` if that is not what the text is; who knows no key
/// takes nothing.
pub fn parse_keys(text: &str) -> Option<[VerifyingKey; KEYS]> {
    // By bytes, which takes less room than text does: stage 0 has little.
    let mut texts = text.as_bytes().split(|byte| *byte == b',');
    let mut keys = [VerifyingKey::default(); KEYS];
    for key in &mut keys {
        *key = parse_key(texts.next()?.trim_ascii())?;
    }
    texts.next().is_none().then_some(keys)
}

fn parse_key(digits: &[u8]) -> Option<VerifyingKey> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digits
            .iter()
            .try_fold(0, |byte, digit| Some(byte << 4 | char::from(*digit).to_digit(16)? as u8))?;
    }
    VerifyingKey::from_bytes(&bytes).ok()
}
