//! Rows of a CSV table that comes line by line, in bounded memory.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::text::LINE_BYTES_MAX;

/// The most columns.
const COLUMNS_MAX: usize = 256;
/// The longest row, in bytes. Fields may go on over lines.
const ROW_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;

/// The columns that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Primary,
    Others,
    Database,
}

impl Column {
    fn of(name: &str) -> Option<Self> {
        let name = name.trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("PrimarySmtpAddress") {
            Some(Self::Primary)
        } else if is("EmailAddresses") {
            Some(Self::Others)
        } else {
            is("Database").then_some(Self::Database)
        }
    }
}

/// What parts the fields, if a line is the head of a table that has addresses.
pub(super) fn delimiter(head: &str) -> Option<u8> {
    [b',', b';', b'\t'].into_iter().find(|delimiter| {
        let mut names =
            head.split(char::from(*delimiter)).map(|name| Column::of(name.trim().trim_matches('"')));
        names.any(|column| matches!(column, Some(Column::Primary | Column::Others)))
    })
}

/// What a row says about a recipient; empty where it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// Where it begins.
    pub(super) line: u64,
    pub(super) primary: &'a str,
    pub(super) others: &'a str,
    pub(super) database: &'a str,
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    pub(super) line: u64,
    pub(super) what: String,
    /// Nothing that comes after it can be read either.
    pub(super) is_last: bool,
}

/// A table whose head was read.
#[derive(Debug)]
pub(super) struct Table {
    reader: Reader,
    /// How many columns there are, and which of them count.
    columns: usize,
    primary: Option<usize>,
    others: Option<usize>,
    database: Option<usize>,
    /// The row that is being read: its fields one after the other, and where each ends.
    fields: Vec<u8>,
    fields_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
    /// Where it begins; `None` between rows.
    began: Option<u64>,
}

impl Table {
    /// A table with that head. What is wrong with it if it cannot be read.
    pub(super) fn begin(head: &str, delimiter: u8) -> Result<Self, String> {
        let mut table = Self {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            columns: 0,
            primary: None,
            others: None,
            database: None,
            fields: vec![0; ROW_BYTES_MAX],
            fields_len: 0,
            ends: vec![0; COLUMNS_MAX],
            ends_len: 0,
            began: None,
        };
        if !table.feed(head, 1).map_err(|wrong| wrong.what)? {
            return Err("the head of the table has no end: a quotation mark has no partner".to_owned());
        }
        table.columns = table.ends_len;
        for n in 0..table.columns {
            let name = table.field(Some(n)).unwrap_or_default();
            let place = match Column::of(name) {
                Some(Column::Primary) => &mut table.primary,
                Some(Column::Others) => &mut table.others,
                Some(Column::Database) => &mut table.database,
                None => continue,
            };
            if place.replace(n).is_some() {
                return Err("a column is there twice".to_owned());
            }
        }
        table.began = None;
        Ok(table)
    }

    pub(super) fn has_databases(&self) -> bool {
        self.database.is_some()
    }

    /// Where the row begins that has not ended.
    pub(super) fn row_within(&self) -> Option<u64> {
        self.began
    }

