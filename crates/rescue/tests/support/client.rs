//! A client of the tests' own: says lines, reads replies, stuffs its dots itself.

use std::collections::VecDeque;

use penstock_rescue::smoltcp::socket::tcp;

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    /// Lines that end in CR LF.
    pub(crate) body: Vec<u8>,
    pub(crate) declares_size: bool,
}

impl Mail {
    /// A message of about that size, different for each number: lines of all lengths, dots at their heads among them.
    pub(crate) fn new(number: u64, size_bytes: usize) -> Self {
        let mut rng = penstock_flash::sim::Rng::new(number);
        let mut body = format!("Subject: message {number}\r\n\r\n").into_bytes();
        while body.len() < size_bytes {
            if rng.one_in(4) {
                body.push(b'.');
            }
            let len = rng.below(76).min((size_bytes - body.len()) as u64);
            body.extend((0..len).map(|_| b' ' + rng.below(95) as u8));
            body.extend_from_slice(b"\r\n");
        }
        Self {
            sender: format!("sender{number}@example.com"),
            recipients: vec![format!("somebody{number}@example.org")],
            body,
            declares_size: number.is_multiple_of(2),
        }
    }
}

/// What a client was told about a message, or instead of a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) text: String,
}

#[derive(Clone, Debug)]
enum Await {
    Greeting,
    Ehlo,
    Mail,
    Rcpt(usize),
    Data,
    End,
    Bye,
}

/// A client that brings messages one after the other, and hangs up.
pub(crate) struct Client {
    mails: VecDeque<Mail>,
    awaits: Await,
    out: VecDeque<u8>,
    line: Vec<u8>,
    /// Each message with the reply that decided about it.
    pub(crate) answered: Vec<(Mail, Reply)>,
    /// The lines of the reply to EHLO.
    pub(crate) extensions: Vec<String>,
    /// A reply to something else than a message that was not good.
    pub(crate) refused: Option<Reply>,
    pub(crate) is_over: bool,
    taken: usize,
}

impl Client {
    pub(crate) fn new(mails: impl IntoIterator<Item = Mail>) -> Self {
        Self {
            mails: mails.into_iter().collect(),
            awaits: Await::Greeting,
            out: VecDeque::new(),
            line: Vec::new(),
            answered: Vec::new(),
            extensions: Vec::new(),
            refused: None,
            is_over: false,
            taken: 0,
        }
    }

    fn say(&mut self, line: &str) {
        self.out.extend(line.as_bytes());
        self.out.extend(b"\r\n");
    }

    /// Goes on with what came and with what there is room for.
    pub(crate) fn tick(&mut self, socket: &mut tcp::Socket<'_>) {
        while let Ok(Some(byte)) = socket.recv(|bytes| match bytes.first() {
            Some(byte) => (1, Some(*byte)),
            None => (0, None),
        }) {
            self.line.push(byte);
            if byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
                self.reply(line.trim_end());
            }
        }
        while !self.out.is_empty() && socket.can_send() {
            let (head, _) = self.out.as_slices();
            let sent = socket.send_slice(head).unwrap();
            if sent == 0 {
                break;
            }
            self.out.drain(..sent);
        }
        if self.is_over && self.out.is_empty() {
            socket.close();
        }
        if !socket.is_open() || (!socket.may_recv() && socket.state() != tcp::State::SynSent) {
            self.is_over = true;
            socket.abort();
        }
    }

    fn reply(&mut self, line: &str) {
        if self.is_over {
            // The answer to QUIT.
            return;
        }
        let code: u16 = line[..3].parse().unwrap();
        if matches!(self.awaits, Await::Ehlo) {
            self.extensions.push(line[4..].to_owned());
        }
        if line.as_bytes().get(3) == Some(&b'-') {
            return;
        }
        let is_good = code < 400;
        let reply = Reply { code, text: line[4..].to_owned() };
        let awaited = self.awaits.clone();
        match awaited {
            Await::Greeting | Await::Ehlo if !is_good => self.give_up(reply),
            Await::Greeting => {
                self.say("EHLO client.example");
                self.awaits = Await::Ehlo;
            }
            Await::Ehlo | Await::Bye => self.next(),
            Await::Mail | Await::Rcpt(_) | Await::Data if !is_good => self.decided(reply),
            Await::Mail => self.rcpt(0),
            Await::Rcpt(n) if n + 1 < self.mails[0].recipients.len() => self.rcpt(n + 1),
            Await::Rcpt(_) => {
                self.say("DATA");
                self.awaits = Await::Data;
            }
            Await::Data => {
                let body = self.mails[0].body.clone();
                for line in body.split_inclusive(|byte| *byte == b'\n') {
                    if line.starts_with(b".") {
                        self.out.push_back(b'.');
                    }
                    self.out.extend(line);
                }
                self.say(".");
                self.awaits = Await::End;
            }
            Await::End => {
                self.taken += usize::from(is_good);
                self.decided(reply);
            }
        }
    }

    fn rcpt(&mut self, n: usize) {
        self.say(&format!("RCPT TO:<{}>", self.mails[0].recipients[n]));
        self.awaits = Await::Rcpt(n);
    }

    fn decided(&mut self, reply: Reply) {
        let is_closing = reply.code == 421;
        let is_refused_early = !matches!(self.awaits, Await::End);
        let mail = self.mails.pop_front().unwrap();
        self.answered.push((mail, reply.clone()));
        if is_closing {
            self.give_up(reply);
        } else if is_refused_early {
            self.say("RSET");
            self.awaits = Await::Bye;
        } else {
            self.next();
        }
    }

    fn next(&mut self) {
        match self.mails.front() {
            Some(mail) if mail.declares_size => {
                self.say(&format!("MAIL FROM:<{}> SIZE={}", mail.sender, mail.body.len()));
                self.awaits = Await::Mail;
            }
            Some(mail) => {
                self.say(&format!("MAIL FROM:<{}>", mail.sender));
                self.awaits = Await::Mail;
            }
            None => {
                self.say("QUIT");
                self.is_over = true;
            }
        }
    }

    fn give_up(&mut self, reply: Reply) {
        self.refused = Some(reply);
        self.is_over = true;
    }
}

/// A client that says what it was told to, and notes what it hears.
#[derive(Default)]
pub(crate) struct Raw {
    pub(crate) out: VecDeque<u8>,
    pub(crate) heard: Vec<u8>,
    /// It does not read what it is told, so that its window closes.
    pub(crate) is_deaf: bool,
}

impl Raw {
    pub(crate) fn saying(text: &str) -> Self {
        Self { out: text.bytes().collect(), ..Self::default() }
    }

    pub(crate) fn tick(&mut self, socket: &mut tcp::Socket<'_>) {
        if !self.is_deaf {
            while let Ok(len) = socket.recv(|bytes| {
                self.heard.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            }) && len > 0
            {}
        }
        while !self.out.is_empty() && socket.can_send() {
            let (head, _) = self.out.as_slices();
            let sent = socket.send_slice(head).unwrap();
            self.out.drain(..sent);
        }
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}
