//! A serial line that says anything at all to the console of the firmware, or of stage 0.
//!
//! The first byte chooses the level; of the rest a byte 0xfe lets the next one's number of seconds pass, and any other is typed.

use std::fmt::Write;

use penstock_console::{After, Command, Console, Event, Failure, Level, Machine};

const IDLE_MS: u64 = 60_000;
/// As much of a bundle is taken.
const BUNDLE_BYTES_MAX: u64 = 2048;
const QUESTION: &str = "cannot be undone";

/// Does nothing, and counts what it would have destroyed.
#[derive(Default)]
struct Firmware {
    destroyed: usize,
    /// How much has come of a bundle that is coming.
    coming: Option<u64>,
}

impl Machine for Firmware {
    fn prompt(&self) -> &'static str {
        "> "
    }

    fn run(&mut self, command: Command<'_>, out: &mut dyn Write) -> Result<After, Failure> {
        assert_eq!(self.coming, None, "{command:?} while a bundle is coming");
        match command {
            Command::Reflash(_) => {
                (self.destroyed, self.coming) = (self.destroyed + 1, Some(0));
                return Ok(After::Receive { bytes_max: BUNDLE_BYTES_MAX });
            }
            Command::Restart | Command::Boot(_) => return Ok(After::Leave),
            Command::Verify(_) => return Err(Failure::new("PS-B010", "OK\nERR\x1b[2J")),
            // As bad as what strangers can have put there.
            command => write!(out, "OK\r\nERR {command:?}\x1b[2J\u{202e}").unwrap(),
        }
        Ok(After::Prompt)
    }

    fn receive(&mut self, block: &[u8]) -> Result<(), Failure> {
        let came = self.coming.as_mut().expect("nothing was to come");
        *came += block.len() as u64;
        assert!(*came <= BUNDLE_BYTES_MAX, "{came} bytes");
        Ok(())
    }

    fn received(&mut self, bytes: u64, _: &mut dyn Write) -> Result<After, Failure> {
        assert_eq!(self.coming.take(), Some(bytes));
        Ok(After::Prompt)
    }

    fn receive_ended(&mut self) {
        assert!(self.coming.take().is_some(), "nothing was to come");
    }
}

/// Tries an input.
pub fn console(input: &[u8]) {
    let [level, typed @ ..] = input else { return };
    let level = if level % 2 == 0 { Level::Firmware } else { Level::Stage0 };
    let mut console = Console::new(level, IDLE_MS);
    let (mut machine, mut shown, mut now_ms) = (Firmware::default(), String::new(), 0);
    console.open(now_ms, &machine, &mut shown);
    let mut bytes = typed.iter();
    while let Some(byte) = bytes.next() {
        let was_open = console.is_open();
        let event = if *byte == 0xfe {
            now_ms += u64::from(*bytes.next().unwrap_or(&0)) * 1000;
            console.poll(now_ms, &mut machine, &mut shown)
        } else {
            console.feed(*byte, now_ms, &mut machine, &mut shown)
        };
        let is_open = console.is_open();
        match event {
            Event::Nothing => assert_eq!(was_open, is_open),
            Event::Opened => assert!(!was_open && is_open),
            Event::Left | Event::Idle => assert!(was_open && !is_open),
        }
    }
    assert!(shown.is_ascii(), "{shown:?}");
    assert!(!shown.contains('\x1b'), "nothing may steer the terminal: {shown:?}");
    // Each answer has one end, and each question either an answer or an end of its own.
    let questions = shown.matches(QUESTION).count();
    assert!(machine.destroyed <= questions, "{questions} questions: {shown}");
    let ends = shown.split("\r\n").filter(|line| *line == "OK" || line.starts_with("ERR")).count();
    let lines = typed.iter().filter(|byte| matches!(byte, b'\r' | b'\n' | 3)).count();
    assert!(ends <= lines + questions, "{ends} ends of {lines} lines: {shown}");

    // Whatever it was, the box goes back to its service.
    for _ in 0..600 {
        now_ms += 1_000;
        let _ = console.poll(now_ms, &mut machine, &mut shown);
    }
    assert!(!console.is_open() && machine.coming.is_none());
    // And whoever comes then is heard.
    let heard = b"\rrescue\r"
        .iter()
        .any(|byte| console.feed(*byte, now_ms, &mut machine, &mut shown) == Event::Opened);
    assert!(heard);
}
