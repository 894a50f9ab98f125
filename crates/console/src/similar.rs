//! What may have been meant.

/// Names are no longer than that, in bytes; what is longer resembles none.
const NAME_BYTES_MAX: usize = 24;

/// The one of the names that a word resembles most, if it resembles one: the word is the beginning of it, or differs by at
/// most two letters that are missing, too much, other ones or swapped, and not by more than a third of the word.
pub(crate) fn most_similar(word: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let distance_max = (word.len() / 3).min(2);
    let known = names.filter_map(|name| {
        let is_begun = word.len() > 1 && name.starts_with(word);
        let differ = if is_begun { 0 } else { distance(word.as_bytes(), name.as_bytes())? };
        (differ <= distance_max).then_some((differ, name))
    });
    known.min_by_key(|(differ, _)| *differ).map(|(_, name)| name)
}

/// How many letters differ (optimal string alignment).
fn distance(one: &[u8], other: &[u8]) -> Option<usize> {
    if one.len() > NAME_BYTES_MAX || other.len() > NAME_BYTES_MAX {
        return None;
    }
    // Rows of the table: the one before the last, the last, the one being filled.
    let mut rows = [[0_usize; NAME_BYTES_MAX + 1]; 3];
    for (column, cell) in rows[1].iter_mut().enumerate() {
        *cell = column;
    }
    for (row, letter) in one.iter().enumerate() {
        rows[2][0] = row + 1;
        for (column, against) in other.iter().enumerate() {
            let other_letter = rows[1][column] + usize::from(letter != against);
            let mut least = other_letter.min(rows[1][column + 1] + 1).min(rows[2][column] + 1);
            let swapped = row > 0 && column > 0 && one[row - 1] == *against && other[column - 1] == *letter;
            if swapped {
                least = least.min(rows[0][column - 1] + 1);
            }
            rows[2][column + 1] = least;
        }
        rows.rotate_left(1);
    }
    Some(rows[1][other.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (one, other, differ) in [
            ("status", "status", 0),
            ("stauts", "status", 1),
            ("statu", "status", 1),
            ("sstatus", "status", 1),
            ("ping", "help", 4),
            ("", "net", 3),
        ] {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), Some(differ), "{one} {other}");
            assert_eq!(distance(other.as_bytes(), one.as_bytes()), Some(differ), "{other} {one}");
        }
    }
}
