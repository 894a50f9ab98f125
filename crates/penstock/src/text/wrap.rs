//! Lines no longer than the terminal is wide.

use unicode_width::UnicodeWidthStr;

/// Narrower than this it would be one word a line.
const WIDTH_MIN: usize = 30;

/// The text in pieces of at most `width` columns, broken at spaces. Without a width it stays whole.
pub(crate) fn wrap(text: &str, width: Option<usize>) -> Vec<&str> {
    let Some(width) = width else { return vec![text] };
    let width = width.max(WIDTH_MIN);
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.width() > width {
        let spaces = rest.match_indices(' ').map(|(at, _)| at);
        let fitting = spaces.clone().take_while(|at| rest[..*at].width() <= width).last();
        // A word that is longer than the line sticks out.
        let Some(at) = fitting.or_else(|| spaces.into_iter().next()) else { break };
        pieces.push(&rest[..at]);
        rest = &rest[at + 1..];
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_nothing_is_lost() {
        let text = "The next hop does not answer; it is tried again in 5 s.";
        let pieces = wrap(text, Some(30));
        assert_eq!(pieces, ["The next hop does not answer;", "it is tried again in 5 s."]);
        assert_eq!(pieces.join(" "), text);
        assert_eq!(wrap(text, None), [text]);
    }

    #[test]
    fn a_word_longer_than_the_line_stays_whole() {
        let word = "x".repeat(40);
        let text = format!("{word} y");
        assert_eq!(wrap(&text, Some(30)), [word.as_str(), "y"]);
        assert_eq!(wrap(&word, Some(30)), [word.as_str()]);
    }
}
