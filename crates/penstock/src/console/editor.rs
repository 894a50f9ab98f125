//! Reads lines: with a prompt, editing, history and completion for a person, as they come for a program.

use std::borrow::Cow;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use penstock_daemon::keeper::{self, Done, Request};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
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

/// The most that is read as one block, in bytes: settings are shorter.
const BLOCK_BYTES_MAX: usize = 80 * 1024;
/// Ctrl-C, where it is not made a signal.
const GIVE_UP: char = '\u{3}';

/// Where lines come from.
pub(super) struct Lines {
    /// Nothing where standard input is no terminal.
    editor: Option<Editor<Words, MemHistory>>,
    /// Reads answers to questions, which are no commands to be remembered or completed.
    answers: Option<Editor<(), MemHistory>>,
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
        let answers = if editor.is_some() { answers().ok() } else { None };
        Self { plain: editor.is_none(), editor, answers }
    }

    /// The next line.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        let read = match &mut self.editor {
            Some(editor) if !self.plain => said(editor.readline(PROMPT)),
            _ => read_plain(),
        };
        attended(read)
    }

    /// The answer to a question. A program is shown the question on a line of its own.
    pub(super) fn ask(&mut self, question: &str) -> io::Result<Read> {
        let read = match &mut self.answers {
            Some(editor) if !self.plain => said(editor.readline(question)),
            _ => {
                writeln!(io::stdout().lock(), "{question}")?;
                read_plain()
            }
        };
        attended(read)
    }

    /// Lines as they come, the last one that for which `is_last` holds. Nothing if that does not come, or too much before.
    pub(super) fn read_until(&mut self, is_last: impl Fn(&str) -> bool) -> io::Result<Option<String>> {
        // What is sent would come back between what the first process says.
        let echo = Echo::off();
        let (mut all, mut too_long) = (String::new(), false);
        let whole = loop {
            match read_plain()? {
                Read::Line(line) => {
                    let line = line.trim_end_matches(['\r', '\n']);
                    if line.contains(GIVE_UP) {
                        break None;
                    }
                    all.push_str(line);
                    all.push('\n');
                    if is_last(line) {
                        break (!too_long).then_some(all);
                    }
                    // Up to the last line it is all taken in, so that none of it is taken for a command.
                    if all.len() > BLOCK_BYTES_MAX {
                        too_long = true;
                        all.clear();
                    }
                }
                Read::Nothing => {}
                Read::Closed => break None,
            }
        };
        drop(echo);
        Ok(whole)
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

/// Lets the first process know that somebody is there, if a line came. Elsewhere than on a box there is none.
fn attended(read: io::Result<Read>) -> io::Result<Read> {
    if let Ok(Read::Line(_)) = read {
        let _ = keeper::ask::<Done>(Path::new(keeper::SOCKET), &Request::Attended);
    }
    read
}

fn said(read: rustyline::Result<String>) -> io::Result<Read> {
    match read {
        Ok(line) => Ok(Read::Line(line)),
        // At a serial line nobody can leave: Ctrl-D is as Ctrl-C.
        Err(ReadlineError::Interrupted | ReadlineError::Eof | ReadlineError::Signal(_)) => Ok(Read::Nothing),
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Ok(Read::Nothing),
        Err(ReadlineError::Io(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The line without echo; as it was when this goes.
struct Echo(Option<Termios>);

impl Echo {
    fn off() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            // Ctrl-C comes as a character, with which a person can give up, and not as a signal.
            modes.local_modes &= !(LocalModes::ECHO | LocalModes::ISIG);
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &modes);
        }
        Self(before)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
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

fn answers() -> rustyline::Result<Editor<(), MemHistory>> {
    let config = Config::builder().bell_style(BellStyle::None).bracketed_paste(false).build();
    let history = MemHistory::with_config(&config);
    Editor::with_history(config, history)
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
        // Behind a dot the name goes on.
        found
            .iter_mut()
            .filter(|candidate| !candidate.ends_with('.'))
            .for_each(|candidate| candidate.push(' '));
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
