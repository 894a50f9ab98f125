//! A client that sends anything at all, in pieces of any size, to a server session whose caller says yes and no.
//!
//! The first three bytes choose configuration, cuts and verdicts; the rest is what the client sends.

use penstock_smtp::bounds::{REPLY_LINE_BYTES_MAX, SERVER_OUTPUT_BYTES};
use penstock_smtp::server::{BareNewlines, Config, Event, ResetReason, Session};
use penstock_smtp::{BodyType, replies};

use crate::cuts::cut;
use crate::reference;

/// A message that was taken, with its envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mail {
    sender: String,
    recipients: Vec<String>,
    message: Vec<u8>,
}

/// What a session came to, however its input was cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    replies: Vec<u8>,
    taken: Vec<Mail>,
    closed: bool,
}

/// One run of a session.
struct Run<'a> {
    session: Session,
    /// All that the client sends, so that the reference can look at it.
    all: &'a [u8],
    /// How much of it the session has consumed.
    at: usize,
    /// Which questions are answered with no.
    verdicts: u8,
    questions: u8,
    outcome: Outcome,
    envelope: Option<Mail>,
    /// The message that is being received.
    message: Option<Began>,
    /// Whether it need not be made of lines.
    binary: bool,
}

/// Where a message began in what the client sends.
#[derive(Clone, Copy)]
enum Began {
    /// After DATA: where its first byte is.
    Data(usize),
    /// Where the line of its first BDAT is.
    Chunks(usize),
}

/// Tries an input.
pub fn server(input: &[u8]) {
    let [flags, cuts, verdicts, all @ ..] = input else { return };
    let whole = run(all, config(*flags), 0, *verdicts);
    let pieces = run(all, config(*flags), *cuts, *verdicts);
    assert_eq!(whole, pieces, "cut by {cuts}: {}", all.escape_ascii());
}

fn config(flags: u8) -> Config {
    let bit = |n: u8| flags >> n & 1 == 1;
    Config {
        bare_newlines: if bit(0) { BareNewlines::Keep } else { BareNewlines::Refuse },
        size_bytes_max: if bit(1) { 100 } else { 1 << 20 },
        discarded_bytes_max: 2000,
        recipients_max: if bit(2) { 2 } else { 1000 },
        errors_max: if bit(3) { 3 } else { 20 },
        eight_bit_mime: !bit(4),
        dsn: !bit(5),
        starttls: bit(6),
        etrn: bit(7),
        ..Config::new("mx.example.com").unwrap()
    }
}

fn run(all: &[u8], config: Config, cuts: u8, verdicts: u8) -> Outcome {
    let mut run = Run {
        session: Session::new(config),
        all,
        at: 0,
        verdicts,
        questions: 0,
        outcome: Outcome::default(),
        envelope: None,
        message: None,
        binary: false,
    };
    run.hear(b"");
    cut(all, cuts, |piece| {
        run.hear(piece);
        !run.outcome.closed
    });
    let ended = match run.message {
        Some(Began::Data(at)) => reference::message(&all[at..]).is_some(),
        Some(Began::Chunks(at)) => reference::chunks(&all[at..]).2,
        None => false,
    };
    assert!(run.outcome.closed || !ended, "an end was not seen");
    let outcome = run.outcome;
    let replies = outcome.replies.escape_ascii();
    assert!(reference::is_whole_replies(&outcome.replies, REPLY_LINE_BYTES_MAX), "no replies: {replies}");
    outcome
}

