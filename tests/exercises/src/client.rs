//! A server that says anything at all, in pieces of any size, to a client session whose caller does what it likes, in
//! turn or not.
//!
//! The first byte says how many bytes of choices follow; then one for the cuts; the rest is what the server sends.

use penstock_smtp::bounds::{CLIENT_OUTPUT_BYTES, REPLY_TEXT_BYTES_MAX};
use penstock_smtp::client::{Config, Event, Phase, Session};
use penstock_smtp::{Address, BodyType, MailFrom, Notify, OriginalRecipient, Recipient, Return, Xtext};

use crate::cuts::cut;
use crate::reference;

/// A recipient of each transaction.
const RECIPIENTS: u32 = 3;

/// What the caller knows of its own doing.
struct Caller<'a> {
    session: Session,
    choices: core::iter::Cycle<core::slice::Iter<'a, u8>>,
    /// All output so far, sent or not.
    wire: Vec<u8>,
    /// What of the session's output is in `wire` already.
    noted: usize,
    /// The message that is being sent.
    message: Option<Message>,
    over: bool,
}

/// A message that is being sent.
struct Message {
    text: Vec<u8>,
    /// Where in `wire` it begins.
    at: usize,
    /// By BDAT: how many octets were announced.
    octets: Option<u64>,
}

/// Tries an input.
pub fn client(input: &[u8]) {
    let [count, rest @ ..] = input else { return };
    let Some((choices, [cuts, server @ ..])) = rest.split_at_checked(usize::from(*count)) else { return };
    if choices.is_empty() {
        return;
    }
    let config = Config { recipients_max: RECIPIENTS, ..Config::new("client.example").unwrap() };
    let mut caller = Caller {
        session: Session::new(config),
        choices: choices.iter().cycle(),
        wire: Vec::new(),
        noted: 0,
        message: None,
        over: false,
    };
    cut(server, *cuts, |piece| {
        caller.hear(piece);
        !caller.over
    });
    if caller.over {
        let mut more = &b"250 ok\r\n"[..];
        assert_eq!(caller.session.poll(&mut more), Event::Closed, "over is over");
        assert_eq!(caller.session.phase(), Phase::Over);
    }
}

