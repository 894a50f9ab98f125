//! A next hop that records what it was given, and can be asked to behave badly.

use std::io::{BufRead, BufReader, Write};
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

#[derive(Default)]
struct Shared {
    manner: Mutex<Option<Manner>>,
    deliveries: Mutex<Vec<Delivery>>,
    trace_fields: usize,
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
        let shared = Arc::new(Shared { trace_fields, ..Shared::default() });
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
    fn read_message(&mut self) -> std::io::Result<Option<(Vec<u8>, Content)>> {
        let mut reader = DataReader::new();
        let mut digester = Digester::after_fields(self.shared.trace_fields);
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let (taken, ended) = reader.feed(chunk, |bytes| digester.update(bytes));
            self.reader.consume(taken);
            if ended {
                return Ok(Some(digester.finish()));
            }
        }
    }
}

fn serve(session: u64, stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let writer = stream.try_clone()?;
    let mut talk = Conversation { reader: BufReader::with_capacity(64 * 1024, stream), writer, shared };
    let mut from = None;
    let mut to = Vec::new();
    if talk.reply(Some(Stage::Banner), "220 sink.example ESMTP\r\n")?.is_none() {
        return Ok(());
    }
    loop {
        let mut line = Vec::new();
        if talk.reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let (verb, argument) = split_command(&line);
        let stage = match verb.as_str() {
            "MAIL" => Some(Stage::Mail),
            "RCPT" => Some(Stage::Rcpt),
            "DATA" => Some(Stage::Data),
            _ => None,
        };
        let usual = match verb.as_str() {
            "EHLO" => EXTENSIONS,
            "MAIL" | "HELO" | "RSET" | "NOOP" => "250 2.0.0 ok\r\n",
            "RCPT" if from.is_some() => "250 2.1.5 ok\r\n",
            "DATA" if !to.is_empty() => "354 go\r\n",
            "RCPT" | "DATA" => "503 5.5.1 out of order\r\n",
            "QUIT" => "221 2.0.0 bye\r\n",
            _ => "500 5.5.2 what?\r\n",
        };
        let Some(as_usual) = talk.reply(stage, usual)? else { return Ok(()) };
        let accepted = as_usual && !usual.starts_with('5');
        match verb.as_str() {
            "MAIL" if accepted => from = Some(Path::parse(&argument)),
            "RCPT" if accepted => to.push(Path::parse(&argument)),
            "RSET" | "EHLO" | "HELO" => {
                from = None;
                to.clear();
            }
            "DATA" if accepted => {
                let Some((trace, content)) = talk.read_message()? else { return Ok(()) };
                let delivery = Delivery {
                    session,
                    from: from.take().expect("RCPT asks for MAIL"),
                    to: std::mem::take(&mut to),
                    trace: String::from_utf8_lossy(&trace).into_owned(),
                    content,
                    at: Instant::now(),
                };
                let refused =
                    matches!(shared.manner(), Manner::Say(Stage::EndOfData, line) if !line.starts_with('2'));
                if !refused {
                    shared.deliveries.lock().unwrap().push(delivery);
                }
                if talk.reply(Some(Stage::EndOfData), "250 2.0.0 taken\r\n")?.is_none() {
                    return Ok(());
                }
            }
            "QUIT" => return Ok(()),
            _ => {}
        }
    }
}
