//! Standard output: its width, and whether it has colours.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// What a text is to look like where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// All is well.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody must look.
    Bad,
    /// A heading.
    Heading,
    /// What matters less.
    Faint,
}

impl Style {
    /// Select Graphic Rendition parameters (ECMA-48 section 8.3.117).
    const fn sgr(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "1;31",
            Self::Heading => "1",
            Self::Faint => "2",
        }
    }
}

/// Standard output, or what is to become of it.
pub(crate) struct Screen {
    out: Out,
    colours: bool,
    width: Option<usize>,
}

/// Where it goes.
enum Out {
    Stdout(BufWriter<Stdout>),
    /// Somebody wants to have it first.
    Kept(Vec<u8>),
}

impl Screen {
    /// Keeps what is written, without colours and in lines as long as they are.
    pub(crate) fn keeping() -> Self {
        Self { out: Out::Kept(Vec::new()), colours: false, width: None }
    }

    /// What was written so far, if it was kept. It begins anew then.
    pub(crate) fn take(&mut self) -> String {
        match &mut self.out {
            Out::Stdout(_) => String::new(),
            Out::Kept(bytes) => String::from_utf8_lossy(&std::mem::take(bytes)).into_owned(),
        }
    }

    /// As the environment has it: no colours with `NO_COLOR` (no-color.org), into a pipe or on a dumb terminal.
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let colours = stdout.is_terminal() && set("NO_COLOR").is_none() && !dumb;
        let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        Self { out: Out::Stdout(BufWriter::new(stdout)), colours, width }
    }

    /// How many columns there are; `None` where lines may be as long as they like.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width.filter(|width| *width > 0)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(&self.out, Out::Stdout(out) if out.get_ref().is_terminal())
    }

    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", style.sgr())
        } else {
            text.to_owned()
        }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Stdout(out) => out.write(bytes),
            Out::Kept(kept) => kept.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Stdout(out) => out.flush(),
            Out::Kept(_) => Ok(()),
        }
    }
}
