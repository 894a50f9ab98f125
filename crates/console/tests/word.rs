//! The word that stops a boot, on a line that may be noisy.

use penstock_console::RescueWord;

fn hears(bytes: &[u8]) -> bool {
    let mut word = RescueWord::new();
    bytes.iter().any(|byte| word.feed(*byte))
}

#[test]
fn the_word_alone_on_a_line_is_heard() {
    for typed in [
        &b"rescue\r"[..],
        b"rescue\n",
        b"rescue\r\n",
        b"  rescue  \r",
        b"\r\rrescue\r",
        b"\xff\x00\x80\rrescue\r",
        b"rescxx\x7f\x7fue\r",
        b"rescueue\x08\x08\r",
        b"xyz\x08\x08\x08rescue\r",
        b"rex\x08scue\r",
        b"\xff\x00\x80rescue\r",
        b"res\x00cue\xff\r",
    ] {
        assert!(hears(typed), "{typed:?}");
    }
}

#[test]
fn anything_else_is_not() {
    for typed in [
        &b"rescue"[..],
        b"\r",
        b"rescu\r",
        b"rescuee\r",
        b"Rescue\r",
        b"rescue me\r",
        b"xrescue\r",
        b"res cue\r",
        b"res\rcue\r",
        b"rescue\x08\r",
        b"\xff~\xffrescue\r",
        b" r e s c u e\r",
    ] {
        assert!(!hears(typed), "{typed:?}");
    }
}

#[test]
fn noise_is_not_the_word() {
    // Bytes of all values, the same ones each time; with many ends of lines among them.
    let mut state = 1_u32;
    let noise = (0..1_000_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let byte = (state >> 24) as u8;
        if byte < 32 { b'\r' } else { byte }
    });
    assert!(!hears(&noise.collect::<Vec<u8>>()));
}
