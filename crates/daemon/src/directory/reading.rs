//! A file with recipients on its way to a list: what Exchange's `Export-Csv` writes, or an address a line.
//!
//! - *CSV* (RFC 4180): the first line has the names of columns, in any order and with others among them, with commas,
//!   semicolons or tabs between them. `PrimarySmtpAddress`, `EmailAddresses` and `Database` count; one of the first two
//!   must be there. Lines before it that begin with `#`, such as `#TYPE …`, are comments.
//! - *A plain list*: an address a line, perhaps with `smtp:` before it; comments begin with `#`.
//!
//! A line that is not understood is a mistake, and a file with mistakes makes no list: what is missing from a list
//! that counts would be taken for unknown. What a file may rightly have and a list has no use for is passed over and
//! counted.

use std::fmt;

use penstock_spool::Stamp;

use super::address::{Mailbox, database_name, is_type_name, proxies};
use super::list::{ADDRESSES_MAX, Added, Builder, DATABASE_BYTES_MAX, DATABASES_MAX, List};
use super::table::{Row, Table, delimiter};
use super::text::{LINE_BYTES_MAX, Line, Lines, Wrong};

/// The largest file, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Mistakes that are told; of others only the number.
pub(crate) const MISTAKES_TOLD_MAX: usize = 10;
/// As much of what stands in a file is told about it, in characters.
const EXCERPT_CHARS_MAX: usize = 60;

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where it is, from 1; `None` if it is about all of it.
    pub(crate) line: Option<u64>,
    pub(crate) what: String,
}

/// Everything that is wrong with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mistakes {
    /// The first [`MISTAKES_TOLD_MAX`].
    pub(crate) told: Vec<Mistake>,
    /// How many more there are.
    pub(crate) more: u64,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.told.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "; " })?;
            if let Some(line) = mistake.line {
                write!(f, "line {line}: ")?;
            }
            f.write_str(&mistake.what)?;
        }
        if self.more == 0 { Ok(()) } else { write!(f, "; and {} more", self.more) }
    }
}

/// Why something was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Blank,
    Comment,
    NoAddress,
    Repeated,
    NotAscii,
    BadProxy,
}

impl Why {
    const COUNT: usize = 6;

    /// For the operator, after a number of lines or addresses.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Comment => "a comment",
            Self::NoAddress => "without an SMTP address",
            Self::Repeated => "listed before",
            Self::NotAscii => "an address with letters beyond ASCII that is none",
            Self::BadProxy => "a further address that is none",
        }
    }
}

/// What was passed over for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) why: Why,
    pub(crate) count: u64,
    pub(crate) first_line: u64,
}

/// What was made of a file.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) list: List,
    pub(crate) lines: u64,
    pub(crate) skipped: Vec<Skipped>,
    /// Whether the file says which databases mailboxes are in.
    pub(crate) has_databases: bool,
}

/// A file that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    lines: Lines,
    rows: Rows,
    size_bytes: u64,
}

impl Reading {
    /// `key` is 16 random bytes.
    pub(crate) fn new(key: [u8; 16], at: Stamp, by: String) -> Self {
        let rows = Rows {
            shape: Shape::Unknown,
            list: Builder::new(key, at, by),
            lines: 0,
            skipped: [None; Why::COUNT],
            mistakes: Mistakes::default(),
            is_over: false,
        };
        Self { lines: Lines::default(), rows, size_bytes: 0 }
    }

    /// Takes more of the file. What comes after a mistake that leaves no sense in going on is not looked at.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let Self { lines, rows, size_bytes } = self;
        *size_bytes += bytes.len() as u64;
        if *size_bytes > FILE_BYTES_MAX && !rows.is_over {
            rows.give_up(None, format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20));
        }
        if !rows.is_over {
            lines.push(bytes, &mut |line| rows.line(line));
        }
    }

    /// The file has ended.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn finish(mut self) -> Result<Read, Mistakes> {
        let rows = &mut self.rows;
        if !rows.is_over {
            self.lines.finish(&mut |line| rows.line(line));
        }
        self.rows.finish()
    }
}