impl Run<'_> {
    /// Gives the session a piece, and answers what it asks.
    fn hear(&mut self, piece: &[u8]) {
        let mut input = piece;
        loop {
            let before = input.len();
            let event = self.session.poll(&mut input);
            self.at += before - input.len();
            match event {
                Event::NeedInput => break assert!(input.is_empty(), "input is left"),
                Event::OutputFull => self.send(),
                Event::Answered => {}
                Event::Hello { .. } => (self.envelope, self.message) = (None, None),
                Event::Etrn { .. } => {
                    assert!(self.envelope.is_none() && self.session.config().etrn);
                    self.verdict();
                }
                Event::StartTls => {
                    assert!(self.envelope.is_none() && self.session.config().starttls);
                    break self.go_over_to_tls();
                }
                Event::Mail(mail) => {
                    assert!(self.envelope.is_none(), "MAIL within a transaction");
                    let sender = mail.sender.to_string();
                    self.binary = mail.body == Some(BodyType::BinaryMime);
                    if self.verdict() {
                        self.envelope = Some(Mail { sender, ..Mail::default() });
                    }
                }
                Event::Rcpt(recipient) => {
                    assert!(!recipient.address.is_null());
                    let address = recipient.address.to_string();
                    assert!(self.envelope.is_some(), "RCPT outside a transaction");
                    if self.verdict() {
                        self.envelope.as_mut().unwrap().recipients.push(address);
                    }
                }
                Event::Data => {
                    let recipients = self.envelope.as_ref().map_or(0, |mail| mail.recipients.len());
                    assert!(recipients > 0, "DATA for nobody");
                    assert!(recipients <= self.session.config().recipients_max as usize);
                    if self.verdict() {
                        self.message = Some(self.began());
                    }
                }
                Event::Body(bytes) => {
                    assert!(!bytes.is_empty());
                    self.envelope
                        .as_mut()
                        .expect("a message has an envelope")
                        .message
                        .extend_from_slice(bytes);
                }
                Event::EndOfData { bytes, .. } => {
                    let mail = self.envelope.take().expect("a message has an envelope");
                    let (text, ended) = self.message_by_reference();
                    assert!(ended, "the message has no end");
                    assert_eq!(mail.message.escape_ascii().to_string(), text.escape_ascii().to_string());
                    assert_eq!(bytes, text.len() as u64);
                    let config = self.session.config();
                    assert!(bytes <= config.size_bytes_max);
                    let may_be_bare = self.binary || config.bare_newlines == BareNewlines::Keep;
                    assert!(may_be_bare || !reference::has_bare_newline(&text));
                    if self.verdict() {
                        self.outcome.taken.push(mail);
                    }
                }
                Event::Reset { why } => {
                    assert!(self.envelope.take().is_some(), "no transaction to reset");
                    match why {
                        // A message in chunks can be given up between them.
                        ResetReason::Rset => assert!(!matches!(self.message.take(), Some(Began::Data(_)))),
                        ResetReason::Chunk => self.message = None,
                        ResetReason::BareNewline => {
                            assert!(
                                !self.binary && reference::has_bare_newline(&self.message_by_reference().0)
                            );
                        }
                        ResetReason::TooLarge => {
                            let len = self.message_by_reference().0.len() as u64;
                            assert!(len > self.session.config().size_bytes_max);
                        }
                    }
                }
                Event::Verdict => panic!("everything was answered"),
                Event::Close { .. } => {
                    self.outcome.closed = true;
                    break;
                }
            }
        }
        self.send();
    }

    /// Where the message begins whose command has just been consumed.
    fn began(&self) -> Began {
        let lines = self.all[..self.at].strip_suffix(b"\r\n").expect("a command ends with CR LF");
        let line_at = lines.windows(2).rposition(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
        match reference::chunk(&lines[line_at..]) {
            Some(_) => Began::Chunks(line_at),
            None => Began::Data(self.at),
        }
    }

    /// The message up to here, and whether it has ended; by DATA it has, and ended here.
    fn message_by_reference(&mut self) -> (Vec<u8>, bool) {
        match self.message.take().expect("a message that is over has begun") {
            Began::Data(at) => {
                let (text, len) = reference::message(&self.all[at..]).expect("the message has no end");
                assert_eq!(at + len, self.at, "the message ends elsewhere");
                (text, true)
            }
            Began::Chunks(at) => {
                let (text, len, ended) = reference::chunks(&self.all[at..self.at]);
                assert_eq!(at + len, self.at, "a chunk ends elsewhere");
                (text, ended)
            }
        }
    }

    /// Goes over to TLS, where the session is as new, and ends the run: the rest of the input was thrown away.
    fn go_over_to_tls(&mut self) {
        let mut left = &b"EHLO x\r\nMAIL FROM:<injected@b.example>\r\n"[..];
        assert_eq!(self.session.poll(&mut left), Event::StartTls);
        assert!(left.is_empty(), "nothing that came in plain text is kept");
        self.send();
        let last = self.outcome.replies[..].rsplit(|byte| *byte == b'\n').nth(1).unwrap_or_default();
        assert!(last.starts_with(b"220 "), "{}", last.escape_ascii());
        self.session.tls_started().unwrap();
        let before = self.outcome.replies.len();
        let codes = ["MAIL FROM:<a@b.example>", "EHLO x", "RCPT TO:<c@d.example>"].map(|line| self.say(line));
        // It may have had enough errors by now.
        let told =
            codes.iter().zip(["503", "250", "503"]).all(|(code, right)| code == right || code == "421");
        assert!(told, "{codes:?}");
        let said = String::from_utf8_lossy(&self.outcome.replies[before..]);
        assert!(!said.contains("STARTTLS"), "{said}");
        self.outcome.closed = true;
    }

    /// Says one line that asks for no verdict, and returns the code of the last line of what comes back.
    fn say(&mut self, line: &str) -> String {
        let line = format!("{line}\r\n");
        let mut input = line.as_bytes();
        while !matches!(self.session.poll(&mut input), Event::NeedInput | Event::Close { .. }) {}
        self.send();
        let text = String::from_utf8_lossy(&self.outcome.replies);
        text.lines().last().unwrap_or_default().chars().take(3).collect()
    }

    /// Answers a question, and says how.
    fn verdict(&mut self) -> bool {
        let no = self.verdicts.rotate_right(u32::from(self.questions)) & 1 == 1;
        self.questions = self.questions.wrapping_add(1);
        if no {
            let reply = if self.questions % 16 == 15 { replies::SHUTTING_DOWN } else { replies::LOCAL_ERROR };
            self.session.refuse(reply).unwrap();
        } else {
            self.session.accept().unwrap();
        }
        !no
    }

    fn send(&mut self) {
        let output = self.session.output();
        assert!(output.len() <= SERVER_OUTPUT_BYTES);
        self.outcome.replies.extend_from_slice(output);
        self.session.sent(output.len());
    }
}
