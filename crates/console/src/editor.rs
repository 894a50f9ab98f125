//! Lines out of the bytes of a serial line, with what a person needs to type them.
//!
//! All that is sent is text, BS and CR LF, which terminals of any age obey; nothing is asked of the terminal, since there may
//! be none. Lines end in CR, LF or both. A byte that no key sends is noise: the line that it is on is not believed, and whoever
//! typed it is told. The text is ASCII.

use core::fmt::Write;

use heapless::String;

use crate::complete::candidates;
use crate::history::History;
use crate::levels::Level;

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 240;

/// A line that was typed.
pub type Line = String<LINE_BYTES_MAX>;

/// What a byte brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Nothing that is finished.
    Pending,
    /// A line: [`Editor::line`].
    Line,
    /// The line was given up.
    GivenUp,
    /// There was noise on the line, which is not to be believed.
    Noise,
    /// The line was longer than it may be.
    TooLong,
}

/// What is before the cursor when a line is empty, and what can be typed behind it.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// Its text.
    pub text: &'a str,
    /// The console whose commands Tab completes and whose lines are remembered. `None` for the answer to a question.
    pub level: Option<Level>,
}

/// Where in a sequence of the terminal's keys the last byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    None,
    /// Behind an ESC.
    Escape,
    /// Behind `ESC [` and this number.
    Control(u8),
    /// Behind `ESC O`.
    Single,
}

/// Reads lines.
#[derive(Clone, Debug)]
pub struct Editor {
    line: Line,
    cursor: usize,
    history: History,
    sequence: Sequence,
    /// The last byte was CR: an LF behind it belongs to it.
    was_return: bool,
    is_noisy: bool,
    is_too_long: bool,
    is_plain: bool,
    /// The line is finished: the next byte begins another one.
    is_finished: bool,
}

impl Default for Editor {
    fn default() -> Self {
        Self::new()
    }
}

impl Editor {
    /// An empty line, and no other before it.
    pub const fn new() -> Self {
        Self {
            line: Line::new(),
            cursor: 0,
            history: History::new(),
            sequence: Sequence::None,
            was_return: false,
            is_noisy: false,
            is_too_long: false,
            is_plain: false,
            is_finished: false,
        }
    }

    /// Whether lines are taken as they come, without echo and editing; for programs.
    pub const fn set_plain(&mut self, is_plain: bool) {
        self.is_plain = is_plain;
    }

    /// Whether they are.
    pub const fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// What was typed: a whole line behind [`Key::Line`], until the next byte is fed.
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// Forgets what was begun.
    pub fn clear(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.history.leave();
        self.sequence = Sequence::None;
        (self.is_noisy, self.is_too_long, self.is_finished) = (false, false, false);
    }

    /// Takes a byte, and writes what the terminal is to show for it.
    pub fn feed(&mut self, byte: u8, prompt: Prompt<'_>, out: &mut dyn Write) -> Key {
        let was_return = core::mem::replace(&mut self.was_return, byte == b'\r');
        if self.is_finished {
            self.clear();
        }
        if self.is_plain {
            return self.feed_plain(byte, was_return, prompt);
        }
        let mut screen = Screen(out);
        if self.sequence != Sequence::None {
            self.follow(byte, &mut screen);
            return Key::Pending;
        }
        match byte {
            b'\n' if was_return => {}
            b'\r' | b'\n' => {
                screen.write("\r\n");
                return self.finish(prompt);
            }
            // Ctrl-C
            0x03 => {
                screen.write("^C\r\n");
                self.clear();
                return Key::GivenUp;
            }
            b'\t' => self.complete(prompt, &mut screen),
            b' '..=b'~' => self.insert(byte, &mut screen),
            0x08 | 0x7f => self.remove(self.cursor.saturating_sub(1), self.cursor, &mut screen),
            // Ctrl-U, Ctrl-W, Ctrl-K
            0x15 => self.remove(0, self.cursor, &mut screen),
            0x17 => self.remove(self.start_of_word(), self.cursor, &mut screen),
            0x0b => self.remove(self.cursor, self.line.len(), &mut screen),
            // Ctrl-A, Ctrl-E, Ctrl-B, Ctrl-F
            0x01 => self.go_to(0, &mut screen),
            0x05 => self.go_to(self.line.len(), &mut screen),
            0x02 => self.go_to(self.cursor.saturating_sub(1), &mut screen),
            0x06 => self.go_to(self.cursor + 1, &mut screen),
            // Ctrl-P, Ctrl-N
            0x10 => self.show_older(&mut screen),
            0x0e => self.show_newer(&mut screen),
            // Ctrl-L and Ctrl-R
            0x0c | 0x12 => {
                screen.write("\r\n");
                self.show(prompt.text, screen.0);
            }
            0x1b => self.sequence = Sequence::Escape,
            // XON and XOFF, which a terminal may send for its own sake; Ctrl-D, by which nobody leaves a serial line.
            0x11 | 0x13 | 0x04 => {}
            _ => self.is_noisy = true,
        }
        Key::Pending
    }

