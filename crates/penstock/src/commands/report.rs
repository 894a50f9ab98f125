//! `penstock verify-report`

use std::io::Write as _;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::block::{REPORT, Read};
use crate::text::human::counted;

pub(super) fn verify(file: &Path, screen: &mut Screen) -> Result<(), Failure> {
    let failure =
        |code: &str, message: &str, help: &str| Err(Failure::new(Exit::Failed, code, message, help));
    match REPORT.read(&read(file)?, false) {
        Read::Whole(text) => {
            let lines = counted(text.lines().count() as u64, "line");
            Ok(writeln!(screen, "the report is whole: {lines}")?)
        }
        Read::NoBegin => failure(
            "PS-D321",
            "there is no report in it, or its beginning is missing",
            "It begins with the line \"--- report begins\".",
        ),
        Read::NoEnd => failure(
            "PS-D322",
            "the end of the report is missing",
            "Ask for all of it, to the line \"--- report ends\" with its number.",
        ),
        Read::Changed { written, found } => failure(
            "PS-D323",
            &format!("the report is not as it was written: CRC-32C {found:08x} in place of {written:08x}"),
            "Lines are missing or changed: ask for it as a file.",
        ),
    }
}

/// The longest file in which a report is looked for, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

fn read(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::file(path, "read", &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