#[derive(Debug)]
enum Shape {
    /// Nothing but comments has come.
    Unknown,
    Plain,
    Table(Box<Table>),
}

#[derive(Debug)]
struct Rows {
    shape: Shape,
    list: Builder,
    lines: u64,
    skipped: [Option<Skipped>; Why::COUNT],
    mistakes: Mistakes,
    /// There is no sense in going on.
    is_over: bool,
}

impl Rows {
    fn mistake(&mut self, line: impl Into<Option<u64>>, what: impl Into<String>) {
        if self.mistakes.told.len() < MISTAKES_TOLD_MAX {
            self.mistakes.told.push(Mistake { line: line.into(), what: what.into() });
        } else {
            self.mistakes.more += 1;
        }
    }

    fn give_up(&mut self, line: impl Into<Option<u64>>, what: impl Into<String>) {
        // The last word, which is why it must be heard.
        self.mistakes.told.truncate(MISTAKES_TOLD_MAX - 1);
        self.mistake(line, what);
        self.is_over = true;
    }

    fn skip(&mut self, why: Why, line: u64) {
        if let Some(slot) = self.skipped.get_mut(why as usize) {
            slot.get_or_insert(Skipped { why, count: 0, first_line: line }).count += 1;
        }
    }

    fn line(&mut self, line: Line<'_>) {
        if self.is_over {
            return;
        }
        self.lines = line.number;
        let text = match line.text {
            Ok(text) => text,
            Err(Wrong::TooLong) => {
                return self.give_up(line.number, format!("longer than {} KiB", LINE_BYTES_MAX >> 10));
            }
            Err(Wrong::NotText) => {
                return self.mistake(
                    line.number,
                    "neither UTF-8 nor UTF-16: export it with -Encoding UTF8, or -Encoding Unicode",
                );
            }
        };
        let is_blank = text.trim().is_empty();
        match std::mem::replace(&mut self.shape, Shape::Unknown) {
            // A field that goes on over lines may have blank ones.
            Shape::Table(mut table) if !is_blank || table.row_within().is_some() => {
                match table.push(text, line.number) {
                    Ok(Some(row)) => self.row(&row),
                    Ok(None) => {}
                    Err(wrong) if wrong.is_last => self.give_up(wrong.line, wrong.what),
                    Err(wrong) => self.mistake(wrong.line, wrong.what),
                }
                self.shape = Shape::Table(table);
            }
            shape @ Shape::Table(_) => {
                self.skip(Why::Blank, line.number);
                self.shape = shape;
            }
            shape => {
                self.shape = shape;
                match self.shape {
                    _ if is_blank => self.skip(Why::Blank, line.number),
                    _ if text.starts_with('#') => self.skip(Why::Comment, line.number),
                    Shape::Plain => self.address(text.trim(), line.number),
                    Shape::Table(_) | Shape::Unknown => self.first(text, line.number),
                }
            }
        }
    }

    /// Sees from the first line that says something what the file is.
    fn first(&mut self, text: &str, number: u64) {
        if let Some(delimiter) = delimiter(text) {
            match Table::begin(text, delimiter) {
                Ok(table) => self.shape = Shape::Table(Box::new(table)),
                Err(what) => self.give_up(number, what),
            }
        } else if text.contains('@') && !text.contains(['"', ';', '\t']) {
            self.shape = Shape::Plain;
            self.address(text.trim(), number);
        } else {
            let what = format!(
                "neither an address nor the head of a table with the column PrimarySmtpAddress or EmailAddresses: {}",
                excerpt(text)
            );
            self.give_up(number, what);
        }
    }