    fn feed_plain(&mut self, byte: u8, was_return: bool, prompt: Prompt<'_>) -> Key {
        match byte {
            b'\n' if was_return => {}
            b'\r' | b'\n' => return self.finish(prompt),
            0x03 => {
                self.clear();
                return Key::GivenUp;
            }
            b'\t' | b' '..=b'~' => {
                let byte = if byte == b'\t' { b' ' } else { byte };
                self.is_too_long |= self.line.push(char::from(byte)).is_err();
                self.cursor = self.line.len();
            }
            _ => self.is_noisy = true,
        }
        Key::Pending
    }

    fn finish(&mut self, prompt: Prompt<'_>) -> Key {
        self.is_finished = true;
        if self.is_noisy {
            return Key::Noise;
        }
        if self.is_too_long {
            return Key::TooLong;
        }
        if prompt.level.is_some() {
            self.history.remember(&self.line);
        }
        Key::Line
    }

    /// Takes the next byte of what a key sends that has no character.
    fn follow(&mut self, byte: u8, screen: &mut Screen<'_>) {
        let sequence = core::mem::replace(&mut self.sequence, Sequence::None);
        match (sequence, byte) {
            (Sequence::Escape, b'[') => self.sequence = Sequence::Control(0),
            (Sequence::Escape, b'O') => self.sequence = Sequence::Single,
            (Sequence::Control(number), b'0'..=b'9') => {
                let number = number.saturating_mul(10).saturating_add(byte - b'0');
                self.sequence = Sequence::Control(number);
            }
            // Which modifiers were held does not matter here.
            (Sequence::Control(number), b';') => self.sequence = Sequence::Control(number),
            (Sequence::Control(_) | Sequence::Single, b'A') => self.show_older(screen),
            (Sequence::Control(_) | Sequence::Single, b'B') => self.show_newer(screen),
            (Sequence::Control(_) | Sequence::Single, b'C') => self.go_to(self.cursor + 1, screen),
            (Sequence::Control(_) | Sequence::Single, b'D') => {
                self.go_to(self.cursor.saturating_sub(1), screen);
            }
            (Sequence::Control(_) | Sequence::Single, b'H') | (Sequence::Control(1 | 7), b'~') => {
                self.go_to(0, screen);
            }
            (Sequence::Control(_) | Sequence::Single, b'F') | (Sequence::Control(4 | 8), b'~') => {
                self.go_to(self.line.len(), screen);
            }
            (Sequence::Control(3), b'~') => self.remove(self.cursor, self.cursor + 1, screen),
            _ => self.is_noisy = true,
        }
    }

    fn insert(&mut self, byte: u8, screen: &mut Screen<'_>) {
        let tail: Line = self.line[self.cursor..].try_into().unwrap_or_default();
        if self.line.push(' ').is_err() {
            self.is_too_long = true;
            return;
        }
        self.line.truncate(self.cursor);
        // It is as long as it was with the space.
        let _ = self.line.push(char::from(byte));
        let _ = self.line.push_str(&tail);
        screen.write(&self.line[self.cursor..]);
        self.cursor += 1;
        screen.back(tail.len());
    }

