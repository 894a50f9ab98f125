//! A few lines at the top of a terminal that change in place. Of each new picture only that is sent in which it differs
//! from the one before: a serial line carries some 11,000 characters a second, and a status hardly changes.

use std::fmt::Write as _;

/// What the terminal shows.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    shown: Vec<Vec<char>>,
    drawn: bool,
}

/// Differences with fewer equal characters between them are sent as one: to go elsewhere costs about as many.
const GAP: usize = 6;

impl Picture {
    /// What has to be sent so that the terminal shows these lines, cut to so many columns.
    pub(crate) fn turn_into(&mut self, lines: &[String], columns: usize) -> String {
        let lines: Vec<Vec<char>> = lines.iter().map(|line| line.chars().take(columns).collect()).collect();
        let mut sent = String::new();
        if !self.drawn {
            // The whole screen is cleared once (ECMA-48: ED, CUP).
            sent.push_str("\x1b[2J");
            self.shown.clear();
            self.drawn = true;
        }
        for row in 0..lines.len().max(self.shown.len()) {
            let empty = Vec::new();
            let (new, old) = (lines.get(row).unwrap_or(&empty), self.shown.get(row).unwrap_or(&empty));
            draw_row(row, old, new, &mut sent);
        }
        if !sent.is_empty() {
            // The cursor waits below.
            let _ = write!(sent, "\x1b[{};1H", lines.len() + 1);
        }
        self.shown = lines;
        sent
    }

    /// Forgets what the terminal shows: somebody else may have written to it.
    pub(crate) fn forget(&mut self) {
        self.drawn = false;
    }
}

fn draw_row(row: usize, old: &[char], new: &[char], sent: &mut String) {
    let at = |line: &[char], column: usize| line.get(column).copied().unwrap_or(' ');
    let end = old.len().max(new.len());
    let mut column = 0;
    while column < end {
        if at(old, column) == at(new, column) {
            column += 1;
            continue;
        }
        // From here to the last difference that is not far behind the one before it.
        let mut last = column;
        let mut next = column + 1;
        while next < end && next - last <= GAP {
            if at(old, next) != at(new, next) {
                last = next;
            }
            next += 1;
        }
        let _ = write!(sent, "\x1b[{};{}H", row + 1, column + 1);
        if last >= new.len() {
            sent.extend(&new[column.min(new.len())..]);
            // Nothing stands to the right of it any more.
            sent.push_str("\x1b[K");
            return;
        }
        sent.extend(&new[column..=last]);
        column = last + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// What a terminal shows after these characters: CUP, ED and EL are all that it knows.
    fn shown(sent: &str) -> Vec<String> {
        let mut screen = vec![vec![' '; 40]; 6];
        let (mut row, mut column) = (0, 0);
        let mut characters = sent.chars();
        while let Some(c) = characters.next() {
            if c != '\x1b' {
                screen[row][column] = c;
                column += 1;
                continue;
            }
            assert_eq!(characters.next(), Some('['));
            let mut numbers = String::new();
            let last = loop {
                let c = characters.next().unwrap();
                if c.is_ascii_alphabetic() {
                    break c;
                }
                numbers.push(c);
            };
            match last {
                'J' => screen.iter_mut().flatten().for_each(|c| *c = ' '),
                'K' => screen[row][column..].fill(' '),
                'H' => {
                    let (r, c) = numbers.split_once(';').unwrap();
                    (row, column) = (r.parse::<usize>().unwrap() - 1, c.parse::<usize>().unwrap() - 1);
                }
                other => panic!("{other}"),
            }
        }
        screen.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn the_terminal_shows_the_new_picture_and_only_what_changed_was_sent() {
        let mut picture = Picture::default();
        let mut all = String::new();
        let first = lines("Mail     3 messages\nRate     120 a minute\nDone     in 4 min to 6 min");
        all += &picture.turn_into(&first, 40);
        let whole = all.len();
        for text in [
            "Mail     4 messages\nRate     120 a minute\nDone     in 4 min to 6 min",
            "Mail     none\nRate     0 a minute",
            "Mail     none\nRate     0 a minute\nDone     now\nand more",
        ] {
            let next = lines(text);
            all += &picture.turn_into(&next, 40);
            let mut expected = next.clone();
            expected.resize(6, String::new());
            assert_eq!(shown(&all), expected, "{all:?}");
        }
        let mut picture = Picture::default();
        picture.turn_into(&first, 40);
        let changed = lines("Mail     3 messages\nRate     121 a minute\nDone     in 4 min to 6 min");
        let little = picture.turn_into(&changed, 40);
        assert!(little.len() < 20 && little.len() < whole / 3, "{little:?}");
        assert_eq!(picture.turn_into(&changed, 40), "", "nothing changed");
    }
}
