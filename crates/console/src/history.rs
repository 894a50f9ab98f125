//! Lines that were typed before.

use heapless::Deque;

use crate::editor::Line;

/// How many lines are remembered.
const LINES_MAX: usize = 8;

/// The last lines, the newest at the back, and which of them is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    lines: Deque<Line, LINES_MAX>,
    /// How far back: 0 is the line being typed.
    back: usize,
    /// What was being typed when somebody began to look back.
    draft: Line,
}

impl History {
    pub(crate) const fn new() -> Self {
        Self { lines: Deque::new(), back: 0, draft: Line::new() }
    }

    /// A line was typed.
    pub(crate) fn remember(&mut self, line: &Line) {
        self.back = 0;
        if line.trim().is_empty() || self.lines.back() == Some(line) {
            return;
        }
        if self.lines.is_full() {
            self.lines.pop_front();
        }
        // There is room: a line has just gone.
        let _ = self.lines.push_back(line.clone());
    }

    /// The line before the one that is looked at.
    pub(crate) fn older(&mut self, shown: &str) -> Option<Line> {
        let line = self.lines.iter().rev().nth(self.back)?.clone();
        if self.back == 0 {
            self.draft.clear();
            // It was on a line, which is no longer than this one.
            let _ = self.draft.push_str(shown);
        }
        self.back += 1;
        Some(line)
    }

    /// The line behind it, in the end the one that was being typed.
    pub(crate) fn newer(&mut self) -> Option<Line> {
        self.back = self.back.checked_sub(1)?;
        match self.back.checked_sub(1) {
            Some(at) => self.lines.iter().rev().nth(at).cloned(),
            None => Some(self.draft.clone()),
        }
    }

    /// Nobody looks back any more.
    pub(crate) const fn leave(&mut self) {
        self.back = 0;
    }
}