    /// Takes out the characters from one place to another, of which one is the cursor.
    fn remove(&mut self, from: usize, to: usize, screen: &mut Screen<'_>) {
        let to = to.min(self.line.len());
        if from >= to {
            return;
        }
        let tail: Line = self.line[to..].try_into().unwrap_or_default();
        self.line.truncate(from);
        // It is shorter than it was.
        let _ = self.line.push_str(&tail);
        self.is_too_long = false;
        self.go_to(from, screen);
        screen.write(&tail);
        screen.blank(to - from);
        screen.back(tail.len());
    }

    fn go_to(&mut self, to: usize, screen: &mut Screen<'_>) {
        let to = to.min(self.line.len());
        screen.back(self.cursor.saturating_sub(to));
        // Behind a `remove` the cursor may be where there is nothing any more.
        screen.write(self.line.get(self.cursor..to).unwrap_or_default());
        self.cursor = to;
    }

    fn start_of_word(&self) -> usize {
        let before = self.line[..self.cursor].trim_end();
        before.rfind(' ').map_or(0, |at| at + 1)
    }

    fn show_older(&mut self, screen: &mut Screen<'_>) {
        if let Some(line) = self.history.older(&self.line) {
            self.replace(line, screen);
        }
    }

    fn show_newer(&mut self, screen: &mut Screen<'_>) {
        if let Some(line) = self.history.newer() {
            self.replace(line, screen);
        }
    }

    fn replace(&mut self, line: Line, screen: &mut Screen<'_>) {
        self.go_to(0, screen);
        screen.write(&line);
        screen.blank(self.line.len().saturating_sub(line.len()));
        self.cursor = line.len();
        self.line = line;
        self.is_too_long = false;
    }

    /// Writes the prompt and what has been typed behind it; for programs nothing.
    pub fn show(&self, prompt: &str, out: &mut dyn Write) {
        if !self.is_plain {
            let mut screen = Screen(out);
            screen.write(prompt);
            screen.write(&self.line);
            screen.back(self.line.len() - self.cursor);
        }
    }

    /// Goes on with the word before the cursor as far as it is clear, else shows what it can be.
    fn complete(&mut self, prompt: Prompt<'_>, screen: &mut Screen<'_>) {
        let Some(level) = prompt.level else { return };
        let before: Line = self.line[..self.cursor].try_into().unwrap_or_default();
        let begun = before.len() - before.rfind(' ').map_or(0, |at| at + 1);
        let mut found = 0;
        let mut common = "";
        candidates(&before, level, |word| {
            common = if found == 0 { word } else { in_common(common, word) };
            found += 1;
        });
        match common.get(begun..) {
            Some(more) if found == 1 || !more.is_empty() => {
                let has_space = self.line.as_bytes().get(self.cursor) == Some(&b' ');
                let space = (found == 1 && !has_space).then_some(b' ');
                more.bytes().chain(space).for_each(|byte| self.insert(byte, screen));
            }
            _ if found > 1 => {
                screen.write("\r\n");
                candidates(&before, level, |word| {
                    screen.write(word);
                    screen.write("  ");
                });
                screen.write("\r\n");
                self.show(prompt.text, screen.0);
            }
            _ => {}
        }
    }
}

/// What two words begin with.
fn in_common(one: &'static str, other: &str) -> &'static str {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    one.get(..same).unwrap_or_default()
}

/// What the terminal shows. Where nothing can be written nobody looks.
struct Screen<'a>(&'a mut dyn Write);

impl Screen<'_> {
    fn write(&mut self, text: &str) {
        let _ = self.0.write_str(text);
    }

    fn back(&mut self, columns: usize) {
        (0..columns).for_each(|_| self.write("\u{8}"));
    }

    /// Wipes out the next columns.
    fn blank(&mut self, columns: usize) {
        (0..columns).for_each(|_| self.write(" "));
        self.back(columns);
    }
}
