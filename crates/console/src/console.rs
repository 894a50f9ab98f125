//! The console itself, below Linux: bytes of the line and time in, answers out.
//!
//! One command a line. The last line of every answer is `OK`, or `ERR` with a code and what it came to; no other line begins
//! with these words. A command that destroys something is done after its slot, or the serial number of the box, was typed back.
//! A console at which nobody types closes, and its caller goes back to the service: there is no prompt at which a box waits for
//! ever. A closed console listens for the word ([`RescueWord`]) and nothing else.

use core::fmt::Write;

use heapless::String;

use crate::editor::{Editor, Key, Line, Prompt};
use crate::failure::Failure;
use crate::failure::codes::{IDLE, NOISE, NOT_TYPED_BACK, TOO_LONG};
use crate::framed::Framed;
use crate::help;
use crate::levels::Level;
use crate::parse::{Understood, parse};
use crate::table::Definition;
use crate::word::RescueWord;
use crate::words::{Command, Place};
use crate::xmodem::{Receiver, Step, What};

/// How long nobody may type before the console closes, unless its caller has reasons for another time.
pub const IDLE_MS: u64 = 5 * 60 * 1000;

/// What has to be typed back is no longer, in bytes.
const BACK_BYTES_MAX: usize = 64;
/// The question, shown again.
const ASKED_AGAIN: &str = "Type it: ";

// It stands on a stack of the firmware.
const _: () = assert!(size_of::<Console>() <= 5 * 1024);

/// What a console works on: the firmware, or stage 0.
///
/// Answers are written line by line with `\n` at the ends; the console sees to it that they look right on the line. Nothing
/// of a message's text is ever written.
pub trait Machine {
    /// What is before the cursor now, such as `rescue> `: with the `> ` that scripts wait for.
    fn prompt(&self) -> &'static str;

    /// Does what was asked for and writes the answer. Help, `script` and `exit` never come here, and only commands that exist
    /// at the level do. Whoever has to be asked back has been.
    ///
    /// # Errors
    /// When it is not done: the code and the text are the last line of the answer.
    fn run(&mut self, command: Command<'_>, out: &mut dyn Write) -> Result<After, Failure>;

    /// Takes the next bytes of a bundle, after [`After::Receive`].
    ///
    /// # Errors
    /// When they cannot be taken: the sender is told to stop.
    fn receive(&mut self, block: &[u8]) -> Result<(), Failure>;

    /// All has come: so many bytes, of which the last may fill up the last block.
    ///
    /// # Errors
    /// When it is not what it should be.
    fn received(&mut self, bytes: u64, out: &mut dyn Write) -> Result<After, Failure>;

    /// No more is to come, and not all has: the transfer failed, or the machine refused a block.
    fn receive_ended(&mut self);
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next command.
    Prompt,
    /// A bundle of at most so many bytes, over this line. The answer goes on behind it.
    Receive {
        /// So many.
        bytes_max: u64,
    },
    /// Something else than this console: the box boots, restarts, ends. The machine knows what.
    Leave,
}

/// What a byte, or time that has passed, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing that its caller has to know.
    Nothing,
    /// The word was typed at a closed console, which has opened.
    Opened,
    /// A command closed the console ([`After::Leave`], or `exit`). Its answer is on the line.
    Left,
    /// Nobody typed for a while, and the console has closed.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// A command is being typed.
    Command,
    /// A command was typed that destroys something, and something has to be typed back.
    Asked,
    /// The bytes are a bundle's.
    Receiving,
}

/// The console of a level below Linux.
#[derive(Clone, Debug)]
pub struct Console {
    level: Level,
    idle_ms: u64,
    /// Since when nobody has typed; nothing when it counts from the next look at the clock, behind a command that took long.
    idle_since_ms: Option<u64>,
    state: State,
    editor: Editor,
    word: RescueWord,
    receiver: Receiver,
    /// The command about which somebody was asked back, and what has to be typed.
    asked: Line,
    back: String<BACK_BYTES_MAX>,
}

impl Console {
    /// A closed one. After `idle_ms` without a byte it closes again ([`IDLE_MS`]).
    pub const fn new(level: Level, idle_ms: u64) -> Self {
        Self {
            level,
            idle_ms,
            idle_since_ms: None,
            state: State::Closed,
            editor: Editor::new(),
            word: RescueWord::new(),
            receiver: Receiver::new(0, 0),
            asked: Line::new(),
            back: String::new(),
        }
    }

