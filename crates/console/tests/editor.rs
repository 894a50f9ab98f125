//! What somebody sees who types at a console below Linux.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

use penstock_console::{Editor, Key, LINE_BYTES_MAX, Level, Prompt};
use proptest::prelude::*;

const PROMPT: Prompt<'_> = Prompt { text: "> ", level: Some(Level::Firmware) };

/// One line of a terminal that obeys nothing but BS, CR and LF.
#[derive(Default)]
struct Terminal {
    lines: Vec<String>,
    line: Vec<char>,
    column: usize,
}

impl Terminal {
    fn show(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\u{8}' => self.column = self.column.checked_sub(1).unwrap(),
                '\r' => self.column = 0,
                '\n' => {
                    self.lines.push(self.line.drain(..).collect::<String>().trim_end().to_owned());
                    self.column = 0;
                }
                ' '..='~' => {
                    if self.column == self.line.len() {
                        self.line.push(character);
                    } else {
                        self.line[self.column] = character;
                    }
                    self.column += 1;
                }
                other => panic!("{other:?} is not for every terminal"),
            }
        }
    }

    /// What is on the line, and where the cursor is.
    fn now(&self) -> (String, usize) {
        (self.line.iter().collect::<String>().trim_end().to_owned(), self.column)
    }
}

#[derive(Default)]
struct Desk {
    editor: Editor,
    terminal: Terminal,
    keys: Vec<(Key, String)>,
}

impl Desk {
    fn new() -> Self {
        Self::default()
    }

    fn type_in(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            let mut shown = String::new();
            let key = self.editor.feed(*byte, PROMPT, &mut shown);
            self.terminal.show(&shown);
            if key != Key::Pending {
                self.keys.push((key, self.editor.line().to_string()));
            }
        }
        self
    }

    /// The lines that were finished.
    fn lines(&self) -> Vec<&str> {
        self.keys.iter().filter(|(key, _)| *key == Key::Line).map(|(_, line)| line.as_str()).collect()
    }
}

#[test]
fn lines_end_in_cr_lf_or_both() {
    let mut desk = Desk::new();
    desk.type_in(b"one\rtwo\nthree\r\nfour\r\r\nfive\n\nsix\n");
    assert_eq!(desk.lines(), ["one", "two", "three", "four", "", "five", "", "six"]);
}

#[test]
fn every_key_edits_as_a_shell_does_and_the_terminal_shows_what_will_be_run() {
    for (typed, line, column) in [
        (&b"stauts\x7f\x7f\x7ftus"[..], "status", 6),
        (b"stauts\x08\x08\x08tus", "status", 6),
        (b"\x7f\x7fnet", "net", 3),
        // Arrows, as terminals send them in both of their modes.
        (b"sttus\x1b[D\x1b[D\x1b[Da", "status", 3),
        (b"sttus\x1bOD\x1bOD\x1bODa", "status", 3),
        (b"sttus\x02\x02\x02a\x06\x06\x06\x06\x06", "status", 6),
        (b"sttus\x1b[D\x1b[D\x1b[Da\x1b[C", "status", 4),
        (b"atus\x01st\x05", "status", 6),
        (b"atus\x1b[Hst\x1b[F", "status", 6),
        (b"atus\x1b[1~st\x1b[4~", "status", 6),
        (b"sxtatus\x01\x06\x1b[3~", "status", 1),
        (b"spool list\x17check", "spool check", 11),
        (b"spool list  \x17check", "spool check", 11),
        (b"\x17\x15\x0bnet", "net", 3),
        (b"nonsense\x15net", "net", 3),
        (b"spool check\x02\x02\x02\x02\x02\x15net ", "net check", 4),
        (b"net nonsense\x02\x02\x02\x02\x02\x02\x02\x02\x02\x0b", "net", 3),
        (b"st\x1b[1;5Aatus", "status", 6),
        (b"sta\x13\x11tus\x04", "status", 6),
    ] {
        let mut desk = Desk::new();
        desk.type_in(typed);
        assert_eq!(desk.terminal.now(), (line.to_owned(), column), "{typed:?}");
        desk.type_in(b"\r");
        assert_eq!(desk.lines(), [line], "{typed:?}");
    }
}

#[test]
fn ctrl_c_gives_a_line_up() {
    let mut desk = Desk::new();
    desk.type_in(b"reflash sys\x03net\r");
    let keys: Vec<Key> = desk.keys.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, [Key::GivenUp, Key::Line]);
    assert_eq!(desk.lines(), ["net"]);
}

