//! An SMTP client that does exactly what it is told, right or wrong.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType};

use crate::process::HANG_GUARD;

/// A reply, possibly of several lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of each line, without the code.
    pub lines: Vec<String>,
}

/// A connection to a server.
pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// What the server said first.
    pub banner: Reply,
}

impl Client {
    /// Connects and reads the banner.
    pub fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).unwrap_or_else(|| panic!("no banner from {to}"))
    }

    /// Connects and reads the banner, if there is one to read.
    pub fn try_connect(to: SocketAddr) -> Option<Self> {
        Self::try_connect_from(None, to)
    }

    /// The same from an address of this machine.
    pub fn try_connect_from(from: Option<IpAddr>, to: SocketAddr) -> Option<Self> {
        let stream = match from {
            Some(from) => connect_from(from, to).ok()?,
            None => TcpStream::connect(to).ok()?,
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let banner = read_reply(&mut reader)?;
        Some(Self { stream, reader, banner })
    }

    /// Sends bytes as they are. Returns whether the connection took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads a reply, or `None` where the connection ended instead.
    pub fn try_reply(&mut self) -> Option<Reply> {
        read_reply(&mut self.reader)
    }

    /// Reads a reply.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("the connection ended instead of a reply")
    }

    /// Sends a line and reads the reply.
    pub fn ask(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Sends a message, which must end in CRLF, in one transaction and returns the first reply that ends it.
    pub fn message(&mut self, from: &str, to: &[&str], message: &[u8]) -> Reply {
        let mut reply = self.ask(&format!("MAIL FROM:<{from}>"));
        for address in to {
            if reply.code != 250 {
                return reply;
            }
            reply = self.ask(&format!("RCPT TO:<{address}>"));
        }
        if reply.code != 250 {
            return reply;
        }
        reply = self.ask("DATA");
        if reply.code != 354 {
            return reply;
        }
        self.send(&stuffed(message));
        self.reply()
    }

    /// Closes our direction and waits for the server to close the other. `false` where it said something first.
    pub fn ended(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_until(b'\n', &mut rest) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Closes our direction only.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// A connection from an address of this machine.
pub fn connect_from(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

/// A message with its leading dots doubled and the final dot behind it.
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 16);
    let mut line_start = true;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line_start && line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        // Only CRLF ends a line; what begins after a bare LF is not stuffed.
        line_start = line.ends_with(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn read_reply(reader: &mut impl BufRead) -> Option<Reply> {
    let mut reply = Reply { code: 0, lines: Vec::new() };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let (code, text) = line.split_at_checked(3)?;
        reply.code = code.parse().ok()?;
        reply.lines.push(text.get(1..).unwrap_or("").to_owned());
        if !text.starts_with('-') {
            return Some(reply);
        }
    }
}