impl Caller<'_> {
    fn hear(&mut self, piece: &[u8]) {
        let mut input = piece;
        loop {
            let event = self.session.poll(&mut input);
            let text_bytes = match &event {
                Event::Greeting(reply)
                | Event::MailReply(reply)
                | Event::RcptReply { reply, .. }
                | Event::DataReply(reply)
                | Event::EndReply(reply)
                | Event::ResetReply(reply)
                | Event::StartTlsReply(reply)
                | Event::Refused { reply, .. } => reply.text.len(),
                _ => 0,
            };
            assert!(text_bytes <= REPLY_TEXT_BYTES_MAX);
            let waits = matches!(event, Event::NeedInput);
            let may_send = matches!(event, Event::DataReply(reply) if reply.code == 354);
            self.over = matches!(event, Event::Refused { .. } | Event::Broken { .. } | Event::Closed);
            if waits {
                assert!(input.is_empty(), "input is left");
            }
            let said = self.note();
            let alone: [&[u8]; 4] = [b"", b"EHLO client.example\r\n", b"HELO client.example\r\n", b".\r\n"];
            assert!(alone.contains(&&said[..]), "unasked: {}", said.escape_ascii());
            if may_send {
                self.message = Some(Message { text: Vec::new(), at: self.wire.len(), octets: None });
            }
            if self.over {
                return;
            }
            self.act();
            if waits {
                return;
            }
        }
    }

    /// What was added to the output since the last call.
    fn note(&mut self) -> Vec<u8> {
        let output = self.session.output();
        assert!(output.len() <= CLIENT_OUTPUT_BYTES);
        let added = output[self.noted..].to_vec();
        self.noted = output.len();
        self.wire.extend_from_slice(&added);
        added
    }

    /// Does the next thing, in turn or not, and looks at what it adds to the output.
    fn act(&mut self) {
        let choice = *self.choices.next().unwrap();
        if choice & 0x80 != 0 {
            // Part of the output is sent, or all.
            let len = self.session.output().len();
            let sent = if choice & 0x40 != 0 { len } else { len.min(1 + usize::from(choice & 0x3F)) };
            self.session.sent(sent);
            self.noted -= sent;
        }
        let can_send = self.session.can_send();
        let offered = self.session.capabilities().clone();
        match choice & 7 {
            0 => self.command(can_send, "MAIL FROM:<a@b.example>", |session| session.mail(&mail())),
            1 => self.command(can_send, "RCPT TO:<c@d.example>", |session| session.rcpt(&recipient())),
            2 => self.command(can_send, "DATA", Session::data),
            3 => self.command(true, "RSET", Session::reset),
            4 => self.body(choice >> 3 & 7),
            5 => self.finish(),
            // Quits seldom, or little else is tried.
            6 if choice & 0x38 == 0 => self.command(true, "QUIT", Session::quit),
            6 if choice & 0x20 == 0 => self.start_tls(offered.starttls),
            6 => self.chunk(u64::from(choice >> 3 & 3), offered.chunking),
            _ => {}
        }
        let text =
            String::from_utf8_lossy(self.wire.rsplit(|byte| *byte == b'\n').nth(1).unwrap_or_default());
        for (keyword, may) in [
            (" SIZE=", offered.size),
            (" BODY=", offered.eight_bit_mime),
            (" RET=", offered.dsn),
            (" ENVID=", offered.dsn),
            (" NOTIFY=", offered.dsn),
            (" ORCPT=", offered.dsn),
        ] {
            let is_command = text.starts_with("MAIL FROM:") || text.starts_with("RCPT TO:");
            assert!(may || !is_command || !text.contains(keyword), "not offered: {text}");
        }
    }

    /// A command that is taken is one line and begins as it must; one that is not adds nothing.
    fn command(
        &mut self,
        may: bool,
        begins: &str,
        act: impl FnOnce(&mut Session) -> Result<(), penstock_smtp::Error>,
    ) {
        let taken = act(&mut self.session).is_ok();
        assert!(may || !taken, "out of turn: {begins}");
        let said = self.note();
        if !taken {
            return assert!(said.is_empty(), "refused and said: {}", said.escape_ascii());
        }
        let line = said.strip_suffix(b"\r\n").expect("a command ends its line");
        assert!(line.starts_with(begins.as_bytes()), "{}", said.escape_ascii());
        assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')), "{}", said.escape_ascii());
        if begins == "DATA" {
            assert_eq!(line, b"DATA");
        }
    }

    /// Goes over to TLS, where the server has agreed to it: then it is asked again what it offers.
    fn start_tls(&mut self, offered: bool) {
        if self.session.tls_started().is_ok() {
            assert_eq!(self.note(), b"EHLO client.example\r\n");
            assert!(self.session.is_tls() && !self.session.capabilities().starttls);
        } else {
            let may = offered && !self.session.is_tls();
            self.command(may, "STARTTLS", Session::start_tls);
        }
    }

    fn chunk(&mut self, octets: u64, offered: bool) {
        self.command(offered, "BDAT", |session| session.chunk(octets));
        if self.wire.ends_with(format!("BDAT {octets} LAST\r\n").as_bytes())
            && self.message.is_none()
            && octets > 0
        {
            self.message = Some(Message { text: Vec::new(), at: self.wire.len(), octets: Some(octets) });
        }
    }

    fn body(&mut self, which: u8) {
        const PIECES: [&[u8]; 8] =
            [b".", b"\r\n", b"\n", b"\r", b"..\r\n", b"text", b"\r\n.\r\n", &[b'.'; 20_000]];
        let piece = PIECES[usize::from(which)];
        let taken = self.session.body(piece);
        self.note();
        match (&mut self.message, taken) {
            (Some(message), Ok(len)) => {
                message.text.extend_from_slice(&piece[..len]);
                // The last octet of a chunk is its end.
                if message.octets == Some(message.text.len() as u64) {
                    assert_eq!(self.wire[message.at..], message.text);
                    self.message = None;
                }
            }
            (None, Ok(_)) => panic!("a message before its time"),
            (Some(Message { text, octets: Some(octets), .. }), Err(_)) => {
                assert!((text.len() + piece.len()) as u64 > *octets, "octets of a chunk are not taken");
            }
            (_, Err(_)) => {}
        }
    }

    fn finish(&mut self) {
        let taken = self.session.finish().is_ok();
        let said = self.note();
        // A chunk is over with its last octet, and that may be said again.
        if !taken || said.is_empty() {
            return assert!(said.is_empty(), "refused and said: {}", said.escape_ascii());
        }
        let Message { mut text, at, octets } = self.message.take().expect("a message before its time");
        assert_eq!(octets, None, "a chunk has no other end");
        let (read, len) = reference::message(&self.wire[at..]).expect("the end was sent");
        assert_eq!(len, self.wire.len() - at, "an end within the message");
        // DATA cannot send a message that does not end in CR LF.
        if !text.is_empty() && !text.ends_with(b"\r\n") {
            text.extend_from_slice(b"\r\n");
        }
        assert_eq!(read.escape_ascii().to_string(), text.escape_ascii().to_string());
    }
}

/// A sender with everything that may be said of it.
fn mail() -> MailFrom<'static> {
    MailFrom {
        size_bytes: Some(1000),
        body: Some(BodyType::EightBitMime),
        ret: Some(Return::Headers),
        envid: Some(Xtext::parse("QQ+2B").unwrap()),
        ..MailFrom::new(Address::parse("a@b.example").unwrap())
    }
}

/// A recipient with everything that may be said of it.
fn recipient() -> Recipient<'static> {
    Recipient {
        notify: Some(Notify { success: true, ..Notify::NEVER }),
        orcpt: Some(OriginalRecipient::parse("rfc822;c@d.example").unwrap()),
        ..Recipient::new(Address::parse("c@d.example").unwrap())
    }
}
