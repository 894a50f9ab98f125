//! A next hop that records what it was given, and can be asked to behave badly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::content::{Content, DataReader, Digester};
use crate::envelope::{Path, split_command};
use crate::listener::Listener;

/// A message that the sink was given. It is recorded before the reply to the final dot is sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The number of the connection it came in.
    pub session: u64,
    /// The sender.
    pub from: Path,
    /// The recipients that were accepted.
    pub to: Vec<Path>,
    /// The header fields on top that were taken off.
    pub trace: String,
    /// The message below them.
    pub content: Content,
    /// The whole message, trace included, where the sink keeps it; else nothing.
    pub raw: Vec<u8>,
    /// When it was recorded.
    pub at: Instant,
}

/// Where in a session something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// When the connection is made.
    Banner,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Rcpt,
    /// At DATA.
    Data,
    /// At the final dot.
    EndOfData,
}

/// How the sink answers. It can be changed at any time and holds from the next command on.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Takes everything.
    Accept,
    /// Says this line instead of the usual reply at one stage.
    Say(Stage, String),
    /// Closes the connection at one stage instead of replying.
    Close(Stage),
    /// Takes everything, but waits before each reply.
    Slow(Duration),
}

/// What a sink is beyond what it says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// How many header fields are taken off the top of each message: one for each server between the recorder and here.
    pub trace_fields: usize,
    /// Keeps messages and not only their digests.
    pub keeps: bool,
    /// Offers CHUNKING and BINARYMIME (RFC 3030).
    pub chunking: bool,
}

#[derive(Default)]
struct Shared {
    manner: Mutex<Option<Manner>>,
    deliveries: Mutex<Vec<Delivery>>,
    traits: Traits,
}

impl Shared {
    fn manner(&self) -> Manner {
        self.manner.lock().unwrap().clone().unwrap_or(Manner::Accept)
    }
}

/// An SMTP server on a loopback port. Dropping it makes it absent: the port refuses.
pub struct Sink {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Sink {
    /// Listens on a port (0: any). `trace_fields` header fields are taken off the top of each message: one for each
    /// server between the recorder and here.
    pub fn start(port: u16, trace_fields: usize) -> Self {
        Self::start_with(port, Traits { trace_fields, ..Traits::default() })
    }

    /// The same with other traits.
    pub fn start_with(port: u16, traits: Traits) -> Self {
        let shared = Arc::new(Shared { traits, ..Shared::default() });
        let own = Arc::clone(&shared);
        let listener = Listener::start(port, move |session, stream| {
            // A connection that the peer cut has nothing more to say.
            let _ = serve(session, stream, &own);
        });
        Self { listener, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Changes how it answers.
    pub fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = Some(manner);
    }

    /// How many messages it has.
    pub fn count(&self) -> usize {
        self.shared.deliveries.lock().unwrap().len()
    }

    /// What it has so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap().clone()
    }
}

const EXTENSIONS: &str = "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250-DSN\r\n\
                          250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n";

/// One session, from banner to the end of the connection.
struct Conversation<'a> {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    shared: &'a Shared,
    from: Option<Path>,
    to: Vec<Path>,
    /// What came of a message by BDAT.
    chunks: Option<Body>,
}

/// A message that is being received.
struct Body {
    digester: Digester,
    raw: Vec<u8>,
    keeps: bool,
}

impl Body {
    fn new(traits: Traits) -> Self {
        let digester = Digester::after_fields(traits.trace_fields);
        Self { digester, raw: Vec::new(), keeps: traits.keeps }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.digester.update(bytes);
        if self.keeps {
            self.raw.extend_from_slice(bytes);
        }
    }
}

