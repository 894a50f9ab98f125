//! Tables that fit the terminal.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Screen, Style};

/// Columns stand this far apart.
const GAP: usize = 2;
/// A column that gives way keeps this much.
const WIDTH_MIN: usize = 8;

/// On which side a column is even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    align: Align,
    /// Whether its texts are cut when the terminal is too narrow for all of the table.
    yields: bool,
}

impl Column {
    pub(crate) const fn left(title: &'static str) -> Self {
        Self { title, align: Align::Left, yields: false }
    }

    pub(crate) const fn right(title: &'static str) -> Self {
        Self { title, align: Align::Right, yields: false }
    }

    pub(crate) const fn yielding(title: &'static str) -> Self {
        Self { title, align: Align::Left, yields: true }
    }
}

/// A text in a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: Option<Style>) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), style: None }
    }
}

/// A table with its titles.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    rows: Vec<[Cell; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(crate) fn new(columns: [Column; COLUMNS]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [Cell; COLUMNS]) {
        self.rows.push(cells);
    }

    /// Writes it as wide as it is, or as wide as the screen.
    pub(crate) fn write(&self, screen: &mut Screen) -> io::Result<()> {
        let widths = self.widths(screen.width());
        let titles = self.columns.map(|column| Cell::styled(column.title, Some(Style::Heading)));
        for row in std::iter::once(&titles).chain(&self.rows) {
            let line = self.line(row, &widths, |style, text| screen.paint(style, text));
            writeln!(screen, "{line}")?;
        }
        Ok(())
    }

    fn widths(&self, available: Option<usize>) -> [usize; COLUMNS] {
        let mut widths = self.columns.map(|column| column.title.width());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let Some(available) = available else { return widths };
        let gaps = GAP * COLUMNS.saturating_sub(1);
        // The widest gives way first, column by column of the terminal, so that short texts stay whole.
        while widths.iter().sum::<usize>() + gaps > available {
            let widest = (0..COLUMNS)
                .filter(|at| self.columns[*at].yields && widths[*at] > WIDTH_MIN)
                .max_by_key(|at| widths[*at]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
        }
        widths
    }

    fn line(
        &self,
        row: &[Cell; COLUMNS],
        widths: &[usize; COLUMNS],
        paint: impl Fn(Style, &str) -> String,
    ) -> String {
        let mut line = String::new();
        let mut owed = 0;
        for ((column, cell), width) in self.columns.iter().zip(row).zip(widths) {
            let text = cut(&cell.text, *width);
            let pad = width.saturating_sub(text.width());
            let (before, after) = if column.align == Align::Right { (pad, 0) } else { (0, pad) };
            // Spaces are written before what follows them, so that no line ends with any.
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', owed + before));
                line.push_str(&cell.style.map_or_else(|| text.clone(), |style| paint(style, &text)));
                owed = after + GAP;
            } else {
                owed += pad + GAP;
            }
        }
        line
    }
}

/// The text, or as much of it as fits with a mark that it was cut.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let needed = c.width().unwrap_or(0);
        let fits = needed <= left;
        left = left.saturating_sub(needed);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(width: Option<usize>) -> Vec<String> {
        let mut table = Table::new([Column::right("N"), Column::yielding("FROM"), Column::yielding("TO")]);
        table.row(["1".into(), "somebody-with-a-long-name@example.com".into(), "mia@example.org".into()]);
        table.row(["12".into(), "".into(), "例え@例え.jp".into()]);
        let widths = table.widths(width);
        table.rows.iter().map(|row| table.line(row, &widths, |_, text| text.into())).collect()
    }

    #[test]
    fn a_table_in_a_pipe_is_as_wide_as_its_texts() {
        assert_eq!(
            lines(None),
            [
                " 1  somebody-with-a-long-name@example.com  mia@example.org",
                "12                                         例え@例え.jp"
            ]
        );
    }

    #[test]
    fn on_a_narrow_terminal_the_longest_texts_are_cut_and_said_to_be() {
        assert_eq!(
            lines(Some(40)),
            [" 1  somebody-with-a-lo…  mia@example.org", "12                       例え@例え.jp"]
        );
        assert!(lines(Some(30)).iter().all(|line| line.width() <= 30));
    }

    #[test]
    fn a_terminal_too_narrow_for_anything_gets_the_least_and_no_endless_loop() {
        assert_eq!(lines(Some(3))[0], " 1  somebod…  mia@exa…");
    }
}