#[test]
fn the_last_eight_lines_come_back() {
    let mut desk = Desk::new();
    for line in 0..10 {
        desk.type_in(format!("ping 10.0.0.{line}\r").as_bytes());
    }
    desk.type_in(b"ping 10.0.0.9\r\r\r");
    desk.type_in(b"dra\x10");
    assert_eq!(desk.terminal.now().0, "ping 10.0.0.9", "once, though it was typed twice; and no empty lines");
    for _ in 0..20 {
        desk.type_in(b"\x1b[A");
    }
    assert_eq!(desk.terminal.now().0, "ping 10.0.0.2", "the oldest of eight");
    for _ in 0..20 {
        desk.type_in(b"\x1b[B");
    }
    assert_eq!(desk.terminal.now(), ("dra".into(), 3), "what was being typed is still there");
    desk.type_in(b"\x1b[A\x1b[A\x7f7\r");
    assert_eq!(desk.lines().last(), Some(&"ping 10.0.0.7"));
}

#[test]
fn what_was_typed_back_is_not_remembered() {
    let mut desk = Desk::new();
    let (mut shown, question) = (String::new(), Prompt { text: "Type it: ", level: None });
    for byte in b"sys\ttem-a\r" {
        desk.editor.feed(*byte, question, &mut shown);
    }
    assert_eq!(desk.editor.line().as_str(), "system-a", "and nothing is completed");
    desk.type_in(b"\x1b[A");
    assert_eq!(desk.terminal.now().0, "");
}

#[test]
fn tab_goes_on_as_far_as_it_is_clear_and_then_shows_what_there_is() {
    for (typed, line) in [
        (&b"st\t"[..], "stat"),
        (b"statu\t", "status"),
        (b"pi\t10.0.2.2", "ping 10.0.2.2"),
        (b"verify s\tb", "verify system-b"),
        (b"boot sy\ta o\t", "boot system-a once"),
        (b"flash d\tbo\t", "flash dump boot-state"),
        (b"help fl\ti\t", "help flash info"),
        (b"rescue sto\t", "rescue stop"),
        (b"nonsense \t", "nonsense"),
        (b"nonsense\t", "nonsense"),
        (b"status \t", "status"),
        (b"factory\t", "factory"),
        (b" 10.0.2.2\x01pi\t", "ping 10.0.2.2"),
    ] {
        let mut desk = Desk::new();
        desk.type_in(typed);
        assert_eq!(desk.terminal.now().0, line.to_owned(), "{:?}", std::str::from_utf8(typed));
    }
    let mut desk = Desk::new();
    desk.type_in(b"flash \t");
    assert_eq!(desk.terminal.lines, ["flash", "info  test  dump"]);
    assert_eq!(desk.terminal.now(), ("> flash".into(), 8), "and what was typed is there again");
}

#[test]
fn a_line_that_is_too_long_is_told_and_not_cut() {
    let mut desk = Desk::new();
    desk.type_in(&[b'x'; LINE_BYTES_MAX]).type_in(b"\r");
    assert_eq!(desk.lines().len(), 1);
    desk.type_in(&[b'y'; LINE_BYTES_MAX + 1]).type_in(b"\r");
    assert_eq!(desk.keys.last().unwrap().0, Key::TooLong);
    desk.type_in(b"net\r");
    assert_eq!(desk.lines().last(), Some(&"net"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is typed, the terminal shows the line that will be run, with the cursor where it is.
    #[test]
    fn the_terminal_shows_what_will_be_run(
        pieces in proptest::collection::vec(
            prop_oneof![
                4 => "[a-z ]{1,6}".prop_map(String::into_bytes),
                2 => proptest::sample::select(vec![
                    &b"\x1b[D"[..], b"\x1b[C", b"\x1b[A", b"\x1b[B", b"\x1b[3~", b"\x1b[H", b"\x1b[F", b"\x7f", b"\x08", b"\x15",
                    b"\x17", b"\x0b", b"\x01", b"\x05", b"status", b"flash dump ",
                ]).prop_map(<[u8]>::to_vec),
                1 => Just(b"\r".to_vec()),
            ],
            0..60,
        ),
    ) {
        let mut desk = Desk::new();
        for piece in &pieces {
            desk.type_in(piece);
            if !piece.contains(&b'\r') {
                let (line, _) = desk.terminal.now();
                prop_assert_eq!(line, desk.editor.line().trim_end());
            }
        }
        let (line, _) = desk.terminal.now();
        let is_empty = pieces.last().is_none_or(|piece| piece == b"\r");
        desk.type_in(b"\r");
        if !is_empty && desk.keys.last().unwrap().0 == Key::Line {
            prop_assert_eq!(desk.lines().last().unwrap().trim_end(), line);
        }
    }
}
