//! `penstock settings fill`: one template and a table of values make a settings file for each of many sites.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use penstock_settings::Settings;

use super::{read, write_problems};
use crate::failure::{Exit, Failure};
use crate::text::Screen;
use crate::text::human::counted;

/// The longest table that is read, in bytes: thousands of sites.
const TABLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(super) fn run(template: &Path, values: &Path, into: &Path, screen: &mut Screen) -> Result<(), Failure> {
    let text = read(template)?;
    let size = fs::metadata(values).map_err(|error| Failure::file(values, "read", &error))?.len();
    if size > TABLE_BYTES_MAX {
        let message = format!("{} has {size} bytes: must be at most {TABLE_BYTES_MAX}", values.display());
        return Err(wrong(message));
    }
    let table = fs::read(values).map_err(|error| Failure::file(values, "read", &error))?;
    let sites = filled(&text, &table).map_err(|why| wrong(format!("{}: {why}", values.display())))?;
    let mut right = true;
    for (name, text) in &sites {
        if let Err(problems) = Settings::parse(text) {
            right = false;
            write_problems(Path::new(name), &problems, screen)?;
        }
    }
    if !right {
        screen.flush()?;
        return Err(Failure::Silent(Exit::Failed));
    }
    fs::create_dir_all(into).map_err(|error| Failure::file(into, "made", &error))?;
    for (name, text) in &sites {
        let path = into.join(format!("{name}.toml"));
        fs::write(&path, text).map_err(|error| Failure::file(&path, "written", &error))?;
    }
    Ok(writeln!(screen, "{} in {}", counted(sites.len() as u64, "settings file"), into.display())?)
}

fn wrong(message: String) -> Failure {
    Failure::new(Exit::Failed, "PS-D331", message, "Nothing was written.")
}

/// The name of each site and its text. What is wrong comes back as a sentence.
fn filled(template: &str, table: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(table);
    let columns = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut sites: Vec<(String, String)> = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| error.to_string())?;
        let line = row.position().map_or(0, csv::Position::line);
        let name = row.get(0).unwrap_or_default().to_owned();
        let fits = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !fits || name.starts_with('.') {
            return Err(format!("line {line}: \"{name}\" in the first column is no name for a file"));
        }
        if sites.iter().any(|(other, _)| *other == name) {
            return Err(format!("line {line}: {name} stands there twice"));
        }
        let mut text = template.to_owned();
        for (column, value) in columns.iter().zip(row.iter()) {
            // A value is to be a value: what could end the text that it stands in is none.
            if value.contains(['"', '\\', '\n', '\r']) {
                return Err(format!(
                    "line {line}: {column} has a quotation mark, a backslash or a line end in it"
                ));
            }
            text = text.replace(&format!("{{{{{column}}}}}"), value);
        }
        if let Some(rest) = text.split_once("{{").map(|(_, rest)| rest) {
            let place = rest.split("}}").next().unwrap_or_default();
            return Err(format!(
                "the template has {{{{{}}}}}, which is no column",
                place.lines().next().unwrap_or_default()
            ));
        }
        sites.push((name, text));
    }
    if sites.is_empty() { Err("there are no sites".into()) } else { Ok(sites) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "hostname = \"mx.{{domain}}\"\naddress = \"{{exchange}}\" # {{site}}\n";

    #[test]
    fn every_site_has_its_own_values() {
        let table =
            b"site, domain, exchange\nberlin, example.de, 10.1.0.5\n\"paris\",\"example.fr\",10.2.0.5\n";
        let sites = filled(TEMPLATE, table).unwrap();
        assert_eq!(sites.len(), 2);
        assert_eq!(
            sites[1],
            ("paris".into(), "hostname = \"mx.example.fr\"\naddress = \"10.2.0.5\" # paris\n".into())
        );
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused_with_its_line() {
        for (table, says) in [
            (&b"site,domain\nberlin,example.de\n"[..], "{{exchange}}"),
            (b"site,domain,exchange\nberlin,a,b\nberlin,c,d\n", "line 3: berlin stands there twice"),
            (b"site,domain,exchange\n../etc/x,a,b\n", "line 2"),
            (b"site,domain,exchange\nberlin,a\n", "fields"),
            (b"site,domain,exchange\nberlin,\"a\"\"\nevil = 1\",b\n", "line 2"),
            (b"site,domain,exchange\n", "no sites"),
        ] {
            let why = filled(TEMPLATE, table).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