    /// Whether commands are taken.
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Opens it, and says how to begin.
    pub fn open(&mut self, now_ms: u64, machine: &dyn Machine, out: &mut dyn Write) {
        self.editor = Editor::new();
        let mut answer = Framed::new(out);
        // Here and below: where nothing can be written nobody reads.
        let _ = writeln!(
            answer,
            "\nPenstock, {}. `help` lists what can be typed; after {} s without typing the box goes on with its service.",
            self.level,
            self.idle_ms / 1000,
        );
        self.prompt(machine, out);
        self.idle_since_ms = Some(now_ms);
    }

    /// Closes it without a word. A bundle that was coming ends.
    pub fn close(&mut self, machine: &mut dyn Machine, out: &mut dyn Write) {
        if self.state == State::Receiving {
            let _ = out.write_str(self.receiver.refused().send);
            machine.receive_ended();
        }
        self.state = State::Closed;
        self.word = RescueWord::new();
    }

    /// Tells something that nobody asked for, such as that a link went down: between what is typed, and never into a bundle.
    pub fn say(&mut self, text: impl core::fmt::Display, machine: &dyn Machine, out: &mut dyn Write) {
        if self.state == State::Receiving {
            return;
        }
        let mut framed = Framed::new(out);
        if self.is_open() && !self.editor.is_plain() {
            let _ = writeln!(framed);
        }
        let _ = writeln!(framed, "{text}");
        match self.state {
            State::Command => self.editor.show(machine.prompt(), out),
            State::Asked => self.editor.show(ASKED_AGAIN, out),
            State::Closed | State::Receiving => {}
        }
    }

    /// Takes a byte from the line.
    pub fn feed(&mut self, byte: u8, now_ms: u64, machine: &mut dyn Machine, out: &mut dyn Write) -> Event {
        self.idle_since_ms = Some(now_ms);
        let key = match self.state {
            State::Closed => {
                if !self.word.feed(byte) {
                    return Event::Nothing;
                }
                self.open(now_ms, machine, out);
                return Event::Opened;
            }
            State::Receiving => {
                let step = self.receiver.feed(byte, now_ms);
                return self.go_on(step, now_ms, machine, out);
            }
            State::Command => {
                self.editor.feed(byte, Prompt { text: machine.prompt(), level: Some(self.level) }, out)
            }
            State::Asked => self.editor.feed(byte, Prompt { text: ASKED_AGAIN, level: None }, out),
        };
        match (key, self.state) {
            (Key::Pending, _) => Event::Nothing,
            (Key::Line, State::Asked) if self.editor.line().trim() == self.back.as_str() => {
                let line = self.asked.clone();
                self.answer(&line, true, now_ms, machine, out)
            }
            (_, State::Asked) => {
                let failure = Failure::new(NOT_TYPED_BACK, "that is not it: nothing was done");
                self.refuse(&failure, machine, out)
            }
            (Key::Line, _) => {
                let line = self.editor.line().clone();
                self.answer(&line, false, now_ms, machine, out)
            }
            (Key::GivenUp, _) => {
                self.prompt(machine, out);
                Event::Nothing
            }
            (Key::Noise, _) => {
                self.refuse(&Failure::new(NOISE, "noise on the line: type it again"), machine, out)
            }
            (Key::TooLong, _) => self.refuse(&Failure::new(TOO_LONG, "the line is too long"), machine, out),
        }
    }

    /// Looks whether time is up. To be called a few times a second.
    pub fn poll(&mut self, now_ms: u64, machine: &mut dyn Machine, out: &mut dyn Write) -> Event {
        let idle_since_ms = *self.idle_since_ms.get_or_insert(now_ms);
        match self.state {
            State::Closed => return Event::Nothing,
            State::Receiving => {
                let step = self.receiver.poll(now_ms);
                return self.go_on(step, now_ms, machine, out);
            }
            _ if now_ms.saturating_sub(idle_since_ms) < self.idle_ms => return Event::Nothing,
            State::Command => {}
            State::Asked => {
                end(out, Err(&Failure::new(IDLE, "nobody typed it: nothing was done")));
            }
        }
        let _ = writeln!(Framed::new(out), "\nNobody types: the box goes on with its service.");
        self.close(machine, out);
        Event::Idle
    }

