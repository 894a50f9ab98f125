//! Reads lines: with a prompt, editing, history and completion for a person, as they come for a program.

use std::borrow::Cow;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::config::BellStyle;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::typed::candidates;

/// What a person sees, and what a program can wait for.
const PROMPT: &str = "penstock> ";
/// How many lines are remembered.
const HISTORY_MAX: usize = 200;
/// The longest line that a program may send.
const LINE_BYTES_MAX: u64 = 4096;

/// Where lines come from.
pub(super) struct Lines {
    /// Nothing where standard input is no terminal.
    editor: Option<Editor<Words, MemHistory>>,
    plain: bool,
}

/// What was read.
pub(super) enum Read {
    Line(String),
    /// The line was given up, or is noise that is no text.
    Nothing,
    /// There will be no more.
    Closed,
}

impl Lines {
    pub(super) fn new() -> Self {
        let editor = if io::stdin().is_terminal() { editor().ok() } else { None };
        Self { plain: editor.is_none(), editor }
    }

    /// The next line.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        match &mut self.editor {
            Some(editor) if !self.plain => match editor.readline(PROMPT) {
                Ok(line) => Ok(Read::Line(line)),
                // At a serial line nobody can leave: Ctrl-D is as Ctrl-C.
                Err(ReadlineError::Interrupted | ReadlineError::Eof | ReadlineError::Signal(_)) => {
                    Ok(Read::Nothing)
                }
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    Ok(Read::Nothing)
                }
                Err(ReadlineError::Io(error)) => Err(error),
                Err(error) => Err(io::Error::other(error)),
            },
            _ => read_plain(),
        }
    }

    /// Whether lines are read as they come.
    pub(super) fn set_plain(&mut self, plain: bool) {
        self.plain = plain || self.editor.is_none();
        // Without echo a program sees answers and nothing else. Where that cannot be had it sees its own words too.
        if let Ok(mut modes) = tcgetattr(io::stdin()) {
            modes.local_modes.set(LocalModes::ECHO, !self.plain);
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &modes);
        }
    }
}

fn read_plain() -> io::Result<Read> {
    let mut bytes = Vec::new();
    if io::stdin().lock().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(Read::Closed);
    }
    Ok(String::from_utf8(bytes).map_or(Read::Nothing, Read::Line))
}

fn editor() -> rustyline::Result<Editor<Words, MemHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        .bell_style(BellStyle::None)
        // Escape sequences that a terminal of 1985 does not know would be noise on the line.
        .bracketed_paste(false)
        .build();
    let history = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, history)?;
    editor.set_helper(Some(Words));
    Ok(editor)
}

/// Knows which words can come next.
struct Words;

impl Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..position).unwrap_or(line);
        let start = line.rfind(' ').map_or(0, |at| at + 1);
        let before: Vec<&str> = line[..start].split_whitespace().collect();
        let mut found = candidates(&before);
        found.retain(|candidate| candidate.starts_with(&line[start..]));
        found.iter_mut().for_each(|candidate| candidate.push(' '));
        Ok((start, found))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_completed_by_what_can_stand_there() {
        let history = MemHistory::new();
        let complete = |line: &str| Words.complete(line, line.len(), &Context::new(&history)).unwrap();
        assert_eq!(complete("stat"), (0, vec!["status ".to_owned()]));
        assert_eq!(complete("spool ch"), (6, vec!["check ".to_owned()]));
        assert_eq!(complete("export"), (0, vec![]));
    }
}