impl Conversation<'_> {
    /// Replies as the manner asks at this stage. `None`: the connection is to be closed. Otherwise: whether the usual
    /// reply was given.
    fn reply(&mut self, stage: Option<Stage>, usual: &str) -> std::io::Result<Option<bool>> {
        let manner = self.shared.manner();
        let (text, as_usual) = match &manner {
            Manner::Say(at, line) if Some(*at) == stage => (format!("{line}\r\n"), false),
            Manner::Close(at) if Some(*at) == stage => return Ok(None),
            _ => (usual.to_owned(), true),
        };
        if let Manner::Slow(delay) = manner {
            sleep(delay);
        }
        self.writer.write_all(text.as_bytes())?;
        Ok(Some(as_usual))
    }

    /// Reads up to the final dot. `None`: the connection ended before.
    fn read_message(&mut self) -> std::io::Result<Option<Body>> {
        let mut reader = DataReader::new();
        let mut body = Body::new(self.shared.traits);
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let (taken, ended) = reader.feed(chunk, |bytes| body.append(bytes));
            self.reader.consume(taken);
            if ended {
                return Ok(Some(body));
            }
        }
    }

    /// Takes a chunk, whole. `None`: the connection is to be closed.
    fn chunk(&mut self, argument: &str, session: u64) -> std::io::Result<Option<()>> {
        let mut words = argument.split_ascii_whitespace();
        let Some(Ok(octets)) = words.next().map(str::parse::<usize>) else {
            return Ok(self.reply(None, "501 5.5.4 how many?\r\n")?.map(drop));
        };
        let last = words.next().is_some();
        let mut chunk = vec![0; octets];
        self.reader.read_exact(&mut chunk)?;
        if self.to.is_empty() {
            return Ok(self.reply(None, "503 5.5.1 out of order\r\n")?.map(drop));
        }
        let traits = self.shared.traits;
        self.chunks.get_or_insert_with(|| Body::new(traits)).append(&chunk);
        match self.chunks.take_if(|_| last) {
            Some(body) => self.deliver(body, session),
            None => Ok(self.reply(Some(Stage::Data), "250 2.0.0 chunk taken\r\n")?.map(drop)),
        }
    }

    /// Records a message and answers its end. `None`: the connection is to be closed.
    fn deliver(&mut self, body: Body, session: u64) -> std::io::Result<Option<()>> {
        let (trace, content) = body.digester.finish();
        let delivery = Delivery {
            session,
            from: self.from.take().expect("RCPT asks for MAIL"),
            to: std::mem::take(&mut self.to),
            trace: String::from_utf8_lossy(&trace).into_owned(),
            content,
            raw: body.raw,
            at: Instant::now(),
        };
        let refused =
            matches!(self.shared.manner(), Manner::Say(Stage::EndOfData, line) if !line.starts_with('2'));
        if !refused {
            self.shared.deliveries.lock().unwrap().push(delivery);
        }
        Ok(self.reply(Some(Stage::EndOfData), "250 2.0.0 taken\r\n")?.map(drop))
    }
}

fn serve(session: u64, stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let writer = stream.try_clone()?;
    let reader = BufReader::with_capacity(64 * 1024, stream);
    let mut talk = Conversation { reader, writer, shared, from: None, to: Vec::new(), chunks: None };
    if talk.reply(Some(Stage::Banner), "220 sink.example ESMTP\r\n")?.is_none() {
        return Ok(());
    }
    let extensions = if shared.traits.chunking {
        EXTENSIONS.replace("250 ", "250-CHUNKING\r\n250-BINARYMIME\r\n250 ")
    } else {
        EXTENSIONS.to_owned()
    };
    loop {
        let mut line = Vec::new();
        if talk.reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let (verb, argument) = split_command(&line);
        if verb == "BDAT" && shared.traits.chunking {
            if talk.chunk(&argument, session)?.is_none() {
                return Ok(());
            }
            continue;
        }
        let stage = match verb.as_str() {
            "MAIL" => Some(Stage::Mail),
            "RCPT" => Some(Stage::Rcpt),
            "DATA" => Some(Stage::Data),
            _ => None,
        };
        let usual = match verb.as_str() {
            "EHLO" => &extensions,
            "MAIL" | "HELO" | "RSET" | "NOOP" => "250 2.0.0 ok\r\n",
            "RCPT" if talk.from.is_some() => "250 2.1.5 ok\r\n",
            "DATA" if !talk.to.is_empty() => "354 go\r\n",
            "RCPT" | "DATA" => "503 5.5.1 out of order\r\n",
            "QUIT" => "221 2.0.0 bye\r\n",
            _ => "500 5.5.2 what?\r\n",
        };
        let Some(as_usual) = talk.reply(stage, usual)? else { return Ok(()) };
        let accepted = as_usual && !usual.starts_with('5');
        match verb.as_str() {
            "MAIL" if accepted => talk.from = Some(Path::parse(&argument)),
            "RCPT" if accepted => talk.to.push(Path::parse(&argument)),
            "RSET" | "EHLO" | "HELO" => {
                (talk.from, talk.chunks) = (None, None);
                talk.to.clear();
            }
            "DATA" if accepted => {
                let Some(body) = talk.read_message()? else { return Ok(()) };
                if talk.deliver(body, session)?.is_none() {
                    return Ok(());
                }
            }
            "QUIT" => return Ok(()),
            _ => {}
        }
    }
}
