//! The keys that a box knows, as they are compiled in: text, since that is what a build can be given.

use ed25519_dalek::VerifyingKey;

use crate::manifest::KEYS;

/// Reads public keys: 64 hexadecimal digits each, commas between. `None` if that is not what the text is; who knows no key
/// takes nothing.
pub fn parse_keys(text: &str) -> Option<[VerifyingKey; KEYS]> {
    let mut texts = text.split(',');
    let mut keys = [VerifyingKey::default(); KEYS];
    for key in &mut keys {
        *key = parse_key(texts.next()?.trim())?;
    }
    texts.next().is_none().then_some(keys)
}

fn parse_key(text: &str) -> Option<VerifyingKey> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    VerifyingKey::from_bytes(&bytes).ok()
}