    /// Takes the next line; gives the row that ends with it.
    pub(super) fn push(&mut self, line: &str, number: u64) -> Result<Option<Row<'_>>, BadRow> {
        if !self.feed(line, number)? {
            return Ok(None);
        }
        let line = self.began.take().unwrap_or(number);
        if self.ends_len != self.columns {
            let what = format!("{} fields instead of {}", self.ends_len, self.columns);
            return Err(BadRow { line, what, is_last: false });
        }
        let field = |column: Option<usize>| match column {
            None => Some(""),
            column => self.field(column),
        };
        match (field(self.primary), field(self.others), field(self.database)) {
            (Some(primary), Some(others), Some(database)) => {
                Ok(Some(Row { line, primary, others, database }))
            }
            _ => Err(BadRow { line, what: "not UTF-8".to_owned(), is_last: false }),
        }
    }

    /// Takes a line. Whether a row ends with it.
    fn feed(&mut self, line: &str, number: u64) -> Result<bool, BadRow> {
        if self.began.is_none() {
            (self.began, self.fields_len, self.ends_len) = (Some(number), 0, 0);
        }
        for mut input in [line.as_bytes(), b"\n"] {
            // To the reader nothing is the end of the file.
            while !input.is_empty() {
                let fields = self.fields.get_mut(self.fields_len..).unwrap_or_default();
                let ends = self.ends.get_mut(self.ends_len..).unwrap_or_default();
                let (result, read, written, ended) = self.reader.read_record(input, fields, ends);
                input = input.get(read..).unwrap_or_default();
                self.fields_len += written;
                self.ends_len += ended;
                let what = match result {
                    ReadRecordResult::InputEmpty => continue,
                    ReadRecordResult::Record | ReadRecordResult::End => return Ok(true),
                    ReadRecordResult::OutputFull => {
                        format!(
                            "a row longer than {} KiB: a quotation mark may have no partner",
                            ROW_BYTES_MAX >> 10
                        )
                    }
                    ReadRecordResult::OutputEndsFull => format!("more than {COLUMNS_MAX} fields"),
                };
                return Err(BadRow { line: self.began.unwrap_or(number), what, is_last: true });
            }
        }
        Ok(false)
    }

    /// A field of the row that was read.
    fn field(&self, column: Option<usize>) -> Option<&str> {
        let column = column?;
        let begin = match column.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        str::from_utf8(self.fields.get(begin..*self.ends.get(column)?)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Name,\"Database\",PrimarySmtpAddress";

    fn row<'a>(line: u64, primary: &'a str, database: &'a str) -> Row<'a> {
        Row { line, primary, others: "", database }
    }

    #[test]
    fn rows_are_read_line_by_line_and_know_where_they_begin() {
        let mut table = Table::begin(HEAD, delimiter(HEAD).unwrap()).unwrap();
        assert_eq!(table.push("Mia,DB01,mia@x.org", 2), Ok(Some(row(2, "mia@x.org", "DB01"))));
        assert_eq!(table.push("\"Leo \"\"L\"\", the", 3), Ok(None));
        assert_eq!(table.row_within(), Some(3));
        assert_eq!(table.push("second\",\"a,b\",\"leo@x.org\"", 4), Ok(Some(row(3, "leo@x.org", "a,b"))));
        assert_eq!(table.row_within(), None);
        assert_eq!(table.push("x,y", 5).unwrap_err().what, "2 fields instead of 3");
        assert_eq!(table.push(",,last@x.org", 6), Ok(Some(row(6, "last@x.org", ""))));
    }

    #[test]
    fn the_head_says_what_parts_the_fields() {
        assert_eq!(delimiter("\"EmailAddresses\";\"Database\""), Some(b';'));
        assert_eq!(delimiter("Name\tPRIMARYSMTPADDRESS"), Some(b'\t'));
        assert_eq!(delimiter("PrimarySmtpAddress"), Some(b','));
        assert_eq!((delimiter("Name,Database"), delimiter("mia@x.org")), (None, None));
        assert!(Table::begin("Database,EmailAddresses,database", b',').is_err());
        assert!(Table::begin("EmailAddresses,\"open", b',').is_err());
    }

    #[test]
    fn a_row_is_bounded_whatever_its_quotation_marks_say() {
        let mut table = Table::begin(HEAD, b',').unwrap();
        let long = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(table.push(&format!("\"{long}"), 2), Ok(None));
        let more = (3..10).find_map(|line| table.push(&long, line).err()).unwrap();
        assert_eq!((more.line, more.is_last), (2, true));
        let mut table = Table::begin(HEAD, b',').unwrap();
        assert!(table.push(&",".repeat(COLUMNS_MAX), 2).unwrap_err().is_last);
    }
}