    /// Answers a line.
    fn answer(
        &mut self,
        line: &Line,
        is_confirmed: bool,
        now_ms: u64,
        machine: &mut dyn Machine,
        out: &mut dyn Write,
    ) -> Event {
        let mut answer = Framed::new(out);
        let done = match parse(line, self.level) {
            Ok(None) => {
                self.prompt(machine, out);
                return Event::Nothing;
            }
            Err(failure) => Err(failure),
            Ok(Some(Understood { command, definition })) => match command {
                Command::Help("") => {
                    let _ = help::list(self.level, &mut answer);
                    Ok(After::Prompt)
                }
                Command::Help(name) => help::explain(name, self.level, &mut answer).map(|()| After::Prompt),
                Command::Script { on } => {
                    self.editor.set_plain(on);
                    Ok(After::Prompt)
                }
                Command::Exit => Ok(After::Leave),
                Command::Reflash(place) if definition.typed_back.is_some() && !is_confirmed => {
                    return self.ask_back(line, definition, place, out);
                }
                command => machine.run(command, &mut answer),
            },
        };
        let _ = answer.end_line();
        self.follow(done, now_ms, machine, out)
    }

    /// Asks for what has to be typed back.
    fn ask_back(&mut self, line: &Line, definition: &Definition, place: Place, out: &mut dyn Write) -> Event {
        let mut answer = Framed::new(out);
        let name = definition.name;
        let _ = write!(answer, "`{name}` cannot be undone. To go on type the name of the slot: ");
        self.back.clear();
        // There is room for every name.
        let _ = self.back.push_str(place.name());
        self.asked = line.clone();
        (self.state, self.idle_since_ms) = (State::Asked, None);
        Event::Nothing
    }

    /// Goes on with a bundle that is coming.
    fn go_on(&mut self, step: Step, now_ms: u64, machine: &mut dyn Machine, out: &mut dyn Write) -> Event {
        let _ = out.write_str(step.send);
        let ended = match step.what {
            What::Pending => return Event::Nothing,
            What::Block => match machine.receive(self.receiver.block()) {
                Ok(()) => {
                    let _ = out.write_str(self.receiver.taken(now_ms).send);
                    return Event::Nothing;
                }
                Err(failure) => {
                    let _ = out.write_str(self.receiver.refused().send);
                    Err(failure)
                }
            },
            What::Finished => Ok(()),
            What::Failed(fault) => Err(Failure::new(fault.code(), fault)),
        };
        let mut answer = Framed::new(out);
        // What was said to the sender stands on the line.
        let _ = writeln!(answer);
        let done = match ended {
            Ok(()) => machine.received(self.receiver.received(), &mut answer),
            Err(failure) => {
                machine.receive_ended();
                Err(failure)
            }
        };
        let _ = answer.end_line();
        self.follow(done, now_ms, machine, out)
    }

    /// Ends an answer, unless it goes on behind a bundle.
    fn follow(
        &mut self,
        done: Result<After, Failure>,
        now_ms: u64,
        machine: &mut dyn Machine,
        out: &mut dyn Write,
    ) -> Event {
        match done {
            Err(failure) => self.refuse(&failure, machine, out),
            Ok(After::Receive { bytes_max }) => {
                let _ =
                    writeln!(Framed::new(out), "Send it now, by XMODEM or YMODEM. Ctrl-C twice gives up.");
                self.receiver = Receiver::new(bytes_max, now_ms);
                self.state = State::Receiving;
                Event::Nothing
            }
            Ok(After::Prompt) => {
                end(out, Ok(()));
                self.prompt(machine, out);
                Event::Nothing
            }
            Ok(After::Leave) => {
                end(out, Ok(()));
                self.close(machine, out);
                Event::Left
            }
        }
    }

    fn refuse(&mut self, failure: &Failure, machine: &dyn Machine, out: &mut dyn Write) -> Event {
        end(out, Err(failure));
        self.prompt(machine, out);
        Event::Nothing
    }

    fn prompt(&mut self, machine: &dyn Machine, out: &mut dyn Write) {
        (self.state, self.idle_since_ms) = (State::Command, None);
        self.editor.clear();
        self.editor.show(machine.prompt(), out);
    }
}

/// Writes the last line of an answer.
fn end(out: &mut dyn Write, done: Result<(), &Failure>) {
    let _ = match done {
        Ok(()) => out.write_str("OK\r\n"),
        Err(failure) => write!(out, "ERR {}", failure.code())
            .and_then(|()| writeln!(Framed::new(out), " {}", failure.text())),
    };
}