    /// A line of a plain list.
    fn address(&mut self, text: &str, line: u64) {
        let address = proxies(text).next().filter(|_| text.contains(':')).unwrap_or(text);
        let Some(mailbox) = Mailbox::parse(address) else {
            if !address.is_ascii() {
                return self.skip(Why::NotAscii, line);
            }
            return self.mistake(line, format!("no address: {}", excerpt(text)));
        };
        match self.list.add(&mailbox, 0) {
            Added::New => self.list.count_recipient(),
            Added::Known | Added::Elsewhere => self.skip(Why::Repeated, line),
            Added::Full => self.too_many(line),
        }
    }

    fn too_many(&mut self, line: u64) {
        self.give_up(line, format!("more than {ADDRESSES_MAX} addresses"));
    }

    /// A row of a table.
    fn row(&mut self, row: &Row<'_>) {
        let Row { line, primary, others, database } = *row;
        if [primary, others, database].iter().any(|field| field.contains('\n')) {
            return self
                .mistake(line, "a field goes on in the next line: a quotation mark may have no partner");
        }
        for (field, column, how) in [
            (others, "EmailAddresses", "$_.EmailAddresses -join ' '"),
            (database, "Database", "$_.Database.Name"),
        ] {
            if is_type_name(field) {
                let what = format!(
                    "{column} has the name of a type, not what it holds: select @{{n='{column}';e={{{how}}}}} instead"
                );
                return self.give_up(line, what);
            }
        }
        let database = match database_name(database) {
            None => 0,
            Some(name) if name.len() > DATABASE_BYTES_MAX || name.contains(char::is_control) => {
                return self.mistake(line, format!("no name of a database: {}", excerpt(&name)));
            }
            Some(name) => match self.list.database(&name) {
                Some(number) => number,
                None => return self.give_up(line, format!("more than {DATABASES_MAX} databases")),
            },
        };
        let primary = primary.trim();
        let mut all = Vec::new();
        if !primary.is_empty() {
            match Mailbox::parse(primary) {
                Some(mailbox) => all.push(mailbox),
                None if !primary.is_ascii() => self.skip(Why::NotAscii, line),
                None => return self.mistake(line, format!("no address: {}", excerpt(primary))),
            }
        }
        for proxy in proxies(others) {
            match Mailbox::parse(proxy) {
                Some(mailbox) => all.push(mailbox),
                None if !proxy.is_ascii() => self.skip(Why::NotAscii, line),
                None => self.skip(Why::BadProxy, line),
            }
        }
        if all.is_empty() {
            return self.skip(Why::NoAddress, line);
        }
        let mut is_new = false;
        for mailbox in &all {
            match self.list.add(mailbox, database) {
                Added::New => is_new = true,
                Added::Known => {}
                Added::Elsewhere => {
                    let address = format!("{}@{}", mailbox.local, mailbox.domain);
                    let what = format!("{} was listed before, in another database", excerpt(&address));
                    return self.mistake(line, what);
                }
                Added::Full => return self.too_many(line),
            }
        }
        if is_new { self.list.count_recipient() } else { self.skip(Why::Repeated, line) }
    }

    fn finish(mut self) -> Result<Read, Mistakes> {
        let mut has_databases = false;
        if let Shape::Table(table) = &self.shape {
            has_databases = table.has_databases();
            if let Some(line) = table.row_within().filter(|_| !self.is_over) {
                self.mistake(line, "the row has no end: a quotation mark has no partner");
            }
        }
        let is_right = self.mistakes.told.is_empty();
        let Self { list, lines, skipped, mut mistakes, .. } = self;
        match list.finish() {
            Some(list) if is_right => {
                Ok(Read { list, lines, skipped: skipped.into_iter().flatten().collect(), has_databases })
            }
            list => {
                if list.is_none() && is_right {
                    let what = "there is no address in it".to_owned();
                    mistakes.told.push(Mistake { line: None, what });
                }
                Err(mistakes)
            }
        }
    }
}

/// The head of a text from the file, in quotation marks.
fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(EXCERPT_CHARS_MAX).collect();
    format!("\"{head}{}\"", if chars.next().is_some() { "…" } else { "" })
}

#[cfg(test)]
mod tests;
