//! The table as a settings file.

use alloc::format;
use alloc::string::{String, ToString};

use crate::schema::Preset;
use crate::table::SECTIONS;

/// A settings file that says every key with its reason and its default. What must be set stands there as a comment
/// with an example; without it the file does not parse, so that no box starts with somebody else's domain.
pub fn defaults_text() -> String {
    let mut text =
        "# Penstock's settings with their defaults. A line that you do not need can go.\n".to_string();
    for section in &SECTIONS {
        text.push('\n');
        comment(&mut text, section.about);
        text.push_str(&section.header());
        text.push('\n');
        for key in section.keys {
            text.push('\n');
            comment(&mut text, key.reason);
            match (key.preset)() {
                Preset::Default(value) => {
                    text.push_str(&format!("# Must be {}.\n{} = {value}\n", (key.allowed)(), key.name));
                }
                Preset::Required(example) => {
                    text.push_str(&format!("# Must be {}, and must be set.\n", (key.allowed)()));
                    text.push_str(&format!("# {} = {example}\n", key.name));
                }
            }
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        text.push('#');
        text.push_str(line);
        text.push('\n');
    }
}
