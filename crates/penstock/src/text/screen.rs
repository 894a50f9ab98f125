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

/// Standard output.
pub(crate) struct Screen {
    out: BufWriter<Stdout>,
    colours: bool,
    width: Option<usize>,
}

impl Screen {
    /// As the environment has it: no colours with `NO_COLOR` (no-color.org), into a pipe or on a dumb terminal.
    pub(crate) fn new() -> Self {
        let stdout = io::stdout();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let colours = stdout.is_terminal() && set("NO_COLOR").is_none() && !dumb;
        let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        Self { out: BufWriter::new(stdout), colours, width }
    }

    /// How many columns there are; `None` where lines may be as long as they like.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width.filter(|width| *width > 0)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.out.get_ref().is_terminal()
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
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
