//! The serial line of a box, as a program drives it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use penstock_peers::process::HANG_GUARD;

/// What the console says when it waits for a person.
const PROMPT: &[u8] = b"penstock> ";

/// The line, held.
pub struct Console {
    reader: BufReader<UnixStream>,
    line: UnixStream,
}

/// What the console said to one command.
#[derive(Debug)]
pub struct Answer {
    /// Everything before the last line, and what that says behind the code.
    pub text: String,
    /// `OK`, or `ERR` and a code.
    pub last: String,
}

impl Console {
    /// Takes the line, waits for the prompt as a person does, tries whether a command is completed and answered, and then
    /// asks for lines as they come.
    pub fn take(line: UnixStream) -> Self {
        let mut console = Self::as_it_is(line);
        // Whatever was typed before, this ends it.
        console.line.write_all(b"\r").unwrap();
        console.wait_for(PROMPT);
        console.line.write_all(b"vers\t\r").unwrap();
        console.wait_for(b"\r\nOK\r\n");
        console.wait_for(PROMPT);
        console.type_line("script on");
        console.wait_for(b"\r\nOK\r\n");
        console
    }

    /// Takes the line of a box that waits for somebody to say something, whatever it wants to hear.
    pub fn as_it_is(line: UnixStream) -> Self {
        line.set_read_timeout(Some(HANG_GUARD)).unwrap();
        let reader = BufReader::new(line.try_clone().unwrap());
        Self { reader, line }
    }

    /// Types a line as a person does.
    pub fn type_line(&mut self, text: &str) {
        self.line.write_all(format!("{text}\r").as_bytes()).unwrap();
    }

    /// Waits for a question and answers it.
    pub fn answer(&mut self, question: &str, answer: &str) {
        self.wait_for(question.as_bytes());
        // The proposal, and what ends a question.
        self.wait_for(b": ");
        self.type_line(answer);
    }

    /// Waits until the line says something.
    pub fn wait_for_words(&mut self, words: &str) {
        self.wait_for(words.as_bytes());
    }

    /// Sends a command without waiting for its answer.
    pub fn begin(&mut self, command: &str) {
        writeln!(self.line, "{command}").unwrap();
    }

    fn wait_for(&mut self, what: &[u8]) {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(what) {
            self.reader.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error} instead of {:?}: {}", what.escape_ascii().to_string(), seen.escape_ascii())
            });
            seen.push(byte[0]);
        }
    }

    /// Sends a command and reads its answer. What the first process says in between is not part of it.
    pub fn ask(&mut self, command: &str) -> Answer {
        writeln!(self.line, "{command}").unwrap();
        let mut text = String::new();
        loop {
            let mut bytes = Vec::new();
            self.reader.read_until(b'\n', &mut bytes).unwrap();
            assert!(!bytes.is_empty(), "the line was closed after: {text}");
            let line = String::from_utf8_lossy(&bytes).trim().to_owned();
            if line == "OK" || line.starts_with("ERR ") {
                // Behind the code stands what went wrong.
                let end = line.match_indices(' ').nth(1).map_or(line.len(), |(at, _)| at);
                let (last, why) = line.split_at(end);
                text.push_str(why.trim_start());
                return Answer { text, last: last.to_owned() };
            }
            if !line.starts_with("[init]") {
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
}
