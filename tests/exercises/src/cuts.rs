//! How a stream of bytes is cut into pieces, chosen by one byte of the input.

/// Calls `each` with the pieces of `bytes` until it says that it wants no more. 0 cuts nothing.
pub(crate) fn cut(bytes: &[u8], choice: u8, mut each: impl FnMut(&[u8]) -> bool) {
    const LENGTHS: [usize; 8] = [1, 2, 1, 3, 7, 1, 50, 500];
    let mut rest = bytes;
    let mut at = usize::from(choice);
    while !rest.is_empty() {
        let len = if choice == 0 { rest.len() } else { LENGTHS[at % LENGTHS.len()].min(rest.len()) };
        at += 1 + usize::from(choice >> 4);
        let (piece, after) = rest.split_at(len);
        if !each(piece) {
            return;
        }
        rest = after;
    }
}
